package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	for _, ranks := range []int{1, 3} {
		t.Run(fmt.Sprint(ranks), func(t *testing.T) {
			c.Train.Batch = 2 * ranks
			m, err := measureFor(c, ranks, 0)
			if err != nil {
				t.Fatal(err)
			}
			// A coarse clock may make a time 0.
			if !(m.Step >= 0 && m.LoadMillis >= 0 && m.MemoryBytes > 0 && m.Threads > 0) || m.From == "" || m.Note == "" {
				t.Errorf("got %+v, want figures and where they are from", m)
			}
			if m.Batch != 2 || m.Ranks != ranks {
				t.Errorf("a batch of %d as one of %d ranks, want 2 of %d", m.Batch, m.Ranks, ranks)
			}
			params, err := countParams(c)
			if err != nil {
				t.Fatal(err)
			}
			sum, last := 0, 0.
			for _, b := range m.Buckets {
				if !(b.At >= last && b.At <= 1) {
					t.Errorf("a bucket is complete after %g of the step, and the one before it after %g", b.At, last)
				}
				sum, last = sum+b.Values, b.At
			}
			// For each tensor there is a number that says whether it has a gradient.
			if ranks == 1 && sum+m.SmallSums > 0 || ranks > 1 && (sum < params*9/10 || sum > params+1000 || m.SmallSums < 2) {
				t.Errorf("%d ranks sum %d values of %d parameters, and %d times small ones", ranks, sum, params, m.SmallSums)
			}
		})
	}
}

// BenchmarkPrediction trains preset tiny and reports by how many per cent the prediction from
// separately timed steps and loading is off. Measurement and training take turns, so that a machine
// that slows down affects both; there are at least four turns.
func BenchmarkPrediction(b *testing.B) {
	c := tiny(b)
	pool := tensor.NewPool(0)
	defer pool.Close()
	x, err := newBench(c, pool, 1)
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
		predicted = append(predicted, predict(w, 0, m, nil).Total/steps)

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
	w := workload{Images: 1003, Epochs: 3, Machines: 4, Batch: 10, Network: 8 / wireShare, LoadMillis: 20, SaveEvery: 50, Disk: 100}
	// 2 cores, which a step keeps busy. The network takes 1 ns for a byte.
	m := &measurement{Step: 0.3, CPU: 0.6, Threads: 2, MemoryBytes: 5e7, Buckets: []bucket{{0.5, 1_000_000}}}
	free := &transport{ValueBytes: 4}
	p := predict(w, 1_000_000, m, free)
	alone := w
	alone.Machines = 1
	half := w
	half.BFloat16 = true
	slow := &transport{ValueBytes: 4, Exchange: 1e-3, Message: 2e-3, Byte: 1e-9, Latency: 5e-3}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"steps", float64(p.Steps), 75}, // 25 full steps per epoch
		{"bytes", p.Bytes, 6e6},
		{"sum", p.Sum, 8e-3},   // two exchanges of 1 MB, three times and once more
		{"wait", p.Wait, 8e-3}, // the last bucket is never hidden
		{"step", p.Step, (0.6+10*0.02)/2 + 8e-3},
		{"checkpoints", float64(p.Checkpoints), 2},
		{"a checkpoint and weights", p.Checkpoint, 0.16},
		{"total", p.Total, 75*0.408 + 0.32},
		{"memory", p.Memory, 5.4e7},
		{"network", p.Traffic, 4 * 75 * 6e6},
		{"bytes of bfloat16", predict(half, 1_000_000, m, &transport{ValueBytes: 2}).Bytes, 3e6},
		// One small sum beside the two exchanges of ¼ of 2 MB, which take 4 ms.
		{"step of bfloat16", predict(half, 1_000_000, m, &transport{ValueBytes: 2, float32s: &transport{ValueBytes: 4, Exchange: 1e-3}}).Step, 0.4 + 4e-3 + 1e-3},
		{"sum on one machine", predict(alone, 1_000_000, m, nil).Sum, 0},
		{"network of one machine", predict(alone, 1_000_000, m, nil).Traffic, 0},
		// Two exchanges of three messages each: 10 ms of latency, then 2·(1+3·2)+6 ms of work, which
		// takes longer than the network.
		{"work and latency", predict(w, 1_000_000, m, slow).Sum, 0.010 + 0.020},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !(math.Abs(c.got-c.want) <= 1e-9*c.want) {
				t.Errorf("got %g, want %g", c.got, c.want)
			}
		})
	}
}

// TestSimulate goes through steps whose times can be worked out by hand.
func TestSimulate(t *testing.T) {
	const second = 1_000_000 // values which the network carries between two ranks in a second
	two := []bucket{{0.25, second}, {0.75, second}}
	for _, c := range []struct {
		name            string
		cores, load     float64
		poll, work      float64 // transport
		buckets         []bucket
		step, sum, wait float64
	}{
		// A step computes for 4 s with one thread. Buckets are complete after 1 s and 3 s.
		{"hidden but for the last", 2, 0, 0, 0, two, 5, 2, 1},
		{"queue", 2, 0, 0, 0, []bucket{{0.25, 4 * second}, {0.75, second}}, 7, 5, 3},
		{"all at the end of the pass", 2, 0, 0, 0, []bucket{{0.75, second}, {0.75, second}}, 6, 2, 2},
		{"loading beside", 2, 3, 0, 0, two, 5, 2, 1},
		{"loading on one core", 1, 0.5, 0, 0, two, 5.5, 2, 1},
		{"work that slows the computation", 1, 0, 0, 0.5, two, 5.5, 2, 1},
		{"waiting that slows it", 1, 0, 0.25, 0, two, 5.25, 2, 1},
		{"half a core", 0.5, 0, 0, 0, two, 9, 2, 1},
		{"work that the network hides", 2, 0, 0, 0.5, two, 5, 2, 1},
		{"work that takes longer than the network", 2, 0, 0, 1.5, two, 5.5, 3, 1.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := rankStep{
				Measured: &measurement{Step: 4, CPU: 4, Threads: 1, Buckets: c.buckets, SmallSums: -agreements},
				Load:     c.load, Cores: c.cores, Ranks: 2, Rate: 4 * second,
				Transport: &transport{ValueBytes: 4, Byte: c.work / (4 * second), Poll: c.poll},
			}
			got := s.simulate()
			for _, x := range []struct {
				what      string
				got, want float64
			}{{"step", got.Step, c.step}, {"sum", got.Sum, c.sum}, {"wait", got.Wait, c.wait}} {
				if !(math.Abs(x.got-x.want) <= 1e-6) {
					t.Errorf("%s: got %g s, want %g", x.what, x.got, x.want)
				}
			}
		})
	}
}

// TestWire: an agreement to receive waits behind one message, unless there is only one.
func TestWire(t *testing.T) {
	const values, rate = 1 << 20, 1e6
	message := func(ranks int) float64 { return 4. * values / float64(ranks) / rate }
	for ranks, messages := range map[int]float64{2: 1, 3: 3, 4: 4, 256: 256} {
		s := rankStep{Ranks: ranks, Rate: rate, Transport: &transport{ValueBytes: 4}}
		bytes, _, _ := s.Transport.cost(values, ranks)
		if got, want := s.wire(bytes), 2*messages*message(ranks); !(math.Abs(got/want-1) <= 1e-12) {
			t.Errorf("%d ranks: a sum takes %g s, want %g, which is %g messages for each of two exchanges", ranks, got, want, messages)
		}
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		want  [3]float64
		cores float64
		got   [3]float64
	}{
		{[3]float64{1, 0, 0}, 2, [3]float64{1, 0, 0}},
		{[3]float64{2, 0.5, 2}, 2, [3]float64{0.75, 0.5, 0.75}},
		{[3]float64{2, 2, 2}, 3, [3]float64{1, 1, 1}},
		{[3]float64{0.1, 0.2, 4}, 1, [3]float64{0.1, 0.2, 0.7}},
		{[3]float64{}, 1, [3]float64{}},
	} {
		t.Run(fmt.Sprint(c.want), func(t *testing.T) {
			got := share(c.want, c.cores)
			for i := range got {
				if math.Abs(got[i]-c.got[i]) > 1e-12 {
					t.Fatalf("got %v, want %v", got, c.got)
				}
			}
		})
	}
}

// TestTransport finds the costs from which sums were made.
func TestTransport(t *testing.T) {
	want := transport{ValueBytes: 4, Exchange: 20e-6, Message: 5e-6, Byte: 1e-9, Latency: 40e-6, Idle: 0.5e-9, Poll: 0.25}
	x := &measuredRanks{Cores: 2}
	for _, ranks := range []int{2, 4} {
		for _, values := range []int{1 << 10, 1 << 18, 1 << 20} {
			bytes, cpu, latency := want.cost(values, ranks)
			x.Sums = append(x.Sums, sumTime{By: "Sum", Hosts: true, Ranks: ranks, Values: values, Wall: cpu + latency + want.Idle*bytes, CPU: cpu},
				sumTime{By: "SumBFloat16", Hosts: true, Ranks: ranks, Values: values, Wall: 1, CPU: 1})
		}
	}
	_, cpu, _ := want.cost(1<<18, 2)
	x.Sums = append(x.Sums, sumTime{By: "Sum", Hosts: true, Ranks: 2, Mbit: 100, Values: 1 << 18, Wall: cpu + 0.1, CPU: cpu + 0.025})
	got, err := x.transport(true, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"exchange", got.Exchange, want.Exchange}, {"message", got.Message, want.Message}, {"byte", got.Byte, want.Byte},
		{"latency", got.Latency, want.Latency}, {"idle", got.Idle, want.Idle}, {"waiting", got.Poll, want.Poll},
	} {
		if !(math.Abs(c.got-c.want) <= 1e-6*c.want) {
			t.Errorf("%s: got %g, want %g", c.name, c.got, c.want)
		}
	}
	if half, err := x.transport(true, true); err != nil || *half.float32s != *got {
		t.Errorf("small sums beside those in bfloat16 cost %+v, %v; want %+v", half, err, got)
	}
	if _, err := x.transport(false, false); err == nil {
		t.Error("there are no sums in memory, and no error")
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

// TestStepOf scales stored steps to other batches and cores.
func TestStepOf(t *testing.T) {
	x := &measuredRanks{Cores: 2, Steps: []copies{
		{"base", 1, measurement{Batch: 4, Step: 3, CPU: 6, Threads: 2, MemoryBytes: 100}},
		{"base", 1, measurement{Batch: 16, Step: 9, CPU: 18, Threads: 2, MemoryBytes: 400}},
		{"base", 1, measurement{Batch: 8, Step: 1000, CPU: 1000, Threads: 1}},
		{"tiny", 1, measurement{Batch: 4, Step: 2, CPU: 2, Threads: 1}},
	}}
	for _, c := range []struct {
		model       string
		batch       int
		step        float64
		cores       int
		wantThreads int
	}{
		{"base", 4, 3, 0, 2},
		{"base", 16, 9, 0, 2},
		{"base", 128, 65, 0, 2}, // 1 s and 0.5 s for each image
		{"base", 128, 6.5, 20, 20},
		{"tiny", 2, 1, 0, 1}, // in proportion
	} {
		t.Run(fmt.Sprint(c.model, c.batch, c.cores), func(t *testing.T) {
			m, err := x.stepOf(c.model, c.batch)
			if err != nil {
				t.Fatal(err)
			}
			m = m.on(c.cores)
			if math.Abs(m.Step-c.step) > 1e-9 || m.Threads != c.wantThreads || m.Batch != c.batch {
				t.Errorf("got %+v, want a step of %g s", m, c.step)
			}
		})
	}
	if _, err := x.stepOf("large", 1); !errors.As(err, new(*noStepError)) {
		t.Errorf("got %v, want a noStepError", err)
	}
}

// TestMeasuredRanks wants the plan to be right to 10 %, or to what repetitions of the training differ by.
func TestMeasuredRanks(t *testing.T) {
	x, err := readRanks("")
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Rows) < 3 {
		t.Fatalf("there are %d rows", len(x.Rows))
	}
	if x.busy() {
		t.Skipf("other processes kept %.1f cores busy when it was measured: its times of training decide nothing", x.Load[0])
	}
	for _, r := range x.Rows {
		t.Run(r.What, func(t *testing.T) {
			p, err := x.predict(&r)
			if err != nil {
				t.Fatal(err)
			}
			if d := p.Step/r.step() - 1; !(math.Abs(d) <= max(within, r.spread())) {
				t.Errorf("predicted %.4g s, measured %.4g s, off by %+.0f %%; repetitions differ by %.0f %%", p.Step, r.step(), 100*d, 100*r.spread())
			}
		})
	}
}

// TestReadme holds the tables of the README to what the command writes.
func TestReadme(t *testing.T) {
	x, err := readRanks("")
	if err != nil {
		t.Fatal(err)
	}
	want, err := x.section()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), beginMark+want+endMark) {
		t.Errorf("bench/README.md lacks\n%s\nwrite it with: go run ./bench/plan -markdown", want)
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
		if p.Machines != 16 || p.Steps != 1281167/128*1600 || p.Params != 97917072 || !(p.Wait > 0 && p.Sum >= p.Wait) || len(p.Assumptions) < 6 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("text", func(t *testing.T) {
		var out, errs bytes.Buffer
		code := run([]string{"-epochs", "10"}, &out, &errs)
		if _, assumptions, _ := strings.Cut(out.String(), "\n\n"); code != 0 || strings.Count(assumptions, "\n- ") < 4 {
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
		{[]string{"-ranks", "absent.json"}, 1, "absent.json"},
		{[]string{"-ranks", "main.go"}, 1, "main.go"},
		{[]string{"-model", "large"}, 1, "large"},
		{[]string{"-cores", "-1"}, 2, "-cores"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.key) {
				t.Errorf("exit code %d, %q; want %d and a message that names %s", code, &errs, c.code, c.key)
			}
		})
	}
}
