// Package agents runs the capabilities of agents. Whatever an agent does, one broken, slow or
// panicking capability stays its own problem: each agent has a timeout and a circuit breaker,
// panics end here, and every call is counted, timed and traced.
//
// An agent's breaker moves between three states:
//
//	           Failures in a row                 Delay has passed
//	CLOSED ───────────────────────▶ OPEN ───────────────────────▶ HALF_OPEN
//	   ▲                              ▲                             │    │
//	   │                              └──── a trial call fails ─────┘    │
//	   └──────────────────── Successes in a row ─────────────────────────┘
//
// While it is OPEN calls are refused with fault.BreakerOpen. The change to HALF_OPEN happens with
// the first call after the delay, so an idle agent stays OPEN.
//
// Timeouts and cancellation work through the context: a capability has to watch it. A call is
// never left running behind the caller's back.
package agents
