package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/singleflight"

	"github.com/dawsos/dawsos/internal/fault"
)

const (
	keySetFresh = time.Hour // a set that is older is read again, behind the requests
	// keySetMost is how old a set may be and still verify: as old as a token gets. Whoever keeps us from reading
	// it keeps a key that was taken out of it alive for no longer.
	keySetMost  = mostTokenLife
	keySetPause = 30 * time.Second // between two readings, whatever tokens ask for
	// keySetRetry is the pause while there is no set that verifies: nobody gets in meanwhile.
	keySetRetry    = 2 * time.Second
	keySetTimeout  = 10 * time.Second
	mostKeySet     = 256 << 10 // bytes
	mostKeysOfASet = 100
)

// KeySet are the public keys of who issues tokens, read from a JSON Web Key Set (RFC 7517) over HTTP when
// they are needed. While it can't be read, the keys that were read last stay for a day.
type KeySet struct {
	url      string
	client   *http.Client
	readings Readings
	log      *slog.Logger
	now      func() time.Time

	reading singleflight.Group

	mu    sync.Mutex
	keys  map[keyName]any // nil until a set was read
	read  time.Time       // when it was
	tried time.Time       // when it was asked for last
}

// keyName is what a token says of the key that verifies it. One name may stand for keys of two kinds.
type keyName struct {
	id        string
	algorithm jose.SignatureAlgorithm
}

// Readings counts how often key sets were read.
type Readings struct{ read, failed prometheus.Counter }

// NewReadings registers the counters, which are there whether or not tokens are taken.
func NewReadings(reg prometheus.Registerer) Readings {
	readings := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_auth_key_set_readings_total",
		Help: "Readings of the keys that verify tokens, by outcome: read or failed.",
	}, []string{"outcome"})
	return Readings{readings.WithLabelValues("read"), readings.WithLabelValues("failed")}
}

// NewKeySet returns the keys at an address. The client bounds where it may go; it must not follow
// redirects.
func NewKeySet(address string, client *http.Client, readings Readings, log *slog.Logger, now func() time.Time) *KeySet {
	return &KeySet{url: address, client: client, readings: readings, log: log, now: now}
}

// key returns the public key that verifies tokens of a key's id and an algorithm.
func (s *KeySet) key(ctx context.Context, id string, algorithm jose.SignatureAlgorithm) (any, error) {
	key, state := s.find(id, algorithm)
	switch state {
	case found:
		return key, nil
	case foundOld:
		s.refresh(ctx)
		return key, nil
	case absent: // read a moment ago
		return nil, badToken("the token's key (header kid) is not known")
	}
	select {
	case <-s.refresh(ctx):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if key, state = s.find(id, algorithm); state == found || state == foundOld {
		return key, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.none(s.now()) {
		return nil, &fault.Error{
			Code: fault.Unavailable, Detail: "the keys that verify tokens can't be read at the moment", RetryAfter: keySetRetry,
		}
	}
	return nil, badToken("the token's key (header kid) is not known")
}

// sought is how a key stands in the set.
type sought int

const (
	found     sought = iota
	foundOld         // it is there, and the set is due to be read again
	absent           // it is not there, and the set must not be read again yet
	absentOld        // it is not there, and the set may be read again
)

func (s *KeySet) find(id string, algorithm jose.SignatureAlgorithm) (any, sought) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	rested := now.Sub(s.tried) >= keySetPause
	if s.none(now) { // [KeySet.readAgain] knows how long to wait
		return nil, absentOld
	}
	key, ok := s.keys[keyName{id, algorithm}]
	if id == "" {
		key, ok = s.only(algorithm)
	}
	switch {
	case ok && rested && now.Sub(s.read) >= keySetFresh:
		return key, foundOld
	case ok:
		return key, found
	case rested:
		return nil, absentOld
	}
	return nil, absent
}

// none reports whether there is no set that verifies. The lock must be held.
func (s *KeySet) none(now time.Time) bool {
	return s.keys == nil || now.Sub(s.read) >= keySetMost
}

// only returns the key of an algorithm where there is one alone: then a token need not name it.
func (s *KeySet) only(algorithm jose.SignatureAlgorithm) (key any, ok bool) {
	n := 0
	for name, k := range s.keys {
		if name.algorithm == algorithm {
			key = k
			n++
		}
	}
	return key, n == 1
}

// refresh reads the set once for all who ask for it at the same time, and tells when that is done. The
// reading goes on when ctx ends: others wait for it too. That it failed is no error of the caller's.
func (s *KeySet) refresh(ctx context.Context) <-chan singleflight.Result {
	reading := context.WithoutCancel(ctx)
	return s.reading.DoChan("", func() (any, error) {
		s.readAgain(reading)
		return nil, nil
	})
}

// readAgain reads the set unless it was asked for a moment ago.
func (s *KeySet) readAgain(ctx context.Context) {
	now := s.now()
	s.mu.Lock()
	pause := keySetPause
	if s.none(now) {
		pause = keySetRetry
	}
	if now.Sub(s.tried) < pause {
		s.mu.Unlock()
		return
	}
	s.tried = now
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, keySetTimeout)
	defer cancel()
	keys, ignored, err := s.fetch(ctx)
	if err != nil {
		s.readings.failed.Inc()
		s.log.WarnContext(ctx, "the keys that verify tokens can't be read; those that were read before stay for a day", "err", err)
		return
	}
	s.readings.read.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.read = keys, now
	s.log.InfoContext(ctx, "the keys that verify tokens are read", "keys", len(keys), "ignored", ignored)
}

// fetch returns the keys at the address that verify tokens here, and how many others stand there.
func (s *KeySet) fetch(ctx context.Context) (keys map[keyName]any, ignored int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, 0, errors.New("the address is wrong")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // it repeats the address, whose query may be nobody's business
			err = e.Err
		}
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("answered with status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostKeySet+1))
	if err != nil {
		return nil, 0, err
	}
	if len(body) > mostKeySet {
		return nil, 0, fmt.Errorf("longer than %d bytes", mostKeySet)
	}
	return parseKeySet(body)
}

// parseKeySet takes those keys of a set that are public, strong enough and for signatures of RS256 or ES256.
// The rest is ignored, as RFC 7517 wants it: one key that is not understood must not lock out those of
// the others.
func parseKeySet(body []byte) (keys map[keyName]any, ignored int, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, 0, errors.New("not a JSON Web Key Set")
	}
	if len(set.Keys) > mostKeysOfASet {
		return nil, 0, fmt.Errorf("more than %d keys", mostKeysOfASet)
	}
	keys = make(map[keyName]any, len(set.Keys))
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err != nil {
			ignored++
			continue
		}
		algorithm, ok := algorithmOf(k.Key)
		name := keyName{k.KeyID, algorithm}
		if _, twice := keys[name]; !ok || twice || !k.Valid() || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != string(algorithm) {
			ignored++
			continue
		}
		keys[name] = k.Key
	}
	if len(keys) == 0 {
		return nil, ignored, errors.New("no key in it verifies RS256 or ES256")
	}
	return keys, ignored, nil
}
