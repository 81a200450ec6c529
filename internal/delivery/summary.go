package delivery

// Summary is what a list of events tells of each.
type Summary struct {
	Event Event // without message, data and fallback
	// Targets are in the event's order. They have no attempts, and of a letter its id, state, cause
	// and next retry.
	Targets []TargetHistory
}
