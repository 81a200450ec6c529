//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// browser is a tab of a real headless Chromium that looks at one API's console. It notes every request and
// everything that goes wrong in its pages; at the end of the test neither may hold anything unexpected.
type browser struct {
	t    testing.TB
	ctx  context.Context //nolint:containedctx // chromedp keeps the tab in it
	base string

	mu       sync.Mutex
	wrong    []string // errors of scripts, refused by the policy, requests to elsewhere
	expected []string // parts of what is none of these
}

// chromium finds Debian's browser, or another that speaks the same protocol.
func chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require.FailNow(t, "no Chromium", "the console is tested in a real one; Debian: chromium")
	return ""
}

// newBrowser opens a tab.
func newBrowser(t testing.TB, base string) *browser {
	t.Helper()
	options := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	options = append(options, chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	b := &browser{t: t, ctx: ctx, base: base}
	t.Cleanup(func() {
		defer cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		if !t.Failed() {
			require.Empty(t, b.wrong)
		}
	})
	require.NoError(t, chromedp.Listen(ctx, b.listen))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	return b
}

func (b *browser) listen(event any) {
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || (u.Scheme != "data" && u.Scheme != "blob" && u.Scheme != "about" && u.Scheme+"://"+u.Host != b.base) {
			b.note("a request leaves for " + e.Request.URL)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			b.note(fmt.Sprintf("%s %s: %s", e.Entry.Source, e.Entry.URL, e.Entry.Text))
		}
	case *runtime.EventExceptionThrown:
		b.note(fmt.Sprintf("script: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	}
}

func (b *browser) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.expected, func(part string) bool { return strings.Contains(what, part) }) {
		b.wrong = append(b.wrong, what)
	}
}

// expect lets the browser complain of something from now on.
func (b *browser) expect(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, part)
}

// run does things in the tab, within the test's patience.
func (b *browser) run(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v\nthe page:\n%s", what, err, b.text("body"))
	}
}

// call sends a command of the protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, command, params)
	require.NoError(b.t, err)
	return r
}

// eval returns the value of an expression in the page, which may be a promise.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// open goes to a page and waits until it is there.
func (b *browser) open(path string) {
	b.t.Helper()
	b.run("open "+path, chromedp.Navigate(b.base+path), chromedp.WaitReady(chromedp.CSS("main h1")))
}

// text is what stands in an element, "" when it is not there.
func (b *browser) text(selector string) string {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.querySelector("+quote(selector)+")?.innerText ?? ''"))
	if err != nil {
		return err.Error()
	}
	return text
}

// quote writes a text for a script.
func quote(text string) string {
	raw, err := json.Marshal(text)
	if err != nil { // a string
		panic(err)
	}
	return string(raw)
}

// until waits until an expression is true in the page, which works for it by itself: nothing is loaded again. The
// waiting is done here, since the policy keeps pages from compiling what would wait there.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		met, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if met && err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.t.Fatalf("waited in vain until %s (%v); the page:\n%s", what, err, b.text("body"))
		}
	}
}

// says waits until a text stands in an element.
func (b *browser) says(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("%s says %q", selector, text), fmt.Sprintf("(document.querySelector(%s)?.innerText ?? '').includes(%s)", quote(selector), quote(text)))
}

// click clicks the first element that a selector finds, scrolled into view.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.run("click "+selector, chromedp.ScrollIntoView(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// follow clicks the first link, button or summary whose text begins so, as soon as there is one.
func (b *browser) follow(text string) {
	b.t.Helper()
	find := "((all, text) => all.find((e) => e.innerText.trim() === text) ?? all.find((e) => e.innerText.trim().startsWith(text)))" +
		"([...document.querySelectorAll('dialog[open] a, dialog[open] button, main a, main button, main summary')], " + quote(text) + ")"
	b.until("there is "+text, find+" !== undefined")
	b.run("click "+text, chromedp.Evaluate[chromedp.Void](find+".click()"))
}

// fill types into a field.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	b.choose(selector, "")
	b.run("fill "+selector, chromedp.WaitVisible(chromedp.CSS(selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// show sets the window's size and what the reader prefers.
func (b *browser) show(width, height int64, dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// settle waits until the page has drawn what it has to draw.
func (b *browser) settle() {
	b.t.Helper()
	b.until("charts are drawn", "[...document.querySelectorAll('figure.chart[data-spec]')].every((f) => f.dataset.drawn)")
	require.Zero(b.t, eval[int](b, "document.querySelectorAll('figure.chart[data-drawn=false]').length"), "charts that can't be drawn: %s", b.text("main"))
}

// violation is what axe-core finds.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct{ HTML, Target, Why string }
}

// accessible holds a page against axe-core's rules: nothing serious.
func (b *browser) accessible(what string) {
	b.t.Helper()
	axe, err := os.ReadFile(filepath.Join(root, "internal/console/npm/testdata/axe.min.js"))
	require.NoError(b.t, err)
	if !eval[bool](b, "window.axe !== undefined") {
		b.run("load axe", chromedp.Evaluate[chromedp.Void](string(axe)))
	}
	found := eval[[]violation](b, `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => ({
		ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.slice(0, 5).map((n) => ({HTML: n.html.slice(0, 300), Target: String(n.target), Why: n.failureSummary}))})))`)
	if len(found) > 0 {
		list, err := json.MarshalIndent(found, "", "  ")
		require.NoError(b.t, err)
		b.t.Errorf("%s: axe-core finds\n%s", what, list)
	}
}

// fits requires that a page is not wider than the window.
func (b *browser) fits(what string) {
	b.t.Helper()
	wide := eval[[]string](b, `document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .plot")).slice(0, 5).map((e) => e.outerHTML.slice(0, 200)).concat("scrollWidth " + document.documentElement.scrollWidth)`)
	if len(wide) > 0 {
		b.t.Errorf("%s: wider than the window: %s", what, strings.Join(wide, "\n"))
	}
}

// shot takes a picture of the window into the directory that SCREENSHOTS names; without it nothing happens.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	require.NoError(b.t, os.MkdirAll(dir, 0o750))
	picture := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: new(int64(45))})
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".webp"), picture.Data, 0o600))
}

// evaluate runs a script whose value does not matter.
func evaluate(script string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](script)
}

// choose sets a field, as its user does: with the events that tell of it.
func (b *browser) choose(selector, value string) {
	b.t.Helper()
	b.until("there is "+selector, "document.querySelector("+quote(selector)+") !== null")
	b.run("choose "+value, evaluate(fmt.Sprintf("(() => { const f = document.querySelector(%s); f.value = %s; f.dispatchEvent(new Event('input', {bubbles: true})); f.dispatchEvent(new Event('change', {bubbles: true})); })()", quote(selector), quote(value))))
}

// keys presses keys.
func keys(text string) chromedp.Action[chromedp.Void] { return chromedp.KeyEvent(text) }
