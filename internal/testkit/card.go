package testkit

import (
	"math"
	"regexp"
	"strconv"
	"testing"
)

// CardRow is a line of the table of figures in a model card: of an output its loss, that of
// averages, the ratio of both in per cent, and a figure for people.
type CardRow struct {
	Output  string
	figures [4]float64
}

var cardRow = regexp.MustCompile(`(?m)^\| (\w+) \| ([0-9.]+) \| ([0-9.]+) \| (\d+) % \| \S+ ([0-9.]+) `)

// CardRows returns the table of figures of a model card.
func CardRows(card []byte) (rows []CardRow) {
	for _, m := range cardRow.FindAllStringSubmatch(string(card), -1) {
		r := CardRow{Output: m[1]}
		for i := range r.figures {
			r.figures[i], _ = strconv.ParseFloat(m[i+2], 64) // digits and points; two points make 0
		}
		rows = append(rows, r)
	}
	return rows
}

// Check compares a row with what is true, to half a per cent.
func (r *CardRow) Check(t testing.TB, loss, averages, figure float64) {
	t.Helper()
	for i, want := range []float64{loss, averages, 100 * loss / averages, figure} {
		tol := 0.005 * want
		if i == 2 { // rounded to a per cent
			tol += 0.5
		}
		if !(math.Abs(r.figures[i]-want) <= tol) {
			t.Errorf("the card has %v for %s, and number %d is %.4f", r.figures, r.Output, i+1, want)
		}
	}
}
