package main

import "fmt"

// workload is the training to predict and the machines for it.
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

// check returns an error that names the flag of a value out of range.
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

// measurement is what one machine was measured to do.
type measurement struct {
	From        string  `json:"from"`         // file, commit and date, or "this machine"
	Step        float64 `json:"step_seconds"` // for one batch, without loading
	Threads     int     `json:"threads"`
	MemoryBytes float64 `json:"memory_bytes"`           // of the process
	LoadMillis  float64 `json:"load_core_ms,omitempty"` // for one image; 0 if it was not measured
	Note        string  `json:"note,omitempty"`
}

// prediction is the outcome for a workload.
type prediction struct {
	workload
	Measured *measurement `json:"measured"`
	Params   int          `json:"params"`

	Steps         int64   `json:"steps"`
	Compute       float64 `json:"compute_seconds_per_step"`
	Load          float64 `json:"load_seconds_per_step"`
	AllReduce     float64 `json:"all_reduce_seconds_per_step"`
	AllReduceSize float64 `json:"all_reduce_bytes_per_step"` // sent by each machine, and received by it
	Checkpoint    float64 `json:"checkpoint_seconds"`        // for one checkpoint
	Checkpoints   int64   `json:"checkpoints"`
	CheckpointLen float64 `json:"checkpoint_bytes"`

	Total      float64 `json:"total_seconds"`            // nothing overlaps
	Overlapped float64 `json:"total_seconds_overlapped"` // the all-reduce overlaps the backward pass
	Memory     float64 `json:"memory_bytes_per_machine"`
	Traffic    float64 `json:"network_bytes"` // of all machines together

	Assumptions []string `json:"assumptions"`
}

// backwardShare is the share of a step that can hide an all-reduce: two of its three products.
const backwardShare = 2. / 3

// predict computes the time, memory and traffic of a workload for a model of params parameters.
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
	exposed := max(0, p.AllReduce-backwardShare*p.Compute)
	p.Overlapped = float64(p.Steps)*(p.Compute+p.Load+exposed) + saving
	p.Memory = m.MemoryBytes
	if w.Machines > 1 {
		p.Memory += 4 * float64(params)
	}
	p.Traffic = n * float64(p.Steps) * p.AllReduceSize
	p.Assumptions = p.assumptions()
	return p
}
