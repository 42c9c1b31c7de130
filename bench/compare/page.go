package main

import (
	"encoding/xml"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

// plotStyle colours a plot for light and dark backgrounds, also where it is a
// file of its own.
const plotStyle = `<style>
.plot{font:12px system-ui,sans-serif}
.plot text{fill:#24292f}.plot .faint{fill:#6e7781}.plot .grid{stroke:#d0d7de}
.plot .who0{fill:#1f6feb}.plot .who1{fill:#bf8700}.plot .who2{fill:#1a7f37}.plot .who3{fill:#a475f9}.plot .who4{fill:#cf5f5f}.plot .who5{fill:#3a9ba5}
@media (prefers-color-scheme:dark){.plot text{fill:#e6edf3}.plot .faint{fill:#8d96a0}.plot .grid{stroke:#3d444d}
.plot .who0{fill:#4493f8}.plot .who1{fill:#d29922}.plot .who2{fill:#3fb950}}
</style>`

// plot draws shares of peak as an SVG image, a group of bars for each
// benchmark; it is empty where no row has a share.
func plot(rows []*row) string {
	const labels, scale, bar, group, top = 440, 3.2, 14, 8, 22 // pixels; scale is that of a per cent
	var body strings.Builder
	var peers []string // of each colour but the first
	y := top
	for _, r := range rows {
		start := y
		for _, f := range append([]*figure{r.Ours}, r.Peers...) {
			if f == nil || f.Share == nil {
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

// short is a benchmark's name without the keys.
func short(name string) string {
	threads := threadsOf(name)
	name = strings.NewReplacer("/shape=", " ", "/weights=", " ", "/model=", " ", "/batch=", " batch ", "/heads=", " heads ", "/pass=", " ").Replace(name)
	name, _, _ = strings.Cut(name, "/threads=")
	return name + threads
}

// threadsOf is ", 2 threads" of a benchmark's name, or nothing.
func threadsOf(name string) string {
	switch n := part(name, "threads"); n {
	case 0:
		return ""
	case 1:
		return ", 1 thread"
	default:
		return fmt.Sprintf(", %d threads", n)
	}
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}

// byFunction divides rows among the functions that they are of.
func byFunction(rows []*row) *group[string, *row] {
	return groupBy(rows, func(r *row) string { name, _, _ := strings.Cut(r.Name, "/"); return name })
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"plots": func(t *table) (svgs []template.HTML) {
		functions := byFunction(t.Rows)
		for _, name := range functions.keys {
			if svg := plot(functions.of[name]); svg != "" {
				svgs = append(svgs, template.HTML(svg))
			}
		}
		return svgs
	},
	"figures": func(r *row) []*figure {
		return slices.DeleteFunc(append([]*figure{r.Ours}, r.Peers...), func(f *figure) bool { return f == nil })
	},
	"optional": optional,
	"title":    (*table).title, "sessions": (*table).sessions, "who": (*figure).who, "time": (*figure).time,
	"spread": (*figure).spread, "ratio": (*figure).ratio, "few": (*report).few,
	"costHead": func() []string { return costHead }, "cells": (*cost).cells,
	"accelerated": accelerated, "noAccelerators": func() string { return noAccelerators },
	"ours": func(f *figure) bool { return f.Peer == own },
}).Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>gomae: benchmarks</title>
<style>
:root{color-scheme:light dark;--line:#d0d7de;--faint:#57606a;--ours:#ddf4ff;--bad:#cf222e}
@media (prefers-color-scheme:dark){:root{--line:#3d444d;--faint:#9198a1;--ours:#12304f;--bad:#ff7b72}}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin:2.5rem 0 .2rem}
p.faint{color:var(--faint);margin:.2rem 0 1rem}
div.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
tr.ours td{background:var(--ours)}
svg{max-width:100%;height:auto;display:block;margin:1rem 0}
li.bad{color:var(--bad)}
</style>
</head>
<body>
<h1>gomae: benchmarks</h1>
<p>Medians with confidence intervals at 95 %. A peer's ratio is its time over ours: above 1 we are faster; p is that of Mann-Whitney's U test, and below 0.05 the difference is hardly chance. Peers run in turn with us, each by its fastest variant; every result is verified before it is timed.</p>
{{range .Tables}}
<h2>{{title .}}</h2>
<p class="faint">{{sessions .}}</p>
{{range plots .}}{{.}}{{end}}
<div class="wide"><table>
<thead><tr><th>benchmark</th><th>by</th><th>time</th><th>CI 95 %</th><th>n</th><th>GFLOP/s</th><th>% of peak</th><th>time over ours</th></tr></thead>
<tbody>
{{range .Rows}}{{$name := .Name}}{{range $i, $f := figures .}}<tr{{if ours .}} class="ours"{{end}}><td>{{if eq $i 0}}{{$name}}{{end}}</td><td>{{who .}}</td><td>{{time .}}</td><td>{{spread .}}</td><td>{{.N}}</td><td>{{optional "%.0f" .GFLOPS}}</td><td>{{optional "%.1f" .Share}}</td><td>{{ratio .}}</td></tr>
{{end}}{{end}}</tbody></table></div>
{{end}}
<h2>An image on each machine</h2>
{{if .Costs}}<div class="wide"><table>
<thead><tr>{{range costHead}}<th>{{.}}</th>{{end}}</tr></thead>
<tbody>{{range .Costs}}<tr>{{range cells .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</tbody></table></div>{{end}}
{{if not (accelerated .Costs)}}<p class="faint">{{noAccelerators}}</p>{{end}}
{{with few .}}<p class="faint">{{.}}</p>{{end}}
{{if .Notes}}<h2>Notes</h2><ul>{{range .Notes}}<li>{{.}}</li>{{end}}</ul>{{end}}
{{with .Floors}}<h2>Floors</h2><p>{{.Held}} figures hold, {{.Unmeasured}} floors were not measured.</p>
<ul>{{range .Below}}<li class="bad">{{.}}</li>{{end}}</ul>{{end}}
</body>
</html>
`))

// html writes the report as one page that needs nothing else.
func (r *report) html(w io.Writer) error { return page.Execute(w, r) }
