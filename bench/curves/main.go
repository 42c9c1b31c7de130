// Command curves fits and draws the cost curves that BenchmarkCurve measures:
//
//	go test ./bench -run '^$' -bench Curve -count 3 | tee curves.txt
//	go run ./bench/curves -o curves.svg curves.txt
//
// For each curve it prints the exponent e of time per image ∝ n^e with its standard error and R²,
// by least squares on the logarithms of the medians. An exponent near 0 means that the time of an
// image does not depend on n, and 1 that it is proportional to n.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/gomae/gomae/internal/atomicfile"
)

func main() {
	svg := flag.String("o", "", "draw the curves to this SVG `FILE`")
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

var errNoCurve = errors.New("found no curve with two points; measure some with: go test ./bench -run '^$' -bench Curve")

func run(files []string, svg string, stdin io.Reader, stdout io.Writer) error {
	measured := map[point][]float64{}
	if len(files) == 0 {
		if err := read(measured, stdin, "standard input"); err != nil {
			return err
		}
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = read(measured, f, path)
		f.Close()
		if err != nil {
			return err
		}
	}
	curves := fit(measured)
	if len(curves) == 0 {
		return errNoCurve
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "curve\tn\tms/image\texponent\tR²")
	for _, c := range curves {
		first, last := c.medians[0], c.medians[len(c.medians)-1]
		fmt.Fprintf(w, "%s\t%g–%g\t%.4g–%.4g\t%s\t%.3f\n", c.name, first.n, last.n, 1e3*first.seconds, 1e3*last.seconds, c.exponentText(), c.r2)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if svg == "" {
		return nil
	}
	return atomicfile.Write(svg, func(w io.Writer) error { return draw(w, curves) })
}
