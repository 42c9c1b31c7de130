package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/bench/internal/results"
)

// The tables of bench/README.md are between these marks.
const (
	beginMark = "<!-- begin plan -->\n"
	endMark   = "<!-- end plan -->"
)

// within is how far a prediction may be off the training that it predicts.
const within = 0.10

// errOff is wrapped by the error of a check that finds a prediction which is off.
var errOff = errors.New("off by more than 10 %")

// checks returns a table of the training that was measured beside what is predicted from steps and
// sums by themselves, and the rows that are off.
func (x *measuredRanks) checks() (table string, off []string, err error) {
	var b strings.Builder
	b.WriteString("| | a step | between repetitions | summing | of it waiting | hidden | predicted | off |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range x.Rows {
		p, err := x.predict(&r)
		if err != nil {
			return "", nil, err
		}
		sum, wait := results.Median(r.Sum), results.Median(r.Wait)
		summed := " | | "
		if sum > 0 {
			summed = fmt.Sprintf("%.3f s | %.3f s | %.0f %%", sum, wait, 100*(1-wait/sum))
		}
		d := p.Step/r.step() - 1
		fmt.Fprintf(&b, "| %s | %.3f s | %.0f %% | %s | %.3f s | %+.0f %% |\n", r.What, r.step(), 100*r.spread(), summed, p.Step, 100*d)
		if !(math.Abs(d) <= within) {
			off = append(off, fmt.Sprintf("%s: predicted %.4g s, measured %.4g s, %+.0f %% (repetitions differ by %.0f %%)",
				r.What, p.Step, r.step(), 100*d, 100*r.spread()))
		}
	}
	return b.String(), off, nil
}

// check writes the table, and returns an error for rows that are off.
func (x *measuredRanks) check(w io.Writer) error {
	table, off, err := x.checks()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, table); err != nil {
		return err
	}
	if x.busy() {
		_, err := fmt.Fprintf(w, "\nOther processes kept %.1f cores busy meanwhile: this decides nothing.\n", x.Load[0])
		return err
	}
	if len(off) > 0 {
		return fmt.Errorf("%d of %d rows are %w:\n%s", len(off), len(x.Rows), errOff, strings.Join(off, "\n"))
	}
	return nil
}

// The pre-training of the paper, on machines like the measured one and on large ones.
var (
	scaleMachines = []int{16, 32, 64, 128, 256}
	scaleNetworks = []float64{1, 10, 25} // Gbit/s
	scaleCores    = []int{0, 64}         // 0: those of the measured machine
)

const (
	scaleImages = 1281167
	scaleEpochs = 1600
	scaleBatch  = 2048 // of all machines
)

// scale returns the table of days, and by how much bfloat16 shortens the training at most.
func (x *measuredRanks) scale() (string, error) {
	c, err := models.Preset("base")
	if err != nil {
		return "", err
	}
	params, err := countParams(c)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("| machines | images each | a step computes |")
	for _, g := range scaleNetworks {
		fmt.Fprintf(&b, " %g Gbit/s |", g)
	}
	for _, g := range scaleNetworks {
		fmt.Fprintf(&b, " bfloat16, %g Gbit/s |", g)
	}
	b.WriteString("\n|---" + strings.Repeat("|---", 2+2*len(scaleNetworks)) + "|\n")
	for _, cores := range scaleCores {
		for _, n := range scaleMachines {
			m, err := x.stepOf("base", scaleBatch/n)
			if err != nil {
				return "", err
			}
			m = m.on(cores)
			fmt.Fprintf(&b, "| %d of %d cores | %d | %.3g s |", n, m.Threads, m.Batch, m.Step)
			for _, half := range []bool{false, true} {
				for _, network := range scaleNetworks {
					w := workload{Images: scaleImages, Epochs: scaleEpochs, Machines: n, Batch: m.Batch, Network: network,
						BFloat16: half, SaveEvery: c.Train.SaveEvery, Disk: 500}
					p, err := x.plan(w, params, m)
					if err != nil {
						return "", err
					}
					fmt.Fprintf(&b, " %.3g days, %.0f %% |", p.Total/86400, 100*p.Wait/p.Step)
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String(), nil
}

// sum returns the seconds of a sum of 4 MB between two ranks that share memory; 0 if it was not measured.
func (x *measuredRanks) sum(by string) float64 {
	for _, s := range x.Sums {
		if s.By == by && !s.Hosts && s.Ranks == 2 && s.Values == 1<<20 {
			return s.Wall
		}
	}
	return 0
}

// section returns what stands between the marks of the README.
func (x *measuredRanks) section() (string, error) {
	scale, err := x.scale()
	if err != nil {
		return "", err
	}
	checks, _, err := x.checks()
	if err != nil {
		return "", err
	}
	order := ""
	if own, library := x.sum("Sum"), x.sum("Allreduce"); own > 0 && library > 0 {
		order = fmt.Sprintf("\nBetween two ranks that share memory, a sum of 4 MB in the order of ranks takes %.2g ms, and %.2g ms if the library adds up in\nan order of its own.\n",
			1e3*own, 1e3*library)
	}
	busy := ""
	if x.busy() {
		busy = "\nThe machine was busy with other processes, so that this comparison decides nothing.\n"
	}
	return fmt.Sprintf(`
Days for ImageNet-1k × %d epochs of preset base with a batch of %d on all machines together, and the share of a step that
waits for sums. Machines of another size than the measured one are assumed to compute in proportion to their cores, and loading
is assumed to take no time.

%s
Training that was measured, and what the plan says of it: preset tiny with a batch of %d, and one worker for each rank
(%s, commit %s, %s; load average before %.2g, and after %.2g).
%s
%s%s
`, scaleEpochs, scaleBatch, scale, x.Batch, x.Machine, x.Commit, x.Date, x.Load[0], x.Load[1], busy, checks, order), nil
}

// writeReadme puts the section into bench/README.md.
func (x *measuredRanks) writeReadme() error {
	root, err := results.Root()
	if err != nil {
		return err
	}
	path := filepath.Join(root, "bench", "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	section, err := x.section()
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %q and %q", path, strings.TrimSpace(beginMark), endMark)
	}
	return os.WriteFile(path, []byte(head+beginMark+section+endMark+tail), 0o666)
}
