package claude

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// rest is what follows the whole part of a number, with what says in which unit it is.
const rest = `(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?` +
	`(\s?(?:%|(?i:percentage points|percent|basis points|bps|bp|thousand|million|billion|trillion|mn|bn|tn|k)\b))?`

// In prose a comma parts thousands; in JSON it parts numbers.
var (
	proseNumber = regexp.MustCompile(`(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+|[.][0-9]+)` + rest)
	dataNumber  = regexp.MustCompile(`(?:[0-9]+|[.][0-9]+)` + rest)
)

// identifiers are digits that count nothing.
var identifiers = regexp.MustCompile(`(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|@[0-9a-f]{12}\b|\b[0-9a-f]{32,}\b`)

// scales are what a number is worth by its unit, in the data's fractions and plain amounts.
var scales = map[string]float64{
	"%": 0.01, "percent": 0.01, "percentage points": 0.01, "basis points": 0.0001, "bps": 0.0001, "bp": 0.0001,
	"k": 1e3, "thousand": 1e3, "mn": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9, "tn": 1e12, "trillion": 1e12,
}

// stated is a number of a text.
type stated struct {
	text        string
	value       float64 // absolute, as it is written
	step        float64 // the worth of its last digit
	significant int     // digits
	scale       float64 // 1 without a unit
}

func numbersIn(text string, pattern *regexp.Regexp) []stated {
	var list []stated
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		unit := strings.ToLower(strings.TrimSpace(m[1]))
		literal := strings.ReplaceAll(strings.TrimSuffix(m[0], m[1]), ",", "")
		s := stated{text: strings.TrimSpace(m[0]), scale: 1}
		var err error
		if s.value, err = strconv.ParseFloat(literal, 64); err != nil {
			s.value = math.NaN() // beyond float64: no number of the data
		}
		if scale, ok := scales[unit]; ok {
			s.scale = scale
		}
		mantissa, exponent, _ := strings.Cut(strings.ToLower(literal), "e")
		_, decimals, _ := strings.Cut(mantissa, ".")
		e, _ := strconv.Atoi(exponent)
		s.step = math.Pow(10, float64(e-len(decimals)))
		s.significant = len(strings.TrimLeft(strings.Replace(mantissa, ".", "", 1), "0"))
		list = append(list, s)
	}
	return list
}

// roundedDigits is how many significant digits a number must have to count as another one rounded:
// with fewer, it is found by chance too easily.
const roundedDigits = 3

// ungrounded returns the first number of an answer that does not occur in the input, "" when all do.
//
// A number occurs when the input has the same one, whatever its sign, or one that it is with at least
// three significant digits, rounded. With a unit it may stand for a fraction or an amount: 13.68 % for
// 0.1368, 25 basis points for 0.0025, 1.44 million for 1444808.19. Digits of other scripts, fractions
// such as ½ and raised numbers never occur. What is spelt out in words is not looked at.
func ungrounded(answer, input string) string {
	for _, r := range answer {
		if r > unicode.MaxASCII && unicode.IsNumber(r) {
			return string(r)
		}
	}
	var known []float64
	for _, s := range numbersIn(identifiers.ReplaceAllString(input, " "), dataNumber) {
		if !math.IsNaN(s.value) {
			known = append(known, s.value)
		}
	}
	slices.Sort(known)
	has := func(low, high float64) bool {
		i, _ := slices.BinarySearch(known, low)
		return i < len(known) && known[i] <= high
	}
	const exact = 1e-12 // of the number itself: what scaling costs in binary
	for _, s := range numbersIn(answer, proseNumber) {
		found := false
		for _, scale := range []float64{1, s.scale} {
			// An amount in thousands is the amount: only fractions stand in the data as they are stated.
			if scale == 1 && s.scale > 1 {
				continue
			}
			tolerance := s.value * scale * exact
			if s.significant >= roundedDigits {
				tolerance += s.step * scale / 2
			}
			found = found || has(s.value*scale-tolerance, s.value*scale+tolerance)
		}
		if !found { // NaN is not, either
			return s.text
		}
	}
	return ""
}
