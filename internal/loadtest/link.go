package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// toxic is what a link can suffer from, in toxiproxy's words.
type toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream or downstream
	Toxicity   float32        `json:"toxicity"`
	Attributes map[string]any `json:"attributes"`
}

// link is a way between two programs on loopback that can be made slow, lossy or dead.
type link struct {
	proxy *toxiproxy.Proxy
}

// Some toxics log what they do, wherever their server logs to.
func init() { zerolog.SetGlobalLevel(zerolog.Disabled) }

// newLink opens a link to upstream.
func newLink(name, upstream string) (*link, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	l := &link{proxy: toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), name, addr, upstream)}
	if err := l.proxy.Start(); err != nil {
		return nil, fmt.Errorf("open the link %s: %w", name, err)
	}
	return l, nil
}

// Addr is where to connect to instead of the other end.
func (l *link) Addr() string { return l.proxy.Listen }

// spoil adds a toxic to all connections of the link, those that are there and those that come.
func (l *link) spoil(t toxic) error {
	encoded, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("describe a toxic: %w", err)
	}
	// Connections are interrupted for it, one that is stuck can hold that up.
	return bounded(func() error {
		if _, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(encoded)); err != nil {
			return fmt.Errorf("spoil the link %s: %w", l.proxy.Name, err)
		}
		return nil
	})
}

// mend takes all toxics away.
func (l *link) mend() error {
	return bounded(func() error {
		l.proxy.Toxics.ResetToxics(context.Background())
		return nil
	})
}

// close closes the link and its connections.
func (l *link) close() { l.proxy.Stop() }

// stuckAfter is how long a change of a link may take.
const stuckAfter = 20 * time.Second

// bounded gives up waiting for do.
func bounded(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(stuckAfter):
		return errors.New("toxiproxy did not change a link within " + stuckAfter.String())
	}
}
