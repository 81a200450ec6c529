package email

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/mail"
	"strings"
	texttemplate "text/template"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/dawsos/dawsos/internal/delivery"
)

var (
	//go:embed message.txt.tmpl
	textSource string
	//go:embed message.html.tmpl
	htmlSource string

	textTemplate = texttemplate.Must(texttemplate.New("text").Parse(textSource))
	htmlTemplate = template.Must(template.New("html").Parse(htmlSource))
)

// view is what the templates show.
type view struct {
	Title, Message string
	Severity       delivery.Severity
	AlertID        string
	EventID        string
	AcceptedAt     string
	Data           string // indented JSON, "" where there is none
}

// compose writes the message of d.
func (c *Channel) compose(d delivery.Delivery) (*gomail.Msg, error) {
	e := d.Event
	v := view{
		Title: oneLine(e.Title), Message: e.Message, Severity: e.Severity,
		AlertID: oneLine(e.AlertID), EventID: e.ID.String(), AcceptedAt: e.AcceptedAt.UTC().Format(time.RFC3339),
	}
	if data := bytes.TrimSpace(e.Data); len(data) > 0 && string(data) != "{}" {
		var indented bytes.Buffer
		if err := json.Indent(&indented, data, "", "  "); err != nil {
			return nil, err
		}
		v.Data = indented.String()
	}
	var text, html bytes.Buffer
	if err := textTemplate.Execute(&text, v); err != nil {
		return nil, err
	}
	if err := htmlTemplate.Execute(&html, v); err != nil {
		return nil, err
	}

	m := gomail.NewMsg()
	from := c.o.From
	m.FromMailAddress(&from)
	to := make([]*mail.Address, len(d.Endpoint.To))
	for i, address := range d.Endpoint.To {
		to[i] = &mail.Address{Address: address}
	}
	m.ToMailAddress(to...)
	m.Subject(v.Title)
	m.SetDateWithValue(c.o.Now())
	m.SetMessageIDWithValue(d.MessageID() + "@" + c.domain)
	m.SetUserAgent("DawsOS/" + c.o.Version)
	m.SetGenHeader("List-Id", "<"+listLabel(e.AlertID)+".alerts."+c.domain+">")
	// Answers by machines, such as those of people on leave, must not come back.
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetGenHeader("X-DawsOS-Event-Id", v.EventID)
	m.SetGenHeader("X-DawsOS-Severity", string(e.Severity))
	if e.Severity == delivery.Critical {
		m.SetImportance(gomail.ImportanceHigh)
	}
	m.SetBodyString(gomail.TypeTextPlain, text.String())
	m.AddAlternativeString(gomail.TypeTextHTML, html.String())
	return m, nil
}

// oneLine makes s fit for a header: what is a control character, a line's end among them, becomes
// a space.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Join(strings.Fields(s), " ")
}

// maxLabel bounds the readable part of a list's label; a label of a name has at most 63 characters.
const maxLabel = 40

// listLabel makes the label of an alert's list id: the alert's own id where that can be one, else what
// is readable of it and a hash, so that different alerts have different lists.
func listLabel(alertID string) string {
	if alertID == "" {
		return "none"
	}
	readable := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, alertID), "-")
	if readable == alertID && len(readable) <= maxLabel {
		return readable
	}
	sum := sha256.Sum256([]byte(alertID))
	return strings.TrimLeft(fmt.Sprintf("%s-%x", strings.TrimRight(readable[:min(len(readable), maxLabel)], "-"), sum[:5]), "-")
}
