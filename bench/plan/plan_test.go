package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/tensor"
)

// TestPredictsARun trains the tiny preset for a while and holds the time
// against a prediction from steps and loading that were measured separately.
// Both take turns; where the machine itself varies too much there is nothing to
// conclude.
func TestPredictsARun(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for some seconds")
	}
	c, err := multimae.Preset("tiny", classes("tiny"))
	if err != nil {
		t.Fatal(err)
	}
	pool := tensor.NewPool(0)
	defer pool.Close()
	b, err := newBench(c, pool)
	if err != nil {
		t.Fatal(err)
	}
	const turns, steps = 4, 15
	measureSome := func() float64 { // seconds of a step with its loading, predicted
		m := &measurement{Threads: threads()}
		var step, load []float64
		for range 6 {
			_, l, err := b.load()
			if err != nil {
				t.Fatal(err)
			}
			s, err := b.step()
			if err != nil {
				t.Fatal(err)
			}
			step, load = append(step, s.Seconds()), append(load, l.Seconds())
		}
		m.Step, m.LoadMillis = median(step), 1e3*median(load)/float64(c.Train.Batch)
		w := workload{Images: steps * c.Train.Batch, Epochs: 1, Machines: 1, Batch: c.Train.Batch, Network: 1,
			LoadMillis: m.LoadMillis, SaveEvery: 1, Disk: math.Inf(1)}
		return predict(w, 0, m).Total / steps
	}
	train := func() float64 { // seconds of a step in a run
		start := time.Now()
		loader := data.NewLoader(context.Background(), b.scenes, data.LoaderConfig{
			Inputs: c.Inputs, Size: c.ImageSize, Batch: c.Train.Batch, Workers: 1})
		defer loader.Close()
		for range steps {
			batch, err := loader.Next()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.trainer.Step(batch); err != nil {
				t.Fatal(err)
			}
			loader.Release(batch)
		}
		return time.Since(start).Seconds() / steps
	}
	var predicted, measured []float64
	for range turns {
		predicted, measured = append(predicted, measureSome()), append(measured, train())
	}
	spread := func(x []float64) float64 { return (slices.Max(x) - slices.Min(x)) / median(x) }
	noise := max(spread(predicted), spread(measured))
	off := median(predicted)/median(measured) - 1
	t.Logf("a step takes %.1f ms, predicted %.1f: %+.1f %%; this machine varies by %.1f %%",
		1e3*median(measured), 1e3*median(predicted), 100*off, 100*noise)
	switch {
	case math.Abs(off) <= 0.1:
	case noise > 0.05:
		t.Skipf("off by %+.1f %%, but the machine varies by %.1f %% from turn to turn: repeat it when nothing else runs", 100*off, 100*noise)
	default:
		t.Errorf("off by %+.1f %%, want at most 10 %%", 100*off)
	}
}

func TestPredict(t *testing.T) {
	w := workload{Images: 1003, Epochs: 3, Machines: 4, Batch: 10, Network: 8, LoadMillis: 20, SaveEvery: 50, Disk: 100}
	p := predict(w, 1_000_000, &measurement{Step: 0.3, Threads: 2, MemoryBytes: 5e7})
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9*want {
			t.Errorf("%s is %g, want %g", what, got, want)
		}
	}
	near("steps", float64(p.Steps), 75) // 25 full steps in an epoch
	near("bytes of an all-reduce", p.AllReduceSize, 6e6)
	near("all-reduce", p.AllReduce, 6e-3)
	near("loading", p.Load, 0.1)
	near("checkpoints", float64(p.Checkpoints), 2)
	near("a checkpoint", p.Checkpoint, 0.12)
	near("total", p.Total, 75*0.406+0.24)
	near("overlapped", p.Overlapped, 75*0.4+0.24)
	near("memory", p.Memory, 5.4e7)
	near("network", p.Traffic, 4*75*6e6)

	w.Network = 0.02 // all-reduce of 2.4 s, of which 0.2 s are hidden
	near("slow network", predict(w, 1_000_000, &measurement{Step: 0.3, Threads: 2}).Overlapped, 75*(0.4+2.2)+0.24)
	w.Machines = 1
	if p := predict(w, 1_000_000, &measurement{Step: 0.3, Threads: 2}); p.AllReduce != 0 || p.Traffic != 0 {
		t.Errorf("one machine sends: %+v", p)
	}
}

func TestReadStep(t *testing.T) {
	const text = `date: 2026-01-02
commit: abc
BenchmarkTrainStep/model=base/batch=8/threads=1-2 1 9000000000 ns/op 900 MiB-sys
BenchmarkTrainStep/model=base/batch=8/threads=2-2 1 3000000000 ns/op 2000 MiB-sys
BenchmarkTrainStep/model=base/batch=8/threads=2-2 1 1000000000 ns/op 1000 MiB-sys
BenchmarkTrainStep/model=base/batch=8/threads=2-2 1 2000000000 ns/op 1500 MiB-sys
BenchmarkTrainStep/model=base/batch=32/threads=2-2 1 9000000000 ns/op 4000 MiB-sys
peer: torch
BenchmarkTrainStep/model=base/batch=8/threads=4 1 1 ns/op
`
	path := filepath.Join(t.TempDir(), "x.txt")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	m, err := readStep(path, "base", 8, 1<<20)
	if err != nil || m.Step != 2 || m.Threads != 2 || m.MemoryBytes != 1500<<20 || m.Note != "" || !strings.Contains(m.From, "commit abc, 2026-01-02, median of 3") {
		t.Errorf("%+v, %v", m, err)
	}
	// Twice the batch: twice the time and the activations.
	m, err = readStep(path, "base", 16, 1<<20)
	if err != nil || m.Step != 4 || m.MemoryBytes != (16+2*1484)*(1<<20) || m.Note == "" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := readStep(path, "tiny", 8, 1); err == nil || !strings.Contains(err.Error(), "no TrainStep of model=tiny") {
		t.Errorf("another model: %v", err)
	}
}

// TestCommand runs the program on the stored results.
func TestCommand(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"-machines", "16", "-batch", "8", "-json"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	var p prediction
	if err := json.Unmarshal(out.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p.Machines != 16 || p.Steps != 1281167/128*1600 || p.Params != 97917072 || !(p.Total > p.Overlapped) || len(p.Assumptions) < 6 {
		t.Errorf("%+v", p)
	}
	out.Reset()
	if code := run([]string{"-epochs", "10"}, &out, &errs); code != 0 || !strings.Contains(out.String(), "Assumed:\n- a step of 8 images") {
		t.Errorf("exit code %d: %s", code, &out)
	}
	for _, args := range [][]string{
		{"-machines", "0"}, {"-network", "0"}, {"-model", "huge"}, {"extra"}, {"-images", "7"}, {"-measure", "-results", "x"}, {"-disk", "NaN"},
	} {
		errs.Reset()
		if code := run(args, &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("%v: exit code %d, %q; want 2 and a message", args, code, &errs)
		}
	}
	errs.Reset()
	if code := run([]string{"-results", "absent.txt"}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "-results: open absent.txt") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}
