// Package channeltest is what every channel must do, as tests: what it makes of each answer, of a
// receiver that is silent, slow, broken or not there, and that no secret leaves it.
//
// The suite brings the receivers, below the level of any library: plain sockets that follow a script.
// A channel's tests bring the channel.
package channeltest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
)

// Harness brings a channel into the suite.
type Harness struct {
	// Wire is what the channel speaks: HTTP or SMTP; nil where it goes over no network, which leaves
	// out all that a network can do.
	Wire Wire
	// Open returns the channel, and the target and endpoint that lead to what listens at r.
	Open func(t *testing.T, r Receiver) (delivery.Channel, delivery.Target, delivery.Endpoint)
	// Hidden are texts that no outcome may hold, such as tokens in the endpoint's address.
	Hidden []string
}

// Receiver is where a channel is to send to.
type Receiver struct {
	Addr   string // host:port; "" without a wire
	TLS    bool   // it wants TLS, with a certificate that nobody has signed
	Silent bool   // without a wire: it takes what it gets and never answers
}

// Wire is a protocol, with the answers that it knows.
type Wire interface {
	// answers are those that a receiver can give, with what they mean.
	answers() []answer
	// converse serves one connection after the script, and tells record of each message.
	converse(conn net.Conn, s script, record func(messageID string))
	// slow is what a refusal means of which only the beginning arrives.
	slow() delivery.Cause
	// quoting makes a refusal that holds all that the receiver was told.
	quoting() script
}

// answer is what a receiver says, and what it means.
type answer struct {
	name   string
	script script
	cause  delivery.Cause
	retry  bool
	// retryAfter lies within these bounds.
	least, most time.Duration
}

// script is how a receiver behaves.
type script struct {
	status int    // of its answer; 0 means that of success
	stage  string // SMTP: the command that is answered so; "" means the end of the message
	header string // HTTP: lines of the answer
	fault  fault
	quote  bool // the answer quotes what was received
}

// fault is what goes wrong instead of a whole answer.
type fault string

const (
	silent fault = "silent" // it reads, and never answers
	reset  fault = "reset"  // it resets the connection in the middle of its answer
	slow   fault = "slow"   // its answer begins, and never ends
)

// deadline is what an attempt has in which nothing more is going to happen.
const deadline = 200 * time.Millisecond

// promptly bounds how long a channel may take to notice that its context has ended.
const promptly = 5 * time.Second

// Run makes sure that a channel does what is expected of every one.
func Run(t *testing.T, h Harness) {
	t.Helper()
	runAll(t, h)
	if h.Wire != nil {
		runNetwork(t, h)
	}
}

func runNetwork(t *testing.T, h Harness) {
	t.Helper()
	for _, a := range h.Wire.answers() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			r := open(t, h, a.script)
			o := r.send(t.Context(), 1)
			require.Equal(t, a.cause, o.Cause, "%+v", o)
			require.Equal(t, a.retry, o.Retry)
			require.NotZero(t, o.StatusCode)
			require.GreaterOrEqual(t, o.RetryAfter, a.least)
			require.LessOrEqual(t, o.RetryAfter, a.most)
			require.Equal(t, o.Delivered(), o.Detail == "", "a failure has a reason")
		})
	}

	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		r := open(t, h, script{status: 503, fault: slow})
		o := r.sendFor(t, deadline)
		require.Equal(t, h.Wire.slow(), o.Cause, "%+v", o)
		require.True(t, o.Retry)
	})
	t.Run("reset in the middle of the answer", func(t *testing.T) {
		t.Parallel()
		o := open(t, h, script{fault: reset}).send(t.Context(), 1)
		require.Equal(t, delivery.Connect, o.Cause, "%+v", o)
		require.True(t, o.Retry)
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		o := at(t, h, Receiver{Addr: l.Addr().String()}).send(t.Context(), 1)
		require.Equal(t, delivery.Connect, o.Cause, "%+v", o)
		require.True(t, o.Retry)
	})
	t.Run("a name that does not resolve", func(t *testing.T) {
		t.Parallel()
		o := at(t, h, Receiver{Addr: "receiver.invalid:2525"}).send(t.Context(), 1)
		require.Equal(t, delivery.DNS, o.Cause, "%+v", o)
		require.True(t, o.Retry)
		require.NotContains(t, o.Detail, "receiver.invalid")
	})
	t.Run("a certificate that nobody has signed", func(t *testing.T) {
		t.Parallel()
		o := at(t, h, Receiver{Addr: listen(t, h.Wire, script{}, nil, true), TLS: true}).send(t.Context(), 1)
		require.Equal(t, delivery.TLS, o.Cause, "%+v", o)
		require.True(t, o.Retry)
	})

	t.Run("the receiver quotes what it was told", func(t *testing.T) {
		t.Parallel()
		o := open(t, h, h.Wire.quoting()).send(t.Context(), 1)
		require.False(t, o.Delivered())
		require.NotEmpty(t, o.Excerpt, "or there is nothing to be discreet about")
	})
	t.Run("a message has one id", func(t *testing.T) {
		t.Parallel()
		r := open(t, h, script{})
		for attempt := 1; attempt <= 3; attempt++ {
			require.True(t, r.send(t.Context(), attempt).Delivered())
		}
		ids := r.messages()
		require.Len(t, ids, 3, "one attempt is one message")
		require.NotEmpty(t, ids[0])
		require.Equal(t, []string{ids[0], ids[0], ids[0]}, ids)
	})
}

// runAll is for channels of all kinds.
func runAll(t *testing.T, h Harness) {
	t.Helper()
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		r := open(t, h, script{fault: silent})
		o := r.sendFor(t, deadline)
		require.Equal(t, delivery.Timeout, o.Cause, "%+v", o)
		require.True(t, o.Retry)
	})
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		r := open(t, h, script{fault: silent})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(deadline/4, cancel)
		start := time.Now()
		o := r.send(ctx, 1)
		require.Less(t, time.Since(start), promptly)
		require.Equal(t, delivery.Interrupted, o.Cause, "%+v", o)
		require.True(t, o.Retry)
		require.Zero(t, o.StatusCode, "nothing is known of it")
	})
	t.Run("canceled before it begins", func(t *testing.T) {
		t.Parallel()
		r := open(t, h, script{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Equal(t, delivery.Interrupted, r.send(ctx, 1).Cause)
		require.Empty(t, r.messages())
	})
	t.Run("at the same time", func(t *testing.T) {
		t.Parallel()
		r := open(t, h, script{})
		const n = 16
		outcomes := make([]delivery.Outcome, n)
		var wg sync.WaitGroup
		for i := range n {
			d := r.delivery
			d.Event.ID = uuid.Must(uuid.NewV7())
			wg.Go(func() { outcomes[i] = r.channel.Send(t.Context(), d) })
		}
		wg.Wait()
		for _, o := range outcomes {
			require.True(t, o.Delivered(), "%+v", o)
		}
		if h.Wire == nil {
			return
		}
		seen := map[string]bool{}
		for _, id := range r.messages() {
			seen[id] = true
		}
		require.Len(t, seen, n, "each is its own message")
	})
}

// Event is one with something in every field.
func Event() delivery.Event {
	return delivery.Event{
		ID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), TenantID: "default", Source: delivery.Direct,
		AlertID: "nav-drop", UserID: "ada", Title: "NAV fell 3 %", Message: "It fell <by> 3 %.\nSince Monday.",
		Severity: delivery.Warning, Data: json.RawMessage(`{"change":-0.030,"deep":{"n":12345678901234567890}}`),
		AcceptedAt: time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC),
	}
}

// run is one channel, bound for one receiver.
type run struct {
	t        *testing.T
	channel  delivery.Channel
	delivery delivery.Delivery
	hidden   []string

	mu  sync.Mutex
	ids []string
}

// open starts a receiver after the script.
func open(t *testing.T, h Harness, s script) *run {
	t.Helper()
	if h.Wire == nil {
		return at(t, h, Receiver{Silent: s.fault == silent})
	}
	var r *run
	addr := listen(t, h.Wire, s, func(id string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ids = append(r.ids, id)
	}, false)
	r = at(t, h, Receiver{Addr: addr})
	return r
}

func at(t *testing.T, h Harness, r Receiver) *run {
	t.Helper()
	channel, target, endpoint := h.Open(t, r)
	require.Equal(t, channel.Name(), target.Channel)
	return &run{t: t, channel: channel, hidden: h.Hidden, delivery: delivery.Delivery{
		Event: Event(), Target: target, Endpoint: endpoint, Attempt: 1,
	}}
}

// send makes an attempt, whose outcome must be fit to be shown.
func (r *run) send(ctx context.Context, attempt int) delivery.Outcome {
	r.t.Helper()
	d := r.delivery
	d.Attempt = attempt
	o := r.channel.Send(ctx, d)
	for _, secret := range r.hidden {
		require.NotContains(r.t, fmt.Sprintf("%+v", o), secret)
	}
	return o
}

// sendFor makes an attempt that has the given time.
func (r *run) sendFor(t *testing.T, d time.Duration) delivery.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	o := r.send(ctx, 1)
	require.Less(t, time.Since(start), d+promptly)
	return o
}

func (r *run) messages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids
}

// listen starts a receiver that ends with the test, and returns its address.
func listen(t *testing.T, w Wire, s script, record func(string), encrypted bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	if encrypted {
		l = stranger(t, l)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
		over  bool
	)
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if over {
				_ = conn.Close()
			}
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() {
				defer conn.Close()
				w.converse(conn, s, record)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		over = true
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return addr
}

// stranger puts TLS in front of l, with a certificate of nobody's.
func stranger(t *testing.T, l net.Listener) net.Listener {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // makes the certificate
	defer server.Close()
	return tlsListener(l, server.TLS.Certificates)
}

// resetConn ends a connection with an RST in place of a FIN.
func resetConn(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
