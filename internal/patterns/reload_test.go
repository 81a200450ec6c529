package patterns

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

func ids(o *Orchestrator) []string {
	var all []string
	for _, d := range o.Definitions() {
		all = append(all, d.ID)
	}
	return all
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

func reloadable(t *testing.T, r *runner, files map[string]string) (*Orchestrator, string) {
	t.Helper()
	dir := writeFiles(t, files)
	o, err := New(dir, r, &contexts{}, Options{Registerer: prometheus.NewRegistry()})
	require.NoError(t, err)
	return o, dir
}

func TestReloadIsAllOrNothing(t *testing.T) {
	t.Parallel()
	r := &runner{funcs: map[string]capabilityFunc{"a.first": value(1)}}
	o, dir := reloadable(t, r, map[string]string{"a.json": one("a", "a.first"), "bad.json": `{"id": `})
	require.Equal(t, []string{"a"}, ids(o), "at the start a bad file never stops the others")
	require.Equal(t, "1 of the pattern files can't be served: bad.json:1:8: /id: the file ends too early", o.Degraded())
	require.InDelta(t, 1, testutil.ToFloat64(o.metrics.invalid), 0)
	require.InDelta(t, 1, testutil.ToFloat64(o.metrics.loaded), 0)

	// What was bad before, and has not changed, does not stand in the way.
	write(t, dir, "b.json", one("b", "a.first"))
	require.NoError(t, o.Reload(t.Context()))
	require.Equal(t, []string{"a", "b"}, ids(o))

	// A changed file that is bad keeps every change out.
	write(t, dir, "b.json", one("b", "a.frist"))
	write(t, dir, "c.json", one("c", "a.first"))
	err := o.Reload(t.Context())
	require.ErrorContains(t, err, "the patterns stay as they were: b.json can't be served")
	require.Equal(t, []string{"a", "b"}, ids(o))
	_, err = o.Execute(t.Context(), Request{PatternID: "b"})
	require.NoError(t, err)
	require.Contains(t, o.Degraded(), "2 of the pattern files can't be served, and no change is applied until they can: b.json:1:")
	require.InDelta(t, 2, testutil.ToFloat64(o.metrics.invalid), 0)
	require.InDelta(t, 2, testutil.ToFloat64(o.metrics.loaded), 0)
	require.InDelta(t, 1, testutil.ToFloat64(o.metrics.reloads[reloadRefused]), 0)
	require.InDelta(t, 2, testutil.ToFloat64(o.metrics.reloads[reloadApplied]), 0)

	write(t, dir, "b.json", one("b2", "a.first"))
	require.NoError(t, os.Remove(filepath.Join(dir, "bad.json")))
	require.NoError(t, o.Reload(t.Context()))
	require.Equal(t, []string{"a", "b2", "c"}, ids(o))
	require.Empty(t, o.Degraded())

	// A capability that has gone, without any change of files, takes its patterns along and no others.
	r.funcs["a.second"] = value(2)
	write(t, dir, "d.json", one("d", "a.second"))
	require.NoError(t, o.Reload(t.Context()))
	delete(r.funcs, "a.second")
	require.NoError(t, o.Reload(t.Context()))
	require.Equal(t, []string{"a", "b2", "c"}, ids(o))
	require.NotEmpty(t, o.Degraded())

	require.NoError(t, os.RemoveAll(dir))
	require.Error(t, o.Reload(t.Context()))
	require.Equal(t, []string{"a", "b2", "c"}, ids(o), "without the directory the patterns stay")
	require.Equal(t, "the directory of patterns can't be read; those that were there before are served", o.Degraded())
	require.NoError(t, os.Mkdir(dir, 0o700))
	write(t, dir, "a.json", one("a", "a.first"))
	require.NoError(t, o.Reload(t.Context()))
	require.Empty(t, o.Degraded())
}

// Who renames a pattern that others run must not lose those without a word.
func TestAReloadThatBreaksOtherPatternsIsRefused(t *testing.T) {
	t.Parallel()
	r, _ := nesting(map[string]capabilityFunc{"a.first": value(1), "a.second": value(2)})
	runs := func(id, target string) string {
		return `{"id": "` + id + `", "name": "P", "steps": [{"capability": "pattern.run", "as": "x", "args": {"pattern": "` + target + `"}}], "outputs": ["x"]}`
	}
	o, dir := reloadable(t, r, map[string]string{"a.json": one("a", "a.first"), "b.json": runs("b", "a"), "c.json": runs("c", "b"), "d.json": one("d", "a.first")})
	all := []string{"a", "b", "c", "d"}
	require.Equal(t, all, ids(o))

	write(t, dir, "a.json", one("renamed", "a.first"))
	require.ErrorContains(t, o.Reload(t.Context()), "the patterns stay as they were: b.json can't be served")
	require.Equal(t, all, ids(o))
	require.NoError(t, os.Remove(filepath.Join(dir, "a.json")))
	require.ErrorContains(t, o.Reload(t.Context()), "b.json can't be served")
	require.Contains(t, o.Degraded(), "2 of the pattern files can't be served, and no change is applied until they can: b.json:")

	// A pattern may move to another file, and its users may change with it.
	write(t, dir, "moved.json", one("a", "a.first"))
	require.NoError(t, o.Reload(t.Context()))
	require.Equal(t, all, ids(o))
	write(t, dir, "moved.json", one("renamed", "a.second"))
	write(t, dir, "b.json", runs("b", "renamed"))
	require.NoError(t, o.Reload(t.Context()))
	require.Equal(t, []string{"b", "c", "d", "renamed"}, ids(o))

	// Nobody has changed a file when an agent goes away.
	delete(r.funcs, "a.second")
	require.NoError(t, o.Reload(t.Context()))
	require.Equal(t, []string{"d"}, ids(o))
}

// What agents can do changes whether or not the files are in order: with the plans of before, a capability that
// has effects by now would run without waiting for the steps before it, and its result be remembered.
func TestARefusedReloadStillFitsThePatternsToTheAgents(t *testing.T) {
	t.Parallel()
	r, _ := nesting(map[string]capabilityFunc{"a.first": value(1), "a.second": value(2), "a.third": value(3)})
	r.declared["a.second"] = agent.Capability{Purity: agent.Pure}
	files := map[string]string{
		"a.json": patternOf(`{"capability": "a.first", "as": "x"}, {"capability": "a.second", "as": "y"}`, `"outputs": ["x", "y"]`),
		"b.json": one("b", "a.third"), "c.json": strings.ReplaceAll(one("c", RunCapability), `"as"`, `"args": {"pattern": "b"}, "as"`),
		"d.json": one("d", "a.fourth"),
	}
	o, dir := reloadable(t, r, files)
	const a = "overview"
	require.Equal(t, []string{"b", "c", a}, ids(o))
	step := func() step { return o.serving.Load().programs[a].steps[1] }
	require.True(t, step().pure)

	for _, wrong := range []struct {
		name  string
		spoil func()
	}{
		{"a file that can't be served", func() { write(t, dir, "e.json", `{"id": `) }},
		{"a directory that can't be read", func() { require.NoError(t, os.RemoveAll(dir)) }},
	} {
		name := wrong.name
		wrong.spoil()
		r.declared["a.second"] = agent.Capability{Purity: agent.Effectful}
		r.funcs["a.fourth"] = value(4)
		delete(r.funcs, "a.third")
		require.Error(t, o.Reload(t.Context()), name)
		require.False(t, step().pure, name)
		require.True(t, step().effect, name)
		require.Equal(t, []bool{false, true}, o.serving.Load().programs[a].barriers, name)
		require.Equal(t, []string{"d", a}, ids(o), "%s: those whose capabilities have gone are not served, nor those that run them; one whose have come is", name)
		require.InDelta(t, 2, testutil.ToFloat64(o.metrics.loaded), 0, name)

		r.declared["a.second"] = agent.Capability{Purity: agent.Pure}
		delete(r.funcs, "a.fourth")
		r.funcs["a.third"] = value(3)
		require.Error(t, o.Reload(t.Context()), name)
		require.True(t, step().pure, name)
		require.Equal(t, []string{"b", "c", a}, ids(o), "%s: until they are back", name)
	}

	// What was refused is not served because of that, and once the files are in order they are loaded as ever.
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for name, text := range files {
		write(t, dir, name, text)
	}
	delete(r.funcs, "a.third")
	require.NoError(t, o.Reload(t.Context()))
	require.Equal(t, []string{a}, ids(o))
}

// breaking is a runner that breaks whoever asks it what it can do.
type breaking struct {
	*runner

	all atomic.Bool // also who asks for all names
}

func (b *breaking) Capabilities() []string {
	if b.all.Load() {
		panic("no names")
	}
	return b.runner.Capabilities()
}

func (b *breaking) Capability(name string) (string, agent.Capability, bool) {
	if name == "a.breaks" {
		panic("no such thing")
	}
	return b.runner.Capability(name)
}

// A defect of ours that a file brings to light must not end the process, least of all in Watch, where nobody
// else would catch it.
func TestAReloadSurvivesAPanic(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := &breaking{runner: &runner{funcs: map[string]capabilityFunc{"a.first": value(1)}}}
	dir := writeFiles(t, map[string]string{"a.json": one("a", "a.first"), "b.json": one("b", "a.breaks")})
	o, err := New(dir, r, &contexts{}, Options{Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, ids(o), "at the start a bad file never stops the others, however bad")
	const why = "b.json: checking the file broke off, for a defect that the log has more about"
	require.Equal(t, "1 of the pattern files can't be served: "+why, o.Degraded())
	require.Contains(t, log.String(), `msg="panic while a pattern file was checked" file=b.json panic="no such thing" stack=`)
	require.Equal(t, why[len("b.json: "):], o.Validate([]byte(one("b", "a.breaks")))[0].Error())

	write(t, dir, "c.json", one("c", "a.breaks"))
	require.ErrorContains(t, o.Reload(t.Context()), "the patterns stay as they were: c.json can't be served")
	require.Equal(t, []string{"a"}, ids(o))

	r.all.Store(true)
	err = o.Reload(t.Context())
	require.Equal(t, fault.Internal, fault.CodeOf(err))
	require.ErrorContains(t, err, "the patterns stay as they were: checking them broke off, for a defect that the log has more about")
	require.Equal(t, []string{"a"}, ids(o))
	require.Equal(t, "checking the patterns broke off, for a defect that the log has more about; those that were there before are served", o.Degraded())
	require.InDelta(t, 2, testutil.ToFloat64(o.metrics.reloads[reloadRefused]), 0)

	r.all.Store(false)
	require.NoError(t, os.Remove(filepath.Join(dir, "c.json")))
	require.NoError(t, o.Reload(t.Context()))
	require.Equal(t, "1 of the pattern files can't be served: "+why, o.Degraded())
}

// A problem that stays is said once, and again when it is another one.
func TestReloadSaysOnceWhatIsWrong(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	dir := writeFiles(t, map[string]string{"a.json": one("a", "a.first"), "bad.json": `{"id": `})
	o, err := New(dir, &runner{funcs: map[string]capabilityFunc{"a.first": value(1)}}, &contexts{},
		Options{Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	said := func() int {
		defer log.Reset()
		return strings.Count(log.String(), "bad.json:")
	}
	require.Equal(t, 1, said())
	write(t, dir, "b.json", one("b", "a.first"))
	require.NoError(t, o.Reload(t.Context()))
	require.Zero(t, said())
	write(t, dir, "bad.json", `{"id": 1`)
	require.Error(t, o.Reload(t.Context()))
	require.Positive(t, said())
	require.Error(t, o.Reload(t.Context()))
	require.Zero(t, said())
	require.NoError(t, os.RemoveAll(dir))
	log.Reset()
	require.Error(t, o.Reload(t.Context()))
	require.Contains(t, log.String(), "patterns not reloaded, the ones before stay")
}

// Mounted configuration is changed by turning a link; the files behind may look alike.
func TestSignatureSeesLinksThatAreTurned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, version := range []string{"..v1", "..v2"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version), "a.json", one("a", "a.first"))
		require.NoError(t, os.Chtimes(filepath.Join(dir, version, "a.json"), time.Unix(0, 0), time.Unix(0, 0)))
	}
	require.NoError(t, os.Symlink("..v1", filepath.Join(dir, "..data")))
	require.NoError(t, os.Symlink("..data/a.json", filepath.Join(dir, "a.json")))
	before := signature(dir)
	require.Equal(t, before, signature(dir))
	require.NoError(t, os.Symlink("..v2", filepath.Join(dir, "..new")))
	require.NoError(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
	require.NotEqual(t, before, signature(dir))
}

// Runs go on while patterns come and go; each sees one state of the directory. The race detector is
// what this is for.
func TestReloadBesideRuns(t *testing.T) {
	t.Parallel()
	r, _ := nesting(map[string]capabilityFunc{"a.first": value(1)})
	o, dir := reloadable(t, r, map[string]string{
		"a.json": one("a", "a.first"),
		"b.json": `{"id": "b", "name": "P", "steps": [{"capability": "pattern.run", "as": "x", "args": {"pattern": "a"}}], "outputs": ["x"]}`,
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if answer, err := o.Execute(t.Context(), Request{PatternID: "b"}); err != nil || string(answer.Data) != `{"x":{"x":1}}` {
					t.Error(answer, err)
				}
				_, _, _ = o.Degraded(), o.Problems(), o.Definitions()
			}
		})
	}
	for i := range 50 {
		write(t, dir, "c.json", one(fmt.Sprint("c", i), "a.first"))
		require.NoError(t, o.Reload(t.Context()))
	}
	wg.Wait()
}

func TestARunEndsWithThePatternsItBeganWith(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	o, dir := reloadable(t, &runner{funcs: map[string]capabilityFunc{"a.first": func(context.Context, agent.Request) (agent.Result, error) {
		close(began)
		<-goOn
		return agent.Result{Value: 1}, nil
	}, "a.second": value(2)}}, map[string]string{"a.json": one("a", "a.first")})
	var wg sync.WaitGroup
	wg.Go(func() {
		answer, err := o.Execute(t.Context(), Request{PatternID: "a"})
		if err != nil || string(answer.Data) != `{"x":1}` {
			t.Error(answer, err)
		}
	})
	<-began
	write(t, dir, "a.json", one("b", "a.second"))
	require.NoError(t, o.Reload(t.Context()))
	_, err := o.Execute(t.Context(), Request{PatternID: "a"})
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	close(goOn)
	wg.Wait()
}

func TestWatch(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"a.json": one("a", "a.first")})
	synctest.Test(t, func(t *testing.T) {
		o, err := New(dir, &runner{funcs: map[string]capabilityFunc{"a.first": value(1)}}, &contexts{}, Options{Registerer: prometheus.NewRegistry()})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		again := make(chan os.Signal)
		var wg sync.WaitGroup
		wg.Go(func() { o.Watch(ctx, time.Second, again) })
		loads := func() float64 { return testutil.ToFloat64(o.metrics.reloads[reloadApplied]) }

		<-time.After(10 * time.Second)
		synctest.Wait()
		require.InDelta(t, 1, loads(), 0, "what has not changed is not read again")

		write(t, dir, "b.json", one("b", "a.first"))
		<-time.After(1500 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, []string{"a"}, ids(o), "a change has to last for two looks")
		<-time.After(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"a", "b"}, ids(o))

		again <- syscall.SIGHUP
		synctest.Wait()
		require.InDelta(t, 3, loads(), 0)
		write(t, dir, "c.json", one("c", "a.first"))
		again <- syscall.SIGHUP
		synctest.Wait()
		require.Equal(t, []string{"a", "b", "c"}, ids(o))
		stop()
		wg.Wait()
	})
}
