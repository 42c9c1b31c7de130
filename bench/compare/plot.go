package main

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// plotStyle colours a plot for light and dark backgrounds. It is part of the image, so that it also
// works in a file of its own.
const plotStyle = `<style>
.plot{font:12px system-ui,sans-serif}
.plot text{fill:#24292f}.plot .faint{fill:#6e7781}.plot .grid{stroke:#d0d7de}
.plot .who0{fill:#1f6feb}.plot .who1{fill:#bf8700}.plot .who2{fill:#1a7f37}.plot .who3{fill:#a475f9}.plot .who4{fill:#cf5f5f}.plot .who5{fill:#3a9ba5}
@media (prefers-color-scheme:dark){.plot text{fill:#e6edf3}.plot .faint{fill:#8d96a0}.plot .grid{stroke:#3d444d}
.plot .who0{fill:#4493f8}.plot .who1{fill:#d29922}.plot .who2{fill:#3fb950}}
</style>`

// plot draws the shares of peak as an SVG image with a group of bars for each benchmark. It returns
// an empty string if no row has a share.
func plot(rows []*row) string {
	const labels, scale, bar, group, top = 440, 3.2, 14, 8, 22 // pixels; scale is the length of one per cent
	var body strings.Builder
	var peers []string // by colour, after our own
	y := top
	for _, r := range rows {
		start := y
		for _, f := range r.figures() {
			if f.Share == nil {
				continue
			}
			color := 0
			if f.Peer != own {
				if color = slices.Index(peers, f.Peer); color < 0 {
					color = len(peers)
					peers = append(peers, f.Peer)
				}
				color = 1 + color%5
			}
			width := scale * min(*f.Share, 100)
			fmt.Fprintf(&body, "<rect class=\"who%d\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>\n", color, labels, y, width, bar-3)
			fmt.Fprintf(&body, "<text x=\"%.1f\" y=\"%d\">%.0f %% %s</text>\n", labels+width+6, y+bar-4, *f.Share, escape(strings.TrimSpace(f.Peer+" "+f.Variant)))
			y += bar
		}
		if y > start {
			fmt.Fprintf(&body, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labels-8, start+bar-4, escape(short(r.Name)))
			y += group
		}
	}
	if y == top {
		return ""
	}
	var b strings.Builder
	width, height := labels+int(scale*100)+170, y+4
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"share of the peak of fused multiply-adds\">\n%s\n", width, height, width, height, plotStyle)
	for p := 0; p <= 100; p += 25 {
		x := labels + int(scale*float64(p))
		fmt.Fprintf(&b, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>", x, x, top-4, height-6)
		unit := ""
		if p == 100 {
			unit = " % of peak"
		}
		fmt.Fprintf(&b, "<text class=\"faint\" x=\"%d\" y=\"12\" text-anchor=\"middle\">%d%s</text>\n", x, p, unit)
	}
	return b.String() + body.String() + "</svg>\n"
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}
