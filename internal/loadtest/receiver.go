package loadtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	// maxWebhook bounds a webhook's body; those of Load are far smaller.
	maxWebhook = 64 << 10
	// maxMessages bounds what a Receiver remembers, about 300 bytes a message.
	maxMessages = 1_000_000
)

// Answer is how a receiver answers one attempt.
type Answer struct {
	Status int
	After  time.Duration // how long it takes
	Never  bool          // it hangs until the sender gives up
	Manner Manner        // of the answer; "" is as HTTP has it
	// RetryAfter and Location are headers; "" is none.
	RetryAfter, Location string
}

// Manner is how an answer is written.
type Manner string

// The manners that no receiver should have. All but Reset begin with the status line.
const (
	Dropped  Manner = "dropped"  // the connection is closed before the body that was announced
	Garbage  Manner = "garbage"  // a body of bytes that are nothing, under a wrong type
	Overlong Manner = "overlong" // more body than was announced
	Trickled Manner = "trickled" // byte by byte, from the first one on
	Reset    Manner = "reset"    // the connection is reset, without an answer
)

// trickle is the pause after each byte of a trickled answer, which has about 60.
const trickle = 20 * time.Millisecond

// Behaviour decides how the nth attempt (from 1) to deliver a message is answered. It may be called
// by several goroutines at the same time.
type Behaviour func(messageID string, attempt int) Answer

// Accepting takes every message at once.
func Accepting(string, int) Answer { return Answer{Status: http.StatusOK} }

// FailingFirst fails the first n attempts of each message.
func FailingFirst(n int) Behaviour {
	return func(_ string, attempt int) Answer {
		if attempt <= n {
			return Answer{Status: http.StatusServiceUnavailable}
		}
		return Answer{Status: http.StatusOK}
	}
}

// Unreliability says how a receiver misbehaves. Parts are of all attempts, from 0 to 1.
type Unreliability struct {
	Seed   uint64
	Fail   float64       // answered with 503
	Hang   float64       // never answered, on top of Fail
	Within time.Duration // the other answers take up to this long, evenly spread
}

// Unreliable misbehaves as u says. What it does to an attempt depends on the seed, the message and the
// attempt's number alone, whatever the order in which attempts come.
func Unreliable(u Unreliability) Behaviour {
	return func(messageID string, attempt int) Answer {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %d", u.Seed, messageID, attempt))
		fate, pace := uniform(sum[:8]), uniform(sum[8:16])
		answer := Answer{Status: http.StatusOK, After: time.Duration(pace * float64(u.Within))}
		switch {
		case fate < u.Fail:
			answer.Status = http.StatusServiceUnavailable
		case fate < u.Fail+u.Hang:
			answer.Never = true
		}
		return answer
	}
}

// uniform makes eight random bytes a number in [0, 1).
func uniform(b []byte) float64 { return float64(binary.BigEndian.Uint64(b)>>11) / (1 << 53) }

// Message is what a receiver knows of one event.
type Message struct {
	ID         string // the webhook-id of the first attempt
	OtherID    string // a webhook-id that differs from it, which must not be; "" without
	Attempts   int
	Accepted   int       // attempts answered with 200
	FirstAt    time.Time // of the first attempt
	AcceptedAt time.Time // of the first 200; zero before
}

// Receiver is a webhook's other end. It answers as its behaviour says and remembers every event. It
// can go down and come back under the same address.
type Receiver struct {
	addr      string
	behaviour atomic.Pointer[Behaviour]

	mu         sync.Mutex
	messages   map[uuid.UUID]*Message
	perSecond  map[int64]int // events accepted for the first time, by Unix second
	unreadable int
	overflow   int
	underWay   int
	busiest    int // the most that underWay has been since Up

	server *http.Server // nil while down
	served chan struct{}
}

// NewReceiver returns a receiver that is down. Its address, on loopback, stays its own.
func NewReceiver(b Behaviour) (*Receiver, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	r := &Receiver{addr: addr, messages: make(map[uuid.UUID]*Message), perSecond: make(map[int64]int)}
	r.Behave(b)
	return r, nil
}

// Behave changes the behaviour.
func (r *Receiver) Behave(b Behaviour) { r.behaviour.Store(&b) }

// URL is where to post to.
func (r *Receiver) URL() string { return "http://" + r.addr + "/hook" }

// Up opens the receiver. It must be down.
func (r *Receiver) Up() error {
	listener, err := net.Listen("tcp", r.addr)
	if err != nil {
		return fmt.Errorf("open the receiver: %w", err)
	}
	r.mu.Lock()
	r.busiest = 0
	r.mu.Unlock()
	server := &http.Server{Handler: http.HandlerFunc(r.serve), ReadHeaderTimeout: 10 * time.Second}
	r.server, r.served = server, make(chan struct{})
	go func() {
		defer close(r.served)
		_ = server.Serve(listener) // ends with Down
	}()
	return nil
}

// Down closes the receiver and cuts its connections: whoever posts is refused from then on.
func (r *Receiver) Down() {
	if r.server == nil {
		return
	}
	_ = r.server.Close()
	<-r.served
	r.server = nil
}

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	r.count(1)
	defer r.count(-1)
	var body struct {
		Data struct {
			EventID uuid.UUID `json:"event_id"`
		} `json:"data"`
	}
	id := req.Header.Get("webhook-id")
	raw, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxWebhook))
	if err == nil {
		err = json.Unmarshal(raw, &body)
	}
	if err != nil || id == "" || body.Data.EventID == uuid.Nil {
		r.mu.Lock()
		r.unreadable++ // such as what a kill has cut short
		r.mu.Unlock()
		http.Error(w, "a webhook with an event_id is expected", http.StatusBadRequest)
		return
	}
	attempt, ok := r.note(body.Data.EventID, id)
	if !ok {
		http.Error(w, "the receiver is full", http.StatusInsufficientStorage)
		return
	}
	answer := (*r.behaviour.Load())(id, attempt)
	if answer.Never {
		<-req.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if answer.After > 0 && pause(req.Context(), answer.After) != nil {
		panic(http.ErrAbortHandler) // the sender gave up or was killed before there was an answer
	}
	if answer.Status == http.StatusOK {
		r.accept(body.Data.EventID)
	}
	if answer.Manner != "" {
		answer.misbehave(w, req)
		return
	}
	for name, value := range map[string]string{"Retry-After": answer.RetryAfter, "Location": answer.Location} {
		if value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(answer.Status)
}

// misbehave writes an answer by hand. It ends the connection.
func (a Answer) misbehave(w http.ResponseWriter, req *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\n", a.Status, http.StatusText(a.Status))
	switch a.Manner {
	case Reset:
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // what is closed is then reset
		}
	case Dropped:
		_, _ = buffered.WriteString(head + "Content-Length: 1000\r\n\r\n{\"ok\":")
	case Overlong:
		_, _ = buffered.WriteString(head + "Content-Length: 2\r\n\r\nok, and much that nobody has announced\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n")
	case Garbage:
		_, _ = buffered.WriteString(head + "Content-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\x00\xff\xfe{{{")
	case Trickled:
		for _, b := range []byte(head + "Content-Length: 0\r\n\r\n") {
			if _, err := conn.Write([]byte{b}); err != nil || pause(req.Context(), trickle) != nil {
				return
			}
		}
	}
	_ = buffered.Flush()
}

// count notes a request's begin (1) or end (-1).
func (r *Receiver) count(change int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay += change
	r.busiest = max(r.busiest, r.underWay)
}

// Busiest returns how many requests have been under way at the same time since the receiver came up.
func (r *Receiver) Busiest() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busiest
}

// note counts an attempt and returns its number; false when there is no room.
func (r *Receiver) note(event uuid.UUID, id string) (int, bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[event]
	if m == nil {
		if len(r.messages) >= maxMessages {
			r.overflow++
			return 0, false
		}
		m = &Message{ID: id, FirstAt: now}
		r.messages[event] = m
	}
	if id != m.ID {
		m.OtherID = id
	}
	m.Attempts++
	return m.Attempts, true
}

// accept notes that an attempt is about to be answered with 200.
func (r *Receiver) accept(event uuid.UUID) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[event]
	m.Accepted++
	if m.Accepted == 1 {
		m.AcceptedAt = now
		r.perSecond[now.Unix()]++
	}
}

// Messages returns what the receiver knows, by event.
func (r *Receiver) Messages() map[uuid.UUID]Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[uuid.UUID]Message, len(r.messages))
	for event, m := range r.messages {
		all[event] = *m
	}
	return all
}

// acceptedAt returns when an event was accepted; false when it was not.
func (r *Receiver) acceptedAt(event uuid.UUID) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[event]
	if m == nil || m.Accepted == 0 {
		return time.Time{}, false
	}
	return m.AcceptedAt, true
}

// Forget makes the receiver as new.
func (r *Receiver) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.messages)
	clear(r.perSecond)
	r.unreadable, r.overflow = 0, 0
}

// Distinct returns how many events have been accepted.
func (r *Receiver) Distinct() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, accepted := range r.perSecond {
		n += accepted
	}
	return n
}

// Rates returns how many events were accepted in each second from the one of since on, without the
// quiet end.
func (r *Receiver) Rates(since time.Time) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := since.Unix() - 1
	for second := range r.perSecond {
		last = max(last, second)
	}
	rates := make([]int, last-since.Unix()+1)
	for i := range rates {
		rates[i] = r.perSecond[since.Unix()+int64(i)]
	}
	return rates
}

// full reports messages that there was no room for.
func (r *Receiver) full() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.overflow > 0 {
		return fmt.Errorf("the receiver has no room for more than %d events: its account is of no use", maxMessages)
	}
	return nil
}

// pause waits for d, or for the end of ctx, whose error it returns.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The ports of freeAddr lie below those that systems give to connections, so that none of these takes
// one while its owner is down.
const lowestPort, highestPort = 20_000, 32_000

var ports = struct {
	sync.Mutex
	next int
}{next: lowestPort}

// freeAddr returns an address on loopback that its owner can give up and have again. None is
// returned twice by one process; two processes start at different places.
func freeAddr() (string, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.next == lowestPort {
		id := uuid.New()
		ports.next += int(binary.BigEndian.Uint16(id[:])) % (highestPort - lowestPort)
	}
	for range highestPort - lowestPort {
		ports.next++
		if ports.next >= highestPort {
			ports.next = lowestPort + 1
		}
		addr := fmt.Sprintf("127.0.0.1:%d", ports.next)
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return "", fmt.Errorf("try %s: %w", addr, err)
		}
		return addr, nil
	}
	return "", errors.New("no port on loopback is free")
}
