package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat"

	"github.com/gomae/gomae/bench/internal/results"
)

// point is a place on a curve. The curve's name is that of the benchmark without its part n=N.
type point struct {
	curve string
	n     float64
}

// valueError reports a number that no measured curve has.
type valueError struct {
	benchmark string
	key       string // "n" or "ns/image"
	value     any
}

func (e *valueError) Error() string {
	return fmt.Sprintf("%s: %s is %v, want a number above 0", e.benchmark, e.key, e.value)
}

// read adds the seconds per image that a file in Go's benchmark format holds.
func read(to map[point][]float64, r io.Reader, name string) error {
	good, broken, err := results.Read(r, name)
	if err = errors.Join(append(broken, err)...); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, result := range good {
		base, parts := result.Name.Parts()
		if string(base) != "Curve" {
			continue
		}
		p := point{}
		var words []string
		for _, part := range parts {
			part := strings.TrimPrefix(string(part), "/")
			if strings.HasPrefix(part, "-") { // GOMAXPROCS
				continue
			}
			v, ok := strings.CutPrefix(part, "n=")
			if !ok {
				words = append(words, strings.TrimPrefix(part, "of="))
				continue
			}
			if p.n, err = strconv.ParseFloat(v, 64); err != nil || !positive(p.n) {
				return fmt.Errorf("%s: %w", name, &valueError{string(result.Name), "n", v})
			}
		}
		p.curve = strings.Join(words, " ")
		seconds, ok := result.Value("sec/image")
		if !ok || p.n == 0 {
			continue
		}
		if !positive(seconds) {
			return fmt.Errorf("%s: %w", name, &valueError{string(result.Name), "ns/image", 1e9 * seconds})
		}
		to[p] = append(to[p], seconds)
	}
	return nil
}

// positive reports whether x is a finite number above 0.
func positive(x float64) bool { return x > 0 && !math.IsInf(x, 0) }

// median is the median of what was measured at one point of a curve.
type median struct{ n, seconds float64 }

// curve is the fit of seconds per image = scale·n^exponent.
type curve struct {
	name     string
	medians  []median // by ascending n, at least two
	exponent float64
	err      float64 // standard error of the exponent; NaN for two points
	scale    float64 // seconds per image at n = 1
	r2       float64
}

// at returns the fitted seconds per image.
func (c *curve) at(n float64) float64 { return c.scale * math.Pow(n, c.exponent) }

func (c *curve) exponentText() string {
	if math.IsNaN(c.err) {
		return fmt.Sprintf("%.2f", c.exponent)
	}
	return fmt.Sprintf("%.2f ± %.2f", c.exponent, c.err)
}

// fit returns the curves that have two points or more, in the order of their names.
func fit(measured map[point][]float64) []*curve {
	byName := map[string]*curve{}
	for p, values := range measured {
		c := byName[p.curve]
		if c == nil {
			c = &curve{name: p.curve}
			byName[p.curve] = c
		}
		c.medians = append(c.medians, median{p.n, results.Median(values)})
	}
	var curves []*curve
	for _, c := range byName {
		if len(c.medians) < 2 {
			continue
		}
		slices.SortFunc(c.medians, func(a, b median) int { return cmp.Compare(a.n, b.n) })
		var x, y []float64
		for _, m := range c.medians {
			x, y = append(x, math.Log(m.n)), append(y, math.Log(m.seconds))
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
