// Package audit says who did what to a dead letter, rule, destination or key, and why.
package audit

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// System acts where nobody asked: retention, recovery, expiry.
const System = "system"

// Entry is one line of the trail. It is written in the transaction of what it tells of.
type Entry struct {
	ID        uuid.UUID // version 7
	TenantID  string
	At        time.Time
	Actor     string          // who, or System
	Action    string          // such as "dead_letter.replay"
	Subject   string          // what kind of thing: "dead_letter", "rule", "destination", "operation"
	SubjectID string          // which
	Reason    string          // why, in the words of who did it; "" where none was given
	Detail    json.RawMessage // a JSON object: what changed, never a secret
}

// Filter selects entries; empty fields select all.
type Filter struct {
	Subject   string
	SubjectID string
	Action    string
	Actor     string
}
