package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"math"
)

// Sizes in pixels, and colours.
const (
	panelWidth, panelHeight      = 380, 270
	left, right, top, bottom     = 60, 20, 34, 40
	plotWidth                    = panelWidth - left - right
	plotHeight                   = panelHeight - top - bottom
	columns                      = 2
	grey, axisColour, dataColour = "#d0d0d0", "#444", "#1f5fa8"
)

// draw writes an SVG image with a panel for each curve: the medians and the fitted line, on
// logarithmic axes.
func draw(to io.Writer, curves []*curve) error {
	w := bufio.NewWriter(to)
	rows := (len(curves) + columns - 1) / columns
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n",
		columns*panelWidth, rows*panelHeight)
	fmt.Fprintf(w, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	for i, c := range curves {
		fmt.Fprintf(w, `<g transform="translate(%d,%d)">`+"\n", i%columns*panelWidth, i/columns*panelHeight)
		drawPanel(w, c)
		fmt.Fprintln(w, "</g>")
	}
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

func drawPanel(w io.Writer, c *curve) {
	first, last := c.medians[0].n, c.medians[len(c.medians)-1].n
	low, high := math.Inf(1), 0.0 // milliseconds
	for _, m := range c.medians {
		low, high = min(low, 1e3*m.seconds), max(high, 1e3*m.seconds)
	}
	for _, n := range []float64{first, last} {
		low, high = min(low, 1e3*c.at(n)), max(high, 1e3*c.at(n))
	}
	// An axis spans at least a factor of 6, so that it has two ticks and noise looks small.
	margin := max(1.3, math.Sqrt(6*low/high))
	low, high = low/margin, high*margin
	x := func(n float64) float64 { return left + plotWidth*math.Log(n/first)/math.Log(last/first) }
	y := func(ms float64) float64 { return top + plotHeight*(1-math.Log(ms/low)/math.Log(high/low)) }

	fmt.Fprintf(w, `<text x="14" y="20" font-weight="bold">%s: exponent %s</text>`+"\n", html.EscapeString(c.name), c.exponentText())
	for _, tick := range ticks(low, high) {
		fmt.Fprintf(w, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s"/>`+"\n", left, left+plotWidth, y(tick), y(tick), grey)
		fmt.Fprintf(w, `<text x="%d" y="%.1f" text-anchor="end">%.6g</text>`+"\n", left-5, y(tick)+4, tick)
	}
	for _, m := range c.medians {
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n", x(m.n), top+plotHeight+15, m.n)
	}
	fmt.Fprintf(w, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="%s"/>`+"\n", left, top, plotWidth, plotHeight, axisColour)
	fmt.Fprintf(w, `<text x="14" y="%d" transform="rotate(-90 14 %d)" text-anchor="middle">ms/image</text>`+"\n", top+plotHeight/2, top+plotHeight/2)
	fmt.Fprintf(w, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-dasharray="4 3"/>`+"\n",
		x(first), y(1e3*c.at(first)), x(last), y(1e3*c.at(last)), axisColour)
	for _, m := range c.medians {
		fmt.Fprintf(w, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>`+"\n", x(m.n), y(1e3*m.seconds), dataColour)
	}
}

// ticks returns the multiples by 1, 2 and 5 of powers of ten that lie between low and high.
func ticks(low, high float64) []float64 {
	var t []float64
	for power := math.Pow(10, math.Floor(math.Log10(low))); power <= high; power *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v := m * power; v >= low && v <= high {
				t = append(t, v)
			}
		}
	}
	return t
}
