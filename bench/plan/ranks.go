package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomae/gomae/bench/internal/results"
)

// measuredRanks is what bench/ranks.py writes: steps and sums by themselves, and training with both.
type measuredRanks struct {
	Machine string     `json:"machine"`
	Cores   int        `json:"cores"`
	Commit  string     `json:"commit"`
	Date    string     `json:"date"`
	Load    [2]float64 `json:"load"`  // average over a minute, at the beginning and at the end
	Batch   int        `json:"batch"` // of Rows
	Steps   []copies   `json:"steps"`
	Sums    []sumTime  `json:"sums"`
	Rows    []row      `json:"rows"`

	from string // the file
}

// copies is a step that several processes took at the same time, none of them knowing of the others.
type copies struct {
	Model  string `json:"model"`
	Copies int    `json:"copies"`
	measurement
}

// sumTime is a sum by itself.
type sumTime struct {
	By     string  `json:"by"`    // Sum or SumBFloat16 of package mpi, or Allreduce of the library
	Hosts  bool    `json:"hosts"` // each rank is on a host of its own, or all share memory
	Ranks  int     `json:"ranks"`
	Mbit   float64 `json:"mbit"` // that each host sends at; 0 if there is no limit
	Values int     `json:"values"`
	Wall   float64 `json:"wall_seconds"`
	CPU    float64 `json:"cpu_seconds"` // of one rank
}

// row is training that was measured.
type row struct {
	What    string    `json:"what"`
	Ranks   int       `json:"ranks"`
	Workers int       `json:"workers"` // of each rank
	Hosts   int       `json:"hosts"`   // 0: all ranks share memory
	Mbit    float64   `json:"mbit"`
	Step    []float64 `json:"step_s"` // seconds, of each repetition
	Sum     []float64 `json:"sum_s"`
	Wait    []float64 `json:"sum_wait_s"`
}

// busy reports whether other processes took part of the machine from the training that was measured,
// which then says nothing about predictions.
func (x *measuredRanks) busy() bool { return x.Load[0] > 1 }

func (r *row) step() float64 { return results.Median(r.Step) }

// spread is the difference between the slowest and the fastest repetition, as a share of the fastest.
func (r *row) spread() float64 { return slices.Max(r.Step)/slices.Min(r.Step) - 1 }

// readRanks reads the file at path, that of the repository by default.
func readRanks(path string) (*measuredRanks, error) {
	if path == "" {
		root, err := results.Root()
		if err != nil {
			return nil, fmt.Errorf("%w, or give -ranks FILE", err)
		}
		path = filepath.Join(root, "bench", "results", "ranks-2-cores.json")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	x := &measuredRanks{from: filepath.Base(path)}
	if err := json.Unmarshal(b, x); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if x.Cores < 1 || len(x.Steps) == 0 || len(x.Sums) == 0 {
		return nil, fmt.Errorf("%s has no \"cores\", \"steps\" or \"sums\"; write it with bench/ranks.py", path)
	}
	for _, s := range x.Steps {
		if !(s.Step > 0) || s.Batch < 1 || s.Threads < 1 {
			return nil, fmt.Errorf("%s: a step of %q has no \"step_seconds\", \"batch\" or \"threads\"", path, s.Model)
		}
	}
	for _, r := range x.Rows {
		if len(r.Step) == 0 || r.Ranks < 1 {
			return nil, fmt.Errorf("%s: row %q has no \"step_s\" or \"ranks\"", path, r.What)
		}
	}
	return x, nil
}

// step returns a step of a model with so many threads, as one of so many ranks, of which so many
// copies ran at the same time; nil if there is none.
func (x *measuredRanks) step(model string, ranks, threads, copies int) *measurement {
	for _, s := range x.Steps {
		if s.Model == model && s.Ranks == ranks && s.Threads == threads && s.Copies == copies {
			m := x.named(&s.measurement)
			// Copies that share cores take longer, but work no more.
			if copies*threads > x.Cores && m.CPU > 0 {
				m.Step = m.CPU / float64(threads)
			}
			return m
		}
	}
	return nil
}

// named returns a copy of m that says where it is from.
func (x *measuredRanks) named(m *measurement) *measurement {
	c := *m
	c.From = fmt.Sprintf("%s, %s, %s", x.from, x.Machine, x.Date)
	return &c
}

// Frames of Ethernet carry 1448 bytes beside headers of IP and TCP. They take 1538 bytes of the network,
// with preamble and gap, of which Linux counts 1514.
const (
	wireShare  = 1448. / 1538
	countShare = 1448. / 1514
)

// transport finds what sums cost by themselves, between hosts or in memory: work is fitted to all that
// were measured without a limit, and idle time to those between ranks that had a core each. Each sum
// counts by its relative error.
func (x *measuredRanks) transport(hosts, half bool) (*transport, error) {
	t, by := &transport{ValueBytes: 4}, "Sum"
	if half {
		full, err := x.transport(hosts, false)
		if err != nil {
			return nil, err
		}
		t, by = &transport{ValueBytes: 2, float32s: full}, "SumBFloat16"
	}
	var work, idle [][3]float64
	var polls []float64
	for _, s := range x.Sums {
		if s.By != by || s.Hosts != hosts || s.Mbit > 0 || !(s.CPU > 0) {
			continue
		}
		exchanges := t.exchanges(s.Values)
		bytes, _, _ := t.cost(s.Values, s.Ranks)
		work = append(work, [3]float64{exchanges / s.CPU, exchanges * float64(s.Ranks-1) / s.CPU, bytes / s.CPU})
		if rest := s.Wall - s.CPU; s.Ranks <= x.Cores && rest > 0 { // else it is a core that a rank waits for
			idle = append(idle, [3]float64{exchanges / rest, 0, bytes / rest})
		}
	}
	if len(work) == 0 {
		return nil, fmt.Errorf("%s has no \"sums\" by %s without a limit (hosts: %v)", x.from, by, hosts)
	}
	c := leastSquares(work)
	t.Exchange, t.Message, t.Byte = c[0], c[1], c[2]
	c = leastSquares(idle)
	t.Latency, t.Idle = c[0], c[2]
	for _, s := range x.Sums {
		if s.By == by && s.Hosts == hosts && s.Mbit > 0 && s.Values > smallSum && s.Ranks <= x.Cores {
			_, cpu, _ := t.cost(s.Values, s.Ranks)
			polls = append(polls, min(1, max(0, (s.CPU-cpu)/max(s.Wall-cpu, 1e-9))))
		}
	}
	if len(polls) > 0 {
		t.Poll = results.Median(polls)
	}
	return t, nil
}

// leastSquares returns the coefficients ≥ 0 for which the products with the rows come nearest to 1:
// of all choices of coefficients that are 0, that with the smallest error.
func leastSquares(rows [][3]float64) (best [3]float64) {
	least := math.Inf(1)
	for used := 1; used < 8; used++ {
		var m [3][4]float64 // normal equations
		for i := range 3 {
			if used>>i&1 == 0 {
				m[i][i] = 1
				continue
			}
			for _, r := range rows {
				for j := range 3 {
					if used>>j&1 == 1 {
						m[i][j] += r[i] * r[j]
					}
				}
				m[i][3] += r[i]
			}
		}
		c, ok := solve(m)
		if !ok || min(c[0], c[1], c[2]) < 0 {
			continue
		}
		e := 0.
		for _, r := range rows {
			d := r[0]*c[0] + r[1]*c[1] + r[2]*c[2] - 1
			e += d * d
		}
		if e < least {
			least, best = e, c
		}
	}
	return best
}

// solve solves three linear equations, each scaled by its diagonal, if they have one solution.
func solve(m [3][4]float64) (x [3]float64, ok bool) {
	var scale [3]float64
	for i := range 3 {
		scale[i] = math.Sqrt(m[i][i])
	}
	for i := range 3 {
		for j := range 3 {
			m[i][j] /= scale[i] * scale[j]
		}
		m[i][3] /= scale[i]
	}
	for i := range 3 {
		if m[i][i] < 1e-9 || math.IsNaN(m[i][i]) {
			return x, false
		}
		for k := i + 1; k < 3; k++ {
			f := m[k][i] / m[i][i]
			for j := i; j < 4; j++ {
				m[k][j] -= f * m[i][j]
			}
		}
	}
	for i := 2; i >= 0; i-- {
		x[i] = m[i][3]
		for j := i + 1; j < 3; j++ {
			x[i] -= m[i][j] * x[j]
		}
		x[i] /= m[i][i]
	}
	for i := range 3 {
		x[i] /= scale[i]
	}
	return x, true
}

// stepOf returns a step of a model by itself with the most threads: on the straight line through two
// measured batches, or in proportion to one.
func (x *measuredRanks) stepOf(model string, batch int) (*measurement, error) {
	var found []*measurement
	for _, s := range x.Steps {
		if s.Model != model || s.Copies > 1 || len(found) > 0 && s.Threads < found[0].Threads {
			continue
		}
		if len(found) > 0 && s.Threads > found[0].Threads {
			found = nil
		}
		found = append(found, x.named(&s.measurement))
	}
	if len(found) == 0 {
		return nil, &noStepError{x.from, model}
	}
	distance := func(m *measurement) int { return max(m.Batch-batch, batch-m.Batch) }
	slices.SortStableFunc(found, func(a, b *measurement) int {
		return cmp.Or(distance(a)-distance(b), len(b.Buckets)-len(a.Buckets))
	})
	near := *found[0]
	if near.Batch == batch {
		return &near, nil
	}
	by := float64(batch) / float64(near.Batch)
	at := func(of func(m *measurement) float64) float64 {
		for _, other := range found[1:] {
			if other.Batch == near.Batch {
				continue
			}
			slope := (of(other) - of(&near)) / float64(other.Batch-near.Batch)
			fixed := of(&near) - slope*float64(near.Batch)
			if slope > 0 && fixed >= 0 {
				return fixed + slope*float64(batch)
			}
			break
		}
		return of(&near) * by
	}
	m := near
	m.Batch = batch
	m.Step = at(func(m *measurement) float64 { return m.Step })
	m.CPU = at(func(m *measurement) float64 { return m.CPU })
	m.MemoryBytes = at(func(m *measurement) float64 { return m.MemoryBytes })
	m.Note = fmt.Sprintf("the step time and the memory follow from those of a batch of %d", near.Batch)
	if len(found) > 1 && found[1].Batch != near.Batch {
		m.Note += fmt.Sprintf(" and one of %d", found[1].Batch)
	}
	return &m, nil
}

// plan predicts a workload, with buckets and sums from the file where the step has none.
func (x *measuredRanks) plan(w workload, params int, m *measurement) (*prediction, error) {
	if w.Machines < 2 {
		return predict(w, params, m, nil), nil
	}
	t, err := x.transport(true, w.BFloat16)
	if err != nil {
		return nil, err
	}
	if len(m.Buckets) == 0 {
		like, err := x.stepOf("base", 1)
		if err != nil {
			return nil, err
		}
		if len(like.Buckets) == 0 {
			return nil, fmt.Errorf("%s: the steps of base have no \"buckets\"", x.from)
		}
		m = m.likeness(params, like)
	}
	return predict(w, params, m, t), nil
}

// predict computes a row from the steps and sums alone.
func (x *measuredRanks) predict(r *row) (*stepTime, error) {
	m := x.step("tiny", r.Ranks, r.Workers, r.Ranks)
	if m == nil {
		return nil, fmt.Errorf("%s has no step of one of %d ranks with %d threads, in %d copies at the same time", x.from, r.Ranks, r.Workers, r.Ranks)
	}
	cores := float64(x.Cores) / float64(r.Ranks)
	if r.Ranks > 1 { // each was kept on one core
		cores = min(cores, 1)
	}
	s := rankStep{
		Measured: m, Load: m.LoadMillis / 1e3 * float64(m.Batch), Cores: cores,
		Ranks: r.Ranks, Rate: math.Inf(1),
	}
	if r.Mbit > 0 {
		s.Rate = r.Mbit * 1e6 / 8 * countShare
	}
	if r.Ranks > 1 {
		var err error
		if s.Transport, err = x.transport(r.Hosts > 0, false); err != nil {
			return nil, err
		}
	}
	t := s.simulate()
	return &t, nil
}
