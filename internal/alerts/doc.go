// Package alerts is the language of alert rules: what a rule watches, when it fires, and what it says
// then. It is pure: values go in, signals come out. It has no clock, reads nothing and sends nothing.
//
// A rule's condition is a tree. Its leaves compare one value with a threshold; all, any and not join
// them. [Needs] names the values, so that whoever evaluates many rules fetches each value once;
// [Evaluate] looks at them; [Decide] says what follows for the rule:
//
//	            met, cooldown over: a signal
//	┌────┐ ───────────────────────────────────▶ ┌────────┐  ack   ┌──────────────┐
//	│ ok │ ◀─────────────────────────────────── │ firing │ ─────▶ │ acknowledged │
//	└────┘               not met                └────────┘        └──────────────┘
//	  ▲  ▲               not met                     │                   │
//	  │  └───────────────────────────────────────────┼───────────────────┘
//	  │              its time has come               │ snooze, from any state
//	  │                                          ┌───▼─────┐
//	  └───────────────────────────────────────── │ snoozed │  then as if it had been ok
//	                                             └─────────┘
//
// Logic is Kleene's, of three values: what is not known is unknown, not false, and so is what hangs on
// it. Unknown never fires and never ends a firing; it is reported with what is missing and why.
package alerts
