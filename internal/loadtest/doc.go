// Package loadtest puts the two programs, as operators run them, under load and under harm, and
// holds what a receiver saw against what the API promised and the database says.
//
// The programs are black boxes here: processes that are started, killed and measured, an HTTP API
// that is posted to, tables that are counted. Nothing of what they are made of is used, so that a
// mistake in it can't hide itself.
//
//	        POST /v1/deliveries            POST, signed
//	Load ───────────────────────▶ API ─────────────────────▶ Receiver
//	 │                             │  worker ──────────────▶    │
//	 │ what was acknowledged       ▼    ▲                       │ what arrived
//	 │                           PostgreSQL                     │
//	 ▼                             ▼ where it stands            ▼
//	Settle: lost, repeated, open, unbalanced
//
// Chaos kills processes at random, Outage takes a receiver away and gives it back, Failures has a
// receiver fail the first attempts of each message, Replay has one fail again in the middle of a replay
// of its dead letters, and Benchmark measures against bare programs that do the same work by hand.
//
// Every program is bounded in time and memory, prints its account, and says whether it is as it
// must be.
package loadtest
