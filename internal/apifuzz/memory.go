package apifuzz

import (
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// remembered is how many values of a kind are kept; the oldest goes first.
const remembered = 100

// memory holds what answers have told: ids by the path that they belong to, such as /v1/alerts, cursors by
// operation, ETags by path, and whole definitions.
type memory struct {
	mu     sync.Mutex
	values map[string][]any
}

func newMemory() *memory { return &memory{values: map[string][]any{}} }

func (m *memory) add(kind string, value any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := value.(string); ok && (s == "" || slices.Contains(m.values[kind], value)) {
		return
	}
	kept := append(m.values[kind], value)
	m.values[kind] = kept[max(0, len(kept)-remembered):]
}

// any returns a value of a kind, nil without one.
func (m *memory) any(r *rand.Rand, kind string) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.values[kind]
	if len(kept) == 0 {
		return nil
	}
	return kept[r.IntN(len(kept))]
}

// forget drops a value that is not there any more.
func (m *memory) forget(kind, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[kind] = slices.DeleteFunc(slices.Clone(m.values[kind]), func(v any) bool { return v == value })
}

// definition returns the pattern of an id, or any.
func (m *memory) definition(r *rand.Rand, id string) map[string]any {
	m.mu.Lock()
	for _, d := range m.values["definitions"] {
		if object(d)["id"] == id {
			m.mu.Unlock()
			return object(d)
		}
	}
	m.mu.Unlock()
	return object(m.any(r, "definitions"))
}

// belongs tells which path the members of answers belong to that name something of another one.
var belongs = map[string]string{
	"event_id": "/v1/deliveries", "duplicate_of": "/v1/deliveries", "dead_letter_id": "/v1/dlq", "run_id": "/v1/runs",
	"portfolio_id": "/v1/portfolios", "operation_id": "/v1/dlq/operations", "pricing_pack_id": "/v1/pricing-packs",
	"pattern_id": "/v1/patterns", "alert_id": "alert ids", "user_id": "users", "symbol": "symbols", "channel": "channels",
	"asof": "dates", "date": "dates",
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// owner returns the path that a parameter's values belong to: what stands before it.
func owner(path, parameter string) string {
	before, _, _ := strings.Cut(path, "/{"+parameter+"}")
	return before
}

// learn takes what an answer tells. Of lists, and of what was made, the path's own ids are kept.
func (m *memory) learn(q *request, answer any) {
	o := q.operation
	root, ok := answer.(map[string]any)
	if !ok {
		return
	}
	if next, ok := root["next_cursor"].(string); ok {
		m.add("cursor "+o.id, next)
	}
	things := []any{root}
	if items, ok := root["items"].([]any); ok {
		things = items
	}
	for _, thing := range things[:min(len(things), 20)] {
		for _, key := range []string{o.key, "id"} {
			if id, ok := object(thing)[key].(string); ok {
				m.add(q.path, id)
				break
			}
		}
		if o.id == "listPatterns" {
			m.add("definitions", thing)
		}
	}
	m.walk(root, 0)
}

func (m *memory) walk(v any, depth int) {
	if depth > 4 {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if s, ok := v[key].(string); ok {
				if kind, ok := belongs[key]; ok && len(s) <= 200 && (!strings.HasPrefix(kind, "/") || key == "pattern_id" || uuid.MatchString(s)) {
					m.add(kind, s)
				}
				continue
			}
			m.walk(v[key], depth+1)
		}
	case []any:
		for _, item := range v[:min(len(v), 5)] {
			m.walk(item, depth+1)
		}
	}
}
