package macro_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/portfolio"
)

const (
	sampleDir    = "../../configs/sample"
	analyticsDir = "../../configs/analytics"
)

func day(t testing.TB, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	require.NoError(t, err)
	return d
}

func records(name string) ([][]string, error) {
	f, err := os.Open(filepath.Join(sampleDir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	return rows[1:], nil
}

// readSample reads the macro data of configs/sample.
var readSample = sync.OnceValues(func() (macro.Panel, error) {
	rows, err := records("macro_series.csv")
	if err != nil {
		return nil, err
	}
	panel := macro.Panel{}
	for _, r := range rows {
		panel[r[0]] = macro.Observed{Info: macro.Info{Name: r[0], Unit: r[1], Frequency: macro.Frequency(r[2])}}
	}
	if rows, err = records("macro.csv"); err != nil {
		return nil, err
	}
	for _, r := range rows {
		d, err := time.Parse(time.DateOnly, r[1])
		if err != nil {
			return nil, err
		}
		v, err := strconv.ParseFloat(r[2], 64)
		if err != nil {
			return nil, err
		}
		o := panel[r[0]]
		o.Points = append(o.Points, portfolio.Point{Date: d, Value: v})
		panel[r[0]] = o
	}
	return panel, nil
})

func sample(t testing.TB) macro.Panel {
	t.Helper()
	panel, err := readSample()
	require.NoError(t, err)
	return panel
}

func config(t testing.TB) macro.Config {
	t.Helper()
	cfg, err := macro.LoadConfig(analyticsDir)
	require.NoError(t, err)
	return cfg
}

func detector(t testing.TB, m macro.Model, panel macro.Panel, s macro.Settings) *macro.Detector {
	t.Helper()
	d, err := macro.NewDetector(m, panel, s)
	require.NoError(t, err)
	return d
}
