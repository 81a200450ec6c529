package admission

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// tooMany is the whole answer to a connection that is one too many. No request of it is read.
const tooMany = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

const (
	// maxTold is how many refused connections are told why at the same time. Others are closed without a word.
	maxTold = 1024
	// tellFor is how long one of them has to send its request and to take the answer: as long as headers may take.
	tellFor = 5 * time.Second
)

// Bound bounds how many connections of a listener there are at the same time. One more is not left waiting: its
// client learns that it must try elsewhere or later. It is told so with 503 once it has sent something, as an answer
// to no request, or one that is cut off by what was not read, is no answer to clients. One that begins TLS is closed.
//
// The listener's Close closes those that are being told, too.
func Bound(l net.Listener, most int, registerer prometheus.Registerer) net.Listener {
	b := &bounded{Listener: l, most: int64(most), told: map[net.Conn]struct{}{}, refused: promauto.With(registerer).NewCounter(prometheus.CounterOpts{
		Name: "dawsos_http_connections_refused_total",
		Help: "Connections refused because there were MAX_CONNECTIONS already.",
	})}
	promauto.With(registerer).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dawsos_http_connections",
		Help: "Connections of clients, those that nothing goes over included.",
	}, func() float64 { return float64(b.open.Load()) })
	return b
}

type bounded struct {
	net.Listener
	most    int64
	open    atomic.Int64
	refused prometheus.Counter

	telling sync.WaitGroup
	mu      sync.Mutex
	told    map[net.Conn]struct{} // nil once the listener is closed
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= b.most {
			return &counted{Conn: conn, closed: sync.OnceFunc(func() { b.open.Add(-1) })}, nil
		}
		b.open.Add(-1)
		b.refused.Inc()
		b.tell(conn)
	}
}

// Close implements net.Listener.
func (b *bounded) Close() error {
	err := b.Listener.Close()
	b.mu.Lock()
	for conn := range b.told {
		_ = conn.Close()
	}
	b.told = nil
	b.mu.Unlock()
	b.telling.Wait()
	return err
}

// tell has a connection told, beside all else, and closed.
func (b *bounded) tell(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told == nil || len(b.told) >= maxTold {
		_ = conn.Close()
		return
	}
	b.told[conn] = struct{}{}
	b.telling.Go(func() {
		tellTooMany(conn)
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.told, conn)
	})
}

// tellTooMany answers the first request of a connection and closes it. What else comes is taken from the buffer
// until the client has closed its side: bytes that were not read would have the kernel reset the connection, and
// the client lose the answer.
func tellTooMany(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(tellFor))
	buffer := make([]byte, 4<<10) // all of what TLS begins with: what is not read resets the connection
	n, err := conn.Read(buffer)
	if err != nil || n == 0 {
		return
	}
	const handshake = 0x16 // the type of TLS's first record; a shared secret is more work than it is worth here
	if buffer[0] == handshake {
		return
	}
	if _, err := conn.Write([]byte(tooMany)); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

type counted struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}
