package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/bench/internal/results"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/tensor"
)

func tiny(t testing.TB) *multimae.Config {
	t.Helper()
	c, err := models.Preset("tiny")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMeasure(t *testing.T) {
	c := tiny(t)
	c.Train.Batch = 2
	m, err := measureFor(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A coarse clock may make a time 0.
	if !(m.Step >= 0 && m.LoadMillis >= 0 && m.MemoryBytes > 0 && m.Threads > 0) || m.From == "" || m.Note == "" {
		t.Errorf("got %+v, want figures and where they are from", m)
	}
}

// BenchmarkPrediction trains preset tiny and reports by how many per cent the prediction from
// separately timed steps and loading is off. Measurement and training take turns, so that a machine
// that slows down affects both; there are at least four turns.
func BenchmarkPrediction(b *testing.B) {
	c := tiny(b)
	pool := tensor.NewPool(0)
	defer pool.Close()
	x, err := newBench(c, pool)
	if err != nil {
		b.Fatal(err)
	}
	const steps = 15
	var predicted, measured []float64 // seconds per step with its loading
	for range max(b.N, 4) {
		m, err := x.measure(time.Second)
		if err != nil {
			b.Fatal(err)
		}
		w := workload{Images: steps * c.Train.Batch, Epochs: 1, Machines: 1, Batch: c.Train.Batch, Network: 1,
			LoadMillis: m.LoadMillis, SaveEvery: 1, Disk: math.Inf(1)}
		predicted = append(predicted, predict(w, 0, m).Total/steps)

		start := time.Now()
		loader := data.NewLoader(context.Background(), x.scenes, data.LoaderConfig{
			Inputs: c.Inputs, Size: c.ImageSize, Batch: c.Train.Batch, Workers: 1})
		for range steps {
			batch, err := loader.Next()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := x.trainer.Step(batch); err != nil {
				b.Fatal(err)
			}
			loader.Release(batch)
		}
		loader.Close()
		measured = append(measured, time.Since(start).Seconds()/steps)
	}
	b.ReportMetric(100*(results.Median(predicted)/results.Median(measured)-1), "%off")
	b.ReportMetric(1e3*results.Median(measured), "ms/step")
}

func TestPredict(t *testing.T) {
	w := workload{Images: 1003, Epochs: 3, Machines: 4, Batch: 10, Network: 8, LoadMillis: 20, SaveEvery: 50, Disk: 100}
	p := predict(w, 1_000_000, &measurement{Step: 0.3, Threads: 2, MemoryBytes: 5e7})
	slow := w
	slow.Network = 0.02 // an all-reduce of 2.4 s, of which the backward pass hides 0.2 s
	alone := slow
	alone.Machines = 1
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"steps", float64(p.Steps), 75}, // 25 full steps per epoch
		{"bytes of an all-reduce", p.AllReduceSize, 6e6},
		{"all-reduce", p.AllReduce, 6e-3},
		{"loading", p.Load, 0.1},
		{"checkpoints", float64(p.Checkpoints), 2},
		{"a checkpoint", p.Checkpoint, 0.12},
		{"total", p.Total, 75*0.406 + 0.24},
		{"overlapped", p.Overlapped, 75*0.4 + 0.24},
		{"memory", p.Memory, 5.4e7},
		{"network", p.Traffic, 4 * 75 * 6e6},
		{"slow network", predict(slow, 1_000_000, &measurement{Step: 0.3, Threads: 2}).Overlapped, 75*(0.4+2.2) + 0.24},
		{"all-reduce on one machine", predict(alone, 1_000_000, &measurement{Step: 0.3, Threads: 2}).AllReduce, 0},
		{"network of one machine", predict(alone, 1_000_000, &measurement{Step: 0.3, Threads: 2}).Traffic, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !(math.Abs(c.got-c.want) <= 1e-9*c.want) {
				t.Errorf("got %g, want %g", c.got, c.want)
			}
		})
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
	for _, c := range []struct {
		name         string
		batch        int
		step, memory float64
		note         bool
	}{
		{"measured batch", 8, 2, 1500 << 20, false},
		{"twice the batch", 16, 4, (16 + 2*1484) * (1 << 20), true}, // twice the time and the activations
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := readStep(path, "base", c.batch, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if m.Step != c.step || m.Threads != 2 || m.MemoryBytes != c.memory || (m.Note != "") != c.note {
				t.Errorf("got %+v, want a step of %g s with 2 threads in %g bytes, and a note: %t", m, c.step, c.memory, c.note)
			}
			if !strings.Contains(m.From, "abc") || !strings.Contains(m.From, "2026-01-02") {
				t.Errorf("it is from %q, want the commit and the date", m.From)
			}
		})
	}
	_, err := readStep(path, "tiny", 8, 1)
	var none *noStepError
	if !errors.As(err, &none) || none.model != "tiny" {
		t.Errorf("another model: got %v, want a noStepError of tiny", err)
	}
	if _, err := readStep(path+".absent", "base", 8, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: got %v, want fs.ErrNotExist", err)
	}
}

// TestCommand runs the program on the stored results.
func TestCommand(t *testing.T) {
	t.Run("json", func(t *testing.T) {
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
	})
	t.Run("text", func(t *testing.T) {
		var out, errs bytes.Buffer
		code := run([]string{"-epochs", "10"}, &out, &errs)
		if _, assumptions, _ := strings.Cut(out.String(), "\n\n"); code != 0 || strings.Count(assumptions, "\n- ") < 6 {
			t.Errorf("exit code %d: %s%s", code, &out, &errs)
		}
	})
	for _, c := range []struct {
		args []string
		code int
		key  string // that the error names
	}{
		{[]string{"-machines", "0"}, 2, "-machines 0"},
		{[]string{"-network", "0"}, 2, "-network 0"},
		{[]string{"-disk", "NaN"}, 2, "-disk NaN"},
		{[]string{"-images", "7"}, 2, "-images 7"},
		{[]string{"-model", "huge"}, 2, "huge"},
		{[]string{"extra"}, 2, "extra"},
		{[]string{"-measure", "-results", "x"}, 2, "-measure"},
		{[]string{"-results", "absent.txt"}, 1, "absent.txt"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.key) {
				t.Errorf("exit code %d, %q; want %d and a message that names %s", code, &errs, c.code, c.key)
			}
		})
	}
}
