package testkit

import (
	"io/fs"
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

// CardRows returns the table of figures of the card of a model in the box, whose weights have at
// most 6 MB.
func CardRows(t testing.TB, model fs.FS) (rows []CardRow) {
	t.Helper()
	info, err := fs.Stat(model, "model.safetensors")
	if err != nil || info.Size() > 6_000_000 {
		t.Fatalf("%d bytes, %v", info.Size(), err)
	}
	card, err := fs.ReadFile(model, "README.md")
	if err != nil {
		t.Fatal(err)
	}
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
