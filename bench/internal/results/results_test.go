package results

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"
)

func TestRead(t *testing.T) {
	good, broken, err := Read(strings.NewReader(`commit: abc
BenchmarkA/n=1-2 3 1000 ns/op 7 MiB-sys
PASS
BenchmarkB x 1 ns/op
BenchmarkC 1 5 ns/op
`), "file.txt")
	if err != nil || len(good) != 2 || len(broken) != 1 {
		t.Fatalf("got %d results, broken lines %v, error %v; want 2, one and none", len(good), broken, err)
	}
	if v, _ := good[0].Value("sec/op"); math.Abs(v-1e-6) > 1e-15 || good[1].GetConfig("commit") != "abc" {
		t.Errorf("got %g s of commit %q, want 1e-6 of abc", v, good[1].GetConfig("commit"))
	}
	var syntax *benchfmt.SyntaxError
	if !errors.As(broken[0], &syntax) || syntax.FileName != "file.txt" || syntax.Line != 4 {
		t.Errorf("the broken line is reported as %v, want line 4 of file.txt", broken[0])
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		x    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := Median(c.x); got != c.want {
			t.Errorf("median of %v is %g, want %g", c.x, got, c.want)
		}
	}
}

func TestRoot(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "bench", "internal", "results", "results.go")); err != nil {
		t.Error(err)
	}
	t.Chdir(t.TempDir())
	if dir, err := Root(); !errors.Is(err, ErrNoCheckout) {
		t.Errorf("outside of a checkout: got %q and error %v, want ErrNoCheckout", dir, err)
	}
}
