package auth

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lookups finds one key, and does something in between.
type lookups struct {
	asked     int
	key       Key
	meanwhile func()
}

func (l *lookups) UseKey(context.Context, string, []byte) (Key, error) {
	l.asked++
	found := l.key
	l.meanwhile()
	return found, nil
}

// TestRevokedWhileItWasRead: a key that is revoked between its being read and its being remembered is not remembered
// as it was.
func TestRevokedWhileItWasRead(t *testing.T) {
	t.Parallel()
	text, id, _ := NewKey()
	l := &lookups{key: Key{ID: id, TenantID: "default", Role: Operator}}
	keys := NewStoredKeys(l, time.Now)
	l.meanwhile = func() {
		l.key.RevokedAt = new(time.Now())
		keys.Forget()
	}
	_, err := keys.Principal(t.Context(), text)
	require.NoError(t, err, "it was good when it was read")
	l.meanwhile = func() {}
	_, err = keys.Principal(t.Context(), text)
	require.ErrorContains(t, err, "was revoked")
	require.Equal(t, 2, l.asked)
}
