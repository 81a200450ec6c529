package console

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
)

// The list of an operation's open letters has those that have failed and those that wait; a figure of one alone does
// not lead to both.
func TestLinksOfAnOperation(t *testing.T) {
	t.Parallel()
	c, err := New(Options{})
	require.NoError(t, err)
	defer c.Stop()
	for _, test := range []struct {
		failed, waiting int
		want            []string
	}{
		{failed: 2, waiting: 0, want: []string{`Failed</dt><dd><a href="/console/dlq?operation_id=00000000-0000-0000-0000-000000000000&amp;state=open">2</a></dd>`, "outcome</dt><dd>0</dd>"}},
		{failed: 2, waiting: 3, want: []string{"Failed</dt><dd>2</dd>", "outcome</dt><dd>3 (they are among its <a ", ">open letters</a>, with those that failed)</dd>"}},
		{failed: 0, waiting: 3, want: []string{"Failed</dt><dd>0</dd>", "outcome</dt><dd>3 (they are among its <a ", ">open letters</a>)</dd>"}},
		{failed: 0, waiting: 0, want: []string{"Failed</dt><dd>0</dd>", "outcome</dt><dd>0</dd>"}},
	} {
		var b strings.Builder
		o := showOperation(delivery.Operation{Kind: delivery.Replay, State: delivery.OperationRunning, Total: 9, Failed: test.failed, Waiting: test.waiting})
		require.NoError(t, c.pages["operation"].ExecuteTemplate(&b, "operation-figures", o))
		for _, text := range test.want {
			require.Contains(t, b.String(), text, "%+v", test)
		}
		require.NotContains(t, b.String(), "state=pending", "%+v", test)
	}
}
