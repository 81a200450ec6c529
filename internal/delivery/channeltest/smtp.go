package channeltest

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/textproto"
	"strings"

	"github.com/dawsos/dawsos/internal/delivery"
)

// SMTP is the wire of channels that send mail.
var SMTP Wire = smtpWire{}

type smtpWire struct{}

func (smtpWire) answers() []answer {
	all := []answer{{name: "250", cause: delivery.None}}
	for _, a := range []struct {
		stage  string
		status int
		cause  delivery.Cause
		retry  bool
	}{
		{"greeting", 421, delivery.SMTP4xx, true},
		{"greeting", 554, delivery.SMTP5xx, true}, // about us, not about the message
		{"EHLO", 421, delivery.SMTP4xx, true},
		{"MAIL", 451, delivery.SMTP4xx, true},
		{"MAIL", 550, delivery.SMTP5xx, false},
		{"RCPT", 450, delivery.SMTP4xx, true},
		{"RCPT", 452, delivery.SMTP4xx, true},
		{"RCPT", 550, delivery.SMTP5xx, false},
		{"RCPT", 553, delivery.SMTP5xx, false},
		{"DATA", 451, delivery.SMTP4xx, true},
		{"DATA", 554, delivery.SMTP5xx, false},
		{"", 421, delivery.SMTP4xx, true},
		{"", 452, delivery.SMTP4xx, true},
		{"", 552, delivery.SMTP5xx, false},
		{"", 554, delivery.SMTP5xx, false},
		{"QUIT", 554, delivery.None, false}, // it has the message
	} {
		all = append(all, answer{
			name:   fmt.Sprintf("%s %d", cmp.Or(a.stage, "message"), a.status),
			script: script{stage: a.stage, status: a.status}, cause: a.cause, retry: a.retry,
		})
	}
	return all
}

func (smtpWire) slow() delivery.Cause { return delivery.Timeout } // half a line says nothing

func (smtpWire) quoting() script { return script{stage: "RCPT", status: 550, quote: true} }

func (w smtpWire) converse(conn net.Conn, s script, record func(string)) {
	text := textproto.NewConn(conn)
	var told strings.Builder
	// answer says whether the conversation goes on.
	answer := func(stage string, status int, words string) bool {
		if stage == s.stage && s.status != 0 {
			status = s.status
		}
		line := fmt.Sprintf("%d %s", status, words)
		if stage == s.stage {
			if s.quote {
				line += " " + strings.ReplaceAll(told.String(), "\n", " ")
			}
			switch s.fault {
			case silent:
				_, _ = io.Copy(io.Discard, conn)
				return false
			case reset:
				_, _ = io.WriteString(conn, line[:2])
				resetConn(conn)
				return false
			case slow:
				_, _ = io.WriteString(conn, line[:2])
				_, _ = io.Copy(io.Discard, conn)
				return false
			}
		}
		return text.PrintfLine("%s", line) == nil
	}
	if !answer("greeting", 220, "mail.example.org ESMTP") {
		return
	}
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		told.WriteString(line + "\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		status, words := 250, "ok"
		switch verb {
		case "EHLO", "HELO":
			verb = "EHLO"
		case "DATA":
			status, words = 354, "go on"
		case "QUIT":
			status, words = 221, "bye"
		}
		if !answer(verb, status, words) || verb == "QUIT" {
			return
		}
		if verb != "DATA" || s.stage == "DATA" {
			continue
		}
		m, err := mail.ReadMessage(text.DotReader())
		if err != nil {
			return
		}
		record(m.Header.Get("Message-Id"))
		if _, err := io.Copy(io.Discard, m.Body); err != nil || !answer("", 250, "queued") {
			return
		}
	}
}
