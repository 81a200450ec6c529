//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// Somebody writes a rule: the fields follow its type, what is typed is checked and tried while it is typed, and
// what has been typed survives. Then it is acted on, from the list's dialogs too.
func TestConsoleRules(t *testing.T) {
	s, b, portfolio := newConsole(t)
	b.open("/console/alerts/new")
	b.says("#check", "As soon as the condition is right")
	b.run("mark the page", evaluate("window.untouched = true"))
	b.choose("#f-subject-0", portfolio.String())
	b.choose("#f-metric-0", "volatility_1y")
	b.fill("#f-value-0", "0.25")
	b.says("#check", "> 0.25 is false; it would not fire.")
	b.says("#check", "Name: Needed.")
	b.until("no field is called wrong that is only empty", "document.querySelectorAll('[aria-invalid=true]').length === 0")
	b.fill("#f-value-0", "a lot")
	b.says("#w-value-0", "Must be a number")
	b.until("the field is marked", "document.querySelector('#f-value-0').getAttribute('aria-invalid') === 'true'")
	b.accessible("a rule with a wrong field")
	b.fill("#f-value-0", "0.01")
	b.says("#check", "is true")
	b.until("the mark is gone", "!document.querySelector('#f-value-0').hasAttribute('aria-invalid')")

	b.fill("#f-name", "Restless")
	b.fill("#f-user_id", "ada")
	b.fill("#f-title", "{{nam}}")
	b.says("#w-title", `did you mean "name"`)
	b.fill("#f-title", "{{name}}: {{value}}")
	b.says("#check", "it would fire.")

	b.choose("#f-type-0", "regime_shift")
	b.until("the fields are those of the type", "!document.querySelector('#f-subject-0') && !document.querySelector('#f-op-0')")
	b.says("label[for=f-value-0]", "Confidence, at least")
	b.choose("#f-type-0", "price")
	b.until("the fields are those of the type", "document.querySelector('#f-subject-0')?.tagName === 'INPUT'")
	b.fill("#f-subject-0", "SBI")
	b.choose("#f-op-0", ">")
	b.fill("#f-value-0", "95")
	b.says("#check", "96.74 > 95 is true; it would fire.")
	b.follow("Add a comparison")
	b.until("there is a second one", "document.querySelector('#f-value-1') !== null")
	b.says("#check", "Comparison 2, value: Needed.")
	b.fill("#f-subject-1", "SBI")
	b.choose("#f-op-1", "<")
	b.fill("#f-value-1", "90")
	b.says("#check", "The condition as a whole is not met")
	b.choose("#f-join", "any")
	b.says("#check", "The condition as a whole is met; it would fire.")
	b.accessible("a rule of two comparisons")
	b.click("[name=mode][value=json]")
	b.until("the condition is JSON", `JSON.parse(document.querySelector('textarea[name=condition]')?.value ?? '{}').any?.length === 2`)
	b.accessible("a rule as JSON")
	b.click("[name=mode][value=fields]")
	b.until("the condition is in fields", "document.querySelector('#f-value-1')?.value === '90'")
	require.Equal(t, "Restless", eval[string](b, "document.querySelector('#f-name').value"), "what was typed is kept")
	b.click("[aria-label='Remove comparison 2']")
	b.until("there is one", "document.querySelector('#f-value-1') === null")
	b.says("#check", "96.74 > 95 is true; it would fire.")
	require.True(t, eval[bool](b, "window.untouched === true"), "without another page")
	b.shot("alert-new-filled")
	b.follow("Save")
	b.says("h1", "Restless")
	b.says(".done", "The rule is saved.")
	b.says("#try", "96.74 > 95 is true; it would fire.")

	b.run("mark the page", evaluate("window.untouched = true"))
	b.until("the page is live", "document.querySelector('#live').classList.contains('on')")
	s.ask(http.MethodPost, "/v1/alerts/evaluate", "{}", http.StatusOK)
	b.says("#firings table", "Restless: 96.74")
	b.says("#rule", "firing")
	b.says("#try", "within its cooldown")
	require.True(t, eval[bool](b, "window.untouched === true"), "it came without a reload")
	b.accessible("a rule that fires")

	b.open("/console/alerts?state=firing")
	b.follow("Acknowledge")
	b.says("dialog[open]", "until its condition was no longer met")
	b.accessible("a dialog")
	b.fill("dialog [name=reason]", "looking into it")
	b.click("dialog[open] button[type=submit]")
	b.says(".done", "is acknowledged")
	b.open("/console/alerts")
	b.follow("Snooze")
	b.says("dialog[open]", "until its time has come")
	b.choose("dialog [name=for]", "168")
	b.click("dialog[open] button[type=submit]")
	b.says(".done", "is snoozed until")
	b.says("#rules", "Wake")

	rule := gjson.Get(s.ask(http.MethodGet, "/v1/alerts", "", http.StatusOK), "items.0.id").String()
	b.everyView("/console/alerts/"+rule+"/try", "/console/alerts/"+rule+"/act?act=snooze", "/console/alerts/"+rule+"/act?act=delete")
}

// A comparison more is asked for once, by the mouse and by the keyboard, which both leave the focus on the button: what
// the form asks for after that is a check.
func TestConsoleRuleFormIsReshapedOnce(t *testing.T) {
	_, b, _ := newConsole(t)
	asked := func(what string) string {
		return fmt.Sprintf("performance.getEntriesByType('resource').filter((e) => new URL(e.name).pathname === '/console/alerts/%s').length", what)
	}
	b.open("/console/alerts/new")
	for i, press := range []func(){
		func() { b.click("#add-comparison") },
		func() { b.run("press enter", keys("\r")) },
	} {
		press()
		b.until("there is one more, which is checked", fmt.Sprintf("document.querySelector('#f-value-%d') !== null && %s + %s > %d", i+1, asked("form"), asked("check"), 2*i+1))
		require.Equal(t, i+1, eval[int](b, asked("form")), "it is asked for once")
		require.Equal(t, "add-comparison", eval[string](b, "document.activeElement.id"), "the focus stays")
		b.says("#check", fmt.Sprintf("Comparison %d, value: Needed.", i+2))
	}
	b.click("[aria-label='Remove comparison 2']")
	b.until("there is one less, which is checked", "document.querySelector('#f-value-2') === null && "+asked("check")+" > 2")
	b.fill("#f-name", "Restless")
	b.until("what is typed is checked", asked("check")+" > 3")
	require.Equal(t, 3, eval[int](b, asked("form")))
	require.Equal(t, 2, eval[int](b, "document.querySelectorAll('.comparison').length"))
}

// What goes wrong with an action is told where its reader is: in the dialog, which keeps what was typed.
func TestConsoleProblemInDialog(t *testing.T) {
	s, b, portfolio := newConsole(t)
	b.expect("status of 404")
	b.expect("ERR_BLOCKED")
	rule := gjson.Get(s.ask(http.MethodPost, "/v1/alerts", fmt.Sprintf(
		`{"name": "Restless", "user_id": "ada", "condition": {"type": "metric", "portfolio_id": %q, "metric": "volatility_1y", "op": ">", "value": 0.05}, "channels": {"inapp": true}}`,
		portfolio), http.StatusCreated), "id").String()
	b.open("/console/alerts/" + rule)
	b.click("#do-delete")
	b.fill("dialog[open] [name=reason]", "not needed")
	seen := func(text string) {
		t.Helper()
		b.says("dialog[open] [role=alert]", text)
		require.True(t, eval[bool](b, `(() => {
			const alert = document.querySelector("dialog[open] [role=alert]"), at = alert.getBoundingClientRect();
			return alert.contains(document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2));
		})()`), "nothing is before it")
		require.Equal(t, "not needed", eval[string](b, "document.querySelector('dialog[open] [name=reason]').value"))
		require.Empty(t, b.text("#notice"))
	}
	block := func(blocked bool) {
		t.Helper()
		call(b, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: []*network.BlockPattern{{URLPattern: b.base + "/console/alerts/*/act", Block: blocked}}})
	}
	block(true)
	b.click("dialog[open] button[type=submit]")
	seen("The API does not answer.")
	block(false)
	s.ask(http.MethodDelete, "/v1/alerts/"+rule, "", http.StatusNoContent)
	b.click("dialog[open] button[type=submit]")
	seen("there is no alert rule")
	require.Equal(t, 1, eval[int](b, "document.querySelectorAll('dialog[open] [role=alert] .problem').length"), "the former problem has gone")
	b.accessible("a problem in a dialog")
	b.fits("a problem in a dialog")
	b.click("dialog[open] [data-close]")
	b.until("the dialog is closed", "document.querySelector('dialog[open]') === null && document.querySelector('dialog').childElementCount === 0")
}

// everyView looks at pages in every window and preference.
func (b *browser) everyView(paths ...string) {
	b.t.Helper()
	for _, path := range paths {
		for _, v := range views {
			b.show(v.width, v.height, v.dark)
			b.open(path)
			b.accessible(path + ", " + v.name)
			b.fits(path + ", " + v.name)
		}
		b.show(720, 450, false) // 1440 x 900 at 200 %
		b.open(path)
		b.fits(path + " at 200 %")
	}
	b.show(views[0].width, views[0].height, views[0].dark)
}

// Somebody makes a destination, sees its secret once, tests it while it is broken and when it is repaired.
func TestConsoleDestinations(t *testing.T) {
	s, b, _ := newConsole(t)
	receiver := newHook(t)
	receiver.broken.Store(true)
	b.open("/console/destinations/new")
	b.until("there are the fields of a webhook", "document.querySelector('#d-to').closest('[data-for]').hidden && !document.querySelector('#d-url').closest('[data-for]').hidden")
	b.choose("#d-channel", "email")
	b.until("there are the fields of mail", "!document.querySelector('#d-to').closest('[data-for]').hidden && document.querySelector('#d-url').closest('[data-for]').hidden")
	b.accessible("a new destination of mail")
	b.choose("#d-channel", "webhook")
	b.fill("#d-name", "desk")
	b.fill("#d-url", receiver.URL+"/hook?token=geheim")
	b.follow("Store")
	b.says(".secret", "whsec_")
	b.accessible("a secret")
	b.fits("a secret")
	secret := b.text(".secret")
	b.follow("I have kept it")
	b.says("h1", "desk")
	b.follow("Send a test")
	b.says("#test", "The test message was not delivered: the receiver is broken.")
	b.says("#test", "the disk is full")
	b.accessible("a test that failed")
	receiver.broken.Store(false)
	b.follow("Send a test")
	b.says("#test", "The receiver has taken the test message.")
	require.Equal(t, int64(1), receiver.got.Load())

	b.follow("Rotate the secret")
	b.says("h1, dialog[open] h2", "Rotate the secret")
	b.accessible("a rotation")
	b.follow("Rotate")
	b.until("there is another secret", fmt.Sprintf("(document.querySelector('.secret')?.innerText ?? %[1]s) !== %[1]s", quote(secret)))
	b.follow("I have kept it")
	b.says("#destination-facts", "The former one signs, too")
	b.everyView("/console/destinations/desk/edit", "/console/destinations/desk/rotate", "/console/destinations/desk/act?act=disable", "/console/destinations/desk")
	b.follow("Disable")
	b.says("dialog[open]", "exhausted dead letters")
	b.click("dialog[open] button[type=submit]")
	b.says(".done", "disabled")
	b.follow("Delete")
	b.fill("dialog [name=reason]", "the desk is closed")
	b.click("dialog[open] button[type=submit]")
	b.says(".done", "The destination desk is deleted.")
	reasons := gjson.Get(s.ask(http.MethodGet, "/v1/audit?subject=destination", "", http.StatusOK), "items.#.action").Raw
	require.JSONEq(t, `["destination.delete", "destination.update", "destination.rotate_secret", "destination.create"]`, reasons)
}
