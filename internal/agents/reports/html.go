package reports

import (
	"bytes"
	_ "embed"
	"html/template"
)

//go:embed report.html.tmpl
var page string

// html escapes by context: whatever a name holds stays text.
var html = template.Must(template.New("report").Parse(page))

// writeHTML writes one file that needs nothing else and runs nothing.
func writeHTML(d document) ([]byte, *int, error) {
	var b bytes.Buffer
	err := html.Execute(&b, d)
	return b.Bytes(), nil, err
}
