package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// results is the output of benchmarks whose ns/image is 3e6·n^0.5 in the median,
// with one bad line for each point, beside other benchmarks.
func results() string {
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
	measured := map[key][]float64{}
	if err := read(measured, strings.NewReader(results())); err != nil {
		t.Fatal(err)
	}
	curves := fit(measured)
	if len(curves) != 1 || curves[0].name != "tokens pass=forward threads=2" {
		t.Fatalf("got %d curves, want that of tokens: one of a single point has no exponent", len(curves))
	}
	c := curves[0]
	if math.Abs(c.exponent-0.5) > 1e-9 || math.Abs(c.at(16)-12e6) > 1 || c.err > 1e-6 || c.r2 < 1-1e-9 {
		t.Errorf("exponent %g ± %g, %g at 16, R² %g; want 0.5, 12e6 and 1", c.exponent, c.err, c.at(16), c.r2)
	}
}

func TestRun(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "c.svg")
	var out strings.Builder
	if err := run(nil, svg, strings.NewReader(results()), &out); err != nil {
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
			t.Fatalf("the picture is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if circles != 4 {
		t.Errorf("the picture has %d points, want 4", circles)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ input, want string }{
		{"BenchmarkCurve/of=x/n=0 1 1 ns/op 1 ns/image\n", "n is"},
		{"BenchmarkCurve/of=x/n=1 1 1 ns/op nan ns/image\n", "ns/image is"},
		{"PASS\n", "found no curve"},
	} {
		if err := run(nil, "", strings.NewReader(c.input), io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want an error with %q", c.input, err, c.want)
		}
	}
}
