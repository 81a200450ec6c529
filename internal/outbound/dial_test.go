package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// resolver answers every name with what answer returns for its nth question (from 1) of that name.
func resolver(t *testing.T, answer func(name string, n int) []string) *net.Resolver {
	t.Helper()
	var mu sync.Mutex
	asked := map[string]int{}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	reply := func(question []byte) ([]byte, error) {
		var m dnsmessage.Message
		if err := m.Unpack(question); err != nil {
			return nil, err
		}
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		q := m.Questions[0]
		if q.Type == dnsmessage.TypeA { // all have IPv4 addresses only
			mu.Lock()
			name := q.Name.String()
			asked[name]++
			n := asked[name]
			mu.Unlock()
			for _, a := range answer(name, n) {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
				})
			}
		}
		return m.Pack()
	}
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe() // no packets: messages have their length in front, as over TCP
		serving.Go(func() {
			defer func() { _ = theirs.Close() }()
			for {
				var size [2]byte
				if _, err := io.ReadFull(theirs, size[:]); err != nil {
					return
				}
				question := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(theirs, question); err != nil {
					return
				}
				raw, err := reply(question)
				if err != nil {
					return
				}
				if _, err := theirs.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)); err != nil {
					return
				}
			}
		})
		return ours, nil
	}}
}

var errNotDialed = errors.New("allowed, and not dialed by the test")

// watched returns a dialer that tells which addresses the policy let through, and dials none.
func watched(o Options) (d *Dialer, passed func() []string) {
	d = NewDialer(o)
	var mu sync.Mutex
	var all []string
	d.dialer.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) error {
		if err := d.control(ctx, network, address, c); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, address)
		return errNotDialed
	}
	return d, func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), all...) }
}

// TestNoRebinding: a name that is public when it is first looked up and private the next time is judged
// each time by what is dialed.
func TestNoRebinding(t *testing.T) {
	t.Parallel()
	d, passed := watched(Options{resolver: resolver(t, func(_ string, n int) []string {
		if n == 1 {
			return []string{"8.8.8.8"}
		}
		return []string{"127.0.0.1"}
	})})
	_, err := d.DialContext(t.Context(), "tcp", "rebind.example.:80")
	require.ErrorIs(t, err, errNotDialed)
	_, err = d.DialContext(t.Context(), "tcp", "rebind.example.:80")
	require.ErrorIs(t, err, ErrRefused)
	require.Equal(t, Rejected, Classify(err))
	require.Equal(t, []string{"8.8.8.8:80"}, passed())
}

// TestEachAddressOfANameIsJudged: of a name with good and bad addresses only the good ones are dialed.
func TestEachAddressOfANameIsJudged(t *testing.T) {
	t.Parallel()
	d, passed := watched(Options{resolver: resolver(t, func(string, int) []string {
		return []string{"10.0.0.1", "8.8.8.8", "169.254.169.254", "127.0.0.1", "9.9.9.9"}
	})})
	_, err := d.DialContext(t.Context(), "tcp", "many.example.:443")
	require.Error(t, err)
	require.ElementsMatch(t, []string{"8.8.8.8:443", "9.9.9.9:443"}, passed())
}

// TestOddSpellings: whatever a resolver makes of a host (the C library's takes numbers in any base), it
// is judged by the address.
func TestOddSpellings(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	c := client(t, Options{Timeout: 10 * time.Second, resolver: resolver(t, func(string, int) []string { return []string{"127.0.0.1"} })})

	for _, host := range []string{
		"2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "127.0.0.1.", "localhost", "localhost.",
		"LOCALHOST", "localhost.localdomain.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::1%25lo]",
		"[fe80::1%25lo]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "０.0.0.0", "１２７.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "xn--localhost-.example.",
	} {
		_, err := post(t.Context(), t, c, "http://"+host+":"+port)
		require.Error(t, err, host)
		// Go's own resolver does not even look up some of them.
		require.Contains(t, []Class{Rejected, DNS}, Classify(err), "%s: %v", host, err)
	}
	for _, host := range []string{"0x7f000001", "[::ffff:7f00:1]", "１２７.0.0.1"} {
		_, err := post(t.Context(), t, c, "http://"+host+":"+port)
		require.Equal(t, Rejected, Classify(err), "%s: %v", host, err)
	}
	require.Zero(t, reached.Load())
}

// TestAllowListByName: names are matched before they are looked up, addresses when they are dialed, and
// neither makes a private one allowed.
func TestAllowListByName(t *testing.T) {
	t.Parallel()
	list, err := ParseAllowList("good.example,*.wide.example,inside.example")
	require.NoError(t, err)
	var asked atomic.Int64
	names := resolver(t, func(name string, _ int) []string {
		asked.Add(1)
		if strings.HasPrefix(name, "inside.") {
			return []string{"10.0.0.1"}
		}
		return []string{"8.8.8.8"}
	})
	dial := func(policy Policy, address string) ([]string, error) {
		d, passed := watched(Options{Policy: policy, resolver: names})
		_, err := d.DialContext(t.Context(), "tcp", address)
		return passed(), err
	}
	strict := Policy{Allow: list, AllowSetting: "WEBHOOK_ALLOW", PrivateSetting: "WEBHOOK_ALLOW_PRIVATE"}
	for _, address := range []string{"good.example.:80", "GOOD.example.:80", "a.b.wide.example.:80"} {
		passed, err := dial(strict, address)
		require.ErrorIs(t, err, errNotDialed, address)
		require.Equal(t, []string{"8.8.8.8:80"}, passed)
	}
	before := asked.Load()
	for _, address := range []string{"bad.example.:80", "wide.example.:80", "8.8.8.8:80", "good.example.bad.example.:80"} {
		_, err := dial(strict, address)
		require.ErrorIs(t, err, ErrRefused, address)
		require.Equal(t, "address refused: it is not in the list that WEBHOOK_ALLOW allows", Describe(err))
	}
	require.Equal(t, before, asked.Load(), "a name that is not in the list is not even looked up")

	_, err = dial(strict, "inside.example.:80")
	require.Equal(t, "address refused: it belongs to a private network, and WEBHOOK_ALLOW_PRIVATE is off", Describe(err))
	lax := strict
	lax.AllowPrivate = true
	passed, err := dial(lax, "inside.example.:80")
	require.ErrorIs(t, err, errNotDialed)
	require.Equal(t, []string{"10.0.0.1:80"}, passed)
}

func TestAllowListByRange(t *testing.T) {
	t.Parallel()
	list, err := ParseAllowList("good.example,10.1.0.0/16,169.254.0.0/16")
	require.NoError(t, err)
	names := resolver(t, func(name string, _ int) []string {
		return map[string][]string{
			"near.example.": {"10.1.2.3"}, "far.example.": {"10.2.0.1"}, "both.example.": {"10.2.0.1", "10.1.2.4"},
			"good.example.": {"10.9.9.9"}, "cloud.example.": {"169.254.169.254"},
		}[name]
	})
	for address, want := range map[string][]string{
		"near.example.:80": {"10.1.2.3:80"}, "both.example.:80": {"10.1.2.4:80"}, "10.1.255.1:80": {"10.1.255.1:80"},
		"[::ffff:10.1.0.9]:80": {"10.1.0.9:80"}, "good.example.:80": {"10.9.9.9:80"}, // by its name
		"far.example.:80": nil, "10.2.0.1:80": nil, "8.8.8.8:80": nil, "cloud.example.:80": nil,
	} {
		d, passed := watched(Options{Policy: Policy{AllowPrivate: true, Allow: list}, resolver: names})
		_, err := d.DialContext(t.Context(), "tcp", address)
		require.Error(t, err, address) // of several addresses the first one's
		if want == nil {
			require.ErrorIs(t, err, ErrRefused, address)
		}
		require.Equal(t, want, passed(), address)
	}
}

// TestAnswersAreBounded: a caller that reads to the end ends all the same.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := 100
		if r.URL.Path == "/more" {
			size = 101
		}
		_, _ = io.WriteString(w, strings.Repeat("x", size))
	}))
	endless := listen(t, func(c net.Conn) {
		defer func() { _ = c.Close() }()
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	t.Cleanup(server.Close)
	o := open
	o.MaxAnswer = 100
	c := client(t, o)
	for url, want := range map[string]error{server.URL: nil, server.URL + "/more": ErrTooLarge, "http://" + endless: ErrTooLarge} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, resp.Body.Close())
		require.ErrorIs(t, err, want)
		require.Len(t, body, 100)
		if want != nil {
			require.Equal(t, "the answer is too large", Describe(err))
		}
	}
}

// TestRedirectIsNeverFollowed: not to another host, not to the same one, and not from https to http.
func TestRedirectIsNeverFollowed(t *testing.T) {
	t.Parallel()
	var followed atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/target", func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c := client(t, open)
	for status := http.StatusMultipleChoices; status < http.StatusBadRequest; status++ {
		for _, to := range []string{"/target", server.URL + "/target", strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/target", "http://169.254.169.254/"} {
			from := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			}))
			got, err := post(t.Context(), t, c, from.URL)
			from.Close()
			require.NoError(t, err)
			require.Equal(t, status, got)
		}
	}
	require.Zero(t, followed.Load())
}
