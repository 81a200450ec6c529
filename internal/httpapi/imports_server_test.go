package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/pkg/api"
)

// importServer is an API that listens, for clients that misbehave.
type importServer struct {
	*site
	server *httptest.Server
	ended  chan error // an import's outcome, when it has given its slot back
}

func newImportServer(t *testing.T, change ...func(*httpapi.Options)) *importServer {
	t.Helper()
	s := &importServer{ended: make(chan error, 100)}
	s.site = newSite(t, append(change, func(o *httpapi.Options) { o.Importer = endings{o.Importer, s.ended} })...)
	s.server = httptest.NewServer(s.handler)
	t.Cleanup(s.server.Close)
	return s
}

type endings struct {
	httpapi.Importer
	ended chan<- error
}

func (e endings) Import(ctx context.Context, r imports.Request) (imports.Summary, error) {
	summary, err := e.Importer.Import(ctx, r)
	e.ended <- err
	return summary, err
}

const rates = "date,base,quote,rate\n"

// send imports a body over the network.
func (s *importServer) send(ctx context.Context, kind string, body io.Reader) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server.URL+"/v1/imports/"+kind, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "text/csv")
	response, err := s.server.Client().Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return &answer{status: response.StatusCode, header: response.Header, body: text}, err
}

// stall starts an import whose client stops to send, beside so many others, and returns once its rows
// are being copied. The client leaves with ctx.
func (s *importServer) stall(ctx context.Context, t *testing.T, others int) (answered <-chan *answer) {
	t.Helper()
	s.wait(t, others) // for backends that are on their way out
	body, rest := io.Pipe()
	t.Cleanup(func() { _ = rest.Close() })
	answers := make(chan *answer, 1)
	go func() {
		a, err := s.send(ctx, "fx", io.MultiReader(strings.NewReader(rates+"2020-01-01,USD,CHF,1\n2020-01-0"), body))
		if err != nil {
			a = &answer{body: []byte(err.Error())}
		}
		answers <- a
	}()
	s.wait(t, others+1)
	return answers
}

// wait waits until the rows of so many imports are being copied.
func (s *importServer) wait(t *testing.T, copying int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `
			SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY import_staged%'`).Scan(&n)
		return err == nil && n == copying
	}, 20*time.Second, 10*time.Millisecond)
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

// nothing requires that no row was stored and that no connection is held.
func (s *importServer) nothing(t *testing.T) {
	t.Helper()
	var n int
	require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM fx_rates) + (SELECT count(*) FROM data_revisions)`).Scan(&n))
	require.Zero(t, n)
	// Those that broke are closed in the background.
	require.Eventually(t, func() bool { return s.pool.Stat().AcquiredConns() == 0 }, 20*time.Second, 10*time.Millisecond)
}

// everySlot requires that as many imports as may be under way at once can be.
func (s *importServer) everySlot(t *testing.T) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	for i := range 4 {
		s.stall(ctx, t, i)
	}
	leave()
	for range 4 {
		require.Error(t, receive(t, s.ended))
	}
	s.nothing(t)
}

func (a *answer) failed(t *testing.T, status int, code fault.Code) {
	t.Helper()
	require.Equal(t, status, a.status, "%s", a.body)
	var p api.Problem
	require.NoError(t, json.Unmarshal(a.body, &p))
	require.Equal(t, string(code), p.Code)
}

// The database goes while a client has stopped to send: the client is told at once, not when its time
// is over.
func TestImportWhenTheDatabaseDies(t *testing.T) {
	t.Parallel()
	s := newImportServer(t)
	for range 5 { // more often than there are slots
		answered := s.stall(t.Context(), t, 0)
		exec := `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY import_staged%'`
		var killed int
		require.NoError(t, s.pool.QueryRow(t.Context(), exec).Scan(&killed))
		require.Equal(t, 1, killed)
		require.Error(t, receive(t, s.ended))
		a := receive(t, answered)
		a.failed(t, http.StatusServiceUnavailable, fault.Unavailable)
		require.Equal(t, "2", a.header.Get("Retry-After"))
	}
	s.nothing(t)
	s.everySlot(t)
}

// A client that stops to send is answered when its time is over, and one that leaves or whose
// connection breaks holds nothing.
func TestImportClientsThatLeave(t *testing.T) {
	t.Parallel()
	s := newImportServer(t)

	ctx, leave := context.WithCancel(t.Context())
	s.stall(ctx, t, 0)
	leave()
	require.Error(t, receive(t, s.ended))
	s.nothing(t)

	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "POST /v1/imports/fx HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\n%s2020-01-01,USD,CHF,1\n", rates)
	require.NoError(t, err)
	s.wait(t, 1)
	require.NoError(t, conn.(*net.TCPConn).SetLinger(0)) // closes with a reset
	require.NoError(t, conn.Close())
	require.Error(t, receive(t, s.ended))
	s.nothing(t)
	s.everySlot(t)

	// While all slots are taken others wait for one.
	ctx, leave = context.WithCancel(t.Context())
	for i := range 4 {
		s.stall(ctx, t, i)
	}
	var g errgroup.Group
	g.Go(func() error {
		a, err := s.send(t.Context(), "fx", strings.NewReader(rates+"2020-01-01,USD,CHF,1\n"))
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%d: %s", a.status, a.body)
		}
		return err
	})
	leave()
	require.NoError(t, g.Wait())
}

// All that stall run out of time, are told so and give their slots back.
func TestImportClientsThatStall(t *testing.T) {
	t.Parallel()
	s := newImportServer(t, func(o *httpapi.Options) { o.ImportTimeout = 5 * time.Second })
	var all []<-chan *answer
	for i := range 4 {
		all = append(all, s.stall(t.Context(), t, i))
	}
	for _, answered := range all {
		receive(t, answered).failed(t, http.StatusGatewayTimeout, fault.Timeout)
		require.Equal(t, fault.Timeout, fault.CodeOf(receive(t, s.ended)))
	}
	s.nothing(t)
	a, err := s.send(t.Context(), "fx", strings.NewReader(rates+"2020-01-01,USD,CHF,1\n"))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
}

// Two large files at the same time are two revisions, each whole.
func TestTwoLargeImports(t *testing.T) {
	t.Parallel()
	s := newImportServer(t, func(o *httpapi.Options) { o.ImportMaxBytes = 10 << 20 })
	const rows = 60_000
	var g errgroup.Group
	summaries := make([]api.Import, 2)
	for i, base := range []string{"USD", "EUR"} {
		var file bytes.Buffer
		file.WriteString(rates)
		for day, n := time.Date(1850, 1, 1, 0, 0, 0, 0, time.UTC), 0; n < rows; day, n = day.AddDate(0, 0, 1), n+1 {
			fmt.Fprintf(&file, "%s,%s,CHF,1.%05d\n", day.Format(time.DateOnly), base, n)
		}
		g.Go(func() error {
			a, err := s.send(t.Context(), "fx", &file)
			if err != nil {
				return err
			}
			if a.status != http.StatusOK {
				return fmt.Errorf("%d: %s", a.status, a.body)
			}
			return json.Unmarshal(a.body, &summaries[i])
		})
	}
	require.NoError(t, g.Wait())
	require.ElementsMatch(t, []int64{1, 2}, []int64{summaries[0].Revision, summaries[1].Revision})
	for i, base := range []string{"USD", "EUR"} {
		require.Equal(t, int64(rows), summaries[i].Inserted)
		var n int
		require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT count(*) FROM fx_rates WHERE base = $1 AND revision = $2`, base, summaries[i].Revision).Scan(&n))
		require.Equal(t, rows, n)
	}
}
