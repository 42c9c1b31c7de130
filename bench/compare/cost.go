package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// cost is the time and price of an image on a machine.
type cost struct {
	Work        string   `json:"work"` // "Forward/model=base/batch=8"
	Machine     string   `json:"machine"`
	Device      string   `json:"device"` // name of an accelerator, or number of threads of a CPU
	Accelerator bool     `json:"accelerator"`
	By          string   `json:"by"`
	Date        string   `json:"date"`
	Millis      float64  `json:"ms_per_image"`
	Million     *float64 `json:"price_per_million_images,omitempty"` // nil without a price
}

// work returns a benchmark's name without its threads and device.
func work(name string) string {
	parts := slices.DeleteFunc(strings.Split(name, "/"), func(p string) bool {
		return strings.HasPrefix(p, "threads=") || strings.HasPrefix(p, "device=")
	})
	return strings.Join(parts, "/")
}

// parsePrices reads the prices of an hour, "MACHINE=PRICE,…".
func parsePrices(s string) (map[string]float64, error) {
	prices := map[string]float64{}
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		name, value, ok := strings.Cut(p, "=")
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil || !(v > 0) {
			return nil, fmt.Errorf("-price %s: want MACHINE=PRICE, the price of an hour, such as zen5-2-cores=0.10", p)
		}
		prices[name] = v
	}
	return prices, nil
}

// costs lists the costs of whole models: on each CPU ours and the fastest peer's, with the best
// number of threads; on each accelerator the fastest variant of each precision.
func costs(tables []*table, all []*measurement, prices map[string]float64) (list []*cost) {
	add := func(name string, c *cost, f *figure) {
		c.Work, c.By = work(name), f.who()
		c.Millis = 1e3 * f.Seconds / float64(part(name, "batch"))
		if p, ok := prices[c.Machine]; ok {
			v := c.Millis / 3.6e6 * p * 1e6
			c.Million = &v
		}
		list = append(list, c)
	}
	whole := func(name string) bool { return wholeModel.MatchString(name) && part(name, "batch") > 0 }
	type done struct{ machine, work string }
	seen := map[done]bool{}
	for _, t := range tables { // of each machine the best SIMD level first, which need not have every work
		works := groupBy(slices.DeleteFunc(slices.Clone(t.Rows), func(r *row) bool { return !whole(r.Name) }),
			func(r *row) string { return work(r.Name) })
		for _, w := range works.keys {
			if seen[done{t.Machine, w}] {
				continue
			}
			seen[done{t.Machine, w}] = true
			var ours, peer *figure
			var ourRow, peerRow *row
			for _, r := range works.of[w] {
				if r.Ours != nil && (ours == nil || r.Ours.Seconds < ours.Seconds) {
					ours, ourRow = r.Ours, r
				}
				if len(r.Peers) > 0 && (peer == nil || r.Peers[0].Seconds < peer.Seconds) {
					peer, peerRow = r.Peers[0], r
				}
			}
			for _, x := range []struct {
				f *figure
				r *row
			}{{ours, ourRow}, {peer, peerRow}} {
				if x.f != nil {
					add(x.r.Name, &cost{Machine: t.Machine, Device: "CPU" + threadsOf(x.r.Name), Date: x.r.Date}, x.f)
				}
			}
		}
	}
	onDevice := slices.DeleteFunc(slices.Clone(all), func(m *measurement) bool { return !m.accelerator() || !whole(m.name) })
	type key struct{ machine, name string }
	rows := groupBy(onDevice, func(m *measurement) key { return key{m.machine, m.name} })
	for _, k := range rows.keys {
		latest, ms := latestSession(rows.of[k])
		for _, f := range bestOf(ms, func(m *measurement) string {
			return m.peer + " " + reducedPrecision.FindString(m.variant)
		}, nil) {
			add(k.name, &cost{
				Machine: k.machine, Device: cmp.Or(ms[0].GetConfig("device"), "accelerator"), Accelerator: true, Date: latest.date,
			}, f)
		}
	}
	slices.SortStableFunc(list, func(a, b *cost) int { return cmp.Compare(a.Work, b.Work) })
	return list
}

// noAccelerators takes the place of a table of accelerators.
const noAccelerators = "no results of accelerators are stored (bench/results/gpu/*.txt; see bench/README.md)"

func accelerated(list []*cost) bool {
	return slices.ContainsFunc(list, func(c *cost) bool { return c.Accelerator })
}

var costHead = []string{"work", "machine", "on", "by", "date", "ms/image", "images/s", "price of a million images"}

func (c *cost) cells() []string {
	price := "give -price " + c.Machine + "=…"
	if c.Million != nil {
		price = fmt.Sprintf("%.2f", *c.Million)
	}
	return []string{c.Work, c.Machine, c.Device, c.By, cmp.Or(c.Date, "undated"), fmt.Sprintf("%.2f", c.Millis), fmt.Sprintf("%.1f", 1e3/c.Millis), price}
}

func (r *report) costText(w io.Writer) {
	if len(r.Costs) > 0 {
		fmt.Fprint(w, "Time and price of an image, in the currency of -price\n\n")
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, strings.Join(costHead, "\t")+"\t")
		for _, c := range r.Costs {
			fmt.Fprintln(tw, strings.Join(c.cells(), "\t")+"\t")
		}
		tw.Flush()
	}
	if !accelerated(r.Costs) {
		fmt.Fprintln(w, noAccelerators)
	}
	fmt.Fprintln(w)
}
