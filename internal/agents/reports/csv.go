package reports

import (
	"bytes"
	"encoding/csv"
	"regexp"
	"strings"
	"unicode"
)

// writeCSV writes every value as one record of section, item, field and value (RFC 4180: commas,
// CRLF, UTF-8). Values are as the answers have them; a figure that is not known is empty.
func writeCSV(d document) ([]byte, *int, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	write := func(section, item, field, value string) {
		_ = w.Write([]string{neutral(section), neutral(item), neutral(field), neutral(value)}) // w.Error has it
	}
	tables := func(section string, all ...table) {
		for _, t := range all {
			for _, r := range t.Rows {
				for i, c := range t.Columns {
					if c.Field == "name" && t.ID != "position" && t.ID != "regime_input" {
						continue // the item says it
					}
					write(section, t.ID+":"+r.Item, c.Field, r.Cells[i].Raw)
				}
			}
		}
	}
	write("section", "item", "field", "value")
	write("report", "title", "value", d.Title)
	tables("report", d.Facts)
	for _, s := range d.Sections {
		if s.Absent != "" {
			write(s.ID, "section", "absent", s.Absent)
		}
		tables(s.ID, s.Tables...)
	}
	for _, g := range d.Gaps {
		write("insufficient_data", g.Field, "missing", g.Missing)
		write("insufficient_data", g.Field, "reason", g.Reason)
	}
	tables("sources", d.Sources)
	w.Flush()
	return b.Bytes(), nil, w.Error()
}

var (
	numeral = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	// afterSemicolon is what some spreadsheets, where the comma is the decimal sign, take for the
	// start of a cell.
	afterSemicolon = regexp.MustCompile(`(;[\s\p{C}"]*)([=+\-@＝＋－＠])`)
)

// neutral keeps a spreadsheet from taking a text for a formula (OWASP, CSV Injection): what would
// start with one of = + - @, or their full-width forms, gets an apostrophe before it, also when
// spaces, quotes or invisible characters come first. Numbers stay as they are. Control characters become spaces, so that no text spans lines or cells.
func neutral(s string) string {
	if numeral.MatchString(s) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = afterSemicolon.ReplaceAllString(s, "$1'$2")
	start := strings.TrimLeftFunc(s, func(r rune) bool { return r == '"' || unicode.IsSpace(r) || unicode.Is(unicode.C, r) })
	if strings.ContainsAny(firstRune(start), "=+-@＝＋－＠") {
		return "'" + s
	}
	return s
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}
