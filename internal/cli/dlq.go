// Package cli is the command line for operators. It speaks to the HTTP API, so that what it does is
// checked, paced and written down as everybody's acts are.
package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/pkg/api"
)

const dlqUsage = `usage: worker dlq COMMAND [flags]

  list                      dead letters, newest first
  show ID                   one, with its attempts and what happens next
  stats                     how many there are, by state, channel, cause and target
  replay ID ... | FILTER    send letters again
  discard ID ... | FILTER   give letters up
  operations [ID]           replays, discards and drains, and how far they got
  continue ID, cancel ID    go on with an operation, or end it

every command:          --api URL (DAWSOS_API, http://localhost:8000; the API key stands in DAWSOS_KEY)  --json
list, replay, discard:  the filters --state --channel --destination --alert-id --user-id --cause --search --since --until
replay, discard:        --reason TEXT; with a filter or --all, not with ids: --dry-run  --per-second N  --stop-after-failures N
list, operations:       --limit N  --cursor TEXT
continue, cancel:       --reason TEXT
exit:                   0 done, 1 refused or failed, 2 wrong use, as is a flag that the command does not take`

const (
	defaultAPI = "http://localhost:8000"
	// callTime bounds one call of the API, and answerBytes its answer.
	callTime    = 30 * time.Second
	answerBytes = 16 << 20
)

// UsageError is a wrong use of a command, as against one that failed.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

func misused(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// dlq is one command with its flags.
type dlq struct {
	client *api.ClientWithResponses
	out    io.Writer

	address, reason, cursor                                     string
	state, channel, destination, alertID, userID, cause, search string
	since, until                                                string
	all, asJSON, dryRun                                         bool
	perSecond, stopAfter, limit                                 int
	set                                                         map[string]string // flags that were given, and their values
	args                                                        []string
}

// DLQ runs "worker dlq ARGS" and writes what it finds to out.
func DLQ(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	if len(args) == 0 {
		return misused("%s", dlqUsage)
	}
	d := &dlq{out: out, set: map[string]string{}}
	if err := d.parse(args[1:], cmp.Or(getenv("DAWSOS_API"), defaultAPI)); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, err = fmt.Fprintln(out, dlqUsage)
		}
		return err
	}
	u, err := url.Parse(d.address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return misused("--api must be the http or https address of an API")
	}
	d.client, err = api.NewClientWithResponses(d.address, api.WithHTTPClient(&bounded{http.Client{Timeout: callTime}}),
		api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			if key := getenv("DAWSOS_KEY"); key != "" {
				r.Header.Set("Authorization", "Bearer "+key)
			}
			return nil
		}))
	if err != nil {
		return err
	}
	if err := d.check(args[0]); err != nil {
		return err
	}
	switch args[0] {
	case "list":
		return d.list(ctx)
	case "show":
		return d.withID(func(id uuid.UUID) error { return d.show(ctx, id) })
	case "stats":
		return d.stats(ctx)
	case "replay", "discard":
		return d.act(ctx, args[0])
	case "operations":
		if len(d.args) == 0 {
			return d.operations(ctx)
		}
		return d.withID(func(id uuid.UUID) error {
			r, err := d.client.GetOperationWithResponse(ctx, id)
			return d.operation(err, body(r), r != nil && r.JSON200 != nil, func() *api.Operation { return r.JSON200 })
		})
	case "continue":
		return d.withID(func(id uuid.UUID) error {
			r, err := d.client.ContinueOperationWithResponse(ctx, id, &api.ContinueOperationParams{XClient: actor()}, d.because())
			return d.operation(err, body(r), r != nil && r.JSON202 != nil, func() *api.Operation { return r.JSON202 })
		})
	case "cancel":
		return d.withID(func(id uuid.UUID) error {
			r, err := d.client.CancelOperationWithResponse(ctx, id, &api.CancelOperationParams{XClient: actor()}, d.because())
			return d.operation(err, body(r), r != nil && r.JSON200 != nil, func() *api.Operation { return r.JSON200 })
		})
	case "help", "-h", "--help":
		_, err := fmt.Fprintln(out, dlqUsage)
		return err
	}
	return misused("unknown command %q\n%s", args[0], dlqUsage)
}

// parse reads flags wherever they stand among the arguments.
func (d *dlq) parse(args []string, address string) error {
	f := flag.NewFlagSet("dlq", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.StringVar(&d.address, "api", address, "")
	f.StringVar(&d.reason, "reason", "", "")
	f.StringVar(&d.cursor, "cursor", "", "")
	f.StringVar(&d.state, "state", "", "")
	f.StringVar(&d.channel, "channel", "", "")
	f.StringVar(&d.destination, "destination", "", "")
	f.StringVar(&d.alertID, "alert-id", "", "")
	f.StringVar(&d.userID, "user-id", "", "")
	f.StringVar(&d.cause, "cause", "", "")
	f.StringVar(&d.search, "search", "", "")
	f.StringVar(&d.since, "since", "", "")
	f.StringVar(&d.until, "until", "", "")
	f.BoolVar(&d.all, "all", false, "")
	f.BoolVar(&d.asJSON, "json", false, "")
	f.BoolVar(&d.dryRun, "dry-run", false, "")
	f.IntVar(&d.perSecond, "per-second", 0, "")
	f.IntVar(&d.stopAfter, "stop-after-failures", 0, "")
	f.IntVar(&d.limit, "limit", 0, "")
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return misused("%v\n%s", err, dlqUsage)
		}
		if f.NArg() == 0 {
			break
		}
		d.args, args = append(d.args, f.Arg(0)), f.Args()[1:]
	}
	f.Visit(func(g *flag.Flag) { d.set[g.Name] = g.Value.String() })
	return nil
}

// use is what a command reads: whether ids, and which flags besides those that all do, without ids and with them.
type use struct {
	ids            bool
	alone, withIDs []string
}

var (
	filters = []string{"state", "channel", "destination", "alert-id", "user-id", "cause", "search", "since", "until"}
	pages   = []string{"limit", "cursor"}
	reason  = []string{"reason"}
	acting  = use{true, slices.Concat(filters, reason, []string{"all", "dry-run", "per-second", "stop-after-failures"}), reason}

	commands = map[string]use{
		"list":       {false, slices.Concat(filters, pages), nil},
		"show":       {true, nil, nil},
		"stats":      {false, nil, nil},
		"replay":     acting,
		"discard":    acting,
		"operations": {true, pages, nil},
		"continue":   {true, reason, reason},
		"cancel":     {true, reason, reason},
	}
)

// check refuses what the command would not read. That must not pass unnoticed: a discard with --limit 10, or with
// a filter whose value is a variable that is not set, would be one of far more letters than were meant.
func (d *dlq) check(command string) error {
	c, ok := commands[command]
	if !ok {
		return nil // help, or none that there is
	}
	read := c.alone
	if len(d.args) > 0 {
		read = c.withIDs
		if !c.ids {
			return misused("%s takes no ids\n%s", command, dlqUsage)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.set)) {
		switch {
		case name == "api" || name == "json" || slices.Contains(read, name):
		case slices.Contains(c.alone, name):
			return misused("%s does not take --%s together with ids\n%s", command, name, dlqUsage)
		default:
			return misused("%s does not take --%s\n%s", command, name, dlqUsage)
		}
		if slices.Contains(filters, name) && d.set[name] == "" {
			return misused("--%s is empty: leave it out, or say which", name)
		}
	}
	if d.given("limit") && d.limit < 1 {
		return misused("--limit must be at least 1")
	}
	return nil
}

func (d *dlq) given(name string) bool {
	_, ok := d.set[name]
	return ok
}

func (d *dlq) withID(do func(uuid.UUID) error) error {
	if len(d.args) != 1 {
		return misused("needs one id\n%s", dlqUsage)
	}
	ids, err := d.ids()
	if err != nil {
		return err
	}
	return do(ids[0])
}

func (d *dlq) ids() ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, len(d.args))
	for i, a := range d.args {
		id, err := uuid.Parse(a)
		if err != nil {
			return nil, misused("%q is no id", a)
		}
		ids[i] = id
	}
	return ids, nil
}

// moment reads a time: RFC 3339, or how long ago; nil where none was given.
func moment(name, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return new(time.Now().Add(-ago).UTC()), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, misused("--%s %q must be a time such as 2026-05-01T12:00:00Z, or how long ago, such as 90m", name, text)
	}
	return &t, nil
}

func orNil[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func actor() *api.Actor { return new(api.Cli) }

func (d *dlq) because() api.GivenReason { return api.GivenReason{Reason: orNil(d.reason)} }

func (d *dlq) list(ctx context.Context) error {
	since, err := moment("since", d.since)
	if err != nil {
		return err
	}
	until, err := moment("until", d.until)
	if err != nil {
		return err
	}
	r, err := d.client.ListDeadLettersWithResponse(ctx, &api.ListDeadLettersParams{
		Limit: orNil(d.limit), Cursor: orNil(d.cursor), State: orNil(api.DeadLetterState(d.state)), Channel: orNil(d.channel),
		Destination: orNil(d.destination), AlertId: orNil(d.alertID), UserId: orNil(d.userID), Cause: orNil(api.Cause(d.cause)),
		Q: orNil(d.search), CreatedAfter: since, CreatedBefore: until,
	})
	if err := answered(err, body(r), r != nil && r.JSON200 != nil); err != nil {
		return err
	}
	return d.print(r.Body, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tSTATE\tCAUSE\tTARGET\tATTEMPTS\tSINCE\tNEXT\tALERT\tTITLE")
		for _, l := range r.JSON200.Items {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", l.Id, l.State, l.Cause, targetOf(l), l.AttemptsMade,
				at(&l.CreatedAt), at(l.NextRetryAt), plain(l.AlertId), plain(l.Title))
		}
		if r.JSON200.NextCursor != nil {
			fmt.Fprintf(w, "more with --cursor %s\n", *r.JSON200.NextCursor)
		}
	})
}

func targetOf(l api.DeadLetter) string {
	if l.Destination != nil {
		return *l.Destination
	}
	return l.Channel
}

func at(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// printable keeps a text from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// plain is printable, shortened.
func plain(s string) string {
	s = printable(s)
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return s
}

func (d *dlq) show(ctx context.Context, id uuid.UUID) error {
	r, err := d.client.GetDeadLetterWithResponse(ctx, id)
	if err := answered(err, body(r), r != nil && r.JSON200 != nil); err != nil {
		return err
	}
	l := r.JSON200
	return d.print(r.Body, func(w io.Writer) {
		for _, row := range [][2]string{
			{"id", l.Id.String()},
			{"event", l.EventId.String()},
			{"alert", plain(l.AlertId)},
			{"user", plain(l.UserId)},
			{"title", plain(l.Title)},
			{"channel", l.Channel},
			{"state", string(l.State)},
			{"first failed", at(&l.CreatedAt)},
			{"why", oneLine(l.Why)},
			{"next", oneLine(l.Next)},
		} {
			fmt.Fprintf(w, "%s:\t%s\n", row[0], row[1])
		}
		fmt.Fprintln(w, "\nATTEMPT\tAT\tTOOK\tOUTCOME\tSTATUS\tERROR\tANSWER\tTRACE")
		for _, a := range l.Attempts {
			status := "-"
			if a.StatusCode != nil {
				status = fmt.Sprint(*a.StatusCode)
			}
			fmt.Fprintf(w, "%d\t%s\t%.3f s\t%s\t%s\t%s\t%s\t%s\n", a.Attempt, at(&a.StartedAt), a.DurationSeconds, a.Outcome, status,
				text(a.Error), text(a.ResponseExcerpt), text(a.TraceId))
		}
	})
}

func text(s *string) string {
	if s == nil || *s == "" {
		return "-"
	}
	return plain(*s)
}

// oneLine is printable, whole, with single spaces.
func oneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }

func (d *dlq) stats(ctx context.Context) error {
	r, err := d.client.GetDeadLetterStatsWithResponse(ctx)
	if err := answered(err, body(r), r != nil && r.JSON200 != nil); err != nil {
		return err
	}
	s := r.JSON200
	return d.print(r.Body, func(w io.Writer) {
		fmt.Fprintln(w, "CHANNEL\tSTATE\tLETTERS")
		for _, b := range s.States {
			fmt.Fprintf(w, "%s\t%s\t%d\n", b.Channel, b.State, b.Letters)
		}
		for _, groups := range []struct {
			name string
			list []api.LetterGroup
		}{{"OPEN BY CHANNEL", s.Channels}, {"OPEN BY CAUSE", s.Causes}} {
			fmt.Fprintf(w, "\n%s\tLETTERS\tOLDEST\n", groups.name)
			for _, g := range groups.list {
				fmt.Fprintf(w, "%s\t%d\t%s\n", g.Name, g.Letters, at(&g.OldestAt))
			}
		}
		fmt.Fprintln(w, "\nOPEN BY TARGET\tLETTERS\tOLDEST\tMOSTLY")
		for _, g := range s.Destinations {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", g.Target, g.Letters, at(&g.OldestAt), g.Cause)
		}
		if !s.Complete {
			fmt.Fprintln(w, "\nonly the oldest 100000 open letters were grouped")
		}
	})
}

// act replays or discards the letters that are named, or all that match.
func (d *dlq) act(ctx context.Context, what string) error {
	if len(d.args) == 0 {
		return d.actOnAll(ctx, what)
	}
	ids, err := d.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		var answer []byte
		var letter *api.DeadLetter
		var err error
		if what == "replay" {
			var r *api.ReplayDeadLetterResponse
			if r, err = d.client.ReplayDeadLetterWithResponse(ctx, id, &api.ReplayDeadLetterParams{XClient: actor()}, d.because()); err == nil {
				answer, letter = r.Body, r.JSON202
			}
		} else {
			var r *api.DiscardDeadLetterResponse
			if r, err = d.client.DiscardDeadLetterWithResponse(ctx, id, &api.DiscardDeadLetterParams{XClient: actor()}, d.because()); err == nil {
				answer, letter = r.Body, r.JSON200
			}
		}
		if err := answered(err, answer, letter != nil); err != nil {
			return err
		}
		err = d.print(answer, func(w io.Writer) { fmt.Fprintf(w, "%s is %s\n", letter.Id, letter.State) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *dlq) actOnAll(ctx context.Context, what string) error {
	if !d.given("all") && !slices.ContainsFunc(filters, d.given) {
		return misused("%s needs ids or a filter; --all says that everything is meant", what)
	}
	n := api.NewOperation{
		Filter: api.LetterFilter{
			All: orNil(d.all), State: orNil(api.DeadLetterState(d.state)), Channel: orNil(d.channel), Destination: orNil(d.destination),
			AlertId: orNil(d.alertID), UserId: orNil(d.userID), Cause: orNil(api.Cause(d.cause)), Search: orNil(d.search),
		},
		DryRun: orNil(d.dryRun), Reason: orNil(d.reason),
	}
	var err error
	if n.Filter.CreatedAfter, err = moment("since", d.since); err != nil {
		return err
	}
	if n.Filter.CreatedBefore, err = moment("until", d.until); err != nil {
		return err
	}
	if d.given("per-second") {
		n.PerSecond = &d.perSecond
	}
	if d.given("stop-after-failures") {
		n.StopAfterFailures = &d.stopAfter
	}
	var answer []byte
	var preview *api.OperationPreview
	var o *api.Operation
	if what == "replay" {
		var r *api.ReplayDeadLettersResponse
		if r, err = d.client.ReplayDeadLettersWithResponse(ctx, &api.ReplayDeadLettersParams{XClient: actor()}, n); err == nil {
			answer, preview, o = r.Body, r.JSON200, r.JSON202
		}
	} else {
		var r *api.DiscardDeadLettersResponse
		if r, err = d.client.DiscardDeadLettersWithResponse(ctx, &api.DiscardDeadLettersParams{XClient: actor()}, n); err == nil {
			answer, preview, o = r.Body, r.JSON200, r.JSON202
		}
	}
	if preview == nil {
		return d.operation(err, answer, o != nil, func() *api.Operation { return o })
	}
	return d.print(answer, func(w io.Writer) {
		fmt.Fprintf(w, "%s letters match, nothing was changed; the oldest of them:\n", total(preview.Total, preview.More))
		for _, id := range preview.Sample {
			fmt.Fprintln(w, id)
		}
	})
}

func total(n int, more bool) string {
	if more {
		return fmt.Sprintf("more than %d", n)
	}
	return fmt.Sprint(n)
}

func (d *dlq) operations(ctx context.Context) error {
	r, err := d.client.ListOperationsWithResponse(ctx, &api.ListOperationsParams{Limit: orNil(d.limit), Cursor: orNil(d.cursor)})
	if err := answered(err, body(r), r != nil && r.JSON200 != nil); err != nil {
		return err
	}
	return d.print(r.Body, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tKIND\tSTATE\tBY\tSTARTED\tTOTAL\tRELEASED\tDELIVERED\tFAILED\tWAITING\tLEFT")
		for _, o := range r.JSON200.Items {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n", o.Id, o.Kind, o.State, plain(o.Actor), at(&o.StartedAt),
				total(o.Total, o.More), o.Released, o.Delivered, o.Failed, o.Waiting, o.Remaining)
		}
		if r.JSON200.NextCursor != nil {
			fmt.Fprintf(w, "more with --cursor %s\n", *r.JSON200.NextCursor)
		}
	})
}

func (d *dlq) operation(err error, answer []byte, ok bool, get func() *api.Operation) error {
	if err := answered(err, answer, ok); err != nil {
		return err
	}
	o := get()
	return d.print(answer, func(w io.Writer) {
		fmt.Fprintf(w, "operation:\t%s\nkind:\t%s\nstate:\t%s\n", o.Id, o.Kind, o.State)
		if o.StopReason != nil {
			fmt.Fprintf(w, "because:\t%s\n", oneLine(*o.StopReason))
		}
		fmt.Fprintf(w, "letters:\t%s\nreleased:\t%d\ndelivered:\t%d\nfailed:\t%d\nwaiting:\t%d\nclosed:\t%d\nelsewhere:\t%d\nleft:\t%d\n",
			total(o.Total, o.More), o.Released, o.Delivered, o.Failed, o.Waiting, o.Closed, o.Elsewhere, o.Remaining)
	})
}

// print writes an answer as it came, or as a table.
func (d *dlq) print(answer []byte, table func(w io.Writer)) error {
	if d.asJSON {
		_, err := fmt.Fprintln(d.out, strings.TrimSpace(string(answer)))
		return err
	}
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// answered returns why an answer is not the one that was hoped for.
func answered(err error, answer []byte, ok bool) error {
	if err != nil {
		return fmt.Errorf("the API at this address does not answer: %w", err)
	}
	if ok {
		return nil
	}
	var p api.Problem
	if json.Unmarshal(answer, &p) != nil || p.Detail == "" {
		return errors.New("the answer is not one of this API's; is --api right?")
	}
	return fmt.Errorf("%s (%s, request %s)", oneLine(p.Detail), p.Code, p.RequestId)
}

// body returns an answer's body, nil without an answer.
func body[R any, P interface {
	*R
	GetBody() []byte
}](r P) []byte {
	if r == nil {
		return nil
	}
	return r.GetBody()
}

// bounded is an HTTP client that does not read answers without end.
type bounded struct{ http.Client }

// Do implements api.HttpRequestDoer.
func (b *bounded) Do(r *http.Request) (*http.Response, error) {
	answer, err := b.Client.Do(r) //nolint:gosec // the operator says where the API is
	if err != nil {
		return nil, err
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, answerBytes), answer.Body}
	return answer, nil
}
