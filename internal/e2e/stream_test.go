package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/api"
)

// steps is a pattern of one step after the other, of which the second takes as long as the test wants,
// the third is skipped and the fourth fails.
const steps = `{
  "id": "steps", "name": "Steps", "inputs": {},
  "steps": [
    {"capability": "desk.echo", "args": {"size": 1}, "as": "opened"},
    {"capability": "desk.hold", "args": {"of": "{{opened}}"}, "as": "held"},
    {"capability": "desk.echo", "args": {"of": "{{held}}"}, "condition": "held.size > 1", "as": "left_out"},
    {"capability": "desk.fail", "args": {"of": "{{left_out}}"}, "on_error": "continue", "as": "failed"}
  ],
  "outputs": ["held"]
}`

// client is a program that executes a pattern and prints the events as they come.
const client = `
const response = await fetch(process.argv[1], {
  method: 'POST', headers: {'content-type': 'application/json', accept: 'text/event-stream'}, body: '{}',
});
console.log(': ' + response.status + ' ' + response.headers.get('content-type') + '\n');
for await (const chunk of response.body) process.stdout.write(chunk);
`

// TestStream runs a pattern for a client that listens: it is told each step as it happens, and the
// answer at last. When the client is killed, the run is canceled down to the agent, and recorded so.
func TestStream(t *testing.T) {
	t.Parallel()
	databaseURL, _ := loaded(t)
	entered, proceed, canceled := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	hold := agent.Capability{
		Name: "desk.hold", Description: "Takes its time.", Purity: agent.Reading,
		Run: func(ctx context.Context, req agent.Request) (agent.Result, error) {
			select {
			case entered <- struct{}{}:
			case <-ctx.Done():
			}
			select {
			case <-proceed:
				return agent.Result{Value: req.Args["of"]}, nil
			case <-ctx.Done():
				canceled <- context.Cause(ctx)
				return agent.Result{}, ctx.Err()
			}
		},
	}
	fail := agent.Capability{
		Name: "desk.fail", Description: "Fails.", Purity: agent.Reading,
		Run: func(context.Context, agent.Request) (agent.Result, error) {
			return agent.Result{}, agent.NewError(agent.CodeInsufficientData, "there is nothing to go by")
		},
	}
	s := prepare(t, databaseURL, append(newDesk(t, echo("desk.echo"), hold, fail),
		"PATTERNS_DIR="+patternsDir(t, map[string]string{"steps.json": steps}))...)
	s.startAPI()
	s.hasMetrics("the agent's capabilities are known", map[string]int{`dawsos_pattern_reloads_total{outcome="applied"}`: 2})
	listen := func() *proc {
		return startNode(t, "client", nil, "--input-type=module", "--eval", client, "http://"+s.apiAddr+"/v1/patterns/steps/execute")
	}
	begun := []string{"run_started", "step_started opened", "step_ended opened", "step_started held"}
	told := func(p *proc) {
		t.Helper()
		wait(t, entered, "the second step")
		s.eventually("the client knows", func(context.Context) error {
			if names := names(events(t, p.log.String())); len(names) < len(begun) {
				return fmt.Errorf("only %v", names)
			}
			return nil
		})
		require.Equal(t, begun, names(events(t, p.log.String())), "and no more than has happened")
	}

	patient := listen()
	told(patient)
	proceed <- struct{}{}
	require.Equal(t, 0, patient.exitCode(), patient.log.String())
	require.True(t, strings.HasPrefix(patient.log.String(), ": 200 text/event-stream\n\n"), patient.log.String())
	all := events(t, patient.log.String())
	require.Equal(t, append(begun[:len(begun):len(begun)],
		"step_ended held", "step_skipped left_out", "step_started failed", "step_failed failed", "answer"), names(all))
	var answer api.ExecuteAnswer
	require.NoError(t, json.Unmarshal([]byte(all[len(all)-1].data), &answer))
	require.JSONEq(t, `{"held": {"size": 1}}`, string(answer.Data))
	require.Len(t, answer.Trace.Steps, 4)
	require.Len(t, answer.Warnings, 1)

	gone := listen()
	told(gone)
	require.Equal(t, int64(1), s.desk().Calls.InFlight)
	gone.kill()
	select {
	case cause := <-canceled:
		require.ErrorIs(t, cause, context.Canceled)
	case <-time.After(patience):
		require.FailNow(t, "the agent goes on working for a client that is gone")
	}
	outcome := api.RunOutcomeError
	var run api.Run
	s.eventually("the run is recorded", func(ctx context.Context) error {
		r, err := s.client.ListRunsWithResponse(ctx, &api.ListRunsParams{PatternId: new("steps"), Outcome: &outcome})
		switch {
		case err != nil:
			return err
		case r.JSON200 == nil || len(r.JSON200.Items) != 1:
			return errors.New(string(r.Body))
		}
		run = r.JSON200.Items[0]
		return nil
	})
	require.Equal(t, "canceled", run.Error.Code)
	s.hasMetrics("both runs are counted", map[string]int{
		`pattern_executions_total{pattern_id="steps",status="success"}`: 1,
		`pattern_executions_total{pattern_id="steps",status="error"}`:   1,
		// That a client leaves is no fault of the agent.
		`circuit_breaker_state{agent_name="desk",state="CLOSED"}`: 0,
	})
	require.Equal(t, int64(0), s.desk().Calls.InFlight)
}

// desk is what the API says of the agent.
func (s *system) desk() api.Agent {
	s.t.Helper()
	r, err := s.client.ListAgentsWithResponse(s.t.Context(), nil)
	require.NoError(s.t, err)
	require.NotNil(s.t, r.JSON200, string(r.Body))
	for _, a := range r.JSON200.Items {
		if a.Name == "desk" {
			return a
		}
	}
	require.Fail(s.t, "there is no such agent", string(r.Body))
	return api.Agent{}
}

// event is one of a stream.
type event struct {
	name, data string
}

// events reads those that are complete in a stream's text. Their ids must count up from 1.
func events(t *testing.T, stream string) []event {
	t.Helper()
	var list []event
	blocks := strings.Split(stream, "\n\n")
	for _, block := range blocks[:len(blocks)-1] {
		if strings.HasPrefix(block, ":") {
			continue
		}
		lines := strings.Split(block, "\n")
		require.Len(t, lines, 3, "%q", block)
		require.Equal(t, fmt.Sprintf("id: %d", len(list)+1), lines[0])
		name, found := strings.CutPrefix(lines[1], "event: ")
		require.True(t, found, "%q", block)
		data, found := strings.CutPrefix(lines[2], "data: ")
		require.True(t, found, "%q", block)
		list = append(list, event{name, data})
	}
	return list
}

// names returns the events' names, with the names of the steps that they are about.
func names(list []event) []string {
	var names []string
	for _, e := range list {
		var step struct{ As string }
		_ = json.Unmarshal([]byte(e.data), &step) // not all of them are about a step
		names = append(names, strings.TrimSpace(e.name+" "+step.As))
	}
	return names
}
