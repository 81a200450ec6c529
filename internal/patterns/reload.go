package patterns

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
)

// Reload reads the directory anew, all or nothing: when a file that has changed can't be served, or one
// that has not can't be any more because a pattern that it runs was changed or taken away, everything
// stays as it was, and the error says why. Files that could not be served before, and have not changed,
// don't stand in the way, and neither do those whose capabilities have gone: they are left out. A reload
// that is refused still fits what is served to what agents can do now. Runs under way end with the patterns
// that they began with. A panic refuses the reload like an error: nobody else would catch it in Watch.
func (o *Orchestrator) Reload(ctx context.Context) (err error) {
	o.reload.Lock()
	defer o.reload.Unlock()
	defer func() {
		if p := recover(); p != nil {
			o.metrics.reloads[reloadRefused].Inc()
			o.unread.Store(new("checking the patterns " + brokeOff))
			o.log.ErrorContext(ctx, "panic while patterns were reloaded, the ones before stay", "panic", p, "stack", string(debug.Stack()))
			err = fault.New(fault.Internal, "the patterns stay as they were: checking them %s", brokeOff)
		}
	}()
	o.signs.Store(signature(o.dir))
	next, err := o.library().loadDir(o.dir)
	if err != nil {
		o.metrics.reloads[reloadRefused].Inc()
		if o.serving.Load() != nil {
			o.unread.Store(new("the directory of patterns can't be read"))
			o.log.ErrorContext(ctx, "patterns not reloaded, the ones before stay", "err", err)
			o.refit(ctx)
		}
		return err
	}
	o.unread.Store(nil)
	o.metrics.invalid.Set(float64(len(next.bad())))
	for _, p := range next.problems {
		if !slices.Contains(o.found, p) { // it has been said when it was new
			o.log.WarnContext(ctx, "pattern file", "severity", string(p.Severity), "problem", p.Error())
		}
	}
	o.found = next.problems
	if now := o.serving.Load(); now != nil {
		if broken := next.breaks(now.catalog); len(broken) > 0 {
			o.metrics.reloads[reloadRefused].Inc()
			o.stale.Store(true)
			o.log.ErrorContext(ctx, "patterns not reloaded, the ones before stay", "broken", broken, "patterns", len(now.plans))
			o.refit(ctx)
			return fault.New(fault.Invalid, "the patterns stay as they were: %s can't be served", strings.Join(broken, ", "))
		}
	}
	o.serving.Store(o.prepare(next))
	o.stale.Store(false)
	o.metrics.reloads[reloadApplied].Inc()
	o.metrics.loaded.Set(float64(len(next.plans)))
	o.metrics.reloadedAt.Set(float64(o.now().UnixMilli()) / 1e3)
	o.log.InfoContext(ctx, "patterns loaded", "patterns", len(next.plans), "invalid_files", next.bad())
	return nil
}

// refit serves the patterns of before as what agents can do now makes of them. When it is an agent that has
// changed, files that can't be served are no reason to go by what it was: an effect would run as what reads,
// and its result be kept.
func (o *Orchestrator) refit(ctx context.Context) {
	now := o.serving.Load()
	next := o.library().refit(now.catalog)
	o.serving.Store(o.prepare(next))
	o.metrics.loaded.Set(float64(len(next.plans)))
	if before, after := slices.Sorted(maps.Keys(now.plans)), slices.Sorted(maps.Keys(next.plans)); !slices.Equal(before, after) {
		o.log.WarnContext(ctx, "other patterns can be served, since agents have changed", "before", before, "now", after)
	}
}

// Problems returns what was wrong with the files when they were last read, warnings included.
func (o *Orchestrator) Problems() []Problem {
	o.reload.Lock()
	defer o.reload.Unlock()
	return slices.Clone(o.found)
}

// Degraded says in a sentence why not every file of the directory is served as it stands there; "" when
// all are.
func (o *Orchestrator) Degraded() string {
	if why := o.unread.Load(); why != nil {
		return *why + "; those that were there before are served"
	}
	var first *Problem
	bad := make(map[string]bool)
	for _, p := range o.Problems() {
		if p.Severity == Error {
			if first == nil {
				first = &p
			}
			bad[p.File] = true
		}
	}
	if first == nil {
		return ""
	}
	what := fmt.Sprintf("%d of the pattern files can't be served", len(bad))
	if o.stale.Load() {
		what += ", and no change is applied until they can"
	}
	return what + ": " + first.Error()
}

// Watch reloads when the directory changes, and when again sends, until ctx ends. It looks every
// interval; a change is taken up once two looks in a row have seen the same, so that half-written files
// are not. Looking costs a few system calls, and sees what notifications of the kernel miss: mounted
// configuration, network drives, links that are turned.
func (o *Orchestrator) Watch(ctx context.Context, interval time.Duration, again <-chan os.Signal) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := o.signs.Load()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			_ = o.Reload(ctx) // it has said in the log what became of it
			last = o.signs.Load()
		case <-tick.C:
			seen := signature(o.dir)
			if seen != o.signs.Load() && seen == last {
				_ = o.Reload(ctx)
			}
			last = seen
		}
	}
}

// signature changes when a file of the directory does.
func signature(dir string) uint64 {
	h := fnv.New64a()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		// Where links lead is part of it: what they are turned to may have the same size, and times
		// that say nothing, as files of images have.
		path, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		fmt.Fprintf(h, "%s %q %d %d\n", e.Name(), path, info.Size(), info.ModTime().UnixNano())
	}
	return h.Sum64()
}
