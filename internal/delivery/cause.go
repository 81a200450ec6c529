package delivery

// Cause says why an attempt failed. The set is closed: causes are values of a metric's label and
// of a filter.
type Cause string

// The causes.
const (
	None        Cause = ""             // it did not fail
	DNS         Cause = "dns"          // the receiver's name does not resolve
	Connect     Cause = "connect"      // refused, unreachable or reset
	TLS         Cause = "tls"          // no trusted TLS session
	Timeout     Cause = "timeout"      // no answer in DELIVERY_TIMEOUT
	HTTP4xx     Cause = "http_4xx"     // the receiver refuses
	HTTP429     Cause = "http_429"     // the receiver asks for less
	HTTP5xx     Cause = "http_5xx"     // the receiver is broken
	SMTP4xx     Cause = "smtp_4xx"     // the mail server refuses for now
	SMTP5xx     Cause = "smtp_5xx"     // the mail server refuses for good
	BreakerOpen Cause = "breaker_open" // not sent: the endpoint failed too long
	Rejected    Cause = "rejected"     // we refuse: the address or a redirect is not allowed
	Payload     Cause = "payload"      // the message can't be encoded for the channel
	Interrupted Cause = "interrupted"  // our process ended before the outcome was recorded
	Internal    Cause = "internal"     // a defect or a failed dependency of ours
)
