package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/roles"
	"github.com/dawsos/dawsos/pkg/agent"
)

var ruleTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// measured is what portfolios come to, and how often they were measured.
type measured struct {
	figures map[string]portfolio.Figure
	err     error
	calls   int
}

func (m *measured) Figures(context.Context, agent.Context) (map[string]portfolio.Figure, error) {
	m.calls++
	return m.figures, m.err
}

// refusing does not take events on.
type refusing struct{ err error }

func (r refusing) AcceptTx(context.Context, pgx.Tx, []delivery.Acceptance) ([]delivery.Accepted, error) {
	return nil, r.err
}

// judged is what is known of the macro regime.
type judged struct {
	shift portfolio.Figure
	err   error
}

func (j judged) ShiftConfidence(context.Context, agent.Context) (portfolio.Figure, error) {
	return j.shift, j.err
}

func newAlerts(pool *pgxpool.Pool, a store.Accepter, f store.Figures) *store.Alerts {
	return store.NewAlerts(pool, a, f, judged{}, slog.New(slog.DiscardHandler), func() time.Time { return ruleTime })
}

func ruleFrom(t *testing.T, fields string) alerts.Rule {
	t.Helper()
	r, err := alerts.ParseRule([]byte(`{"name":"n",` + fields + `}`))
	require.NoError(t, err)
	r.TenantID = "default"
	return r
}

const watchesVIX = `"condition":{"type":"macro","entity":"VIX","op":">","value":30.10}`

func TestRulesAreKept(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	s := newAlerts(pool, nil, nil)
	given := ruleFrom(t, watchesVIX+`,"user_id":"ada","ttl_seconds":60,"cooldown_hours":1,"severity":"critical",
		"channels":{"inapp":true,"webhook":{"url":"http://localhost/?token=secret"},"email":{"to":["a@example.com"]},"destination":["ops"]},
		"fallback":{"email":{"to":"b@example.com"}}`)
	made, err := s.CreateRule(t.Context(), given, "api")
	require.NoError(t, err)
	kept, err := s.Rule(t.Context(), "default", made.ID)
	require.NoError(t, err)
	// Thresholds are equal in value; their digits are compared as text.
	require.Equal(t, made.Condition.String(), kept.Condition.String())
	kept.Condition = made.Condition
	require.Equal(t, made, kept)

	_, err = s.Rule(t.Context(), "other", made.ID)
	require.Equal(t, fault.NotFound, fault.CodeOf(err), "another tenant's rule does not exist")

	changed, err := s.ChangeRule(t.Context(), "default", made.ID, 1, audit.Entry{Actor: "ada", Action: "rule.update", Reason: "calmer"},
		func(r alerts.Rule) (alerts.Rule, error) {
			return alerts.Merge(r, []byte(`{"severity":"info","fallback":null}`))
		})
	require.NoError(t, err)
	require.Equal(t, 2, changed.Revision)
	require.Equal(t, alerts.Info, changed.Severity)
	_, err = s.ChangeRule(t.Context(), "default", made.ID, 1, audit.Entry{}, func(r alerts.Rule) (alerts.Rule, error) { return r, nil })
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "somebody was faster")
	_, err = s.ChangeRule(t.Context(), "default", made.ID, 0, audit.Entry{}, alerts.Acknowledge)
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "it is not firing")
	require.Equal(t, fault.Conflict, fault.CodeOf(s.DeleteRule(t.Context(), "default", made.ID, 1, audit.Entry{})))
	require.Equal(t, fault.NotFound, fault.CodeOf(s.DeleteRule(t.Context(), "other", made.ID, 0, audit.Entry{})))
	require.NoError(t, s.DeleteRule(t.Context(), "default", made.ID, 2, audit.Entry{Actor: "ada", Action: "rule.delete"}))
	_, err = s.Rule(t.Context(), "default", made.ID)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))

	trail, err := s.AuditLog(t.Context(), "default", audit.Filter{Subject: "rule", SubjectID: made.ID.String()}, uuid.Max, 10)
	require.NoError(t, err)
	var actions []string
	for _, e := range trail {
		actions = append(actions, e.Action+" by "+e.Actor+" "+e.Reason)
	}
	require.Equal(t, []string{"rule.delete by ada ", "rule.update by ada calmer", "rule.create by api "}, actions,
		"what was refused leaves no trace")
}

func TestRulesAreListed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	s := newAlerts(pool, nil, nil)
	var ids []uuid.UUID
	for i, fields := range []string{
		watchesVIX + `,"user_id":"ada"`, watchesVIX + `,"user_id":"bob","active":false`, `"user_id":"ada","condition":{"type":"regime_shift"}`,
	} {
		r, err := s.CreateRule(t.Context(), ruleFrom(t, fields), "api")
		require.NoError(t, err, i)
		ids = append(ids, r.ID)
	}
	_, err := s.ChangeRule(t.Context(), "default", ids[2], 0, audit.Entry{}, func(r alerts.Rule) (alerts.Rule, error) {
		return alerts.Snooze(r, ruleTime.Add(time.Hour)), nil
	})
	require.NoError(t, err)
	no := false
	for _, tt := range []struct {
		name   string
		filter alerts.Filter
		found  []uuid.UUID
	}{
		{"all", alerts.Filter{}, []uuid.UUID{ids[2], ids[1], ids[0]}},
		{"a user's", alerts.Filter{UserID: "ada"}, []uuid.UUID{ids[2], ids[0]}},
		{"by state", alerts.Filter{State: alerts.Snoozed}, []uuid.UUID{ids[2]}},
		{"by type", alerts.Filter{Type: alerts.Macro}, []uuid.UUID{ids[1], ids[0]}},
		{"inactive", alerts.Filter{Active: &no}, []uuid.UUID{ids[1]}},
		{"nobody's", alerts.Filter{UserID: "a\x00"}, nil},
	} {
		rules, err := s.Rules(t.Context(), "default", tt.filter, uuid.Max, 10)
		require.NoError(t, err, tt.name)
		var found []uuid.UUID
		for _, r := range rules {
			found = append(found, r.ID)
		}
		require.Equal(t, tt.found, found, tt.name)
	}
	rules, err := s.Rules(t.Context(), "default", alerts.Filter{}, ids[2], 1)
	require.NoError(t, err)
	require.Equal(t, ids[1], rules[0].ID, "the page after")
	require.Len(t, rules, 1)
	rules, err = s.Rules(t.Context(), "other", alerts.Filter{}, uuid.Max, 10)
	require.NoError(t, err)
	require.Empty(t, rules)

	active, next, err := s.ActiveRules(t.Context(), "default", uuid.Nil, 1)
	require.NoError(t, err)
	require.Equal(t, ids[0], active[0].ID)
	active, next, err = s.ActiveRules(t.Context(), "default", next, 2)
	require.NoError(t, err)
	require.Len(t, active, 1, "inactive ones are left out")
	require.Equal(t, uuid.Nil, next)
}

func TestARuleOfANewerReleaseDoesNotKeepTheOthers(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	s := newAlerts(pool, nil, nil)
	newer, err := s.CreateRule(t.Context(), ruleFrom(t, watchesVIX+`,"user_id":"ada"`), "api")
	require.NoError(t, err)
	_, err = s.CreateRule(t.Context(), ruleFrom(t, watchesVIX+`,"user_id":"ada"`), "api")
	require.NoError(t, err)
	exec(t, pool, `UPDATE alert_rules SET condition = '{"type":"weather"}' WHERE id = $1`, newer.ID)
	active, _, err := s.ActiveRules(t.Context(), "default", uuid.Nil, 10)
	require.NoError(t, err)
	require.Len(t, active, 1)
	_, err = s.Rule(t.Context(), "default", newer.ID)
	require.Equal(t, fault.Internal, fault.CodeOf(err), "the caller has done nothing wrong")
}

func key(source alerts.Source, subject, metric string) alerts.Key {
	return alerts.Key{Source: source, Subject: subject, Metric: metric}
}

func TestValuesAreWhatIsStoredNow(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	addMacro(t, pool, "default", "VIX", "2026-04-01", 1, 28)
	addMacro(t, pool, "default", "VIX", "2026-04-30", 1, 31)
	addMacro(t, pool, "default", "VIX", "2026-04-30", 2, 31.5)
	addMacro(t, pool, "other", "OTHERS", "2026-04-30", 1, 1)
	addPrice(t, pool, "default", "AAA", "2026-04-29", 1, "80")
	addPrice(t, pool, "default", "AAA", "2026-04-30", 1, "999")
	addPrice(t, pool, "default", "AAA", "2026-04-30", 2, "78.40")
	addPrice(t, pool, "default", "BBB", "2026-04-30", 1, "5")
	addPrice(t, pool, "other", "CAL", "2026-04-30", 1, "5")
	addMacro(t, pool, "default", "BROKEN", "2026-04-30", 1, 1)
	exec(t, pool, `UPDATE macro_values SET value = 'NaN' WHERE series = 'BROKEN'`)

	values, err := newAlerts(pool, nil, nil).Values(t.Context(), "default", []alerts.Key{
		key(alerts.MacroSeries, "VIX", "level"), key(alerts.MacroSeries, "OTHERS", "level"), key(alerts.MacroSeries, "BROKEN", "level"),
		key(alerts.Prices, "AAA", "close"), key(alerts.Prices, "AAA", "change_pct"), key(alerts.Prices, "AAA", "change_abs"),
		key(alerts.Prices, "AAA", "volume"), key(alerts.Prices, "BBB", "change_pct"), key(alerts.Prices, "CAL", "close"),
		key(alerts.Ratings, "AAA", "moat_score"), key(alerts.News, "AAA", "sentiment"), key(alerts.Regimes, "", "shift_confidence"),
	})
	require.NoError(t, err)
	for k, want := range map[alerts.Key]string{
		key(alerts.MacroSeries, "VIX", "level"):     "31.5 of 2026-04-30",
		key(alerts.MacroSeries, "OTHERS", "level"):  "no observation of the series OTHERS is stored",
		key(alerts.MacroSeries, "BROKEN", "level"):  "the observation of 2026-04-30 is not a number",
		key(alerts.Prices, "AAA", "close"):          "78.4 of 2026-04-30",
		key(alerts.Prices, "AAA", "change_abs"):     "-1.6 of 2026-04-30",
		key(alerts.Prices, "AAA", "change_pct"):     "-2 of 2026-04-30",
		key(alerts.Prices, "AAA", "volume"):         "the newest price of AAA, of 2026-04-30, has no volume",
		key(alerts.Prices, "BBB", "change_pct"):     "two closes of BBB are needed, fewer are stored",
		key(alerts.Prices, "CAL", "close"):          "no price of CAL is stored",
		key(alerts.Ratings, "AAA", "moat_score"):    "no moat_score of AAA is stored",
		key(alerts.News, "AAA", "sentiment"):        "no news about AAA are stored of the seven days before the newest news",
		key(alerts.Regimes, "", "shift_confidence"): "there is no pricing pack yet: import prices first",
	} {
		v, ok := values[k]
		require.True(t, ok, "%v", k)
		got := v.Unknown
		if got == "" {
			got = v.Value.String() + " of " + v.Asof.Format(time.DateOnly)
		}
		require.Equal(t, want, got, "%v", k)
	}
}

// Macro series hold projections, and prices of days to come were taken in once: neither is what is so now.
func TestValuesOfDaysToComeAreNotWatched(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	addMacro(t, pool, "default", "GDPPOT", "2026-03-31", 1, 28)
	addMacro(t, pool, "default", "GDPPOT", "2026-05-02", 1, 31)
	addPrice(t, pool, "default", "AAA", "2026-04-30", 1, "80")
	addPrice(t, pool, "default", "AAA", "2026-05-01", 1, "82")
	addPrice(t, pool, "default", "AAA", "2107-05-08", 1, "999")
	require.Equal(t, []string{"28 of 2026-03-31T00:00:00Z", "82 of 2026-05-01T00:00:00Z", "2 of 2026-05-01T00:00:00Z"},
		read(t, newAlerts(pool, nil, nil), key(alerts.MacroSeries, "GDPPOT", "level"),
			key(alerts.Prices, "AAA", "close"), key(alerts.Prices, "AAA", "change_abs")))
}

// read returns values as "value of day", or why there is none.
func read(t *testing.T, a *store.Alerts, keys ...alerts.Key) []string {
	t.Helper()
	values, err := a.Values(t.Context(), "default", keys)
	require.NoError(t, err)
	list := make([]string, len(keys))
	for i, k := range keys {
		if list[i] = values[k].Unknown; list[i] == "" {
			list[i] = values[k].Value.String() + " of " + values[k].Asof.Format(time.RFC3339)
		}
	}
	return list
}

// The regime is told over the newest fresh pack; what keeps it from being told makes it unknown.
func TestRegimeShiftsAreWatched(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	addPack(t, pool, "default", "2026-04-30", 1, store.PackFresh)
	k := key(alerts.Regimes, "", alerts.MetricShiftConfidence)
	ask := func(j judged) string {
		return read(t, store.NewAlerts(pool, nil, nil, j, slog.New(slog.DiscardHandler), time.Now), k)[0]
	}
	asof := date(t, "2026-04-30")
	require.Equal(t, "0.41 of 2026-04-30T00:00:00Z", ask(judged{shift: portfolio.Figure{Value: 0.41, Asof: asof}}))
	require.Equal(t, "0 of 2026-04-30T00:00:00Z", ask(judged{shift: portfolio.Figure{Asof: asof}}))
	require.Contains(t, ask(judged{shift: portfolio.Figure{Err: portfolio.Shortages{{Missing: "macro:UNRATE", Reason: "nothing is stored"}}}}), "UNRATE")
	require.Equal(t, "too little", ask(judged{err: fault.New(fault.InsufficientData, "too little")}))
	require.Equal(t, "the macro regime could not be told; the log says why", ask(judged{err: errors.New("defect")}))
}

func TestWholeBarsAreWatched(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	addPrice(t, pool, "default", "AAA", "2026-04-29", 1, "80")
	exec(t, pool, `UPDATE prices SET open = 79, high = 81, low = 78, volume = 1000`)
	addPrice(t, pool, "default", "AAA", "2026-04-30", 1, "82")
	exec(t, pool, `UPDATE prices SET open = 80.5, high = 83.25, volume = 0 WHERE date = '2026-04-30'`)
	a := newAlerts(pool, nil, nil)
	var keys []alerts.Key
	for _, metric := range []string{"close", "open", "high", "low", "volume", "change_abs"} {
		keys = append(keys, key(alerts.Prices, "AAA", metric))
	}
	const of = " of 2026-04-30T00:00:00Z"
	require.Equal(t, []string{
		"82" + of, "80.5" + of, "83.25" + of, "the newest price of AAA, of 2026-04-30, has no low", "0" + of, "2" + of,
	}, read(t, a, keys...))
	// A correction counts as it is: it says nothing of the day's other prices.
	addPrice(t, pool, "default", "AAA", "2026-04-30", 2, "81")
	require.Equal(t, []string{"81" + of, "the newest price of AAA, of 2026-04-30, has no open"}, read(t, a, keys[:2]...))
	require.Equal(t, []string{"no open of BBB is stored"}, read(t, a, key(alerts.Prices, "BBB", "open")))
}

func TestRatingsAreWatched(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	addRating(t, pool, "default", "AAA", "moat_score", "2026-03-01", 1, "6")
	addRating(t, pool, "default", "AAA", "moat_score", "2026-04-01", 1, "7")
	addRating(t, pool, "default", "AAA", "moat_score", "2026-04-01", 2, "7.5") // a correction
	addRating(t, pool, "default", "AAA", "moat_score", "2026-05-02", 1, "1")   // not known yet
	addRating(t, pool, "other", "BBB", "moat_score", "2026-04-01", 1, "1")
	require.Equal(t, []string{"7.5 of 2026-04-01T00:00:00Z", "no dividend_safety of AAA is stored", "no moat_score of BBB is stored"},
		read(t, newAlerts(pool, nil, nil),
			key(alerts.Ratings, "AAA", "moat_score"), key(alerts.Ratings, "AAA", "dividend_safety"), key(alerts.Ratings, "BBB", "moat_score")))
}

func TestSentimentIsTheMeanOfSevenDays(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	a := newAlerts(pool, nil, nil)
	aaa, bbb, cal := key(alerts.News, "AAA", "sentiment"), key(alerts.News, "BBB", "sentiment"), key(alerts.News, "CAL", "sentiment")
	none := func(symbol string) string {
		return "no news about " + symbol + " are stored of the seven days before the newest news"
	}
	addNews(t, pool, "other", "x", 1, "2026-04-30T12:00:00Z", new(1.0), "AAA")
	require.Equal(t, []string{none("AAA")}, read(t, a, aaa))

	addNews(t, pool, "default", "eight days", 1, "2026-04-22T12:00:00Z", new(-1.0), "AAA")
	addNews(t, pool, "default", "seven days", 1, "2026-04-23T12:00:00Z", new(-1.0), "AAA") // just out
	addNews(t, pool, "default", "in", 1, "2026-04-23T12:00:01Z", new(0.5), "AAA", "AAA")
	addNews(t, pool, "default", "corrected", 1, "2026-04-28T12:00:00Z", new(-0.9), "AAA")
	addNews(t, pool, "default", "corrected", 2, "2026-04-28T12:00:00Z", new(0.2), "AAA", "BBB")
	addNews(t, pool, "default", "unjudged", 1, "2026-04-30T11:00:00Z", nil, "AAA", "CAL")
	addNews(t, pool, "default", "of something else", 1, "2026-04-30T12:00:00Z", nil, "XXX")
	addNews(t, pool, "default", "from the future", 1, "2026-05-01T12:00:01Z", new(-1.0), "AAA")
	require.Equal(t, []string{
		"0.35 of 2026-04-30T11:00:00Z", "0.2 of 2026-04-28T12:00:00Z",
		"none of the 1 news about CAL in the last seven days has a sentiment",
	}, read(t, a, aaa, bbb, cal))

	addNews(t, pool, "default", "later", 1, "2026-05-01T11:59:00Z", nil, "XXX") // the window moves on
	require.Equal(t, []string{"0.2 of 2026-04-30T11:00:00Z"}, read(t, a, aaa))
}

func TestARuleIsAddedOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	s := newAlerts(pool, nil, nil)
	r := ruleFrom(t, watchesVIX+`,"user_id":"ada"`)
	r.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte("this one"))
	first, added, err := s.AddRule(t.Context(), r, "ada")
	require.NoError(t, err)
	require.True(t, added)
	require.Equal(t, r.ID, first.ID)
	_, err = s.ChangeRule(t.Context(), "default", r.ID, 0, audit.Entry{Actor: "ada", Action: "rule.update"}, func(r alerts.Rule) (alerts.Rule, error) {
		return alerts.Merge(r, []byte(`{"name":"mine"}`))
	})
	require.NoError(t, err)
	again, added, err := s.AddRule(t.Context(), r, "ada")
	require.NoError(t, err)
	require.False(t, added)
	// The trail names the caller where there is one.
	asked := r
	asked.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte("a key's"))
	_, _, err = s.AddRule(auth.With(t.Context(), auth.Principal{TenantID: "default", Subject: "key:k1", Role: auth.Service}), asked, "system")
	require.NoError(t, err)
	entries, err := s.AuditLog(t.Context(), "default", audit.Filter{Subject: "rule", SubjectID: asked.ID.String()}, uuid.Max, 10)
	require.NoError(t, err)
	require.Equal(t, "key:k1", entries[0].Actor)
	require.Equal(t, "mine", again.Name, "what its user made of it stays")
	trail, err := s.AuditLog(t.Context(), "default", audit.Filter{Subject: "rule", SubjectID: r.ID.String()}, uuid.Max, 10)
	require.NoError(t, err)
	require.Len(t, trail, 2)

	// Two at once: one of them adds it.
	r.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte("another one"))
	outcomes := make(chan bool, 8)
	for range cap(outcomes) {
		go func() {
			_, added, err := s.AddRule(t.Context(), r, "ada")
			outcomes <- added && err == nil
		}()
	}
	var winners int
	for range cap(outcomes) {
		if <-outcomes {
			winners++
		}
	}
	require.Equal(t, 1, winners)
}

func TestPortfoliosAreMeasuredOnce(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	p, err := s.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{Name: "p", BaseCurrency: "CHF"})
	require.NoError(t, err)
	figures := &measured{figures: map[string]portfolio.Figure{
		"nav":    {Value: 1000.5, Asof: ruleTime},
		"twr_1y": {Err: portfolio.Shortages{{Missing: "returns", Reason: "252 daily returns are needed, the portfolio has 4"}}},
	}}
	a := newAlerts(pool, nil, figures)
	nav, twr := key(alerts.PortfolioFigures, p.ID, "nav"), key(alerts.PortfolioFigures, p.ID, "twr_1y")
	gone := key(alerts.PortfolioFigures, uuid.NewString(), "nav")

	values, err := a.Values(t.Context(), "default", []alerts.Key{nav, twr, gone})
	require.NoError(t, err)
	require.Contains(t, values[nav].Unknown, "no pricing pack yet")
	require.Contains(t, values[gone].Unknown, "there is no portfolio")
	require.Zero(t, figures.calls)

	addPack(t, pool, "default", "2026-04-30", 1, store.PackFresh)
	values, err = a.Values(t.Context(), "default", []alerts.Key{nav, twr, gone})
	require.NoError(t, err)
	require.Equal(t, 1, figures.calls, "once, however many figures are asked for")
	require.Equal(t, "1000.5", values[nav].Value.String())
	require.Contains(t, values[twr].Unknown, "252 daily returns are needed")

	// What the nightly job has computed over that pack and the ledger as it is, is read.
	shelf := store.NewPacks(pool, nil, time.Now)
	pack, _, err := shelf.NewestUsablePack(t.Context(), "default")
	require.NoError(t, err)
	night := map[string]portfolio.Figure{
		"nav":    {Value: 0.30000000000000004, Asof: ruleTime},
		"twr_1y": {Err: portfolio.Shortages{{Missing: "returns", Reason: "none"}}, Asof: ruleTime},
	}
	require.NoError(t, shelf.StoreMetrics(t.Context(), pack, []packs.Measured{{PortfolioID: p.ID, LedgerVersion: p.LedgerVersion, Figures: night}}))
	values, err = a.Values(t.Context(), "default", []alerts.Key{nav, twr, gone})
	require.NoError(t, err)
	require.Equal(t, 1, figures.calls, "read")
	require.Equal(t, "0.30000000000000004", values[nav].Value.String())
	require.Equal(t, ruleTime.Format(time.DateOnly), values[nav].Asof.Format(time.DateOnly))
	require.Equal(t, "insufficient data: returns: none", values[twr].Unknown)
	for _, stale := range []string{
		`UPDATE portfolio_metrics SET ledger_version = 'of before the last booking'`, // as good as a booking
		`UPDATE portfolio_metrics SET ledger_version = (SELECT ledger_version FROM portfolios)`,
		`INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state) VALUES (gen_random_uuid(), 'default', '2026-05-01', 1, 'h', 'fresh')`,
	} {
		exec(t, pool, stale)
		calls := figures.calls
		values, err = a.Values(t.Context(), "default", []alerts.Key{nav})
		require.NoError(t, err)
		if strings.Contains(stale, "SELECT") {
			require.Equal(t, calls, figures.calls, stale)
			continue
		}
		require.Equal(t, calls+1, figures.calls, stale)
		require.Equal(t, "1000.5", values[nav].Value.String(), "computed")
	}

	figures.err = fmt.Errorf("a ledger that can't be booked")
	values, err = a.Values(t.Context(), "default", []alerts.Key{nav})
	require.NoError(t, err)
	require.Contains(t, values[nav].Unknown, "could not be measured", "the others are not kept from theirs")
	values, err = a.Values(t.Context(), "other", []alerts.Key{nav})
	require.NoError(t, err)
	require.Contains(t, values[nav].Unknown, "there is no portfolio", "of another tenant")
}

// A correction of the past takes the place of all packs from its day on. Until they are fresh, the newest
// fresh pack is one of before it, however old: what it gives is no news of today, and neither fires a rule nor
// ends a firing.
func TestRulesWaitForPacksThatAreRebuilt(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.do(imports.Securities, listed)
	s.do(imports.Prices, closes, calendar("IDX"))
	p, err := store.New(s.pool, store.Options{}).CreatePortfolio(t.Context(), "default", portfolio.Portfolio{Name: "p", BaseCurrency: "CHF"})
	require.NoError(t, err)
	figures := &measured{figures: map[string]portfolio.Figure{"nav": {Value: 1000, Asof: ruleTime}}}
	a := store.NewAlerts(s.pool, nil, figures, judged{shift: portfolio.Figure{Value: 0.5, Asof: ruleTime}}, slog.New(slog.DiscardHandler),
		func() time.Time { return ruleTime })
	gone := uuid.NewString()
	ask := func() []string {
		return read(t, a, key(alerts.PortfolioFigures, p.ID, "nav"), key(alerts.Regimes, "", alerts.MetricShiftConfidence),
			key(alerts.PortfolioFigures, gone, "nav"))
	}
	const of = " of 2026-05-01T12:00:00Z"
	none := `there is no portfolio "` + gone + `"`
	known := []string{"1000" + of, "0.5" + of, none}
	unknown := func(after string) []string {
		reason := "packs after " + after + " are being rebuilt"
		return []string{reason, reason, none}
	}
	settle := func(day, state string) { // what the nightly order makes of the day's newest pack
		t.Helper()
		exec(t, s.pool, `UPDATE pricing_packs SET state = $2, built_at = now(), fresh_at = CASE WHEN $2 = 'fresh' THEN now() END
			WHERE state = 'warming' AND date = $1::text::date`, day, state)
	}

	require.Contains(t, ask()[0], "is warming", "none is fresh yet")
	// Fresh from the start, as the sample's are: none of these has a time at which it became so.
	exec(t, s.pool, `UPDATE pricing_packs SET state = 'fresh'`)
	exec(t, s.pool, `UPDATE data_revisions SET source = 'sample'`)
	require.Equal(t, known, ask())

	correct := func(day, price string) {
		s.do(imports.Prices, "symbol,date,close,currency\nIDX,"+day+","+price+",CHF\n")
	}
	correct("2020-01-03", "101.1")
	require.Equal(t, unknown("2020-01-02"), ask())
	settle("2020-01-03", "fresh")
	require.Equal(t, unknown("2020-01-03"), ask(), "some of them")
	settle("2020-01-06", "error")
	require.Equal(t, unknown("2020-01-03"), ask(), "that it can't be fresh now is no reason to judge by an older one")
	correct("2020-01-06", "102.6")
	settle("2020-01-06", "fresh")
	require.Equal(t, known, ask())

	// The same of packs that have become fresh with time, and are corrected again before they are.
	correct("2020-01-03", "101.2")
	correct("2020-01-03", "101.3")
	require.Equal(t, unknown("2020-01-02"), ask())
	settle("2020-01-03", "fresh")
	settle("2020-01-06", "fresh")
	require.Equal(t, known, ask())

	// The usual night: a new day, whose rates come after its prices. Yesterday's pack is the newest.
	correct("2020-01-07", "103")
	require.Equal(t, known, ask())
	s.do(imports.FX, "date,base,quote,rate\n2020-01-07,USD,CHF,0.9\n")
	require.Equal(t, 1, importValue[int](s, `SELECT count(*) FROM pricing_packs WHERE date = '2020-01-07' AND state = 'stale'`))
	require.Equal(t, known, ask(), "the pack of the prices alone was never fresh: nothing fell back")
	settle("2020-01-07", "error")
	correct("2020-01-07", "103.5")
	require.Equal(t, known, ask(), "nor was that in error")
	settle("2020-01-07", "fresh")
	require.Equal(t, known, ask())

	// A new day's pack that a correction of the day before made stale before anybody had looked at it.
	correct("2020-01-08", "104")
	correct("2020-01-07", "103.6")
	settle("2020-01-07", "fresh")
	settle("2020-01-08", "error")
	require.Equal(t, known, ask(), "the day before is as it was, and the new one never was")
}

func TestTheNumberOfStatementsDoesNotGrowWithTheValues(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(dbtest.URL(t))
	require.NoError(t, err)
	tracer := &countingTracer{}
	config.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	var keys []alerts.Key
	for i := range 10_000 {
		keys = append(keys, key(alerts.MacroSeries, fmt.Sprint("M", i), "level"), key(alerts.Prices, fmt.Sprint("S", i), "close"),
			key(alerts.Ratings, fmt.Sprint("S", i), "moat_score"), key(alerts.News, fmt.Sprint("S", i), "sentiment"))
	}
	_, err = newAlerts(pool, nil, nil).Values(t.Context(), "default", keys)
	require.NoError(t, err)
	require.EqualValues(t, 4, tracer.statements.Load())
}

// evaluated is a rule that fires, or does not.
func evaluated(r alerts.Rule, state alerts.State, a *delivery.Acceptance) jobs.Evaluated {
	v := decimal.RequireFromString("31.50")
	return jobs.Evaluated{Rule: r, Decision: alerts.Decision{State: state}, Value: &v, Acceptance: a}
}

func acceptanceOf(r alerts.Rule, at time.Time) *delivery.Acceptance {
	return &delivery.Acceptance{
		Event: delivery.Event{
			ID: uuid.Must(uuid.NewV7()), TenantID: r.TenantID, Source: delivery.Rule, AlertID: r.ID.String(), UserID: r.UserID,
			Title: "t", Message: "m", Severity: delivery.Warning, Data: json.RawMessage("{}"),
			Targets: []delivery.Target{{Channel: "inapp"}}, AcceptedAt: at,
		},
		KeepUntil: at.Add(time.Hour), Later: true,
	}
}

func TestAFiringAndItsEventAreOneTransaction(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	s := newAlerts(d.pool, d.Deliveries, nil)
	r, err := s.CreateRule(t.Context(), ruleFrom(t, watchesVIX+`,"user_id":"ada"`), "api")
	require.NoError(t, err)
	quiet, err := s.CreateRule(t.Context(), ruleFrom(t, watchesVIX+`,"user_id":"ada"`), "api")
	require.NoError(t, err)
	at := ruleTime.Add(time.Minute)

	broken := newAlerts(d.pool, refusing{fmt.Errorf("no")}, nil)
	_, err = broken.RecordEvaluations(t.Context(), "default", at, []jobs.Evaluated{
		evaluated(r, alerts.Firing, acceptanceOf(r, at)), evaluated(quiet, alerts.OK, nil),
	})
	require.ErrorContains(t, err, "no")
	same, err := s.Rule(t.Context(), "default", r.ID)
	require.NoError(t, err)
	require.True(t, same.LastFiredAt.IsZero(), "it has not fired: nobody would hear of it")
	require.Equal(t, alerts.OK, same.State)

	list := []jobs.Evaluated{evaluated(r, alerts.Firing, acceptanceOf(r, at)), evaluated(quiet, alerts.OK, nil)}
	recorded, err := s.RecordEvaluations(t.Context(), "default", at, list)
	require.NoError(t, err)
	require.Equal(t, map[uuid.UUID]jobs.Recorded{
		r.ID: {Accepted: delivery.Accepted{Duplicates: []uuid.UUID{uuid.Nil}}}, quiet.ID: {},
	}, recorded)
	fired, err := s.Rule(t.Context(), "default", r.ID)
	require.NoError(t, err)
	require.Equal(t, at, fired.LastFiredAt)
	require.Equal(t, at, fired.LastEvaluatedAt)
	require.Equal(t, alerts.Firing, fired.State)
	require.Equal(t, "31.5", fired.LastValue.String())
	require.Equal(t, 1, fired.Revision, "an evaluation is no change by people")
	e, _, err := d.History(t.Context(), "default", list[0].Acceptance.Event.ID)
	require.NoError(t, err)
	require.Equal(t, r.ID.String(), e.AlertID)

	again, err := s.RecordEvaluations(t.Context(), "default", at.Add(1), []jobs.Evaluated{evaluated(r, alerts.Firing, acceptanceOf(r, at))})
	require.NoError(t, err)
	require.Empty(t, again, "another evaluation was faster")

	_, err = s.ChangeRule(t.Context(), "default", r.ID, 0, audit.Entry{}, alerts.Acknowledge)
	require.NoError(t, err)
	again, err = s.RecordEvaluations(t.Context(), "default", at, []jobs.Evaluated{evaluated(fired, alerts.OK, nil)})
	require.NoError(t, err)
	require.Empty(t, again, "somebody acknowledged it meanwhile")
	again, err = s.RecordEvaluations(t.Context(), "other", at, []jobs.Evaluated{evaluated(quiet, alerts.OK, nil)})
	require.NoError(t, err)
	require.Empty(t, again, "of another tenant")
}

func TestATenantHasRoomForManyRulesAndNoMore(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	pool := dbtest.Connect(t, address)
	s := newAlerts(pool, nil, nil)
	r, err := s.CreateRule(t.Context(), ruleFrom(t, watchesVIX+`,"user_id":"ada"`), "api")
	require.NoError(t, err)
	copies := `INSERT INTO alert_rules (id, tenant_id, user_id, name, type, condition, severity, title, message,
			cooldown_hours, channels, active, state, created_at, updated_at)
		SELECT gen_random_uuid(), tenant_id, user_id, name, type, condition, severity, title, message,
			cooldown_hours, channels, active, state, created_at, updated_at
		FROM alert_rules CROSS JOIN generate_series(1, $2) WHERE id = $1`
	exec(t, pool, copies, r.ID, 19_998)
	_, err = s.CreateRule(t.Context(), ruleFrom(t, watchesVIX+`,"user_id":"ada"`), "api")
	require.NoError(t, err)
	_, err = s.CreateRule(t.Context(), ruleFrom(t, watchesVIX+`,"user_id":"ada"`), "api")
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	// Nor has it for somebody who sees his own alone.
	bob := auth.With(t.Context(), auth.Principal{TenantID: "default", Subject: "user:bob", UserID: "bob", Role: auth.Analyst})
	_, err = newAlerts(dbtest.As(t, address, roles.API), nil, nil).CreateRule(bob, ruleFrom(t, watchesVIX+`,"user_id":"bob"`), "user:bob")
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "%v", err)
	trail, err := s.AuditLog(t.Context(), "default", audit.Filter{Subject: "rule"}, uuid.Max, 10)
	require.NoError(t, err)
	require.Len(t, trail, 2)
}
