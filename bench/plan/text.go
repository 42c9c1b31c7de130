package main

import (
	"fmt"
	"io"
	"time"
)

// text writes the prediction for people.
func (p *prediction) text(w io.Writer) error {
	_, err := fmt.Fprintf(w, `time      %s
steps     %d of %d images on %d machines
a step    %.4g s: %.4g computing and loading, %.4g waiting for sums, which take %.4g
saving    %d times %s, %s each
memory    %s on each machine
network   %s per step from each machine, %s in total

Assumptions:
`, duration(p.Total), p.Steps, p.Batch*p.Machines, p.Machines, p.Step, p.Compute, p.Wait, p.Sum,
		p.Checkpoints, size(p.CheckpointLen), time.Duration(p.Checkpoint*float64(time.Second)).Round(time.Millisecond),
		size(p.Memory), size(p.Bytes), size(p.Traffic))
	for _, a := range p.Assumptions {
		if err == nil {
			_, err = fmt.Fprintf(w, "- %s\n", a)
		}
	}
	return err
}

// assumptions are the sentences that a reader of the figures must know.
func (p *prediction) assumptions() []string {
	m := p.Measured
	loading := fmt.Sprintf("Loading an image takes one core %.3g ms, and shares the %d cores with the step.", p.LoadMillis, m.Threads)
	if p.LoadMillis == 0 {
		loading = "Loading takes no time. Give it a time with -load MS."
	}
	all := []string{
		fmt.Sprintf("A step of %d images takes %.4g s on each machine by itself, and all machines are alike: %s.", p.Batch, m.Step, m.From),
		loading,
		"An epoch leaves out its last batch if that is not full.",
		fmt.Sprintf("One machine saves 16 bytes per parameter, 12 in a checkpoint and 4 in a file of weights, every %d steps at %.4g MB/s while the others wait. Validation is not counted.", p.SaveEvery, p.Disk),
		"Memory is that of the measured process. With several machines each needs 4 more bytes per parameter for the gradients that it sends.",
	}
	if t := p.Transport; t != nil {
		all = append(all,
			fmt.Sprintf("Gradients are summed in %d buckets, each as soon as the backward pass has finished with it, and the optimiser waits for the last.", len(m.Buckets)),
			fmt.Sprintf("For each bucket a machine sends two messages to every other. Cores take %.3g µs for an exchange, %.3g µs for a message and %.3g ns for a byte, sent and received; an exchange begins after %.3g µs, and %.3g ns are waited for each byte; a thread that waits takes %.2g of a core. These were measured between network namespaces on one machine.",
				1e6*t.Exchange, 1e6*t.Message, 1e9*t.Byte, 1e6*t.Latency, 1e9*t.Idle, t.Poll),
			fmt.Sprintf("The network carries %.4g Gbit/s from each machine and to each, all at once, of which headers take %.0f %%.", p.Network, 100*(1-wireShare)))
	}
	if m.Note != "" {
		all = append(all, "Note: "+m.Note+".")
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
