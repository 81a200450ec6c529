package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateEvery is how often the files of the certificate are looked at, at most: a handshake costs more
// than the look, and a certificate is renewed weeks before it ends.
const certificateEvery = time.Second

// certificate is the certificate that the process shows, as it stands in its files. A new one is taken as
// soon as both files fit together; until then, and when they can't be read, the one before stays.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	looked  time.Time
	text    []byte // of both files, as they were last
	current *tls.Certificate
}

// loadCertificate reads the files, which must be good at the start.
func loadCertificate(certFile, keyFile string, log *slog.Logger, now func() time.Time) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, now: now}
	if err := c.look(); err != nil {
		return nil, fmt.Errorf("TLS_CERT_FILE=%s, TLS_KEY_FILE=%s: %w", certFile, keyFile, err)
	}
	return c, nil
}

// config is what a server shows its certificate with.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

func (c *certificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certificateEvery {
		c.looked = now
		if err := c.look(); err != nil {
			c.log.WarnContext(hello.Context(), "the certificate's files can't be used; the certificate that was read before stays", "err", err)
		}
	}
	return c.current, nil
}

// look takes what stands in the files if it changed. What can't be used is said once.
func (c *certificate) look() error {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return err
	}
	text := bytes.Join([][]byte{cert, key}, []byte{0})
	if bytes.Equal(text, c.text) {
		return nil
	}
	c.text = text
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	renewed := c.current != nil
	c.current = &pair
	if renewed {
		c.log.InfoContext(context.Background(), "a new certificate is shown", "until", pair.Leaf.NotAfter)
	}
	return nil
}

// ownCertificate is for asking this very process: what answers must show the certificate of the file. Whom
// it names and who signed it don't matter, as it is asked by the address that it listens at.
func ownCertificate(certFile string) (*tls.Config, error) {
	raw, err := os.ReadFile(certFile) //nolint:gosec // the path comes from the settings
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	own, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // what it is compared with below is stricter
		VerifyConnection: func(s tls.ConnectionState) error {
			if !s.PeerCertificates[0].Equal(own) {
				return errors.New("another certificate is shown than TLS_CERT_FILE holds")
			}
			return nil
		},
	}, nil
}
