package main

import (
	"fmt"
	"io"
	"math"
	"time"
)

// workload is what is to be done, and with what.
type workload struct {
	Images     int     `json:"images"`
	Epochs     int     `json:"epochs"`
	Machines   int     `json:"machines"`
	Batch      int     `json:"batch_per_machine"`
	Network    float64 `json:"network_gbit_s"`
	LoadMillis float64 `json:"load_core_ms_per_image"`
	SaveEvery  int     `json:"save_every_steps"`
	Disk       float64 `json:"disk_mb_s"`
}

func (w *workload) check() error {
	for _, f := range []struct {
		name string
		v    int
	}{{"images", w.Images}, {"epochs", w.Epochs}, {"machines", w.Machines}, {"batch", w.Batch}, {"save-every", w.SaveEvery}} {
		if f.v < 1 {
			return fmt.Errorf("-%s %d: want at least 1", f.name, f.v)
		}
	}
	switch {
	case !(w.Network > 0):
		return fmt.Errorf("-network %v: want more than 0 Gbit/s", w.Network)
	case !(w.Disk > 0):
		return fmt.Errorf("-disk %v: want more than 0 MB/s", w.Disk)
	case !(w.LoadMillis >= 0):
		return fmt.Errorf("-load %v: want 0 ms or more", w.LoadMillis)
	case w.Images/w.Batch < w.Machines:
		return fmt.Errorf("-images %d: want at least one batch for each machine, %d; use a smaller -batch or fewer -machines", w.Images, w.Batch*w.Machines)
	}
	return nil
}

// measurement is what one machine does.
type measurement struct {
	From        string  `json:"from"`         // file, commit and date, or "this machine"
	Step        float64 `json:"step_seconds"` // of the batch, without loading
	Threads     int     `json:"threads"`
	MemoryBytes float64 `json:"memory_bytes"`           // of the process
	LoadMillis  float64 `json:"load_core_ms,omitempty"` // of an image; 0: not measured
	Note        string  `json:"note,omitempty"`
}

// prediction of a run. Times are seconds.
type prediction struct {
	workload
	Measured *measurement `json:"measured"`
	Params   int          `json:"params"`

	Steps         int64   `json:"steps"`
	Compute       float64 `json:"compute_seconds_per_step"`
	Load          float64 `json:"load_seconds_per_step"`
	AllReduce     float64 `json:"all_reduce_seconds_per_step"`
	AllReduceSize float64 `json:"all_reduce_bytes_per_step"` // that a machine sends, and receives
	Checkpoint    float64 `json:"checkpoint_seconds"`        // one
	Checkpoints   int64   `json:"checkpoints"`
	CheckpointLen float64 `json:"checkpoint_bytes"`

	Total      float64 `json:"total_seconds"`            // nothing overlapped
	Overlapped float64 `json:"total_seconds_overlapped"` // all-reduce behind the backward pass
	Memory     float64 `json:"memory_bytes_per_machine"`
	Traffic    float64 `json:"network_bytes"` // of all machines together

	Assumptions []string `json:"assumptions"`
}

// backwardShare of a step can hide an all-reduce: two of three products.
const backwardShare = 2. / 3

// predict computes what a workload takes.
func predict(w workload, params int, m *measurement) *prediction {
	p := &prediction{workload: w, Measured: m, Params: params}
	n := float64(w.Machines)
	p.Steps = int64(w.Images/(w.Batch*w.Machines)) * int64(w.Epochs)
	p.Compute = m.Step
	p.Load = w.LoadMillis / 1e3 * float64(w.Batch) / float64(m.Threads)
	p.AllReduceSize = 2 * (n - 1) / n * 4 * float64(params)
	p.AllReduce = p.AllReduceSize * 8 / (w.Network * 1e9)
	p.CheckpointLen = 3 * 4 * float64(params)
	p.Checkpoint = p.CheckpointLen / (w.Disk * 1e6)
	p.Checkpoints = (p.Steps + int64(w.SaveEvery) - 1) / int64(w.SaveEvery)
	saving := float64(p.Checkpoints) * p.Checkpoint
	p.Total = float64(p.Steps)*(p.Compute+p.Load+p.AllReduce) + saving
	left := math.Max(0, p.AllReduce-backwardShare*p.Compute)
	p.Overlapped = float64(p.Steps)*(p.Compute+p.Load+left) + saving
	p.Memory = m.MemoryBytes
	if w.Machines > 1 {
		p.Memory += 4 * float64(params)
	}
	p.Traffic = n * float64(p.Steps) * p.AllReduceSize
	loading := fmt.Sprintf("loading takes %.3g ms of one core for an image and adds to the step, divided among its %d threads: loader and step share the cores", w.LoadMillis, m.Threads)
	if w.LoadMillis == 0 {
		loading = "loading costs nothing; -load MS gives it a cost"
	}
	p.Assumptions = []string{
		fmt.Sprintf("a step of %d images takes %.4g s on each machine, all alike: %s", w.Batch, m.Step, m.From),
		loading,
		"the last batch of an epoch is left out where it is not full",
		"training is synchronous; gradients of 4 bytes a parameter are summed by a ring all-reduce of 2(N−1)/N·4·params bytes a step, at the full rate of the network and without latency; for several machines this is not implemented here",
		fmt.Sprintf("\"overlapped\" hides the all-reduce behind the backward pass, %.0f %% of a step, at no cost for either; the other total has all-reduce after the step", 100*backwardShare),
		fmt.Sprintf("one machine writes a checkpoint of 12 bytes a parameter every %d steps at %.4g MB/s while all wait; validation is not counted", w.SaveEvery, w.Disk),
		"memory is that of the measured process, and for several machines 4 bytes a parameter more to receive gradients",
	}
	if m.Note != "" {
		p.Assumptions = append(p.Assumptions, m.Note)
	}
	return p
}

// long formats seconds of any size.
func long(seconds float64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%.3g s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%.1f minutes", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%.1f hours", seconds/3600)
	}
	return fmt.Sprintf("%.1f days", seconds/86400)
}

// size formats bytes.
func size(bytes float64) string {
	for _, u := range []struct {
		scale float64
		unit  string
	}{{1e15, "PB"}, {1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if bytes >= u.scale {
			return fmt.Sprintf("%.3g %s", bytes/u.scale, u.unit)
		}
	}
	return fmt.Sprintf("%.0f B", bytes)
}

// text writes the prediction for people.
func (p *prediction) text(w io.Writer) error {
	step := p.Compute + p.Load + p.AllReduce
	_, err := fmt.Fprintf(w, `time      %s; %s with the all-reduce overlapped
steps     %d of %d images on %d machines
a step    %.4g s: compute %.4g, loading %.4g, all-reduce %.4g
saving    %d checkpoints of %s, %s each
memory    %s on each machine
network   %s a step from each machine, %s in all

Assumed:
`, long(p.Total), long(p.Overlapped), p.Steps, p.Batch*p.Machines, p.Machines, step, p.Compute, p.Load, p.AllReduce,
		p.Checkpoints, size(p.CheckpointLen), time.Duration(p.Checkpoint*float64(time.Second)).Round(time.Millisecond),
		size(p.Memory), size(p.AllReduceSize), size(p.Traffic))
	for _, a := range p.Assumptions {
		if err == nil {
			_, err = fmt.Fprintf(w, "- %s\n", a)
		}
	}
	return err
}
