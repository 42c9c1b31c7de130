package main

import (
	"fmt"
	"io"
	"time"
)

// text writes the prediction for people.
func (p *prediction) text(w io.Writer) error {
	step := p.Compute + p.Load + p.AllReduce
	_, err := fmt.Fprintf(w, `time      %s; %s if the all-reduce overlaps the backward pass
steps     %d of %d images on %d machines
a step    %.4g s: compute %.4g, loading %.4g, all-reduce %.4g
saving    %d checkpoints of %s, %s each
memory    %s on each machine
network   %s per step from each machine, %s in total

Assumptions:
`, duration(p.Total), duration(p.Overlapped), p.Steps, p.Batch*p.Machines, p.Machines, step, p.Compute, p.Load, p.AllReduce,
		p.Checkpoints, size(p.CheckpointLen), time.Duration(p.Checkpoint*float64(time.Second)).Round(time.Millisecond),
		size(p.Memory), size(p.AllReduceSize), size(p.Traffic))
	for _, a := range p.Assumptions {
		if err == nil {
			_, err = fmt.Fprintf(w, "- %s\n", a)
		}
	}
	return err
}

// assumptions are the sentences that a reader of the figures must know.
func (p *prediction) assumptions() []string {
	loading := fmt.Sprintf("Loading an image takes one core %.3g ms. It adds to the step, divided by its %d threads, because the loader and the step share the cores.",
		p.LoadMillis, p.Measured.Threads)
	if p.LoadMillis == 0 {
		loading = "Loading takes no time. Give it a time with -load MS."
	}
	all := []string{
		fmt.Sprintf("A step of %d images takes %.4g s on each machine, and all machines are alike: %s.", p.Batch, p.Measured.Step, p.Measured.From),
		loading,
		"An epoch leaves out its last batch if that is not full.",
		"Training is synchronous. A ring all-reduce sums gradients of 4 bytes per parameter, 2(N−1)/N·4·params bytes per step, at the full rate of the network and without latency.",
		fmt.Sprintf("The first time has the all-reduce after the step. The second hides it behind the backward pass, %.0f %% of a step, at no cost to either.", 100*backwardShare),
		fmt.Sprintf("One machine writes a checkpoint of 12 bytes per parameter every %d steps at %.4g MB/s while the others wait. Validation is not counted.", p.SaveEvery, p.Disk),
		"Memory is that of the measured process. With several machines each needs 4 more bytes per parameter to receive gradients.",
	}
	if p.Measured.Note != "" {
		all = append(all, "Note: "+p.Measured.Note+".")
	}
	return all
}

// duration formats seconds in a unit that suits them.
func duration(seconds float64) string {
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

// size formats bytes in a unit that suits them.
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
