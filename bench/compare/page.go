package main

import (
	"html/template"
	"io"
	"strings"
)

// page is the HTML page of a report. It loads nothing from elsewhere.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"plots": func(t *table) (svgs []template.HTML) {
		functions := groupBy(t.Rows, func(r *row) string { name, _, _ := strings.Cut(r.Name, "/"); return name })
		for _, name := range functions.keys {
			if svg := plot(functions.of[name]); svg != "" {
				svgs = append(svgs, template.HTML(svg))
			}
		}
		return svgs
	},
	"figures": (*row).figures, "optional": optional,
	"title": (*table).title, "sessions": (*table).sessions, "who": (*figure).who, "time": (*figure).time,
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
<p>Medians with confidence intervals at 95 %. A peer's ratio is its time over ours; above 1 we are faster. p is the p-value of Mann-Whitney's U test; below 0.05 the difference is hardly due to chance. Peers run alternately with us, each by the fastest of its variants that ran. We compare kernels, products and forward passes with a reference before we time them, and look whether the loss and the gradient of a training step are plausible, which tests compare with PyTorch. Peers compare all of it.</p>
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
<h2>Time and price of an image</h2>
{{if .Costs}}<div class="wide"><table>
<thead><tr>{{range costHead}}<th>{{.}}</th>{{end}}</tr></thead>
<tbody>{{range .Costs}}<tr>{{range cells .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</tbody></table></div>{{end}}
{{if not (accelerated .Costs)}}<p class="faint">{{noAccelerators}}</p>{{end}}
{{with few .}}<p class="faint">{{.}}</p>{{end}}
{{if .Notes}}<h2>Notes</h2><ul>{{range .Notes}}<li>{{.}}</li>{{end}}</ul>{{end}}
{{with .Floors}}<h2>Floors</h2><p>{{.Held}} figures are at or above their floor; {{.Unmeasured}} floors were not measured.</p>
<ul>{{range .Below}}<li class="bad">{{.}}</li>{{end}}</ul>{{end}}
</body>
</html>
`))

// html writes the report as an HTML page.
func (r *report) html(w io.Writer) error { return page.Execute(w, r) }
