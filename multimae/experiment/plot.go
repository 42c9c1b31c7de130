package experiment

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

const plotStyle = `<style>
.plot{font:12px system-ui,sans-serif}
.plot text{fill:#24292f}.plot .grid{stroke:#d0d7de}.plot .error{stroke:#24292f;stroke-width:1.5}
.plot .row0{fill:#8c959f}.plot .row1{fill:#bf8700}.plot .row2{fill:#1f6feb}.plot .row3{fill:#1a7f37}.plot .row4{fill:#8250df}.plot .row5{fill:#cf222e}
@media (prefers-color-scheme:dark){.plot text{fill:#e6edf3}.plot .grid{stroke:#3d444d}.plot .error{stroke:#e6edf3}}
</style>`

// Plot draws the results as an SVG image: a group of bars for each column, a bar for each
// pre-training, with the standard deviation over seeds.
func (e *Experiment) Plot(r *Results) string {
	const left, top, height, bar, gap = 44, 30, 220, 26, 34 // pixels
	most := 10.0
	for _, row := range r.Rows {
		most = math.Max(most, row.Mean+row.SD)
	}
	most = math.Ceil(most/10) * 10
	y := func(v float64) float64 { return top + height*(1-v/most) }
	entry := 0 // width of the legend's columns
	for _, p := range e.Pretrainings {
		entry = max(entry, 17+8*len([]rune(p.Name))+10)
	}
	width := left + max(len(e.Columns)*(len(e.Pretrainings)*bar+gap), entry) + 10
	perLine := (width - left) / entry
	bottom := top + height + 30 + (len(e.Pretrainings)+perLine-1)/perLine*18
	var b strings.Builder
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s">`, x, y, anchor)
		xml.EscapeText(&b, []byte(s))
		b.WriteString("</text>\n")
	}
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"%s\">\n%s\n",
		width, bottom, width, bottom, e.Name, plotStyle)
	for v := 0.0; v <= most; v += 10 {
		fmt.Fprintf(&b, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", left, width-10, y(v), y(v))
		text(left-6, y(v)+4, "end", fmt.Sprintf("%.0f", v))
	}
	x := float64(left) + gap/2
	for i := range e.Columns {
		start := x
		for k, p := range e.Pretrainings {
			if row := r.Row(p.Name, &e.Columns[i]); row != nil {
				fmt.Fprintf(&b, "<rect class=\"row%d\" x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" rx=\"2\"/>\n",
					k%6, x, y(row.Mean), bar-4, y(0)-y(row.Mean))
				if row.SD > 0 {
					fmt.Fprintf(&b, "<line class=\"error\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
						x+bar/2-2, x+bar/2-2, y(row.Mean-row.SD), y(row.Mean+row.SD))
				}
				text(x+bar/2-2, y(row.Mean+row.SD)-5, "middle", fmt.Sprintf("%.0f", row.Mean))
			}
			x += bar
		}
		text((start+x)/2, top+height+18, "middle", e.Columns[i].heading())
		x += gap
	}
	for k, p := range e.Pretrainings {
		x, y := float64(left+k%perLine*entry), float64(top+height+30+k/perLine*18)
		fmt.Fprintf(&b, "<rect class=\"row%d\" x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" rx=\"2\"/>\n", k%6, x, y)
		text(x+17, y+11, "start", p.Name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
