package reports

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"unicode"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
)

// Measures of the page, in millimetres (A4 upright).
const (
	margin     = 15.0
	width      = 210 - 2*margin
	bottom     = 18.0
	lineHeight = 5.0
	padding    = 1.0
	fontSize   = 8.5 // points
)

// The Go fonts (Bigelow & Holmes, BSD-3-Clause) cover WGL4: Latin with its diacritics, Greek and
// Cyrillic. They come with golang.org/x/image and go into the file as the subset that it uses.
const family = "go"

// writePDF writes an A4 document with its text selectable. All that could differ between two runs
// (dates, order of objects) is fixed.
//
// It is set twice: the first time tells how many pages there are. The library would put the number in
// later, wherever its placeholder stands, in a name of ours too.
func writePDF(d document) ([]byte, *int, error) {
	pages := set(d, 0).PageCount()
	var b bytes.Buffer
	err := set(d, pages).Output(&b)
	return b.Bytes(), &pages, err
}

// set sets a document of which the number of pages is known.
func set(d document, pages int) *paper {
	p := &paper{Fpdf: fpdf.New("P", "mm", "A4", "")}
	p.SetCreationDate(d.Created)
	p.SetModificationDate(d.Created)
	p.SetCatalogSort(true)
	p.SetProducer("DawsOS", true)
	p.SetCreator("DawsOS", true)
	p.SetTitle(shown(d.Title+", "+d.Asof), true)
	p.SetSubject("Portfolio report as of "+d.Asof, true)
	p.SetLang("en")
	p.SetMargins(margin, margin, margin)
	p.SetAutoPageBreak(true, bottom)
	p.SetCellMargin(padding)
	p.AddUTF8FontFromBytes(family, "", goregular.TTF)
	p.AddUTF8FontFromBytes(family, "B", gobold.TTF)
	p.SetFooterFunc(func() {
		p.SetY(-12)
		p.SetFont(family, "", 7.5)
		p.SetTextColor(90, 90, 90)
		p.CellFormat(width/2, 5, shown(d.Title+", as of "+d.Asof), "", 0, "L", false, 0, "")
		p.CellFormat(width/2, 5, fmt.Sprintf("page %d of %d", p.PageNo(), pages), "", 0, "R", false, 0, "")
		p.SetTextColor(0, 0, 0)
	})
	p.AddPage()
	p.SetFont(family, "B", 18)
	p.MultiCell(width, 8, shown(d.Title), "", "L", false)
	p.SetFont(family, "", 10)
	p.MultiCell(width, 6, "As of "+d.Asof, "", "L", false)
	for _, s := range d.Sections {
		p.heading(s.Title)
		if s.Absent != "" {
			p.paragraph(s.Absent)
		}
		for _, t := range s.Tables {
			p.table(t)
		}
	}
	p.heading("What is missing")
	if len(d.Gaps) == 0 {
		p.paragraph("Nothing that the figures above need.")
	}
	for _, g := range d.Gaps {
		p.paragraph("• " + g.Sentence())
	}
	p.heading("What this was computed from")
	p.table(d.Facts)
	p.table(d.Sources)
	p.paragraph("The trace of the run that this report came with lists every source that was read.")
	return p
}

// paper is a document in the making.
type paper struct{ *fpdf.Fpdf }

// room starts a page unless there is space for height more.
func (p *paper) room(height float64) {
	_, h := p.GetPageSize()
	if p.GetY()+height > h-bottom {
		p.AddPage()
	}
}

func (p *paper) heading(title string) {
	p.room(30)
	p.Ln(5)
	p.SetFont(family, "B", 13)
	p.Bookmark(title, 0, -1)
	p.MultiCell(width, 7, title, "", "L", false)
	p.Ln(1)
}

func (p *paper) paragraph(s string) {
	p.SetFont(family, "", 9)
	p.MultiCell(width, lineHeight, shown(s), "", "L", false)
	p.Ln(1)
}

// table writes rows whose cells may take several lines; the columns' titles stand on every page.
func (p *paper) table(t table) {
	if len(t.Rows) == 0 {
		return
	}
	sum := 0.0
	for _, c := range t.Columns {
		sum += c.Width
	}
	widths := make([]float64, len(t.Columns))
	titles := row{Total: true}
	for i, c := range t.Columns {
		widths[i] = width * c.Width / sum
		titles.Cells = append(titles.Cells, cell{Text: c.Title})
	}
	titled := t.Columns[0].Title != ""
	p.room(4 * lineHeight)
	if t.Title != "" {
		p.SetFont(family, "B", 10)
		p.MultiCell(width, 6, shown(t.Title), "", "L", false)
	}
	if titled {
		p.row(t.Columns, widths, titles, nil)
	}
	for _, r := range t.Rows {
		p.row(t.Columns, widths, r, func() {
			if titled {
				p.row(t.Columns, widths, titles, nil)
			}
		})
	}
	p.Ln(3)
}

// maxCellLines bounds the height of a row; a text that goes on ends with an ellipsis.
const maxCellLines = 6

// row writes one row. When it begins a new page, onBreak comes before it.
func (p *paper) row(columns []column, widths []float64, r row, onBreak func()) {
	style := ""
	if r.Total {
		style = "B"
	}
	p.SetFont(family, style, fontSize)
	lines, height := make([][]string, len(columns)), 1
	for i, c := range r.Cells {
		lines[i] = p.wrap(shown(c.Text), widths[i]-2*padding)
		height = max(height, len(lines[i]))
	}
	_, pageHeight := p.GetPageSize()
	if p.GetY()+float64(height)*lineHeight > pageHeight-bottom {
		p.AddPage()
		if onBreak != nil {
			onBreak()
		}
		p.SetFont(family, style, fontSize)
	}
	x, y := margin, p.GetY()
	for i, c := range columns {
		align := "L"
		if c.Numeric {
			align = "R"
		}
		for n, l := range lines[i] {
			p.SetXY(x, y+float64(n)*lineHeight)
			p.CellFormat(widths[i], lineHeight, l, "", 0, align, false, 0, "")
		}
		x += widths[i]
	}
	y += float64(height) * lineHeight
	p.SetDrawColor(190, 190, 190)
	p.SetLineWidth(0.1)
	p.Line(margin, y, margin+width, y)
	p.SetXY(margin, y)
}

// wrap breaks a text at spaces, and within a word that is wider than its cell.
func (p *paper) wrap(s string, room float64) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		next := word
		if line != "" {
			next = line + " " + word
		}
		if p.GetStringWidth(next) <= room {
			line = next
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		line = ""
		for _, r := range word {
			if line != "" && p.GetStringWidth(line+string(r)) > room {
				lines, line = append(lines, line), ""
				if len(lines) > maxCellLines {
					break
				}
			}
			line += string(r)
		}
		if len(lines) > maxCellLines {
			break
		}
	}
	lines = append(lines, line)
	if len(lines) > maxCellLines {
		lines = lines[:maxCellLines]
		lines[maxCellLines-1] += "…"
	}
	return lines
}

// typeface tells which characters the fonts have.
var typeface = sync.OnceValue(func() *sfnt.Font {
	f, err := sfnt.Parse(goregular.TTF)
	if err != nil { // it comes with the binary
		panic(err)
	}
	return f
})

// shown is a text as the fonts can show it: what they lack becomes a question mark, and control
// characters spaces.
func shown(s string) string {
	var b sfnt.Buffer
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.IsSpace(r) {
			return ' '
		}
		if r > 0xFFFF {
			return '?'
		}
		if i, err := typeface().GlyphIndex(&b, r); err != nil || i == 0 {
			return '?'
		}
		return r
	}, s)
}
