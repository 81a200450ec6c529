package delivery_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
)

func someDelivery() delivery.Delivery {
	return delivery.Delivery{
		Event: delivery.Event{
			ID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), TenantID: "default",
			AlertID: "nav-drop", UserID: "ada", Title: "NAV fell 3 %", Message: "It fell <by> 3 % & more.",
			Severity: delivery.Warning, Data: json.RawMessage(`{"portfolio": "Sample CHF", "change": -0.03}`),
		},
		Target:  delivery.Target{Channel: "webhook", URL: "https://example.org/hook"},
		Attempt: 1,
	}
}

func hash(t *testing.T, d delivery.Delivery) string {
	t.Helper()
	h, err := d.ContentHash()
	require.NoError(t, err)
	return h
}

// The vectors are printf '%s' '<canonical JSON>' | sha256sum: content hashes are stored and
// compared across releases, so the form must not drift.
func TestContentHashVectors(t *testing.T) {
	t.Parallel()
	// {"alert_id":"nav-drop","channel":"webhook","data":{"change":-3e-2,"portfolio":"Sample CHF"},"message":"It fell \u003cby\u003e 3 % \u0026 more.","title":"NAV fell 3 %","user_id":"ada"}
	require.Equal(t, "276134a5ebfe93d725212eca8f19e627d446d8e4e3b20ca40c15aba6595372a2", hash(t, someDelivery()))

	// {"alert_id":"","channel":"inapp","data":{},"message":"","title":"","user_id":""}
	empty := delivery.Delivery{Event: delivery.Event{Data: json.RawMessage("{}")}, Target: delivery.Target{Channel: "inapp"}}
	require.Equal(t, "636d8e084b82f47e5d5982405d528c886ccbc62ff7cd12d0bf5b52511989cd0b", hash(t, empty))
}

func TestContentHashIgnoresHowDataIsWritten(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"order and space":   {`{"a": 1, "b": {"c": [1, 2], "d": null}}`, "{\"b\":{\"d\":null,\"c\":[1,2]},\n\t\"a\":1}"},
		"escapes":           {`{"é": "<"}`, `{"\u00e9": "\u003c"}`},
		"whole numbers":     {`[100, 0]`, `[1e2, 0.0]`, `[100.00, -0]`, `[1.0E+2, 0e7]`, `[10000e-2, 0]`},
		"fractions":         {`[0.25]`, `[25e-2]`, `[0.250]`, `[2.5e-1]`},
		"more than float64": {`[12345678901234567890.5]`, `[1234567890123456789050e-2]`},
	}
	for name, forms := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := someDelivery()
			d.Event.Data = json.RawMessage(forms[0])
			want := hash(t, d)
			for _, form := range forms[1:] {
				d.Event.Data = json.RawMessage(form)
				require.Equal(t, want, hash(t, d), form)
			}
		})
	}
}

func TestContentHashTellsContentsApart(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*delivery.Delivery){
		"alert":   func(d *delivery.Delivery) { d.Event.AlertID += "x" },
		"user":    func(d *delivery.Delivery) { d.Event.UserID += "x" },
		"title":   func(d *delivery.Delivery) { d.Event.Title += "x" },
		"message": func(d *delivery.Delivery) { d.Event.Message += "x" },
		"channel": func(d *delivery.Delivery) { d.Target.Channel = "inapp" },
		"value": func(d *delivery.Delivery) {
			d.Event.Data = json.RawMessage(`{"portfolio":"Sample CHF","change":-0.031}`)
		},
		"sign":  func(d *delivery.Delivery) { d.Event.Data = json.RawMessage(`{"portfolio":"Sample CHF","change":0.03}`) },
		"scale": func(d *delivery.Delivery) { d.Event.Data = json.RawMessage(`{"portfolio":"Sample CHF","change":-0.3}`) },
		"type": func(d *delivery.Delivery) {
			d.Event.Data = json.RawMessage(`{"portfolio":"Sample CHF","change":"-0.03"}`)
		},
		"key": func(d *delivery.Delivery) {
			d.Event.Data = json.RawMessage(`{"portfolios":"Sample CHF","change":-0.03}`)
		},
		"digits beyond float64": func(d *delivery.Delivery) {
			d.Event.Data = json.RawMessage(`{"portfolio":"Sample CHF","change":-0.0300000000000000000000001}`)
		},
		// Text that moves from one field to the next is other content.
		"border": func(d *delivery.Delivery) { d.Event.Title, d.Event.Message = d.Event.Title+"It", d.Event.Message[2:] },
	}
	seen := map[string]string{hash(t, someDelivery()): "unchanged"}
	for name, change := range changes {
		d := someDelivery()
		change(&d)
		h := hash(t, d)
		require.NotContains(t, seen, h, "%s and %s have the same hash", name, seen[h])
		seen[h] = name
	}
}

// What is not content: the same message is a duplicate whenever and however often it is sent.
func TestContentHashIgnoresTheEventsIdentity(t *testing.T) {
	t.Parallel()
	d := someDelivery()
	want := hash(t, d)
	d.Event.ID, d.Event.TraceParent, d.Event.AcceptedAt = uuid.New(), "00-...", d.Event.AcceptedAt.AddDate(0, 0, 1)
	d.Attempt, d.Event.Severity = 4, delivery.Critical
	require.Equal(t, want, hash(t, d))
}

func TestContentHashRefusesDataThatIsNoJSON(t *testing.T) {
	t.Parallel()
	d := someDelivery()
	d.Event.Data = json.RawMessage(`{"a":`)
	_, err := d.ContentHash()
	require.ErrorContains(t, err, d.Event.ID.String())
}

func FuzzContentHashOfNumbers(f *testing.F) {
	f.Add("1e2", "100")
	f.Add("-0.050", "-5e-2")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !json.Valid([]byte(a)) || !json.Valid([]byte(b)) {
			return
		}
		x, errX := strconv.ParseFloat(a, 64)
		y, errY := strconv.ParseFloat(b, 64)
		if errX != nil || errY != nil {
			return
		}
		first, second := someDelivery(), someDelivery()
		first.Event.Data, second.Event.Data = json.RawMessage(a), json.RawMessage(b)
		same := hash(t, first) == hash(t, second)
		if same && x != y {
			t.Fatalf("%s and %s are told as one", a, b)
		}
		// Few digits and a small exponent: float64 tells such numbers apart exactly.
		if small := len(a) < 10 && len(b) < 10 && !strings.ContainsAny(a+b, "eE"); small && !same && x == y {
			t.Fatalf("%s and %s are told apart", a, b)
		}
	})
}

func TestMessageIDIsOfTheEventAndChannelOnly(t *testing.T) {
	t.Parallel()
	d := someDelivery()
	want := "msg_01890a5d-ac96-774b-bcce-b302099a8057_webhook"
	require.Equal(t, want, d.MessageID())
	d.Attempt, d.Event.Title, d.Target.URL = 7, "other", "https://example.org/other"
	require.Equal(t, want, d.MessageID())
	d.Target.Channel = "inapp"
	require.NotEqual(t, want, d.MessageID())
	// The Standard Webhooks specification joins id, time and body with dots before it signs.
	require.False(t, bytes.ContainsRune([]byte(want), '.'))
}
