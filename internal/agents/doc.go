// Package agents runs the capabilities of agents, those of this process and those elsewhere.
// Whatever an agent does, one broken, slow, overrun or panicking capability stays its own problem:
// arguments are checked before the agent is asked, panics end here, and every call is counted,
// timed, traced and passes its agent's policies, from outside in
//
//	retry ─▶ circuit breaker ─▶ rate limit ─▶ bulkhead ─▶ timeout ─▶ capability
//
// Each attempt passes all but the first. What a policy refuses has not happened for those around
// it: it is not retried and does not count for the breaker.
//
// An agent's breaker moves between three states:
//
//	      Failures in a row, or FailureRate                 Delay has passed
//	CLOSED ───────────────────────────────▶ OPEN ───────────────────────▶ HALF_OPEN
//	   ▲                                      ▲                             │    │
//	   │                                      └──── a trial call fails ─────┘    │
//	   └────────────────────────── Successes in a row ───────────────────────────┘
//
// While it is OPEN calls are refused with fault.BreakerOpen. The change to HALF_OPEN happens with
// the first call after the delay, so an idle agent stays OPEN. A result counts in the state that
// its call began in and is forgotten once that has changed.
//
// Timeouts and cancellation work through the context: a capability has to watch it. A call is
// never left running behind the caller's back.
//
// What an agent can do may change while calls go on, see [Runtime.Replace]; what is known of it by
// its name stays: its policies, its breaker's state and its counts.
package agents
