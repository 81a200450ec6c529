package reports

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/shopspring/decimal"
)

// unknown stands where a figure is null; the reasons are at the end of the document.
var unknown = cell{Text: "not known"}

// maxExponent bounds the digits that a figure is written with: 1e9999 is a number too.
const maxExponent = 40

// format writes a number for people; the raw text stays as it is.
func (c cell) format(n *json.Number, write func(decimal.Decimal) string) cell {
	if n == nil {
		return unknown
	}
	c = cell{Text: n.String(), Raw: n.String()}
	d, err := decimal.NewFromString(n.String())
	if err == nil && d.Exponent() < maxExponent && d.Exponent() > -1000 {
		c.Text = write(d)
	}
	return c
}

// money is an amount with two decimals and thousands set apart.
func money(n *json.Number) cell {
	return cell{}.format(n, func(d decimal.Decimal) string { return grouped(d.StringFixed(2)) })
}

// plain is a quantity or a price with the decimals that it has, up to six.
func plain(n *json.Number) cell {
	return cell{}.format(n, func(d decimal.Decimal) string { return grouped(d.Round(6).String()) })
}

// percent is a fraction as a percentage with two decimals.
func percent(n *json.Number) cell {
	return cell{}.format(n, func(d decimal.Decimal) string { return grouped(d.Shift(2).StringFixed(2)) + " %" })
}

// ratio is a number with four decimals.
func ratio(n *json.Number) cell {
	return cell{}.format(n, func(d decimal.Decimal) string { return grouped(d.StringFixed(4)) })
}

// grouped sets thousands apart: -1234567.5 is -1,234,567.5.
func grouped(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	var b strings.Builder
	b.WriteString(sign)
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	if fraction != "" {
		b.WriteByte('.')
		b.WriteString(fraction)
	}
	return b.String()
}

func number(n *json.Number) float64 {
	if n == nil {
		return 0
	}
	f, _ := n.Float64()
	return f
}

// words makes a name of ours readable: early_expansion is Early expansion.
func words(name string) string {
	name = strings.ReplaceAll(name, "_", " ")
	_, first := utf8.DecodeRuneInString(name)
	return strings.ToUpper(name[:first]) + name[first:]
}
