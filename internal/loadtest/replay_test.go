package loadtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplayJudges(t *testing.T) {
	t.Parallel()
	options := ReplayOptions{Events: 100, PerSecond: 10, StopAfter: 5, FailAgain: 40}
	for name, c := range map[string]struct {
		spoil func(*ReplayReport)
		wrong string // "" for none
	}{
		"all is well":   {func(*ReplayReport) {}, ""},
		"not exhausted": {func(r *ReplayReport) { r.Exhausted = 99 }, "99 letters were exhausted before the replay, not 100"},
		"did not stop":  {func(r *ReplayReport) { r.Stopped.Operation.State = "done" }, "the replay is done, not stopped"},
		"stopped too late": {func(r *ReplayReport) {
			r.Stopped.Operation.Released, r.Stopped.Operation.Delivered, r.Taken = 76, 70, 70
		}, "it should have spared all beyond 75"},
		"figures don't add":           {func(r *ReplayReport) { r.Stopped.Operation.Released = 47 }, "the replay released 47 letters, and tells of 40 delivered, 6 failed"},
		"letters unaccounted":         {func(r *ReplayReport) { r.Stopped.Operation.Failed, r.Stopped.Operation.Elsewhere, r.Refused = 5, 1, 5 }, "1 elsewhere"},
		"the receiver says otherwise": {func(r *ReplayReport) { r.Taken = 41 }, "the receiver took 41 and refused 6"},
		"continuing does not work": {func(r *ReplayReport) {
			r.Continued.Operation.State, r.Continued.Operation.StopReason = "stopped", "no progress"
		}, "continued, is stopped, not done: no progress"},
		"failed again":       {func(r *ReplayReport) { r.Continued.Operation.Delivered, r.Continued.Operation.Failed = 93, 7 }, "of which 7 failed, 6 of them before"},
		"a rest of the rest": {func(r *ReplayReport) { r.Rest.Operation.Total = 7 }, "6 letters failed, a replay of the rest found 7 and delivered 6"},
		"not all arrived":    {func(r *ReplayReport) { r.Account.Received = 99 }, "99 of 100 events were received in the end"},
		"one arrived twice":  {func(r *ReplayReport) { r.Account.Repeated = 1 }, "1 events were delivered twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &ReplayReport{
				Account: Account{Received: 100}, Exhausted: 100, Taken: 40, Refused: 6,
				Stopped:   ReplayPhase{Operation: LetterOperation{State: "stopped", Total: 100, Released: 46, Delivered: 40, Failed: 6, Remaining: 54}},
				Continued: ReplayPhase{Operation: LetterOperation{State: "done", Total: 100, Released: 100, Delivered: 94, Failed: 6}},
				Rest:      ReplayPhase{Operation: LetterOperation{State: "done", Total: 6, Released: 6, Delivered: 6}},
			}
			c.spoil(r)
			r.judge(options)
			if c.wrong == "" {
				require.True(t, r.OK(), r.Account.Wrong)
				return
			}
			require.False(t, r.OK())
			require.Contains(t, r.String(), c.wrong)
		})
	}
}

func TestTakingFirst(t *testing.T) {
	t.Parallel()
	b := takingFirst(2)
	for _, want := range []int{200, 200, 404, 404} {
		require.Equal(t, want, b("m", 1).Status)
	}
	require.Equal(t, 404, Refusing("m", 1).Status)
}
