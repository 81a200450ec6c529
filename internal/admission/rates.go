package admission

import (
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/time/rate"

	"github.com/dawsos/dawsos/internal/fault"
)

// RateOptions configure [Rates].
type RateOptions struct {
	// PerSecond is how many requests a caller may send, for as long as it likes. Required.
	PerSecond float64
	// Burst is how many it may send at once, after it has been silent. At least 1.
	Burst int
	// Remembered is how many callers, and how many addresses, are told apart; 0 means 10,000. Of more than
	// that, those that have been silent for longest begin anew.
	Remembered int
	Now        func() time.Time
	Registerer prometheus.Registerer
}

// Refused credentials have a bound of their own for each address: nobody who means well shows many.
const (
	refusedPerSecond = 1
	refusedBurst     = 20
)

// Whom a limit is about, as the metric's label and the headers say it.
const (
	byCaller  = "caller"
	byAddress = "address"
	byRefused = "refused"
)

// Rates bounds how many requests each caller may send. A caller is who a key or a token says, and an
// address where nothing was shown.
type Rates struct {
	callers, addresses, refused *buckets
	now                         func() time.Time
}

// NewRates returns limits that nobody has used yet.
func NewRates(o RateOptions) *Rates {
	limited := newLimited(o.Registerer)
	const remembered = 10_000
	if o.Remembered == 0 {
		o.Remembered = remembered
	}
	return &Rates{
		callers:   newBuckets(byCaller, rate.Limit(o.PerSecond), o.Burst, o.Remembered, limited),
		addresses: newBuckets(byAddress, rate.Limit(o.PerSecond), o.Burst, o.Remembered, limited),
		refused:   newBuckets(byRefused, refusedPerSecond, refusedBurst, o.Remembered, limited),
		now:       o.Now,
	}
}

// Unlimited returns nil, which limits nobody. The series of what is limited exist all the same, at 0, for
// the panels that read them.
func Unlimited(reg prometheus.Registerer) *Rates {
	newLimited(reg)
	return nil
}

func newLimited(reg prometheus.Registerer) *prometheus.CounterVec {
	limited := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_rate_limited_total",
		Help: "Requests answered with 429, by what they were counted for: a known caller, an address that shows nothing, or an address whose credentials are refused.",
	}, []string{"by"})
	for _, by := range []string{byCaller, byAddress, byRefused} {
		limited.WithLabelValues(by)
	}
	return limited
}

// Caller counts a request of a caller that is known.
func (r *Rates) Caller(name string) Quota { return r.callers.take(name, r.now()) }

// Address counts a request that shows nothing.
func (r *Rates) Address(remote string) Quota { return r.addresses.take(network(remote), r.now()) }

// Refused counts a request whose credentials were refused.
func (r *Rates) Refused(remote string) Quota { return r.refused.take(network(remote), r.now()) }

// network is what addresses are told apart by: a customer of a provider has all of a /64 of IPv6.
func network(remote string) string {
	address, err := netip.ParseAddr(remote)
	if err != nil {
		return remote
	}
	if address = address.Unmap().WithZone(""); address.Is4() {
		return address.String()
	}
	const customer = 64
	return netip.PrefixFrom(address, customer).Masked().String()
}

// Quota is what a caller may still do.
type Quota struct {
	Allowed bool
	// Policy and Limit are the values of the headers RateLimit-Policy and RateLimit, of
	// draft-ietf-httpapi-ratelimit-headers-10: how many requests in how many seconds, how many of them are
	// left, and in how many seconds all of them will be.
	Policy, Limit string
	retryAfter    time.Duration
}

// Err refuses what is not allowed with [fault.TooManyRequests]; nil when it is.
func (q Quota) Err() error {
	if q.Allowed {
		return nil
	}
	err := fault.New(fault.TooManyRequests, "more requests than may be sent: %s", q.Policy)
	err.RetryAfter = q.retryAfter
	return err
}

// buckets are token buckets by name. There are never more than a fixed number: they are in two
// generations, and when the young one is full it becomes the old one, whose buckets are gone if they
// were not asked for meanwhile.
type buckets struct {
	by, policy string
	limit      rate.Limit
	burst      int
	most       int // of a generation
	limited    prometheus.Counter

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

func newBuckets(by string, limit rate.Limit, burst, remembered int, limited *prometheus.CounterVec) *buckets {
	window := max(int(math.Ceil(float64(burst)/float64(limit))), 1)
	return &buckets{
		by: by, policy: strconv.Quote(by) + ";q=" + strconv.Itoa(burst) + ";w=" + strconv.Itoa(window),
		limit: limit, burst: burst, most: max(remembered/2, 1), limited: limited.WithLabelValues(by),
		young: map[string]*rate.Limiter{},
	}
}

func (b *buckets) take(name string, now time.Time) Quota {
	bucket := b.of(name)
	q := Quota{Allowed: bucket.AllowN(now, 1), Policy: b.policy}
	left := bucket.TokensAt(now)
	whole := max(int(left), 0)
	reset := int(math.Ceil((float64(b.burst) - left) / float64(b.limit)))
	q.Limit = strconv.Quote(b.by) + ";r=" + strconv.Itoa(whole) + ";t=" + strconv.Itoa(reset)
	if !q.Allowed {
		q.retryAfter = max(time.Duration((1-left)/float64(b.limit)*float64(time.Second)), time.Millisecond)
		b.limited.Inc()
	}
	return q
}

func (b *buckets) of(name string) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bucket, ok := b.young[name]; ok {
		return bucket
	}
	bucket, ok := b.old[name]
	if !ok {
		bucket = rate.NewLimiter(b.limit, b.burst)
	}
	if len(b.young) == b.most {
		b.old, b.young = b.young, make(map[string]*rate.Limiter)
	}
	b.young[name] = bucket
	return bucket
}
