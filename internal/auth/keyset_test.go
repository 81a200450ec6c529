package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// transport answers requests in the place of a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body []byte) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
}

func setOf(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	require.NoError(t, err)
	return body
}

// TestKeysRotate: a token by a new key makes the set be read again, at most every 30 seconds; keys that the
// provider has taken out are good no longer.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	s := signers()
	tokens, b := setupTokens(t, public(&s.ec.PublicKey, "one"))
	ask := func(key any, kid string) error {
		_, err := tokens.Principal(t.Context(), sign(t, key, header("ES256", kid), claims(map[string]any{"exp": b.clock.Now().Add(time.Hour).Unix(), "iat": nil})))
		return err
	}
	require.Zero(t, b.provider.questions(), "nothing is read before it is needed")
	require.NoError(t, ask(s.ec, "one"))
	require.NoError(t, ask(s.ec, "one"))
	require.Equal(t, 1, b.provider.questions())

	b.provider.serve(t, public(&s.otherEC.PublicKey, "two"))
	require.ErrorContains(t, ask(s.otherEC, "two"), "is not known", "it was read a moment ago")
	require.NoError(t, ask(s.ec, "one"))
	require.Equal(t, 1, b.provider.questions(), "unknown keys don't make us ask without end")
	b.clock.add(keySetPause)
	require.NoError(t, ask(s.otherEC, "two"))
	require.Equal(t, 2, b.provider.questions())
	require.ErrorContains(t, ask(s.ec, "one"), "is not known", "the provider took it out")
	require.Equal(t, 2, b.provider.questions())
	b.clock.add(keySetPause)
	for range 5 {
		require.ErrorContains(t, ask(s.ec, "one"), "is not known")
	}
	require.Equal(t, 3, b.provider.questions(), "an unknown key makes us ask once")
}

// TestKeysStayWhileTheProviderIsAway, whatever it answers meanwhile.
func TestKeysStayWhileTheProviderIsAway(t *testing.T) {
	t.Parallel()
	s := signers()
	tokens, b := setupTokens(t, public(&s.ec.PublicKey, "one"))
	ask := func(kid string) error {
		_, err := tokens.Principal(t.Context(), sign(t, s.ec, header("ES256", kid), claims(map[string]any{"exp": b.clock.Now().Add(time.Hour).Unix(), "iat": nil})))
		return err
	}
	require.NoError(t, ask("one"))
	many := make([]jose.JSONWebKey, mostKeysOfASet+1)
	for i := range many {
		many[i] = public(&s.otherEC.PublicKey, strings.Repeat("k", i+1))
	}
	for _, bad := range []struct {
		status int
		body   []byte
	}{
		{http.StatusInternalServerError, nil},
		{http.StatusFound, nil},
		{http.StatusOK, nil},
		{http.StatusOK, []byte(`<html>`)},
		{http.StatusOK, []byte(`[]`)},
		{http.StatusOK, []byte(`{"keys":[]}`)},
		{http.StatusOK, []byte(`{"keys":[7,null,{},{"kty":"RSA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`)},
		{http.StatusOK, setOf(t, public(&s.weakRSA.PublicKey, "one"))},
		{http.StatusOK, setOf(t, many...)},
		{http.StatusOK, append(setOf(t, public(&s.otherEC.PublicKey, "one")), bytes.Repeat([]byte(" "), mostKeySet)...)},
	} {
		b.provider.answer(bad.status, bad.body)
		b.clock.add(keySetPause)
		asked := b.provider.questions()
		require.ErrorContains(t, ask("two"), "is not known", "%s", bad.body)
		require.Equal(t, asked+1, b.provider.questions())
		require.NoError(t, ask("one"), "%d %.80s", bad.status, bad.body)
	}
	// What is not understood does not lock out the rest.
	b.provider.answer(http.StatusOK, bytes.Replace(setOf(t, public(&s.ec.PublicKey, "two")), []byte("["), []byte(`[{"kty":"AKP","alg":"new"},7,`), 1))
	b.clock.add(keySetPause)
	require.NoError(t, ask("two"))
}

// TestKeysDontStayForever: after a day without a reading there is nothing left to judge tokens by, so that a key
// that its provider took out is not kept alive by keeping its set away. A set that is old only because nobody
// needed it is read before it is used.
func TestKeysDontStayForever(t *testing.T) {
	t.Parallel()
	s := signers()
	tokens, b := setupTokens(t, public(&s.ec.PublicKey, "one"))
	ask := func() error {
		_, err := tokens.Principal(t.Context(), sign(t, s.ec, header("ES256", "one"), claims(map[string]any{"exp": b.clock.Now().Add(time.Hour).Unix(), "iat": nil})))
		return err
	}
	require.NoError(t, ask())
	b.clock.add(7 * 24 * time.Hour)
	require.NoError(t, ask(), "after a quiet week")
	require.Equal(t, 2, b.provider.questions())

	b.provider.answer(http.StatusServiceUnavailable, nil)
	b.clock.add(keySetMost - time.Second)
	require.NoError(t, ask())
	require.Eventually(t, func() bool { return testutil.ToFloat64(b.readings.failed) == 1 }, 10*time.Second, time.Millisecond, "it is read behind the request")
	b.clock.add(time.Second)
	require.Equal(t, fault.Unavailable, fault.CodeOf(ask()))
	b.clock.add(keySetRetry)
	require.Equal(t, fault.Unavailable, fault.CodeOf(ask()))
	b.provider.serve(t, public(&s.otherEC.PublicKey, "two"))
	b.clock.add(keySetRetry)
	require.ErrorContains(t, ask(), "is not known", "it was taken out meanwhile")
	require.InDelta(t, 3, testutil.ToFloat64(b.readings.read), 0)
	require.InDelta(t, 2, testutil.ToFloat64(b.readings.failed), 0, "a second after the last one it is not asked again")
}

// TestNoKeysYet: while no set was ever read, tokens can't be judged. That passes, and is no fault of the
// caller's.
func TestNoKeysYet(t *testing.T) {
	t.Parallel()
	s := signers()
	tokens, b := setupTokens(t)
	b.provider.answer(http.StatusServiceUnavailable, nil)
	ask := func() error {
		_, err := tokens.Principal(t.Context(), sign(t, s.ec, header("ES256", "one"), claims(nil)))
		return err
	}
	for range 3 {
		err := ask()
		require.Equal(t, fault.Unavailable, fault.CodeOf(err), "%v", err)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, keySetRetry, e.RetryAfter)
	}
	require.Equal(t, 1, b.provider.questions(), "not every request asks a provider that is away")
	_, err := tokens.Principal(t.Context(), "hello")
	require.Equal(t, fault.Unauthenticated, fault.CodeOf(err), "no keys are needed to refuse what is no token")
	b.provider.serve(t, public(&s.ec.PublicKey, "one"))
	b.clock.add(keySetRetry)
	require.NoError(t, ask())
}

// TestKeysAreReadAgain every hour, behind the requests; many requests ask once.
func TestKeysAreReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := signers()
		var asked atomic.Int32
		var slow time.Duration
		body := setOf(t, public(&s.ec.PublicKey, "one"))
		client := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			asked.Add(1)
			select {
			case <-time.After(slow):
				return answer(http.StatusOK, body), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})}
		keys := NewKeySet("https://login.example.org/keys?tenant=secret", client, NewReadings(prometheus.NewRegistry()), quiet(), time.Now)

		slow = 3 * time.Second
		began := time.Now()
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() {
				_, err := keys.key(t.Context(), "one", jose.ES256)
				require.NoError(t, err)
			})
		}
		waiting.Wait()
		require.EqualValues(t, 1, asked.Load(), "twenty requests, one question")
		require.Equal(t, slow, time.Since(began))

		time.Sleep(keySetFresh) //nolint:forbidigo // the bubble's time
		began = time.Now()
		for range 20 {
			_, err := keys.key(t.Context(), "one", jose.ES256)
			require.NoError(t, err)
		}
		require.Zero(t, time.Since(began), "nobody waits for keys that are there")
		synctest.Wait()
		require.EqualValues(t, 2, asked.Load())
		time.Sleep(slow) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		_, err := keys.key(t.Context(), "one", jose.ES256)
		require.NoError(t, err)
		synctest.Wait()
		require.EqualValues(t, 2, asked.Load(), "it is fresh again")

		// A provider that hangs holds nobody for longer than the client or the request waits.
		slow = time.Hour
		time.Sleep(keySetPause) //nolint:forbidigo // the bubble's time
		began = time.Now()
		_, err = keys.key(t.Context(), "two", jose.ES256)
		require.Equal(t, fault.Unauthenticated, fault.CodeOf(err))
		require.Equal(t, keySetTimeout, time.Since(began))
		time.Sleep(keySetPause) //nolint:forbidigo // the bubble's time
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = keys.key(ctx, "two", jose.ES256)
		require.Equal(t, fault.Timeout, fault.CodeOf(err))
		time.Sleep(keySetTimeout) //nolint:forbidigo // the bubble's time
		synctest.Wait()
	})
}

// TestKeySetLogs neither the address, which may have something secret in its query, nor keys.
func TestKeySetLogs(t *testing.T) {
	t.Parallel()
	s := signers()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	fails := NewKeySet("https://login.example.org/keys?hunter2", &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("connection refused")
	})}, NewReadings(prometheus.NewRegistry()), log, time.Now)
	_, err := fails.key(t.Context(), "one", jose.ES256)
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.NotContains(t, err.Error(), "hunter2")
	require.Contains(t, out.String(), "connection refused")
	works := NewKeySet("https://login.example.org/keys?hunter2", &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
		return answer(http.StatusOK, setOf(t, public(&s.ec.PublicKey, "one"), public([]byte("hunter2"), "oct"))), nil
	})}, NewReadings(prometheus.NewRegistry()), log, time.Now)
	_, err = works.key(t.Context(), "one", jose.ES256)
	require.NoError(t, err)
	require.Contains(t, out.String(), "keys=1 ignored=1")
	require.NotContains(t, out.String(), "hunter2")
}
