package admission_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/admission"
	"github.com/dawsos/dawsos/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func requireShed(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.GreaterOrEqual(t, f.RetryAfter, time.Second)
	require.Less(t, f.RetryAfter, 3*time.Second)
}

// So many are let in, so many wait for half a second at most, and all others are refused at once.
func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const places = 3
		registry := prometheus.NewRegistry()
		g := admission.NewGate(admission.GateOptions{Ordinary: places, Registerer: registry})
		var leave []func()
		for range places {
			l, err := g.Enter(t.Context(), admission.Ordinary)
			require.NoError(t, err)
			leave = append(leave, l)
		}

		type entered struct {
			leave func()
			err   error
			after time.Duration
		}
		waiters := make(chan entered, places)
		began := time.Now()
		for range places {
			go func() {
				l, err := g.Enter(t.Context(), admission.Ordinary)
				waiters <- entered{l, err, time.Since(began)}
			}()
		}
		synctest.Wait()
		_, err := g.Enter(t.Context(), admission.Ordinary)
		requireShed(t, err)
		require.Zero(t, time.Since(began), "it was told at once")

		<-time.After(200 * time.Millisecond) // of the bubble's clock
		leave[0]()
		first := <-waiters
		require.NoError(t, first.err, "a place became free")
		require.Equal(t, 200*time.Millisecond, first.after)
		for range places - 1 {
			w := <-waiters
			requireShed(t, w.err)
			require.Equal(t, 500*time.Millisecond, w.after, "no one waits for longer")
		}
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
			# HELP dawsos_http_in_flight Requests under way, by class: ordinary, runs (of patterns), pages (of the console), files (uploads), streams. Probes and scrapes are not counted.
			# TYPE dawsos_http_in_flight gauge
			dawsos_http_in_flight{class="files"} 0
			dawsos_http_in_flight{class="ordinary"} 3
			dawsos_http_in_flight{class="pages"} 0
			dawsos_http_in_flight{class="runs"} 0
			dawsos_http_in_flight{class="streams"} 0
			# HELP dawsos_http_shed_total Requests answered with 503 because too many are under way, by class and reason: as many wait as may (queue_full), or it has waited for as long as it may (waited).
			# TYPE dawsos_http_shed_total counter
			dawsos_http_shed_total{class="files",reason="queue_full"} 0
			dawsos_http_shed_total{class="files",reason="waited"} 0
			dawsos_http_shed_total{class="ordinary",reason="queue_full"} 1
			dawsos_http_shed_total{class="ordinary",reason="waited"} 2
			dawsos_http_shed_total{class="pages",reason="queue_full"} 0
			dawsos_http_shed_total{class="pages",reason="waited"} 0
			dawsos_http_shed_total{class="runs",reason="queue_full"} 0
			dawsos_http_shed_total{class="runs",reason="waited"} 0
			dawsos_http_shed_total{class="streams",reason="queue_full"} 0
			dawsos_http_shed_total{class="streams",reason="waited"} 0
		`), "dawsos_http_in_flight", "dawsos_http_shed_total"))

		first.leave()
		leave[1]()
		leave[2]()
		for range places {
			l, err := g.Enter(t.Context(), admission.Ordinary)
			require.NoError(t, err, "all places are free again")
			defer l()
		}
	})
}

// Whatever fills one class leaves the others alone.
func TestClasses(t *testing.T) {
	t.Parallel()
	for _, full := range admission.Classes {
		t.Run(string(full), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := admission.NewGate(admission.GateOptions{Ordinary: 4, Registerer: prometheus.NewRegistry()})
				for {
					l, err := g.Enter(t.Context(), full)
					if err != nil {
						requireShed(t, err)
						break
					}
					defer l()
				}
				for _, other := range admission.Classes {
					if other == full {
						continue
					}
					l, err := g.Enter(t.Context(), other)
					require.NoError(t, err, other)
					defer l()
				}
			})
		})
	}
}

// A client that leaves while it waits takes no place and is not counted as shed.
func TestLeftWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := admission.NewGate(admission.GateOptions{Ordinary: 1, Registerer: prometheus.NewRegistry()})
		leave, err := g.Enter(t.Context(), admission.Ordinary)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = g.Enter(ctx, admission.Ordinary)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		leave()
		leave, err = g.Enter(t.Context(), admission.Ordinary)
		require.NoError(t, err)
		leave()
	})
}

func newRates(perSecond float64, burst, remembered int) *admission.Rates {
	return admission.NewRates(admission.RateOptions{
		PerSecond: perSecond, Burst: burst, Remembered: remembered, Now: time.Now, Registerer: prometheus.NewRegistry(),
	})
}

func TestRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRates(10, 5, 0)
		for left := 4; left >= 0; left-- {
			q := r.Caller("default/key:a")
			require.NoError(t, q.Err())
			require.Equal(t, `"caller";q=5;w=1`, q.Policy)
			require.Equal(t, fmt.Sprintf(`"caller";r=%d;t=1`, left), q.Limit)
		}
		q := r.Caller("default/key:a")
		require.Equal(t, `"caller";r=0;t=1`, q.Limit)
		require.Equal(t, fault.TooManyRequests, fault.CodeOf(q.Err()))
		var f *fault.Error
		require.ErrorAs(t, q.Err(), &f)
		require.Equal(t, 100*time.Millisecond, f.RetryAfter)
		require.NoError(t, r.Caller("default/key:b").Err(), "another caller")
		require.NoError(t, r.Caller("other/key:a").Err(), "another tenant's caller")
		require.NoError(t, r.Address("default/key:a").Err(), "an address is no caller")

		<-time.After(f.RetryAfter)
		require.NoError(t, r.Caller("default/key:a").Err(), "it came back when it was told to")
		require.Error(t, r.Caller("default/key:a").Err(), "but for one request")
		<-time.After(time.Minute)
		for range 5 {
			require.NoError(t, r.Caller("default/key:a").Err(), "a silent minute gives the burst, and no more")
		}
		require.Error(t, r.Caller("default/key:a").Err())
	})
}

// Credentials that are refused are counted by address, more tightly than all else, and apart from it.
func TestRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRates(1000, 1000, 0)
		for range 20 {
			require.NoError(t, r.Refused("192.0.2.1").Err())
		}
		q := r.Refused("192.0.2.1")
		require.Equal(t, fault.TooManyRequests, fault.CodeOf(q.Err()))
		require.Equal(t, `"refused";q=20;w=20`, q.Policy)
		require.NoError(t, r.Address("192.0.2.1").Err())
		require.NoError(t, r.Refused("192.0.2.2").Err())
		<-time.After(time.Second)
		require.NoError(t, r.Refused("192.0.2.1").Err())
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		one, other string
		same       bool
	}{
		"IPv4":               {"192.0.2.1", "192.0.2.2", false},
		"IPv6, one customer": {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		"IPv6, two":          {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		"IPv4 in IPv6":       {"::ffff:192.0.2.1", "192.0.2.1", true},
		"zones":              {"fe80::1%eth0", "fe80::2%eth1", true},
		"what is none":       {"@", "@", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRates(1, 1, 0)
				require.NoError(t, r.Address(c.one).Err())
				require.Equal(t, c.same, r.Address(c.other).Err() != nil)
			})
		})
	}
}

// However many come, memory is bounded, and one that keeps coming is not forgotten.
func TestManyCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const remembered = 100
		r := newRates(1, 1, remembered)
		require.NoError(t, r.Address("busy").Err())
		for i := range 10 * remembered {
			require.NoError(t, r.Address(fmt.Sprint("once ", i)).Err())
			if i%10 == 0 {
				require.Error(t, r.Address("busy").Err(), "after %d others", i)
			}
		}
		require.NoError(t, r.Address("once 0").Err(), "it was forgotten")
		require.Error(t, r.Address(fmt.Sprint("once ", 10*remembered-1)).Err(), "it was not")
		require.NoError(t, r.Caller("busy").Err())
		for i := range 10 * remembered {
			r.Address(fmt.Sprint("flood ", i))
		}
		require.Error(t, r.Caller("busy").Err(), "addresses push no callers out")
	})
}

// One connection too many is answered and closed, and the next one is taken as soon as there is room.
func TestBound(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	l := admission.Bound(inner, 2, registry)
	accepted := make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	defer func() {
		require.NoError(t, l.Close())
		<-ended
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		return c
	}
	one, two := dial(), dial()
	defer one.Close()
	defer two.Close()
	first, second := <-accepted, <-accepted
	defer second.Close()

	three := dial()
	_, err = three.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"))
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(three), nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
	require.Equal(t, "2", answer.Header.Get("Retry-After"))
	require.True(t, answer.Close)
	_, err = three.Write(make([]byte, 50_000))
	require.NoError(t, err, "what comes late does no harm")
	_, err = three.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "it is closed")
	require.NoError(t, three.Close())

	secured := tls.Client(dial(), &tls.Config{ServerName: "x", MinVersion: tls.VersionTLS12})
	require.ErrorIs(t, secured.HandshakeContext(t.Context()), io.EOF, "closed: an answer in the clear is none to it")
	require.NoError(t, secured.Close())

	require.NoError(t, first.Close())
	_ = first.Close() // counts once
	four := dial()
	defer four.Close()
	require.NoError(t, (<-accepted).Close())
	count, err := testutil.GatherAndCount(registry, "dawsos_http_connections", "dawsos_http_connections_refused_total")
	require.NoError(t, err)
	require.Equal(t, 2, count)
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
		# HELP dawsos_http_connections Connections of clients, those that nothing goes over included.
		# TYPE dawsos_http_connections gauge
		dawsos_http_connections 1
		# HELP dawsos_http_connections_refused_total Connections refused because there were MAX_CONNECTIONS already.
		# TYPE dawsos_http_connections_refused_total counter
		dawsos_http_connections_refused_total 2
	`)))
}

// Clients that send their request as soon as they are connected, and keep connections, have an answer each.
func TestRefusedConnectionsAreTold(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(admission.Bound(inner, 2, prometheus.NewRegistry())) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 20}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	statuses := make(chan int, 2000)
	var clients errgroup.Group
	for range 20 {
		clients.Go(func() error {
			for range cap(statuses) / 20 {
				answer, err := client.Post("http://"+inner.Addr().String(), "text/plain", strings.NewReader(strings.Repeat("x", 20_000)))
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, answer.Body)
				if err = errors.Join(err, answer.Body.Close()); err != nil {
					return err
				}
				statuses <- answer.StatusCode
			}
			return nil
		})
	}
	require.NoError(t, clients.Wait())
	close(statuses)
	got := map[int]int{}
	for s := range statuses {
		got[s]++
	}
	require.Len(t, got, 2, got)
	require.Positive(t, got[http.StatusOK])
	require.Positive(t, got[http.StatusServiceUnavailable])
	transport.CloseIdleConnections()
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-ended, http.ErrServerClosed)
}

// A listener that closes waits for nobody who is still to be told.
func TestBoundCloses(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := admission.Bound(inner, 0, prometheus.NewRegistry())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = l.Accept()
	}()
	c, err := net.Dial("tcp", inner.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	// The first is known to be accepted when a second one, which does ask, has its answer.
	d, err := net.Dial("tcp", inner.Addr().String())
	require.NoError(t, err)
	defer d.Close()
	_, err = io.WriteString(d, "GET / HTTP/1.1\r\n\r\n")
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(d), nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.NoError(t, l.Close())
	<-ended
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
}
