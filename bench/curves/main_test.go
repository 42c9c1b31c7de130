package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// output is what go test prints for benchmarks that take 3e6·n^0.5 ns per image in the median,
// with one outlier at each point, beside other benchmarks.
func output() string {
	var s strings.Builder
	s.WriteString("simd: avx512\nBenchmarkForward/model=base/batch=1/threads=2-2 1 5 ns/op 7 ns/image\n")
	for _, n := range []int{4, 16, 64, 256} {
		ns := 3e6 * math.Sqrt(float64(n))
		for _, f := range []float64{1, 9, 1, 0.9, 1.1} {
			fmt.Fprintf(&s, "BenchmarkCurve/of=tokens/n=%d/pass=forward/threads=2-2 \t 3\t 1 ns/op\t %f ns/image\t 2 %%peak\n", n, f*ns)
		}
	}
	return s.String() + "BenchmarkCurve/of=batch/n=1/pass=forward/threads=2-2 3 1 ns/op 5 ns/image\nPASS\n"
}

func TestFit(t *testing.T) {
	measured := map[point][]float64{}
	if err := read(measured, strings.NewReader(output()), "output"); err != nil {
		t.Fatal(err)
	}
	curves := fit(measured)
	if len(curves) != 1 || curves[0].name != "tokens pass=forward threads=2" {
		t.Fatalf("got %d curves, want only that of tokens: the other has a single point", len(curves))
	}
	c := curves[0]
	if math.Abs(c.exponent-0.5) > 1e-9 || math.Abs(c.at(16)-12e-3) > 1e-9 || c.err > 1e-6 || c.r2 < 1-1e-9 {
		t.Errorf("exponent %g ± %g, %g s at 16, R² %g; want 0.5, 0.012 s and 1", c.exponent, c.err, c.at(16), c.r2)
	}
}

func TestRun(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "c.svg")
	var out strings.Builder
	if err := run(nil, svg, strings.NewReader(output()), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "4–256") || !strings.Contains(out.String(), "0.50 ± 0.00") {
		t.Errorf("the table has no range or exponent:\n%s", out.String())
	}
	b, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	circles := 0
	for d := xml.NewDecoder(strings.NewReader(string(b))); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("the image is not well-formed XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if circles != 4 {
		t.Errorf("the image has %d points, want 4", circles)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, input string
		key         string // of a valueError; "" for errNoCurve
	}{
		{"n of zero", "BenchmarkCurve/of=x/n=0 1 1 ns/op 1 ns/image\n", "n"},
		{"time is not a number", "BenchmarkCurve/of=x/n=1 1 1 ns/op nan ns/image\n", "ns/image"},
		{"no curve", "PASS\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := run(nil, "", strings.NewReader(c.input), io.Discard)
			var value *valueError
			switch {
			case c.key == "" && !errors.Is(err, errNoCurve):
				t.Errorf("got %v, want errNoCurve", err)
			case c.key != "" && (!errors.As(err, &value) || value.key != c.key):
				t.Errorf("got %v, want an error of %s", err, c.key)
			}
		})
	}
}
