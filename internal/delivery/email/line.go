package email

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// line is the connection of one attempt. It can be hung up at any time, also while it is being made.
type line struct {
	dialer Dialer
	tls    *tls.Config // nil: in the clear, at first

	mu   sync.Mutex
	conn net.Conn
	down bool
}

// dial connects, with TLS from the first byte where that is wanted.
func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		_ = conn.Close()
		return nil, context.Cause(ctx)
	}
	l.conn = conn
	l.mu.Unlock()
	if l.tls == nil {
		return conn, nil
	}
	encrypted := tls.Client(conn, l.tls)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return encrypted, nil
}

// hangUp closes the connection. Whoever waits on it gets an error.
func (l *line) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
}
