package train

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/bfloat16"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/tensor"
)

// meeting is where ranks in one process sum.
type meeting struct {
	mu    sync.Mutex
	parts [][]float32
	came  int
	round chan struct{} // closed when all have come
	gone  chan struct{} // closed when a rank has gone for good
}

// memoryRanks are ranks in one process.
type memoryRanks struct {
	rank int
	at   *meeting
}

func newRanks(n int) []*memoryRanks {
	at := &meeting{parts: make([][]float32, n), round: make(chan struct{}), gone: make(chan struct{})}
	var list []*memoryRanks
	for r := range n {
		list = append(list, &memoryRanks{r, at})
	}
	return list
}

func (m *memoryRanks) Rank() int { return m.rank }
func (m *memoryRanks) Size() int { return len(m.at.parts) }

func (m *memoryRanks) Sum(ctx context.Context, x []float32) error {
	at := m.at
	at.mu.Lock()
	at.parts[m.rank] = x
	at.came++
	round := at.round
	if at.came == len(at.parts) {
		sum := make([]float32, len(x))
		for _, p := range at.parts {
			if len(p) != len(x) {
				panic(fmt.Sprintf("ranks sum %d and %d values", len(p), len(x)))
			}
			for i, v := range p {
				sum[i] += v
			}
		}
		for _, p := range at.parts {
			copy(p, sum)
		}
		at.came, at.round = 0, make(chan struct{})
		close(round)
	}
	at.mu.Unlock()
	select {
	case <-round:
		return nil
	case <-at.gone:
		select {
		case <-round: // the other one has gone only after that
			return nil
		default:
		}
		return errors.New("a rank has gone")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SumBFloat16 rounds before and after.
func (m *memoryRanks) SumBFloat16(ctx context.Context, x []float32) error {
	round := func() {
		for i, v := range x {
			x[i] = bfloat16.Float(bfloat16.Bits(v))
		}
	}
	round()
	if err := m.Sum(ctx, x); err != nil {
		return err
	}
	round()
	return nil
}

// together runs f for n ranks, each in a goroutine, and returns what each returned.
func together(n int, f func(ranks Ranks) (*Result, error)) ([]*Result, []error) {
	results, errs := make([]*Result, n), make([]error, n)
	var wg sync.WaitGroup
	var gone sync.Once
	for r, ranks := range newRanks(n) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			results[r], errs[r] = f(ranks)
			if errs[r] != nil && !errors.As(errs[r], new(*RankError)) {
				gone.Do(func() { close(ranks.at.gone) })
			}
		}()
	}
	wg.Wait()
	return results, errs
}

// trained runs the options on n ranks in one folder.
func trained(t *testing.T, n int, o func(rank int) runOptions) {
	t.Helper()
	_, errs := together(n, func(ranks Ranks) (*Result, error) {
		own := o(ranks.Rank())
		own.Ranks = ranks
		return pretrain(context.Background(), own)
	})
	for r, err := range errs {
		if err != nil {
			t.Fatalf("rank %d: %v", r, err)
		}
	}
}

// metricLines returns the lines of metrics.
func metricLines(t *testing.T, dir string) (lines []map[string]float64) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		line, values := map[string]float64{}, map[string]any{}
		if err := json.Unmarshal(s.Bytes(), &values); err != nil {
			t.Fatal(err)
		}
		for key, v := range values {
			switch v := v.(type) {
			case float64:
				line[key] = v
			case bool: // only true is written
				line[key] = 1
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// sameMetrics wants the lines of two runs to differ by no more than the order of sums makes them.
func sameMetrics(t *testing.T, got, want []map[string]float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d lines of metrics, want %d", len(got), len(want))
	}
	worst := 0.0
	for i, w := range want {
		for key, v := range w {
			if key == "images_per_s" || key == "data_wait_s" {
				continue
			}
			g, ok := got[i][key]
			if !ok {
				t.Errorf("line %d has no %s", i, key)
			}
			// A sum of about 10^4 numbers, with 2^-24 for each rounding, and a step of Adam that
			// makes more of it where gradients are small.
			worst = max(worst, math.Abs(g-v)/max(math.Abs(v), 1e-2))
			if math.Abs(g-v) > 1e-4*max(math.Abs(v), 1e-2) {
				t.Errorf("line %d: %s is %g, want %g", i, key, g, v)
			}
		}
	}
	t.Logf("largest relative difference %.2g", worst)
}

// TestRanks compares runs of several ranks with those of one.
func TestRanks(t *testing.T) {
	for name, change := range map[string]func(c *multimae.Config){
		"operations": func(c *multimae.Config) {},
		"lanes":      func(c *multimae.Config) { c.Train.Batch = 16 },
		"drop path":  func(c *multimae.Config) { c.Encoder.DropPath = 0.5 },
		"drop path in lanes": func(c *multimae.Config) {
			c.Train.Batch, c.Encoder.DropPath = 16, 0.5
		},
		"uncertainty": func(c *multimae.Config) { c.Train.Weighting = "uncertainty" },
		"clipping":    func(c *multimae.Config) { c.Train.ClipGrad, c.Train.SkipGrad = 0.5, 2 },
	} {
		if testing.Short() && name != "operations" && name != "lanes" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			alone := t.TempDir()
			o := func(dir string) runOptions {
				o := options(dir)
				change(o.Config)
				return o
			}
			finish(t, t.Context(), o(alone))
			want := metricLines(t, alone)
			for _, n := range []int{2, 3} {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					dir := t.TempDir()
					trained(t, n, func(int) runOptions { return o(dir) })
					sameMetrics(t, metricLines(t, dir), want)
					noLeftovers(t, dir)
				})
			}
		})
	}
}

// TestRanksBFloat16 wants gradients in bfloat16 to change losses, by no more than rounding each gradient to
// 8 bits does, and to leave all ranks with the same parameters, which saving checks.
func TestRanksBFloat16(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		trained(t, 2, func(int) runOptions {
			o := options(dir)
			o.BFloat16 = i > 0
			return o
		})
	}
	want, got := metricLines(t, dirs[0]), metricLines(t, dirs[1])
	differ := false
	for i, w := range want {
		// Gradients are off by 2^-9 at most, and by as much again in their sum; AdamW's steps are
		// proportional to their shares of the moments, and a loss changes by no more than its gradient
		// along these steps, which is less than the loss itself.
		differ = differ || got[i]["loss"] != w["loss"]
		if d := math.Abs(got[i]["loss"] - w["loss"]); d > 0.02*math.Abs(w["loss"]) {
			t.Errorf("line %d: the loss is %g, and %g with float32", i, got[i]["loss"], w["loss"])
		}
	}
	if !differ {
		t.Error("all losses are those of float32")
	}

	_, errs := together(2, func(ranks Ranks) (*Result, error) {
		o := options(t.TempDir())
		o.Ranks, o.BFloat16 = plainRanks{ranks}, true
		return pretrain(context.Background(), o)
	})
	for r, err := range errs {
		if err == nil {
			t.Errorf("rank %d does without bfloat16 in silence", r)
		}
	}
}

// plainRanks know float32 only.
type plainRanks struct{ Ranks }

// TestRanksRepeat wants the same bits from two runs of as many ranks, and from one that was
// interrupted in between.
func TestRanksRepeat(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	trained(t, 2, func(int) runOptions { return options(dirs[0]) })
	ctx, cancel := context.WithCancel(t.Context())
	_, errs := together(2, func(ranks Ranks) (*Result, error) {
		o := options(dirs[1])
		o.Ranks = ranks
		if ranks.Rank() == 1 { // one is interrupted, and all stop
			o.OnStep = func(p *Progress) {
				if p.Step == 6 {
					cancel()
				}
			}
			return pretrain(ctx, o)
		}
		r, err := pretrain(context.Background(), o)
		if err == nil && (!r.Interrupted || r.Steps >= 12) {
			t.Errorf("rank 0: interrupted %v after step %d", r.Interrupted, r.Steps)
		}
		return r, err
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	trained(t, 2, func(int) runOptions {
		o := options(dirs[1])
		o.Resume = true
		return o
	})
	same(t, "after an interruption", results(t, dirs[1]), results(t, dirs[0]))
}

// TestRanksResume goes on with other numbers of ranks.
func TestRanksResume(t *testing.T) {
	alone := t.TempDir()
	finish(t, t.Context(), options(alone))
	dir := t.TempDir()
	for i, n := range []int{3, 1, 2} {
		ctx, cancel := context.WithCancel(t.Context())
		_, errs := together(n, func(ranks Ranks) (*Result, error) {
			o := options(dir)
			o.Ranks, o.Resume = ranks, i > 0
			o.OnStep = func(p *Progress) {
				if p.Step == 4*(i+1) && ranks.Rank() == 0 && p.Step < p.Steps {
					cancel()
				}
			}
			return pretrain(ctx, o)
		})
		cancel()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	sameMetrics(t, metricLines(t, dir), metricLines(t, alone))
}

// TestRankFails wants all ranks to end with the error of one.
func TestRankFails(t *testing.T) {
	for name, bad := range map[string]error{
		"sample":     errors.New("bad sample"),
		"time limit": fmt.Errorf("reading a sample: %w", context.DeadlineExceeded), // of the dataset, and no interrupt
	} {
		t.Run(name, func(t *testing.T) { rankFails(t, bad) })
	}
}

func rankFails(t *testing.T, bad error) {
	dir := t.TempDir()
	_, errs := together(3, func(ranks Ranks) (*Result, error) {
		o := options(dir)
		o.Ranks = ranks
		if ranks.Rank() == 1 {
			o.Train = &failing{Dataset: o.Train, after: 14, err: bad}
		}
		return pretrain(context.Background(), o)
	})
	for r, err := range errs {
		e := new(RankError)
		if !errors.As(err, &e) || e.Rank != 1 || !strings.Contains(e.Text, bad.Error()) {
			t.Errorf("rank %d: got %v", r, err)
		}
		if errors.Is(err, bad) != (r == 1) {
			t.Errorf("rank %d: is it its own? %v", r, err)
		}
	}
	steps := saved(t, dir)
	if len(steps) == 0 {
		t.Fatal("nothing was saved")
	}
}

// TestRanksDeadline wants a context that ends by its deadline to interrupt all ranks.
func TestRanksDeadline(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	results, errs := together(2, func(ranks Ranks) (*Result, error) {
		o := options(filepath.Join(t.TempDir(), "run"))
		o.Ranks = ranks
		if ranks.Rank() == 0 {
			return pretrain(context.Background(), o)
		}
		return pretrain(ctx, o)
	})
	for r, err := range errs {
		if err != nil || !results[r].Interrupted {
			t.Errorf("rank %d: %+v, %v", r, results[r], err)
		}
	}
}

// TestRanksInterruptedEarly interrupts a rank that waits for a sample while the ranks compare their data,
// which is no difference between them.
func TestRanksInterruptedEarly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	_, errs := together(2, func(ranks Ranks) (*Result, error) {
		o := options(dir)
		o.Ranks = ranks
		if ranks.Rank() == 1 {
			o.Val = &failing{Dataset: o.Val, err: context.Canceled}
		}
		return pretrain(context.Background(), o)
	})
	for r, err := range errs {
		if !data.Interrupted(err) || errors.Is(err, ErrDiffer) {
			t.Errorf("rank %d: got %v", r, err)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
}

// TestRanksStop wants no rank to report a checkpoint that rank 0 did not write.
func TestRanksStop(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"rank 0 dies":              func(string) { panic("dies") },
		"no room for a checkpoint": func(dir string) { os.Mkdir(filepath.Join(dir, CheckpointName(10)), 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, errs := together(2, func(ranks Ranks) (_ *Result, err error) {
				o := options(dir)
				o.Config.Train.ValEvery, o.Ranks = 0, ranks
				if ranks.Rank() == 0 {
					o.OnStep = func(p *Progress) {
						if p.Step == 7 {
							spoil(dir)
						}
					}
					defer func() {
						if x := recover(); x != nil {
							err = fmt.Errorf("rank 0 %v", x)
						}
					}()
				}
				return pretrain(context.Background(), o)
			})
			var s *StopError
			if !errors.As(errs[1], &s) || s.Step != 5 || s.Checkpoint != filepath.Join(dir, CheckpointName(5)) {
				t.Errorf("got %v, want the checkpoint of step 5", errs[1])
			}
			if name != "rank 0 dies" && (!errors.As(errs[0], &s) || s.Step != 5) {
				t.Errorf("rank 0: got %v, want the checkpoint of step 5", errs[0])
			}
		})
	}
}

// TestRanksSkipBad wants a sample that several ranks could not read to be counted once.
func TestRanksSkipBad(t *testing.T) {
	results, errs := together(2, func(ranks Ranks) (*Result, error) {
		o := options(t.TempDir())
		o.Ranks, o.SkipBad = ranks, true
		o.Train = oneBroken{o.Train}
		return pretrain(context.Background(), o)
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for r, x := range results {
		if x.SkippedData != 1 || x.FirstSkipped == nil {
			t.Errorf("rank %d: %d samples were left out, the first because of %v; want 1", r, x.SkippedData, x.FirstSkipped)
		}
	}
}

// oneBroken has one sample that cannot be read.
type oneBroken struct{ data.Dataset }

func (b oneBroken) Sample(i int) (*data.Sample, error) {
	if i == 7 {
		return nil, errors.New("broken")
	}
	return b.Dataset.Sample(i)
}

// failing has an error after so many samples.
type failing struct {
	data.Dataset
	after int64
	read  atomic.Int64
	err   error
}

func (f *failing) Fingerprint() string { return data.Fingerprint(f.Dataset) }

func (f *failing) Sample(i int) (*data.Sample, error) {
	if f.read.Add(1) > f.after {
		return nil, f.err
	}
	return f.Dataset.Sample(i)
}

// TestRanksDiffer starts ranks that cannot train together.
func TestRanksDiffer(t *testing.T) {
	for name, test := range map[string]struct {
		change func(o *runOptions)
		names  string
	}{
		"configuration": {func(o *runOptions) { o.Config.Optim.LR = 1 }, "optim.lr"},
		"build":         {func(o *runOptions) { o.Build = "another" }, "another"},
		"precision":     {func(o *runOptions) { o.BFloat16 = true }, "bfloat16 true"},
		"bad samples":   {func(o *runOptions) { o.SkipBad = true }, "skipping true"},
		"data":          {func(o *runOptions) { o.Train = data.Subset(o.Train, []int{5, 4, 3, 2, 1, 0}) }, "6 samples"},
		"validation":    {func(o *runOptions) { o.Val = o.Train }, "data to validate"},
		"names":         {func(o *runOptions) { o.Train = named{o.Train, "other"} }, "names of the samples"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			_, errs := together(2, func(ranks Ranks) (*Result, error) {
				o := options(dir)
				o.Ranks = ranks
				o.Train, o.Val = named{o.Train, "train"}, named{o.Val, "val"}
				if ranks.Rank() == 1 {
					test.change(&o)
				}
				return pretrain(context.Background(), o)
			})
			for r, err := range errs {
				if !errors.Is(err, ErrDiffer) || !strings.Contains(err.Error(), test.names) || !strings.Contains(err.Error(), "rank 1") {
					t.Errorf("rank %d: got %v, want an error that names %s", r, err, test.names)
				}
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("the folder was made")
			}
		})
	}
}

// TestFingerprint wants the check of the data to see all of a sample, and to take no memory that grows
// with it.
func TestFingerprint(t *testing.T) {
	const side = 512
	sample := func() data.Samples {
		return data.Samples{{Maps: map[string]*data.Map{
			"rgb":    {C: 3, H: side, W: side, Pix: make([]float32, 3*side*side), Valid: make([]bool, side*side)},
			"semseg": {H: side, W: side, IDs: make([]uint8, side*side)},
		}}}
	}
	seen := map[string]string{}
	for name, change := range map[string]func(m map[string]*data.Map){
		"nothing":    func(map[string]*data.Map) {},
		"last value": func(m map[string]*data.Map) { m["rgb"].Pix[3*side*side-1] = 1 },
		"last id":    func(m map[string]*data.Map) { m["semseg"].IDs[side*side-1] = 1 },
		"last valid": func(m map[string]*data.Map) { m["rgb"].Valid[side*side-1] = true },
		"all valid":  func(m map[string]*data.Map) { m["rgb"].Valid = nil },
		"size":       func(m map[string]*data.Map) { m["rgb"].H, m["rgb"].W = side/2, 2*side },
		"class":      func(m map[string]*data.Map) { m["rgb"].Label = 1 },
		"modality":   func(m map[string]*data.Map) { m["depth"] = m["rgb"]; delete(m, "rgb") },
	} {
		ds := sample()
		change(ds[0].Maps)
		var got string
		var err error
		if n := testkit.Allocated(func() { got, err = fingerprint(ds) }); n > side*side {
			t.Errorf("%s: took %d bytes", name, n)
		}
		if err != nil || seen[got] != "" {
			t.Errorf("%s: %q, %v, as for %s", name, got, err, seen[got])
		}
		seen[got] = name
	}
}

// named gives the samples of a dataset names.
type named struct {
	data.Dataset
	name string
}

func (n named) Name(i int) string { return fmt.Sprint(n.name, "/", i) }

// TestTooManyRanks wants a batch that is too small to be refused.
func TestTooManyRanks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	_, errs := together(5, func(ranks Ranks) (*Result, error) {
		o := options(dir)
		o.Ranks = ranks
		return pretrain(context.Background(), o)
	})
	for r, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "train.batch") {
			t.Errorf("rank %d: got %v", r, err)
		}
	}
}

// lossless is an objective whose losses cannot be computed.
type lossless struct{ Objective }

func (lossless) Losses(*tensor.Tape, int, int) (*tensor.Tensor, []*tensor.Tensor, error) {
	return nil, nil, errors.New("no losses")
}

// TestRanksWithoutLosses wants no goroutine to be left that waits for gradients.
func TestRanksWithoutLosses(t *testing.T) {
	c := tinyConfig()
	tr := newTrainer(t, c, nil)
	if _, _, err := tr.Join(t.Context(), newRanks(2)[0]); err != nil {
		t.Fatal(err)
	}
	tr.Objective = lossless{tr.Objective}
	if _, err := tr.sharedByOperations(someBatch(t, c, 2)); err == nil || tr.exchange.queue != nil {
		t.Errorf("got error %v, and the exchange has begun: %v", err, tr.exchange.queue != nil)
	}
}

// TestRankDiverges wants all ranks to name what went bad on one: on the first whose loss did, or else on
// rank 0.
func TestRankDiverges(t *testing.T) {
	c := tinyConfig()
	c.Train.Batch = 2
	for _, test := range []struct {
		name, want string
		diverge    func(tr *Trainer, b *multimae.Batch) error
	}{
		{"a loss", "input depth", func(tr *Trainer, b *multimae.Batch) error {
			_, err := tr.Step(b)
			return err
		}},
		{"the gradient only", "no tensor", func(tr *Trainer, b *multimae.Batch) error {
			return tr.divergedTogether(b, "the norm of the gradient is NaN", true)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, errs := together(2, func(ranks Ranks) (*Result, error) {
				m, err := multimae.NewModel(c)
				if err != nil {
					return nil, err
				}
				tr, err := NewTrainer(NewPretraining(m), nil)
				if err != nil {
					return nil, err
				}
				m.Init(1)
				first, n, err := tr.Join(context.Background(), ranks)
				if err != nil {
					return nil, err
				}
				b := someBatch(t, c, 2).Slice(first, first+n)
				if ranks.Rank() == 1 {
					b.Images["depth"][3] = float32(math.NaN())
				}
				return nil, test.diverge(tr, b)
			})
			for r, err := range errs {
				d := new(DivergedError)
				if !errors.As(err, &d) || !strings.Contains(d.First, test.want) {
					t.Errorf("rank %d: got %v, want %s", r, err, test.want)
				}
			}
		})
	}
}

// TestRanksFinetune compares fine-tuning on several ranks, also interrupted, with that on one.
func TestRanksFinetune(t *testing.T) {
	plain := func() *heads.Config {
		base := tinyConfig()
		c := &heads.Config{BackboneConfig: base.BackboneConfig, Optim: base.Optim}
		c.Model, c.Inputs, c.Encoder.DropPath = "multivit", base.Inputs[:1], 0.3
		c.Outputs = heads.Outputs{{
			Name: "semseg", Head: heads.ConvNeXt, NumClasses: base.Outputs[2].Channels, MainTasks: []string{"rgb"},
			Loss: heads.LossCrossEntropy, EmbedDim: 16, Depth: 1, PredsPerPatch: 16,
		}, {
			Name: "depth", Head: heads.ConvNeXt, NumClasses: 1, MainTasks: []string{"rgb"},
			Loss: heads.LossBerHu, EmbedDim: 16, Depth: 1, PredsPerPatch: 16, Unit: scenes.DepthUnit,
		}}
		c.Train.Recipe = base.Train.Recipe
		return c
	}
	averaged := func() *heads.Config {
		c := fineConfig()
		c.Train.Batch = 14
		return c
	}
	for name, config := range map[string]func() *heads.Config{"operations": plain, "lanes, with an average": averaged} {
		t.Run(name, func(t *testing.T) {
			lanes, _ := config().Lanes()
			if (lanes > 0) != (name != "operations") {
				t.Fatalf("%d lanes", lanes)
			}
			run := func(dir string, ranks Ranks, resume bool, stop int) (*Result, error) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				m, err := heads.NewModel(config())
				if err != nil {
					return nil, err
				}
				o := options(dir).Options
				o.Objective, o.Ranks, o.Resume = NewFinetuning(m), ranks, resume
				o.OnStep = func(p *Progress) {
					if p.Step == stop {
						cancel()
					}
				}
				return Run(ctx, o)
			}
			alone, dir := t.TempDir(), t.TempDir()
			if _, err := run(alone, nil, false, 0); err != nil {
				t.Fatal(err)
			}
			for _, resume := range []bool{false, true} {
				stop := 7
				if resume {
					stop = 0
				}
				if _, errs := together(2, func(ranks Ranks) (*Result, error) { return run(dir, ranks, resume, stop) }); errors.Join(errs...) != nil {
					t.Fatal(errors.Join(errs...))
				}
			}
			sameMetrics(t, metricLines(t, dir), metricLines(t, alone))
		})
	}
}

// TestRanksFinetuneParts wants ranks to share the samples of a validation out, more of them than there
// are samples too, and an error of one to be that of all.
func TestRanksFinetuneParts(t *testing.T) {
	for _, bad := range []int{-1, 1} {
		var reads atomic.Int32
		results, errs := together(3, func(ranks Ranks) (*Result, error) {
			f := newFinetuning(t, fineConfig())
			f.group = newGroup(t.Context(), ranks)
			val := &broken{Dataset: scenes.New(100, 2, 16, 1), err: os.ErrInvalid, bad: func(i int) bool {
				reads.Add(1)
				return i == bad
			}}
			e, err := f.Evaluate(t.Context(), nil, val, false, nil)
			return &Result{Evaluation: e}, err
		})
		for r, err := range errs {
			var from *RankError
			switch e := results[r].Evaluation; {
			case bad >= 0 && (!errors.As(err, &from) || from.Rank != bad):
				t.Errorf("rank %d: got %v, want the error of rank %d", r, err, bad)
			case bad < 0 && (err != nil || e.Samples != 2 || !reflect.DeepEqual(e, results[0].Evaluation)):
				t.Errorf("rank %d: %+v, %v", r, e, err)
			}
		}
		if n := reads.Load(); n != 2+2 { // all look at the size of the first
			t.Errorf("2 samples were read %d times", n)
		}
	}
}

// TestRanksBlend wants images not to be blended within the parts of a batch.
func TestRanksBlend(t *testing.T) {
	for name, change := range map[string]func(c *heads.Train){
		"mixup": func(c *heads.Train) { c.Mixup = 0.8 }, "cutmix": func(c *heads.Train) { c.CutMix = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := fineConfig()
			c.Outputs = heads.Outputs{{Name: "class", Head: heads.Linear, NumClasses: 3, Loss: heads.LossCrossEntropy}}
			c.Train.Scale = nil
			change(&c.Train)
			for n, refused := range map[int]bool{1: false, 2: true} {
				tr, err := NewTrainer(newFinetuning(t, c), nil)
				if err != nil {
					t.Fatal(err)
				}
				_, _, err = tr.Join(t.Context(), newRanks(n)[0])
				if (err != nil) != refused || refused && !testkit.Mentions(err.Error(), "train.mixup, train.cutmix") {
					t.Errorf("%d ranks: got %v", n, err)
				}
			}
		})
	}
}
