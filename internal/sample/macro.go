package sample

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dawsos/dawsos/internal/imports"
)

// table is a small CSV file of the sample.
type table struct {
	name    string
	columns []string
	records [][]string
	lines   []int // by record
}

// readTable reads a file that has exactly these columns.
func readTable(dir, name, columns string) (table, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return table{}, err
	}
	defer f.Close() // read only: nothing can be lost
	t := table{name: name, columns: strings.Split(columns, ",")}
	in := csv.NewReader(f)
	in.FieldsPerRecord = len(t.columns)
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if bad, ok := errors.AsType[*csv.ParseError](err); ok {
			return table{}, fmt.Errorf("%s, line %d: %w", name, bad.StartLine, bad.Err)
		}
		if err != nil {
			return table{}, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := in.FieldPos(0)
		t.records, t.lines = append(t.records, record), append(t.lines, line)
	}
	if len(t.records) == 0 || !slices.Equal(t.records[0], t.columns) {
		return table{}, fmt.Errorf("%s, line 1: the columns must be %s", name, columns)
	}
	t.records, t.lines = t.records[1:], t.lines[1:]
	return t, nil
}

// Columns of the files that are not imported as they are, and of securities.csv.
const (
	securityColumns    = "symbol,name,asset_class,sector,currency,role,first_date,last_date"
	macroSeriesColumns = "series,unit,frequency,origin,first_date,last_date,rows"
	macroColumns       = "series,date,value"
	factorColumns      = "date,rf,mkt_excess,smb,hml"
)

// The columns of factors.csv become macro series like any other.
var factorSeries = []string{"FF_RF", "FF_MKT_EXCESS", "FF_SMB", "FF_HML"} // by column behind the date

const (
	factorUnit   = "simple daily return"
	factorOrigin = "gmm"
)

// macroRow is a row of an import. What declares the series stands in its first.
type macroRow struct {
	Series    string `json:"series"`
	Date      string `json:"date"`
	Value     string `json:"value"`
	Unit      string `json:"unit,omitempty"`
	Frequency string `json:"frequency,omitempty"`
	Origin    string `json:"origin,omitempty"`
}

// place is where a row of a composed file comes from.
type place struct {
	file   string
	line   int
	column string // of the value
}

// macroFile is one import of what three files hold: the series of macro_series.csv with their values
// from macro.csv, and those of factors.csv.
type macroFile struct {
	body   bytes.Buffer       // NDJSON
	places []place            // by row
	seen   map[[2]string]bool // series and date
}

// readMacro composes the file. It fails when macro_series.csv does not say of macro.csv what is true:
// of a file that was cut off, above all.
func readMacro(dir string) (*macroFile, error) {
	series, err := readTable(dir, "macro_series.csv", macroSeriesColumns)
	if err != nil {
		return nil, err
	}
	values, err := readTable(dir, "macro.csv", macroColumns)
	if err != nil {
		return nil, err
	}
	factors, err := readTable(dir, "factors.csv", factorColumns)
	if err != nil {
		return nil, err
	}
	type found struct {
		rows        int
		first, last string
	}
	seen := make(map[string]*found, len(series.records))
	declared := make(map[string][]string, len(series.records))
	for i, s := range series.records {
		if declared[s[0]] != nil {
			return nil, fmt.Errorf("%s, line %d: %s stands twice", series.name, series.lines[i], s[0])
		}
		declared[s[0]], seen[s[0]] = s, &found{}
	}
	m := &macroFile{seen: map[[2]string]bool{}}
	for i, v := range values.records {
		s, f := declared[v[0]], seen[v[0]]
		if s == nil {
			return nil, fmt.Errorf("%s, line %d: there is no series %s in %s", values.name, values.lines[i], v[0], series.name)
		}
		row := macroRow{Series: v[0], Date: v[1], Value: v[2]}
		if f.rows++; f.rows == 1 {
			row.Unit, row.Frequency, row.Origin = s[1], s[2], s[3]
			f.first, f.last = v[1], v[1]
		}
		f.first, f.last = min(f.first, v[1]), max(f.last, v[1])
		if err := m.add(row, place{values.name, values.lines[i], "value"}); err != nil {
			return nil, err
		}
	}
	for i, s := range series.records {
		f := seen[s[0]]
		if s[4] != f.first || s[5] != f.last || s[6] != strconv.Itoa(f.rows) {
			return nil, fmt.Errorf("%s, line %d: %s has %d values of %s from %s to %s", series.name, series.lines[i], values.name, f.rows, s[0], f.first, f.last)
		}
	}
	for i, v := range factors.records {
		for j, name := range factorSeries {
			row := macroRow{Series: name, Date: v[0], Value: v[j+1]}
			if i == 0 {
				row.Unit, row.Frequency, row.Origin = factorUnit, "daily", factorOrigin
			}
			if err := m.add(row, place{factors.name, factors.lines[i], factors.columns[j+1]}); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// add writes a row. That one stands twice would be found by the import, too, but in lines of no file.
func (m *macroFile) add(row macroRow, from place) error {
	key := [2]string{row.Series, row.Date}
	if m.seen[key] {
		return fmt.Errorf("%s, line %d: there is a value of %s on %s already", from.file, from.line, row.Series, row.Date)
	}
	m.seen[key] = true
	m.places = append(m.places, from)
	return json.NewEncoder(&m.body).Encode(row)
}

// refused says which row of which file was not taken, and why.
func (m *macroFile) refused(err error) error {
	bad, ok := errors.AsType[*imports.RefusedError](err)
	if !ok || len(bad.First) == 0 {
		return fileError("macro.csv", err)
	}
	first := bad.First[0]
	p := m.places[first.Row-1]
	if first.Column == "value" {
		first.Column = p.column
	}
	if first.Column != "" {
		first.Column = ", column " + first.Column
	}
	return fmt.Errorf("%s, line %d%s: %s%s", p.file, p.line, first.Column, first.Detail, more(bad.Total))
}

// more says how many problems there are besides the one that is named.
func more(problems int64) string {
	if problems < 2 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", problems-1)
}
