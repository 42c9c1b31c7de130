package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/nn/weights"
)

// options are those of a run of 12 steps: validations at 4, 8 and 12,
// checkpoints at 5, 10 and 12, logged at every second.
func options(dir string) Options {
	c := tinyConfig()
	return Options{
		Config: c, Dir: dir, Workers: 1,
		Train: scenes.New(0, 40, 20, 1), Val: scenes.New(100, 6, 16, 1),
	}
}

func run1(t *testing.T, ctx context.Context, o Options) *Result {
	t.Helper()
	r, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var timing = regexp.MustCompile(`, "(images_per_s|data_wait_s)": [-+.e0-9]+`)

// results are the files of a finished run of 12 steps, without what is
// measured.
func results(t *testing.T, dir string) map[string]string {
	t.Helper()
	return resultsAt(t, dir, 12)
}

func resultsAt(t *testing.T, dir string, steps int) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{CheckpointName(steps), multimae.WeightsFile, multimae.ConfigFile, MetricsFile, PicturesFile, bestWeights} {
		files[name] = readFile(t, dir, name)
	}
	files[MetricsFile] = timing.ReplaceAllString(files[MetricsFile], "")
	return files
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name, w := range want {
		if got[name] == w {
			continue
		}
		if name == MetricsFile {
			t.Errorf("%s: metrics are\n%s\nwant\n%s", what, got[name], w)
		} else {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

// bestWeights are those of the best model.
var bestWeights = filepath.Join(BestDir, multimae.WeightsFile)

// noLeftovers: nothing but the run's files is in its folder.
func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	checkpoints := 0
	for _, e := range entries {
		if _, ok := checkpointStep(e.Name()); ok {
			checkpoints++
		} else if !slices.Contains([]string{multimae.WeightsFile, multimae.ConfigFile, MetricsFile, PicturesFile, BestDir}, e.Name()) {
			t.Errorf("%s is left over", e.Name())
		}
	}
	if checkpoints > 2 {
		t.Errorf("%d checkpoints are left", checkpoints)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, BestDir)); err == nil && len(entries) != 2 {
		t.Errorf("%s holds %v", BestDir, entries)
	}
}

// TestResume interrupts a run everywhere, also while it validates, goes on
// with another number of workers, and wants the files of a run that went
// straight through.
func TestResume(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	straight := t.TempDir()
	r := run1(t, context.Background(), options(straight))
	if r.Steps != 12 || r.Resumed != 0 || r.Interrupted || r.Evaluation == nil || r.Evaluation.Samples != 6 || r.SkippedData != 0 || !(r.DataWait > 0) {
		t.Fatalf("%+v", r)
	}
	want := results(t, straight)
	noLeftovers(t, straight)
	for _, dir := range []string{straight, filepath.Join(straight, BestDir)} {
		if m, err := multimae.LoadDir(dir); err != nil || string(m.Config.JSON()) != want[multimae.ConfigFile] {
			t.Errorf("the model folder: %v", err)
		}
	}

	// stop interrupts a run when hook says so and checks what it leaves.
	stop := func(what string, dir string, o Options, hook func(o *Options, stop func()), steps int) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		hook(&o, cancel)
		r := run1(t, ctx, o)
		if !r.Interrupted || r.Steps != steps || r.Evaluation != nil {
			t.Errorf("%s: %+v, want an interruption after %d steps", what, r, steps)
		}
		if _, err := multimae.LoadDir(dir); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		noLeftovers(t, dir)
	}
	finish := func(what, dir string, from int) {
		t.Helper()
		o := options(dir)
		o.Config, o.Resume, o.Workers = nil, true, 2
		if r := run1(t, context.Background(), o); r.Interrupted || r.Steps != 12 || r.Resumed != from {
			t.Errorf("%s: %+v, want to go on from %d", what, r, from)
		}
		same(t, what, results(t, dir), want)
		noLeftovers(t, dir)
	}
	atStep := func(k int) func(o *Options, stop func()) {
		return func(o *Options, stop func()) {
			if k == 0 {
				stop()
			}
			o.OnStep = func(p *Progress) {
				if p.Step == k {
					stop()
				}
			}
		}
	}
	ks := []int{0, 1, 4, 5, 7, 11, 12}
	if testing.Short() {
		ks = []int{0, 4, 7, 12}
	}
	for _, k := range ks {
		dir := filepath.Join(t.TempDir(), "run")
		what := fmt.Sprintf("after step %d", k)
		stop(what, dir, options(dir), atStep(k), k)
		finish(what, dir, k)
	}

	// Twice, and in the middle of each of the validations.
	dir := filepath.Join(t.TempDir(), "run")
	o := options(dir)
	for i, step := range []int{4, 8, 12} {
		what := fmt.Sprintf("in validation at step %d", step)
		stop(what, dir, o, func(o *Options, stop func()) {
			o.Val = &hooked{Dataset: o.Val, hook: func(int) { stop() }}
		}, step)
		if got := strings.Count(readFile(t, dir, MetricsFile), "val.loss\""); got != i {
			t.Errorf("%s: %d validations logged, want %d", what, got, i)
		}
		o = options(dir)
		o.Resume = true
		stop(what+", again", dir, o, func(o *Options, stop func()) {
			o.OnEvaluate = func(at int, e *Evaluation) {
				if at != step || e.Samples != 6 {
					t.Errorf("%s: told of step %d, %+v", what, at, e)
				}
				stop()
			}
			if step == 12 { // the last one is told with the run complete
				o.OnEvaluate = nil
				stop()
			}
		}, step)
	}
	finish("in validations", dir, 12)
}

// hooked is a dataset that calls hook before it reads a sample.
type hooked struct {
	data.Dataset
	hook func(i int)
}

func (h *hooked) Sample(i int) (*data.Sample, error) {
	h.hook(i)
	return h.Dataset.Sample(i)
}

// TestKilled copies the folder at several moments of a run, as a power cut
// would leave it, and goes on from the copies.
func TestKilled(t *testing.T) {
	straight, copies := t.TempDir(), t.TempDir()
	o := options(straight)
	o.OnStep = func(p *Progress) {
		if err := os.CopyFS(filepath.Join(copies, fmt.Sprint(p.Step)), os.DirFS(straight)); err != nil {
			t.Error(err)
		}
	}
	run1(t, context.Background(), o)
	want := results(t, straight)
	for _, k := range []int{1, 4, 6, 9, 12} {
		dir := filepath.Join(copies, fmt.Sprint(k))
		metrics := filepath.Join(dir, MetricsFile)
		f, err := os.OpenFile(metrics, os.O_WRONLY|os.O_APPEND, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, `{"step": %d, "epo`, k)
		f.Close()
		// Killed while saving. A checkpoint may be there with those before it
		// still to be removed, and the model folder may not yet be.
		for _, name := range []string{CheckpointName(k), multimae.WeightsFile, bestWeights} {
			temp := filepath.Join(dir, filepath.Dir(name), "."+filepath.Base(name)+".tmp-123abc")
			if err := os.MkdirAll(filepath.Dir(temp), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(temp, []byte("half"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if k == 12 {
			for _, j := range []string{"7", "10"} { // which are not gone on from
				if err := os.CopyFS(dir, onlyCheckpoints{os.DirFS(filepath.Join(copies, j)), os.DirFS(dir)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		o := options(dir)
		o.Resume = true
		saved := map[int]int{1: 0, 4: 0, 6: 5, 9: 8, 12: 10}[k] // 5 and 10 are due, 4 and 8 best: all saved at the head of the step that follows
		if r := run1(t, context.Background(), o); r.Resumed != saved {
			t.Errorf("copy of step %d: resumed at %d, want %d", k, r.Resumed, saved)
		}
		same(t, fmt.Sprintf("copy of step %d", k), results(t, dir), want)
		noLeftovers(t, dir)
	}
}

// onlyCheckpoints are the checkpoints of a folder that another lacks.
type onlyCheckpoints struct{ fs, other fs.FS }

func (o onlyCheckpoints) Open(name string) (fs.File, error) { return o.fs.Open(name) }

func (o onlyCheckpoints) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(o.fs, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		_, ok := checkpointStep(e.Name())
		_, err := fs.Stat(o.other, e.Name())
		return !ok || err == nil
	}), err
}

// TestResumeFinished validates and draws again, and changes nothing else.
func TestResumeFinished(t *testing.T) {
	dir := t.TempDir()
	first := run1(t, context.Background(), options(dir))
	want := results(t, dir)
	before, err := os.Stat(filepath.Join(dir, CheckpointName(12)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, PicturesFile)); err != nil {
		t.Fatal(err)
	}
	o := options(dir)
	o.Resume = true
	o.OnStep = func(p *Progress) { t.Errorf("step %d", p.Step) }
	o.Train = &hooked{Dataset: o.Train, hook: func(int) {}}
	r := run1(t, context.Background(), o)
	if r.Steps != 12 || r.Resumed != 12 || fmt.Sprint(r.Evaluation) != fmt.Sprint(first.Evaluation) {
		t.Errorf("%+v", r)
	}
	same(t, "finished", results(t, dir), want)
	if after, err := os.Stat(filepath.Join(dir, CheckpointName(12))); err != nil || !os.SameFile(before, after) {
		t.Errorf("the checkpoint was written again: %v", err)
	}
}

// TestMetrics checks each line's keys, in order.
func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	o := options(dir)
	o.Config.Train.SkipGrad = 1e-9 // each step skipped, and so logged
	o.Config.Train.Steps, o.Config.Train.ValEvery = 11, 0
	steps := 0
	o.OnStep = func(p *Progress) {
		if steps++; p.Step != steps || p.Steps != 11 || p.Epoch != (p.Step-1)/10 || !(p.ImagesPerSec > 0) || p.DataWait < 0 {
			t.Errorf("%+v", p)
		}
	}
	r := run1(t, context.Background(), o)
	lines := strings.Split(strings.TrimSuffix(readFile(t, dir, MetricsFile), "\n"), "\n")
	if len(lines) != 12 || steps != 11 {
		t.Fatalf("%d steps and %d lines, want 11 and 12", steps, len(lines))
	}
	key := regexp.MustCompile(`"([^"]+)": `)
	keys := func(line string) string {
		var names []string
		for _, m := range key.FindAllStringSubmatch(line, -1) {
			names = append(names, m[1])
		}
		return strings.Join(names, " ")
	}
	for i, line := range lines[:11] {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || m["step"] != float64(i+1) || m["epoch"] != float64(i/10) || m["skipped"] != true {
			t.Errorf("line %d: %v, %s", i, err, line)
		}
		if got := keys(line); got != "step epoch loss loss.rgb loss.depth loss.semseg loss.norm_rgb lr weight_decay grad_norm images_per_s data_wait_s skipped" {
			t.Errorf("keys %s", got)
		}
	}
	want := "step val.samples val.loss" +
		" val.loss.rgb val.trivial_loss.rgb val.psnr.rgb val.trivial_psnr.rgb" +
		" val.loss.depth val.trivial_loss.depth val.l1.depth val.trivial_l1.depth" +
		" val.loss.semseg val.trivial_loss.semseg val.accuracy.semseg val.trivial_accuracy.semseg" +
		" val.loss.norm_rgb val.trivial_loss.norm_rgb val.mse.norm_rgb val.trivial_mse.norm_rgb"
	if got := keys(lines[11]); got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(lines[11]), &m); err != nil || m["val.loss"] != r.Evaluation.Loss || m["val.accuracy.semseg"] != r.Evaluation.Scores[2].Value {
		t.Errorf("%v: %s, want %+v", err, lines[11], r.Evaluation)
	}
}

// TestOtherRun: nothing of a run is overwritten.
func TestOtherRun(t *testing.T) {
	for _, name := range []string{multimae.ConfigFile, multimae.WeightsFile, CheckpointName(123), MetricsFile, BestDir} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := Run(context.Background(), options(dir))
		if !errors.Is(err, ErrOtherRun) || !strings.Contains(err.Error(), dir+" holds a run already ("+name+"); use -resume") {
			t.Errorf("%s: %v", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 || readFile(t, dir, name) != "precious" {
			t.Errorf("%s: changed", name)
		}
	}
	// Another process may be faster by a moment.
	dir := t.TempDir()
	o := options(dir)
	o.Train = &late{o.Train, func() {
		for _, name := range []string{multimae.ConfigFile, MetricsFile} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o666); err != nil {
				t.Error(err)
			}
		}
	}}
	if _, err := Run(context.Background(), o); !errors.Is(err, ErrOtherRun) || readFile(t, dir, multimae.ConfigFile)+readFile(t, dir, MetricsFile) != "preciousprecious" {
		t.Errorf("another was faster: %v", err)
	}
	// Other files do not matter.
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	run1(t, context.Background(), options(dir))
}

// late is a dataset that calls a function when it is asked for its length.
type late struct {
	data.Dataset
	hook func()
}

func (l *late) Len() int {
	l.hook()
	return l.Dataset.Len()
}

// TestBusy: one folder, one process.
func TestBusy(t *testing.T) {
	dir := t.TempDir()
	o := options(dir)
	o.OnStep = func(p *Progress) {
		other := options(dir)
		other.Resume = true
		_, err := Run(context.Background(), other)
		if _, locks := err, runtime.GOOS == "linux" || runtime.GOOS == "darwin"; locks && !errors.Is(err, ErrBusy) {
			t.Errorf("step %d: resumed by another: %v", p.Step, err)
		}
		other.Resume = false
		if _, err := Run(context.Background(), other); !errors.Is(err, ErrOtherRun) {
			t.Errorf("step %d: begun by another: %v", p.Step, err)
		}
	}
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("no locks on " + runtime.GOOS)
	}
	run1(t, context.Background(), o)
}

// TestRefused: what cannot work is refused and leaves no files.
func TestRefused(t *testing.T) {
	missing := errors.New("broken.png: truncated image")
	for _, c := range []struct {
		name   string
		change func(o *Options)
		want   string
	}{
		{"configuration", func(o *Options) { o.Config.PatchSize = 7 }, "image_size: 16×16 is not divisible by patch_size 7"},
		{"no train", func(o *Options) { o.Config.Train = multimae.Train{} }, "does not say how to train"},
		{"tokens", func(o *Options) { o.Config.Train.NumEncodedTokens = 13 }, "train.num_encoded_tokens: got 13, but the inputs have only 12 patches"},
		{"batch", func(o *Options) { o.Config.Train.Batch = 41 }, "train.batch: got 41, but there are only 40 samples"},
		{"empty validation", func(o *Options) { o.Val = scenes.New(0, 0, 16, 1) }, "the dataset for validation has no samples"},
		{"first sample", func(o *Options) {
			o.Train = &broken{Dataset: o.Train, err: missing, bad: func(int) bool { return true }}
		}, missing.Error()},
		{"no sample at all", func(o *Options) {
			o.SkipBad = true
			o.Train = &broken{Dataset: o.Train, err: missing, bad: func(int) bool { return true }}
		}, "none of the 40 samples can be read: sample"},
		{"NaN at once", func(o *Options) { o.Train = &spoiled{o.Train, func(int) bool { return true }} }, "step 1: the loss is NaN; first bad: input "},
		{"resume nothing", func(o *Options) { o.Resume = true }, "holds no run to resume"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := t.TempDir()
			o := options(filepath.Join(parent, "run"))
			c.change(&o)
			r, err := Run(context.Background(), o)
			if r != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, error %v, want %q", r, err, c.want)
			}
			if entries, _ := os.ReadDir(parent); len(entries) != 0 {
				t.Error("left a folder")
			}
			// A folder that was there stays.
			o.Dir = parent
			if _, err := Run(context.Background(), o); err == nil {
				t.Error("now it works?")
			}
			if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
				t.Errorf("left %v, %v", entries, err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), options(filepath.Join(file, "run"))); err == nil || !strings.Contains(err.Error(), "give another -out") {
		t.Errorf("below a file: %v", err)
	}
}

// broken is a dataset of which some samples cannot be read.
type broken struct {
	data.Dataset
	err error
	bad func(i int) bool
}

func (b *broken) Sample(i int) (*data.Sample, error) {
	if b.bad(i) {
		return nil, fmt.Errorf("sample %d: %w", i, b.err)
	}
	return b.Dataset.Sample(i)
}

// spoiled is a dataset of which some samples have a NaN in depth.
type spoiled struct {
	data.Dataset
	bad func(i int) bool
}

func (b *spoiled) Sample(i int) (*data.Sample, error) {
	s, err := b.Dataset.Sample(i)
	if err == nil && b.bad(i) {
		fill(s.Maps["depth"].Pix, float32(math.NaN()))
	}
	return s, err
}

// TestBadSample: the steps before a bad sample are saved; when it is put right
// the run goes on as if nothing had been.
func TestBadSample(t *testing.T) {
	straight := t.TempDir()
	run1(t, context.Background(), options(straight))
	want := results(t, straight)
	truncated := errors.New("rgb/7.png: truncated image")
	for _, c := range []struct {
		name  string
		spoil func(o *Options, from *atomic.Bool)
		at    int
	}{
		{"training", func(o *Options, from *atomic.Bool) {
			o.Train = &broken{Dataset: o.Train, err: truncated, bad: func(int) bool { return from.Load() }}
		}, 6},
		{"validation", func(o *Options, from *atomic.Bool) {
			o.Val = &broken{Dataset: o.Val, err: truncated, bad: func(i int) bool { return i == 5 && from.Load() }}
		}, 8},
		{"last validation", func(o *Options, from *atomic.Bool) {
			o.Config.Train.ValEvery = 0
			o.Val = &broken{Dataset: o.Val, err: truncated, bad: func(i int) bool { return i == 5 }}
		}, 12},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		o := options(dir)
		from := new(atomic.Bool)
		c.spoil(&o, from)
		o.OnStep = func(p *Progress) {
			if p.Step == 6 {
				from.Store(true)
			}
		}
		_, err := Run(context.Background(), o)
		var at int
		if err == nil || !errors.Is(err, truncated) {
			t.Fatalf("%s: %v", c.name, err)
		}
		_, tail, _ := strings.Cut(err.Error(), "The run is saved at step ")
		if _, e := fmt.Sscan(tail, &at); e != nil || at < c.at || at > c.at+3 { // the loader reads ahead
			t.Errorf("%s: %v, want a run saved at about step %d", c.name, err, c.at)
		}
		if c.name == "last validation" {
			continue
		}
		o = options(dir)
		o.Resume = true
		if r := run1(t, context.Background(), o); r.Resumed != at {
			t.Errorf("%s: resumed at %d, want %d", c.name, r.Resumed, at)
		}
		same(t, c.name, results(t, dir), want)
	}
}

// TestSkipBad trains and validates without the samples that cannot be read,
// and counts each of them once.
func TestSkipBad(t *testing.T) {
	o := options(t.TempDir())
	o.SkipBad = true
	o.Train = &broken{Dataset: o.Train, err: os.ErrInvalid, bad: func(i int) bool { return i%10 == 3 }}
	o.Val = &broken{Dataset: o.Val, err: os.ErrInvalid, bad: func(i int) bool { return i < 3 }}
	r := run1(t, context.Background(), o)
	if r.Steps != 12 || r.SkippedData != 4+3 || r.FirstSkipped == nil || r.FirstSkipped.Error() != "sample 3: invalid argument" || r.Evaluation.Samples != 3 {
		t.Errorf("%+v", r)
	}
	// In the last picture, too, which has samples 0, 1, 3 and 4.
	if _, err := os.Stat(filepath.Join(o.Dir, PicturesFile)); err != nil {
		t.Error(err)
	}
}

// TestDivergedRun: the last good checkpoint stays as it was.
func TestDivergedRun(t *testing.T) {
	for _, first := range []int{2, 7} {
		dir := filepath.Join(t.TempDir(), "run")
		o := options(dir)
		o.Config.Train.ValEvery = 0
		var bad atomic.Bool
		o.Train = &spoiled{o.Train, func(int) bool { return bad.Load() }}
		checkpoint := ""
		o.OnStep = func(p *Progress) {
			if p.Step == first {
				bad.Store(true)
			}
			if p.Step == 6 {
				checkpoint = readFile(t, dir, CheckpointName(5))
			}
		}
		_, err := Run(context.Background(), o)
		var d *DivergedError
		if !errors.As(err, &d) || d.First != "input depth of the batch" || d.Step < first || d.Step > first+3 {
			t.Fatal(err)
		}
		want := "no checkpoint was saved before. Look for the sample"
		if first > 5 {
			want = "the checkpoint of step 5 is kept in " + filepath.Join(dir, CheckpointName(5))
			if readFile(t, dir, CheckpointName(5)) != checkpoint {
				t.Error("the checkpoint was changed")
			}
		} else if _, err := os.Stat(dir); err == nil {
			t.Error("a folder is left that cannot be resumed")
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestUpdateOverflows: parameters that are not finite are never saved.
func TestUpdateOverflows(t *testing.T) {
	o := options(t.TempDir())
	o.Config.Optim.LR, o.Config.Train.WarmupSteps = 1e39, 0
	o.Config.Train.SaveEvery = 1
	_, err := Run(context.Background(), o)
	var d *DivergedError
	if !errors.As(err, &d) || d.Step != 1 || !strings.HasPrefix(d.First, "model.global_tokens, shape [1 1 16], element 0 is") ||
		!strings.Contains(err.Error(), "no checkpoint was saved before. Start another run with a lower optim.lr") {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(o.Dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestSaveFails: the checkpoint before is usable.
func TestSaveFails(t *testing.T) {
	straight := t.TempDir()
	run1(t, context.Background(), options(straight))
	for _, c := range []struct {
		name string
		kept int
	}{{CheckpointName(8), 5}, {multimae.WeightsFile, 8}, {bestWeights, 8}} { // 8 is the second best
		name, kept := c.name, c.kept
		dir := filepath.Join(t.TempDir(), "run")
		path := filepath.Join(dir, name)
		o := options(dir)
		o.OnStep = func(p *Progress) {
			if p.Step == 6 { // a folder in its place cannot be written, whoever tries
				os.Rename(path, path+".before")
				if err := os.Mkdir(path, 0o777); err != nil {
					t.Error(err)
				}
			}
		}
		_, err := Run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), path) ||
			!strings.Contains(err.Error(), fmt.Sprintf("the checkpoint of step %d is kept in %s. Make room there, or make it writable, and go on with -resume", kept, filepath.Join(dir, CheckpointName(kept)))) {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		os.Rename(path+".before", path)
		o = options(dir)
		o.Resume = true
		if r := run1(t, context.Background(), o); r.Resumed != kept {
			t.Errorf("%s: resumed at %d, want %d", name, r.Resumed, kept)
		}
		same(t, name, results(t, dir), results(t, straight))
		noLeftovers(t, dir)
	}
}

// TestResumeRefused: a run whose files are damaged or gone.
func TestResumeRefused(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	o := options(dir)
	o.OnStep = func(*Progress) { cancel() }
	run1(t, ctx, o)
	whole := readFile(t, dir, CheckpointName(1))
	o = options(dir)
	o.Resume = true
	o.OnDamaged = func(err error, step int) { t.Errorf("went on from %d without %v", step, err) }
	refuse := func(what, want string) {
		t.Helper()
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v, want %q and the folder", what, err, want)
		}
	}
	path := filepath.Join(dir, CheckpointName(1))
	put := func(path, b string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(b), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	put(path, whole[:len(whole)-9])
	put(filepath.Join(dir, CheckpointName(3)), "")
	refuse("all damaged", filepath.Join(dir, CheckpointName(3))+" is damaged: it has only 0 bytes\n"+path+" is damaged: its ")
	refuse("all damaged", "so it was cut off or changed\nThe run cannot go on, for it has no other checkpoint: restore one of these from a copy, or start another run")
	put(filepath.Join(dir, CheckpointName(3)), whole)
	refuse("another name", CheckpointName(3)+": is of step 1; give it the name "+CheckpointName(1))
	if err := errors.Join(os.Remove(path), os.Remove(filepath.Join(dir, CheckpointName(3)))); err != nil {
		t.Fatal(err)
	}
	refuse("gone", dir+" has no checkpoint, and the weights in model.safetensors are not enough to go on; restore the last checkpoint from a copy, or start another run")
	put(filepath.Join(dir, oldCheckpoint), whole)
	refuse("before checksums", oldCheckpoint+" is of an earlier version of gomae and has no checksum; finish the run with that version")
	if err := os.Remove(filepath.Join(dir, oldCheckpoint)); err != nil {
		t.Fatal(err)
	}
	config := readFile(t, dir, multimae.ConfigFile)
	for damage, want := range map[string]string{
		"{":  "unexpected",
		"{}": `model: got ""`,
		strings.Replace(config, `"lr"`, `"lrr"`, 1):                        `did you mean "lr"?`,
		strings.Replace(config, `"train": {`, `"case": {`, 1):              `has no "train": it is a model without a run`,
		strings.Replace(config, `"image_size": 16`, `"image_size": 20`, 1): "is not divisible by patch_size 8",
	} {
		if err := os.WriteFile(filepath.Join(dir, multimae.ConfigFile), []byte(damage), 0o666); err != nil {
			t.Fatal(err)
		}
		refuse("config.json", want)
	}
	// Only the configuration: killed before the first checkpoint. It begins.
	if err := os.WriteFile(filepath.Join(dir, multimae.ConfigFile), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{MetricsFile, multimae.WeightsFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if r := run1(t, context.Background(), o); r.Resumed != 0 || r.Steps != 12 {
		t.Errorf("%+v", r)
	}
	straight := t.TempDir()
	run1(t, context.Background(), options(straight))
	same(t, "only config.json", results(t, dir), results(t, straight))
}

// saved are the steps of the checkpoints in a folder.
func saved(t *testing.T, dir string) []int {
	t.Helper()
	steps, err := (&run{Options: Options{Dir: dir}}).checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	b := []byte(readFile(t, path))
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestFallsBack damages checkpoints: the run goes on from the last good one,
// and says so.
func TestFallsBack(t *testing.T) {
	straight := t.TempDir()
	run1(t, context.Background(), options(straight))
	want := results(t, straight)
	cases := []struct {
		damaged []int
		from    int
		best    bool
	}{{[]int{11, 10}, 8, false}, {[]int{11}, 10, true}, {[]int{10}, 11, false}, {nil, 11, true}}
	if testing.Short() {
		cases = cases[:2]
	}
	for _, c := range cases {
		what := fmt.Sprintf("%v damaged", c.damaged)
		dir := filepath.Join(t.TempDir(), "run")
		ctx, cancel := context.WithCancel(context.Background())
		o := options(dir)
		o.Keep = 3 // 8, 10, 11
		o.OnStep = func(p *Progress) {
			if p.Step == 11 {
				cancel()
			}
		}
		run1(t, ctx, o)
		var paths []string
		for _, step := range c.damaged {
			path := filepath.Join(dir, CheckpointName(step))
			flip(t, path)
			if step > c.from {
				paths = append(paths, path+" is damaged: its ")
			}
		}
		if c.best {
			// Its weights are looked at by others; a run only needs to know of
			// which step they are. A validation as good is to come.
			path := filepath.Join(dir, bestWeights)
			if err := os.Truncate(path, 1000); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path+": ")
		}
		o = options(dir)
		o.Resume, o.Keep = true, 3
		var told []string
		o.OnDamaged = func(err error, step int) {
			if step != c.from {
				t.Errorf("%s: going on from %d, want %d", what, step, c.from)
			}
			told = append(told, err.Error())
		}
		o.OnStart = func(done int) {
			if len(told) != len(paths) {
				t.Fatalf("%s: told %q, want %d", what, told, len(paths))
			}
			for i := range told {
				if !strings.Contains(told[i], paths[i]) {
					t.Errorf("%s: told %q, want %q", what, told[i], paths[i])
				}
			}
		}
		if r := run1(t, context.Background(), o); r.Resumed != c.from || r.Best.Step != 12 {
			t.Errorf("%s: %+v", what, r)
		}
		same(t, what, results(t, dir), want)
		// What was passed over is gone, what was not needed is as it was.
		left := saved(t, dir)
		for _, step := range left {
			if err := verify(filepath.Join(dir, CheckpointName(step))); (err != nil) != (step < c.from && slices.Contains(c.damaged, step)) {
				t.Errorf("%s: %v is left: %v", what, left, err)
			}
		}
	}
}

// TestBest: the best model is that of the lowest validation loss, the run
// being stopped before, at and after it, or going back behind it.
func TestBest(t *testing.T) {
	worse := func(dir string) Options { // learns, then unlearns
		o := options(dir)
		o.Config.Optim.LR, o.Config.Train.WarmupSteps, o.Config.Train.Steps = 0.1, 16, 16
		o.Config.Train.ValEvery, o.Config.Train.SaveEvery = 2, 5
		return o
	}
	straight := t.TempDir()
	o := worse(straight)
	trivial, err := NewTrivial(context.Background(), o.Config, o.Train, EvaluateOptions{Samples: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	best := Best{}
	o.OnEvaluate = func(step int, e *Evaluation) {
		if best.Step == 0 || e.Loss < best.Loss {
			best = Best{step, e.Loss}
		}
		// Told with the best model in place.
		m, err := multimae.LoadDir(filepath.Join(straight, BestDir))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Evaluate(context.Background(), m, o.Val, trivial, EvaluateOptions{Samples: valSamples, Seed: 1}, nil)
		if err != nil || again.Loss != best.Loss {
			t.Errorf("step %d: the best model has loss %v, want %v: %v", step, again.Loss, best.Loss, err)
		}
	}
	if r := run1(t, context.Background(), o); r.Best != best || best.Step < 4 || best.Step > 14 {
		t.Fatalf("best %+v, want %+v, in the middle", r.Best, best)
	}
	want := resultsAt(t, straight, 16)
	f, err := weights.OpenSafetensorsFile(filepath.Join(straight, bestWeights))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m := f.Metadata(); m["gomae_step"] != fmt.Sprint(best.Step) || m["gomae_val_loss"] != fmt.Sprint(best.Loss) {
		t.Errorf("metadata %v, want %+v", m, best)
	}

	for _, c := range []struct {
		at     int
		behind bool // goes back to before the best one
	}{{best.Step - 1, false}, {best.Step, false}, {best.Step + 1, true}, {15, false}} {
		what := fmt.Sprintf("%+v, best %d", c, best.Step)
		dir := filepath.Join(t.TempDir(), "run")
		ctx, cancel := context.WithCancel(context.Background())
		o := worse(dir)
		o.Keep = 99
		o.OnStep = func(p *Progress) {
			if p.Step == c.at {
				cancel()
			}
		}
		run1(t, ctx, o)
		from := c.at
		if c.behind {
			for _, step := range saved(t, dir) {
				if step >= best.Step {
					flip(t, filepath.Join(dir, CheckpointName(step)))
				} else {
					from = step
				}
			}
		}
		o = worse(dir)
		o.Resume = true
		if r := run1(t, context.Background(), o); r.Best != best || r.Resumed != from {
			t.Errorf("%s: %+v", what, r)
		}
		same(t, what, resultsAt(t, dir, 16), want)
	}

	// It cannot be written: the validation is not on record before it is.
	dir := filepath.Join(t.TempDir(), "run")
	path := filepath.Join(dir, bestWeights)
	o = worse(dir)
	o.OnStep = func(p *Progress) {
		if p.Step == best.Step {
			if err := errors.Join(os.Rename(path, path+".before"), os.Mkdir(path, 0o777)); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.Rename(path+".before", path)); err != nil {
		t.Fatal(err)
	}
	o = worse(dir)
	o.Resume = true
	run1(t, context.Background(), o)
	same(t, "not written", resultsAt(t, dir, 16), want)
}

// TestKeep counts checkpoints.
func TestKeep(t *testing.T) {
	for keep, want := range map[int]string{0: "[10 12]", 1: "[12]", 99: "[4 5 8 10 12]"} {
		o := options(filepath.Join(t.TempDir(), "run [1]")) // a name that is no pattern
		o.Keep = keep
		run1(t, context.Background(), o)
		if got := fmt.Sprint(saved(t, o.Dir)); got != want {
			t.Errorf("keep %d: %s, want %s", keep, got, want)
		}
		// One more, by a process killed before it could remove it, and what it
		// was writing; other files stay.
		for _, name := range []string{CheckpointName(3), "." + CheckpointName(13) + ".tmp-1", ".notes.tmp-1", "checkpoint-3.safetensors"} {
			if err := os.WriteFile(filepath.Join(o.Dir, name), nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		o.Resume = true
		run1(t, context.Background(), o)
		if keep < 99 && fmt.Sprint(saved(t, o.Dir)) != want {
			t.Errorf("keep %d: %v after another", keep, saved(t, o.Dir))
		}
		if left, _ := fs.Glob(os.DirFS(o.Dir), ".*"); fmt.Sprint(left) != "[.notes.tmp-1]" {
			t.Errorf("left %v", left)
		}
	}
	o := options(t.TempDir())
	o.Keep = -1
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "keep: got -1 checkpoints, want at least 1") {
		t.Errorf("error %v", err)
	}
}

// TestMetricsDamaged: a line that cannot be read takes no others with it.
func TestMetricsDamaged(t *testing.T) {
	dir := t.TempDir()
	run1(t, context.Background(), options(dir))
	path := filepath.Join(dir, MetricsFile)
	whole := readFile(t, path)
	second := strings.Index(whole, "\n") + 1
	damaged := whole[:second] + "}" + whole[second+1:]
	if err := os.WriteFile(path, []byte(damaged+"\x00\x00\x00\n{\"step\": 1"), 0o666); err != nil {
		t.Fatal(err)
	}
	o := options(dir)
	o.Resume = true
	run1(t, context.Background(), o)
	if got := readFile(t, path); got != damaged {
		t.Errorf("got\n%s\nwant\n%s", got, damaged)
	}
}
