package delivery

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Balance is how many events and targets of a channel stand on an account: "accepted", or a State.
// Accepted is the sum of all others.
type Balance struct {
	TenantID string
	Channel  string
	Account  string
	Balance  int64
}

// Ledger tells where everything stands, at a cost that does not grow with what is kept.
type Ledger interface {
	Balances(ctx context.Context) ([]Balance, error)
	// OldestOpen returns for each channel since when its oldest open dead letter has been one.
	OldestOpen(ctx context.Context) (map[string]time.Time, error)
	// QueueLag returns for each queue since when its oldest job that could be worked has been
	// waiting, zero where none waits.
	QueueLag(ctx context.Context) (map[string]time.Time, error)
}

// accounts are all there are, in the order of their documentation.
var accounts = []string{
	"accepted", string(Delivered), string(Duplicate), string(InFlight), string(Pending), string(Exhausted),
	string(Discarded), string(Expired), string(Superseded),
}

// letterStates are the states of dead letters.
var letterStates = []State{Pending, Exhausted, Discarded, Expired, Superseded}

// LedgerCollector is a prometheus.Collector of a ledger. It asks the database once in ledgerFresh at
// the most, however often it is scraped, and exports nothing when it can't: a number that is not
// known is absent, and dawsos_ledger_up says so.
type LedgerCollector struct {
	ledger   Ledger
	channels []string
	log      *slog.Logger
	now      func() time.Time

	mu   sync.Mutex
	read time.Time
	last []prometheus.Metric
}

const (
	ledgerFresh   = 5 * time.Second
	ledgerTimeout = 3 * time.Second
)

// NewLedgerCollector returns the collector. channels are those whose series exist from the start.
func NewLedgerCollector(l Ledger, channels []string, log *slog.Logger, now func() time.Time) *LedgerCollector {
	return &LedgerCollector{ledger: l, channels: channels, log: log, now: now}
}

var (
	deadLettersDesc = prometheus.NewDesc("dawsos_dead_letters",
		"Dead letters, by channel and state: pending (being retried), exhausted (waiting for an operator), discarded, expired, superseded.",
		[]string{"channel", "state"}, nil)
	oldestDesc = prometheus.NewDesc("dawsos_dead_letter_oldest_age_seconds",
		"Age of the oldest open dead letter (pending or exhausted) of a channel; 0 when there is none.", []string{"channel"}, nil)
	accountDesc = prometheus.NewDesc("dawsos_delivery_account",
		"Events and targets that stand on an account, since the first; accepted is the sum of all others.", []string{"channel", "account"}, nil)
	lagDesc = prometheus.NewDesc("dawsos_queue_lag_seconds",
		"How long the oldest job of a queue that a worker could take has been waiting; 0 when none waits.", []string{"queue"}, nil)
	upDesc = prometheus.NewDesc("dawsos_ledger_up",
		"1 when the accounts could be read for this scrape, else 0.", nil, nil)
)

// Describe implements prometheus.Collector.
func (*LedgerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{deadLettersDesc, oldestDesc, accountDesc, lagDesc, upDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *LedgerCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.now().Sub(c.read) >= ledgerFresh {
		c.last, c.read = c.collect(), c.now()
	}
	for _, m := range c.last {
		ch <- m
	}
}

func (c *LedgerCollector) collect() []prometheus.Metric {
	ctx, cancel := context.WithTimeout(context.Background(), ledgerTimeout)
	defer cancel()
	balances, err := c.ledger.Balances(ctx)
	var oldest, lag map[string]time.Time
	if err == nil {
		oldest, err = c.ledger.OldestOpen(ctx)
	}
	if err == nil {
		lag, err = c.ledger.QueueLag(ctx)
	}
	if err != nil {
		c.log.WarnContext(ctx, "the accounts can't be read, their metrics are absent", "err", err)
		return []prometheus.Metric{prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, 0)}
	}
	metrics := []prometheus.Metric{prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, 1)}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		metrics = append(metrics, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
	}
	sums := map[string]map[string]int64{} // by channel and account, over all tenants
	for _, channel := range c.channels {
		sums[channel] = map[string]int64{}
	}
	for _, b := range balances {
		if sums[b.Channel] == nil {
			sums[b.Channel] = map[string]int64{}
		}
		sums[b.Channel][b.Account] += b.Balance
	}
	now := c.now()
	for channel, sum := range sums {
		for _, account := range accounts {
			gauge(accountDesc, float64(sum[account]), channel, account)
		}
		for _, state := range letterStates {
			gauge(deadLettersDesc, float64(sum[string(state)]), channel, string(state))
		}
		gauge(oldestDesc, age(now, oldest[channel]), channel)
	}
	for queue, since := range lag {
		gauge(lagDesc, age(now, since), queue)
	}
	return metrics
}

// age is how long ago t was in seconds, 0 for no time.
func age(now, t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t).Seconds())
}
