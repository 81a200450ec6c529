package console

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/patterns"
)

// The page's script is held against the same table by TestConsoleAnalyst.
func TestDuration(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/durations.json")
	require.NoError(t, err)
	var table []struct {
		Seconds float64
		Text    string
	}
	require.NoError(t, json.Unmarshal(raw, &table))
	require.NotEmpty(t, table)
	for _, row := range table {
		require.Equal(t, row.Text, duration(row.Seconds), "%v", row.Seconds)
	}
	require.Equal(t, "1.5 s", duration(1500*time.Millisecond))
	require.Equal(t, "unknown", duration("unknown"))
}

func TestRatio(t *testing.T) {
	t.Parallel()
	step := func(seconds float64) patterns.StepTrace {
		return patterns.StepTrace{Status: patterns.StatusSuccess, DurationSeconds: seconds}
	}
	for want, took := range map[string][2]float64{
		"1230 ×": {1, 1234}, "1000 ×": {1, 999.7}, "2.5 ×": {2, 5}, "1 ×": {3, 3}, "0.000123 ×": {1, 0.00012345}, "": {0, 1},
	} {
		require.Equal(t, want, ratio(step(took[0]), step(took[1])), "%v", took)
	}
}

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
