package main

import "fmt"

// workload is the training to predict and the machines for it.
type workload struct {
	Images     int     `json:"images"`
	Epochs     int     `json:"epochs"`
	Machines   int     `json:"machines"`
	Batch      int     `json:"batch_per_machine"`
	Network    float64 `json:"network_gbit_s"`
	BFloat16   bool    `json:"bfloat16"`
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

// prediction is the outcome for a workload.
type prediction struct {
	workload
	Measured  *measurement `json:"measured"`
	Transport *transport   `json:"transport,omitempty"` // nil for one machine
	Params    int          `json:"params"`

	Steps         int64   `json:"steps"`
	Step          float64 `json:"seconds_per_step"`
	Compute       float64 `json:"compute_seconds_per_step"` // of Step, with loading that it shares cores with
	Sum           float64 `json:"sum_seconds_per_step"`     // in sums, most of it during Compute
	Wait          float64 `json:"wait_seconds_per_step"`    // of Sum, with nothing to compute meanwhile
	Bytes         float64 `json:"sent_bytes_per_step"`      // by each machine, which receives as many
	Checkpoint    float64 `json:"checkpoint_seconds"`       // for one checkpoint and the weights saved with it
	Checkpoints   int64   `json:"checkpoints"`
	CheckpointLen float64 `json:"checkpoint_bytes"` // of both

	Total   float64 `json:"total_seconds"`
	Memory  float64 `json:"memory_bytes_per_machine"`
	Traffic float64 `json:"network_bytes"` // of all machines together

	Assumptions []string `json:"assumptions"`
}

// predict computes the time, memory and traffic of a workload for a model of params parameters. t is
// needed for several machines only.
func predict(w workload, params int, m *measurement, t *transport) *prediction {
	p := &prediction{workload: w, Measured: m, Params: params}
	s := rankStep{
		Measured: m, Load: w.LoadMillis / 1e3 * float64(w.Batch), Cores: float64(m.Threads),
		Ranks: w.Machines, Rate: w.Network * 1e9 / 8 * wireShare, Transport: t,
	}
	if w.Machines > 1 {
		p.Transport = t
	}
	step := s.simulate()
	p.Steps = int64(w.Images/(w.Batch*w.Machines)) * int64(w.Epochs)
	p.Step, p.Sum, p.Wait, p.Bytes = step.Step, step.Sum, step.Wait, step.Bytes
	p.Compute = max(0, step.Step-step.Wait)
	p.CheckpointLen = (3 + 1) * 4 * float64(params) // parameters and two moments, and the weights by themselves
	p.Checkpoint = p.CheckpointLen / (w.Disk * 1e6)
	p.Checkpoints = (p.Steps + int64(w.SaveEvery) - 1) / int64(w.SaveEvery)
	p.Total = float64(p.Steps)*p.Step + float64(p.Checkpoints)*p.Checkpoint
	p.Memory = m.MemoryBytes
	if w.Machines > 1 {
		p.Memory += 4 * float64(params) // the buckets
	}
	p.Traffic = float64(w.Machines) * float64(p.Steps) * p.Bytes
	p.Assumptions = p.assumptions()
	return p
}

// likeness gives a step without buckets those of another model, in proportion.
func (m *measurement) likeness(params int, like *measurement) *measurement {
	x, total := *m, 0
	for _, b := range like.Buckets {
		total += b.Values
	}
	for _, b := range like.Buckets {
		x.Buckets = append(x.Buckets, bucket{b.At, int(float64(b.Values) * float64(params) / float64(total))})
	}
	return &x
}
