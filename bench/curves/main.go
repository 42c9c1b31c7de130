// Command curves fits and draws the cost curves that BenchmarkCurve measures:
//
//	go test ./bench -run '^$' -bench Curve -count 3 | tee curves.txt
//	go run ./bench/curves -o curves.svg curves.txt
//
// For each curve it prints the exponent e of ns/image ∝ n^e, by least squares of
// the logarithms of the medians, with the standard error and R². An exponent
// near 0 says that an image costs the same whatever n, 1 that the cost is
// proportional to it.
package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/gomae/gomae/internal/atomicfile"
	"gonum.org/v1/gonum/stat"
)

func main() {
	svg := flag.String("o", "", "write a picture of the curves to this SVG `FILE`")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./bench/curves [-o FILE] [FILE...]   (standard input without a FILE)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(flag.Args(), *svg, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "curves:", err)
		os.Exit(1)
	}
}

func run(files []string, svg string, stdin io.Reader, stdout io.Writer) error {
	measured := map[key][]float64{}
	if len(files) == 0 {
		if err := read(measured, stdin); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = read(measured, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	curves := fit(measured)
	if len(curves) == 0 {
		return fmt.Errorf("found no curve with two points; make some with: go test ./bench -run '^$' -bench Curve")
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "curve\tn\tms/image\texponent\tR²")
	for _, c := range curves {
		first, last := c.points[0], c.points[len(c.points)-1]
		fmt.Fprintf(w, "%s\t%g–%g\t%.4g–%.4g\t%s\t%.3f\n", c.name, first.n, last.n, first.ns/1e6, last.ns/1e6, c.exponentText(), c.r2)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if svg == "" {
		return nil
	}
	return atomicfile.Write(svg, func(w io.Writer) error { return draw(w, curves) })
}

// key is a point: the curve's name is that of the benchmark without /n=N.
type key struct {
	curve string
	n     float64
}

// read adds the ns/image of Go's benchmark format.
func read(to map[key][]float64, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkCurve/") {
			continue
		}
		k := key{n: -1}
		var parts []string
		name := fields[0]
		if i := strings.LastIndexByte(name, '-'); i > strings.LastIndexByte(name, '/') {
			name = name[:i] // GOMAXPROCS
		}
		for _, p := range strings.Split(name, "/")[1:] {
			if v, ok := strings.CutPrefix(p, "n="); ok {
				n, err := strconv.ParseFloat(v, 64)
				if err != nil || !(n > 0) || math.IsInf(n, 0) {
					return fmt.Errorf("%s: n is %q, want a number above 0", fields[0], v)
				}
				k.n = n
			} else {
				parts = append(parts, strings.TrimPrefix(p, "of="))
			}
		}
		k.curve = strings.Join(parts, " ")
		for i := 2; i+1 < len(fields) && k.n > 0; i += 2 {
			if fields[i+1] != "ns/image" {
				continue
			}
			ns, err := strconv.ParseFloat(fields[i], 64)
			if err != nil || !(ns > 0) || math.IsInf(ns, 0) {
				return fmt.Errorf("%s: ns/image is %q, want a number above 0", fields[0], fields[i])
			}
			to[k] = append(to[k], ns)
		}
	}
	return lines.Err()
}

type point struct{ n, ns float64 }

type curve struct {
	name     string
	points   []point // medians, n ascending, at least two
	exponent float64
	err      float64 // its standard error; NaN for two points
	scale    float64 // ns/image at n = 1
	r2       float64
}

func (c *curve) exponentText() string {
	if math.IsNaN(c.err) {
		return fmt.Sprintf("%.2f", c.exponent)
	}
	return fmt.Sprintf("%.2f ± %.2f", c.exponent, c.err)
}

// fit takes medians and fits every curve, in the order of names.
func fit(measured map[key][]float64) []*curve {
	byName := map[string]*curve{}
	for k, values := range measured {
		c := byName[k.curve]
		if c == nil {
			c = &curve{name: k.curve}
			byName[k.curve] = c
		}
		slices.Sort(values)
		c.points = append(c.points, point{k.n, stat.Quantile(0.5, stat.LinInterp, values, nil)})
	}
	var curves []*curve
	for _, c := range byName {
		if len(c.points) < 2 {
			continue
		}
		slices.SortFunc(c.points, func(a, b point) int { return cmp.Compare(a.n, b.n) })
		var x, y []float64
		for _, p := range c.points {
			x, y = append(x, math.Log(p.n)), append(y, math.Log(p.ns))
		}
		alpha, beta := stat.LinearRegression(x, y, nil, false)
		c.scale, c.exponent, c.r2 = math.Exp(alpha), beta, stat.RSquared(x, y, nil, alpha, beta)
		c.err = math.NaN()
		if n := float64(len(x)); n > 2 {
			residual := 0.0
			for i := range x {
				d := y[i] - alpha - beta*x[i]
				residual += d * d
			}
			c.err = math.Sqrt(residual / (n - 2) / (stat.Variance(x, nil) * (n - 1)))
		}
		curves = append(curves, c)
	}
	slices.SortFunc(curves, func(a, b *curve) int { return cmp.Compare(a.name, b.name) })
	return curves
}
