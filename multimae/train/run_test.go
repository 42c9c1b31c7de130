// TestMetrics, TestMetricsValues and TestBest hold actual numbers. Most of the others compare a run with one that
// was never interrupted, and pass where both are wrong alike.

package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// options returns the options of a run of 12 steps: validations at 4, 8 and 12, checkpoints at 5,
// 10 and 12, every second step logged.
func options(dir string) runOptions {
	return runOptions{Config: tinyConfig(), Options: Options{
		Dir: dir, Workers: 1, Train: scenes.New(0, 40, 20, 1), Val: scenes.New(100, 6, 16, 1),
	}}
}

// finish runs to the end of the run or of ctx.
func finish(t *testing.T, ctx context.Context, o runOptions) *Result {
	t.Helper()
	r, err := pretrain(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var timing = regexp.MustCompile(`, "(images_per_s|data_wait_s|sum_s|sum_wait_s)": [-+.e0-9]+`)

// results returns the files of a finished run of 12 steps, without what depends on the time.
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

// bestWeights are the weights of the best model.
var bestWeights = filepath.Join(BestDir, multimae.WeightsFile)

var straight struct {
	sync.Once
	files map[string]string
}

// straightRun returns the results of a run that was never interrupted.
func straightRun(t *testing.T) map[string]string {
	t.Helper()
	straight.Do(func() {
		dir := t.TempDir()
		finish(t, context.Background(), options(dir))
		straight.files = results(t, dir)
	})
	if straight.files == nil {
		t.Fatal("no run goes straight through")
	}
	return straight.files
}

// stopped runs into an error and wants it to be a StopError after the checkpoint of a step, −1 for
// none.
func stopped(t *testing.T, o runOptions, step int) *StopError {
	t.Helper()
	_, err := pretrain(context.Background(), o)
	var s *StopError
	if !errors.As(err, &s) {
		t.Fatalf("got %v, want a StopError", err)
	}
	checkpoint := ""
	if step >= 0 {
		checkpoint = filepath.Join(o.Dir, CheckpointName(step))
	}
	if s.Step != step || s.Checkpoint != checkpoint || !strings.Contains(err.Error(), checkpoint) {
		t.Errorf("got %v, with step %d and checkpoint %q, want %d and %q", err, s.Step, s.Checkpoint, step, checkpoint)
	}
	return s
}

// noLeftovers wants nothing but the files of the run in its folder.
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

// TestResume interrupts a run everywhere, also while it validates, goes on with another number of
// workers, and wants the files of a run that was never interrupted.
func TestResume(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	straight := t.TempDir()
	r := finish(t, context.Background(), options(straight))
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
	stop := func(t *testing.T, what, dir string, o runOptions, hook func(o *runOptions, stop func()), steps int) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		hook(&o, cancel)
		r := finish(t, ctx, o)
		if !r.Interrupted || r.Steps != steps || r.Evaluation != nil {
			t.Errorf("%s: %+v, want an interruption after %d steps", what, r, steps)
		}
		if _, err := multimae.LoadDir(dir); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		noLeftovers(t, dir)
	}
	goOn := func(t *testing.T, what, dir string, from int) {
		t.Helper()
		o := options(dir)
		o.Config, o.Resume, o.Workers = nil, true, 2
		if r := finish(t, context.Background(), o); r.Interrupted || r.Steps != 12 || r.Resumed != from {
			t.Errorf("%s: %+v, want to go on from %d", what, r, from)
		}
		same(t, what, results(t, dir), want)
		noLeftovers(t, dir)
	}
	atStep := func(k int) func(o *runOptions, stop func()) {
		return func(o *runOptions, stop func()) {
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
		t.Run(fmt.Sprintf("after step %d", k), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			stop(t, "stopped", dir, options(dir), atStep(k), k)
			goOn(t, "gone on", dir, k)
		})
	}

	// Interrupt the same run twice in each of its validations.
	dir := filepath.Join(t.TempDir(), "run")
	o := options(dir)
	for i, step := range []int{4, 8, 12} {
		what := fmt.Sprintf("in validation at step %d", step)
		stop(t, what, dir, o, func(o *runOptions, stop func()) {
			o.Val = &hooked{Dataset: o.Val, hook: func(int) { stop() }}
		}, step)
		if got := strings.Count(readFile(t, dir, MetricsFile), "val.loss\""); got != i {
			t.Errorf("%s: %d validations logged, want %d", what, got, i)
		}
		o = options(dir)
		o.Resume = true
		stop(t, what+", again", dir, o, func(o *runOptions, stop func()) {
			o.OnEvaluate = func(at int, e *Evaluation) {
				if at != step || e.Samples != 6 {
					t.Errorf("%s: told of step %d, %+v", what, at, e)
				}
				stop()
			}
			if step == 12 { // OnEvaluate of the last one comes when the run is complete
				o.OnEvaluate = nil
				stop()
			}
		}, step)
	}
	goOn(t, "in validations", dir, 12)
}

// hooked is a dataset that calls hook before it reads a sample.
type hooked struct {
	data.Dataset
	hook func(i int)
}

// Fingerprint is that of the dataset without the hook: it is the same data.
func (h *hooked) Fingerprint() string { return data.Fingerprint(h.Dataset) }

func (h *hooked) Sample(i int) (*data.Sample, error) {
	h.hook(i)
	return h.Dataset.Sample(i)
}

// TestKilled copies the folder at several moments of a run, as a power cut would leave it, and goes
// on from the copies.
func TestKilled(t *testing.T) {
	straight, copies := t.TempDir(), t.TempDir()
	o := options(straight)
	o.OnStep = func(p *Progress) {
		if err := os.CopyFS(filepath.Join(copies, fmt.Sprint(p.Step)), os.DirFS(straight)); err != nil {
			t.Error(err)
		}
	}
	finish(t, context.Background(), o)
	want := results(t, straight)
	for _, k := range []int{1, 4, 6, 9, 12} {
		t.Run(fmt.Sprintf("copy of step %d", k), func(t *testing.T) {
			dir := filepath.Join(copies, fmt.Sprint(k))
			metrics := filepath.Join(dir, MetricsFile)
			f, err := os.OpenFile(metrics, os.O_WRONLY|os.O_APPEND, 0o666)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(f, `{"step": %d, "epo`, k)
			f.Close()
			// As if killed while saving: the files that were being written, and checkpoints that
			// were still to be removed.
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
				for _, j := range []string{"7", "10"} { // the run must not go on from these
					if err := os.CopyFS(dir, onlyCheckpoints{os.DirFS(filepath.Join(copies, j)), os.DirFS(dir)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			o := options(dir)
			o.Resume = true
			saved := map[int]int{1: 0, 4: 0, 6: 5, 9: 8, 12: 10}[k] // 5 and 10 are due, 4 and 8 are best: all are saved before the next step
			if r := finish(t, context.Background(), o); r.Resumed != saved {
				t.Errorf("resumed at %d, want %d", r.Resumed, saved)
			}
			same(t, "gone on", results(t, dir), want)
			noLeftovers(t, dir)
		})
	}
}

// onlyCheckpoints has the checkpoints of a folder that another lacks.
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

// TestResumeFinished wants a finished run to validate and draw again, and to change nothing else.
func TestResumeFinished(t *testing.T) {
	dir := t.TempDir()
	first := finish(t, context.Background(), options(dir))
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
	r := finish(t, context.Background(), o)
	if r.Steps != 12 || r.Resumed != 12 || fmt.Sprint(r.Evaluation) != fmt.Sprint(first.Evaluation) {
		t.Errorf("%+v", r)
	}
	same(t, "finished", results(t, dir), want)
	if after, err := os.Stat(filepath.Join(dir, CheckpointName(12))); err != nil || !os.SameFile(before, after) {
		t.Errorf("the checkpoint was written again: %v", err)
	}
}

// TestOtherData goes on with other samples, and with the same.
func TestOtherData(t *testing.T) {
	train, val := data.Samples(samples(t, scenes.New(0, 40, 20, 1))), data.Samples(samples(t, scenes.New(100, 6, 16, 1)))
	for i, s := range append(train[:40:40], val...) {
		s.Name = fmt.Sprint("scene/", i)
	}
	few := make([]int, 30)
	for i := range few {
		few[i] = i
	}
	stopped := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(t.Context())
	o := options(stopped)
	o.Train, o.Val = train, val
	o.OnData = func(was, now string) { t.Errorf("begun with %s, was %s", now, was) }
	o.OnStep = func(p *Progress) { cancel() }
	finish(t, ctx, o)
	for name, c := range map[string]struct {
		train data.Dataset
		told  [][2]string
	}{
		"the same":    {data.Subset(train, append(few[:30:30], 30, 31, 32, 33, 34, 35, 36, 37, 38, 39)), nil},
		"fewer":       {data.Subset(train, few), [][2]string{{data.Fingerprint(train, val), data.Fingerprint(data.Subset(train, few), val)}}},
		"scenes":      {scenes.New(0, 40, 20, 1), [][2]string{{data.Fingerprint(train, val), "rendered scenes 0 to 39 of seed 1, " + data.Fingerprint(val)}}},
		"not to tell": {struct{ data.Dataset }{train}, [][2]string{{data.Fingerprint(train, val), ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(copied(t, stopped))
			o.Train, o.Val, o.Resume, o.Config = c.train, val, true, nil
			var told [][2]string
			o.OnData = func(was, now string) { told = append(told, [2]string{was, now}) }
			o.OnStart = func(int) {
				if fmt.Sprint(told) != fmt.Sprint(c.told) {
					t.Errorf("told %q, want %q", told, c.told)
				}
			}
			finish(t, t.Context(), o)
		})
	}
}

// TestMetrics checks the keys of each line and their order.
func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	o := options(dir)
	o.Config.Train.SkipGrad = 1e-9 // every step is skipped, and therefore logged
	o.Config.Train.Steps, o.Config.Train.ValEvery = 11, 0
	steps := 0
	o.OnStep = func(p *Progress) {
		if steps++; p.Step != steps || p.Steps != 11 || p.Epoch != (p.Step-1)/10 || !(p.ImagesPerSec > 0) || p.DataWait < 0 {
			t.Errorf("%+v", p)
		}
	}
	r := finish(t, context.Background(), o)
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
		got := keys(line)
		if runtime.GOOS == "windows" && !strings.Contains(got, "images_per_s") { // its clock stood still for such a short step
			got = strings.Replace(got, " data_wait_s", " images_per_s data_wait_s", 1)
		}
		if got != "step epoch loss loss.rgb loss.depth loss.semseg loss.norm_rgb lr weight_decay grad_norm images_per_s data_wait_s skipped" {
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

// TestMetricsValues wants lines to have the numbers that the run tells.
func TestMetricsValues(t *testing.T) {
	pre, fine := tinyConfig(), fineConfig()
	m, err := multimae.NewModel(pre)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		objective Objective
		recipe    *multimae.Recipe
	}{
		"pre-training": {NewPretraining(m), &pre.Train.Recipe},
		"fine-tuning":  {newFinetuning(t, fine), &fine.Train.Recipe},
	} {
		t.Run(name, func(t *testing.T) {
			c.recipe.Steps, c.recipe.LogEvery, c.recipe.ValEvery = 3, 1, 0
			o := options(t.TempDir()).Options
			o.Objective = c.objective
			var want []map[string]float64
			o.OnStep = func(p *Progress) {
				line := map[string]float64{
					"step": float64(p.Step), "epoch": float64(p.Epoch), "loss": p.Loss,
					"lr": p.LR, "weight_decay": p.WeightDecay, "grad_norm": p.GradNorm,
				}
				for i, output := range c.objective.Plan().Outputs {
					line["loss."+output] = p.Losses[i]
				}
				want = append(want, line)
			}
			r, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			e := r.Evaluation
			line := map[string]float64{"step": 3, "val.samples": float64(e.Samples), "val.loss": e.Loss}
			figures := map[string]string{"rgb": "psnr", "depth": "l1", "semseg": "accuracy", "norm_rgb": "mse"}
			for _, s := range e.Scores {
				figure := figures[s.Output]
				line["val.loss."+s.Output], line["val.trivial_loss."+s.Output] = s.Loss, s.TrivialLoss
				line["val."+figure+"."+s.Output], line["val.trivial_"+figure+"."+s.Output] = s.Value, s.Trivial
			}
			for _, m := range e.Metrics {
				line["val."+m.Name+"."+m.Output] = m.Value
			}
			want = append(want, line)
			got := metricLines(t, o.Dir)
			if len(got) != len(want) {
				t.Fatalf("%d lines, want %d", len(got), len(want))
			}
			for i := range got {
				delete(got[i], "images_per_s")
				delete(got[i], "data_wait_s")
				if !maps.Equal(got[i], want[i]) {
					t.Errorf("line %d: got %v, want %v", i+1, got[i], want[i])
				}
			}
		})
	}
}

// TestMetricsNames wants lines to be JSON whatever an output is called.
func TestMetricsNames(t *testing.T) {
	name := "a\"<\x01\u00ad\U000e0001é"
	o := options(t.TempDir())
	o.Config.Outputs[0].Name = name
	finish(t, t.Context(), o)
	for i, line := range metricLines(t, o.Dir) {
		_, step := line["loss."+name]
		_, validation := line["val.psnr."+name]
		if !step && !validation {
			t.Errorf("line %d: %v", i, line)
		}
	}
}

// TestOtherRun wants no file of another run to be overwritten.
func TestOtherRun(t *testing.T) {
	for _, name := range []string{multimae.ConfigFile, multimae.WeightsFile, CheckpointName(123), MetricsFile, BestDir} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o666); err != nil {
				t.Fatal(err)
			}
			_, err := pretrain(context.Background(), options(dir))
			if f := new(FolderError); !errors.As(err, &f) || f.Dir != dir || !errors.Is(err, ErrOtherRun) || !testkit.Mentions(err.Error(), dir+"…"+name) {
				t.Errorf("got %v", err)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 || readFile(t, dir, name) != "precious" {
				t.Error("the folder was changed")
			}
		})
	}
	// Another process may be a moment faster.
	dir := t.TempDir()
	o := options(dir)
	o.Train = &late{o.Train, func() {
		for _, name := range []string{multimae.ConfigFile, MetricsFile} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o666); err != nil {
				t.Error(err)
			}
		}
	}}
	if _, err := pretrain(context.Background(), o); !errors.Is(err, ErrOtherRun) || readFile(t, dir, multimae.ConfigFile)+readFile(t, dir, MetricsFile) != "preciousprecious" {
		t.Errorf("another was faster: %v", err)
	}
	// Other files do not matter.
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	finish(t, context.Background(), options(dir))
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

// TestBusy lets a second process into the folder of a run.
func TestBusy(t *testing.T) {
	locks := slices.Contains([]string{"linux", "darwin", "windows"}, runtime.GOOS)
	dir := t.TempDir()
	o := options(dir)
	o.OnStep = func(p *Progress) {
		other := options(dir)
		other.Resume = true
		if _, err := pretrain(context.Background(), other); locks && !errors.Is(err, ErrBusy) {
			t.Errorf("step %d: resumed by another: %v", p.Step, err)
		}
		other.Resume = false
		if _, err := pretrain(context.Background(), other); !errors.Is(err, ErrOtherRun) {
			t.Errorf("step %d: begun by another: %v", p.Step, err)
		}
	}
	if !locks {
		t.Skip("no locks on " + runtime.GOOS)
	}
	finish(t, context.Background(), o)
}

// TestRefused wants what cannot work to be refused, and to leave no files.
func TestRefused(t *testing.T) {
	missing := errors.New("broken.png: truncated image")
	for _, c := range []struct {
		name   string
		change func(o *runOptions)
		want   string
	}{
		{"configuration", func(o *runOptions) { o.Config.PatchSize = 7 }, "image_size…patch_size 7"},
		{"no train", func(o *runOptions) { o.Config.Train = multimae.Train{} }, "train"},
		{"tokens", func(o *runOptions) { o.Config.Train.NumEncodedTokens = 13 }, "train.num_encoded_tokens: got 13…12"},
		{"batch", func(o *runOptions) { o.Config.Train.Batch = 41 }, "train.batch: got 41…40"},
		{"empty validation", func(o *runOptions) { o.Val = scenes.New(0, 0, 16, 1) }, "validation"},
		{"first sample", func(o *runOptions) {
			o.Train = &broken{Dataset: o.Train, err: missing, bad: func(int) bool { return true }}
		}, missing.Error()},
		{"no sample at all", func(o *runOptions) {
			o.SkipBad = true
			o.Train = &broken{Dataset: o.Train, err: missing, bad: func(int) bool { return true }}
		}, "40…" + missing.Error()},
		{"NaN at once", func(o *runOptions) { o.Train = &spoiled{o.Train, func(int) bool { return true }} }, "step 1: …NaN…input "},
		{"resume nothing", func(o *runOptions) { o.Resume = true }, ErrNoRun.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := t.TempDir()
			o := options(filepath.Join(parent, "run"))
			c.change(&o)
			r, err := pretrain(context.Background(), o)
			if r != nil || err == nil || !testkit.Mentions(err.Error(), c.want) {
				t.Errorf("%+v, error %v, want %q", r, err, c.want)
			}
			if entries, _ := os.ReadDir(parent); len(entries) != 0 {
				t.Error("left a folder")
			}
			// A folder that was there stays.
			o.Dir = parent
			if _, err := pretrain(context.Background(), o); err == nil {
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
	if _, err := pretrain(context.Background(), options(filepath.Join(file, "run"))); !errors.As(err, new(*FolderError)) {
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

// TestBadSample wants the steps before a bad sample to be saved. When the sample is good again, the
// run must go on as if it had never been bad.
func TestBadSample(t *testing.T) {
	want := straightRun(t)
	truncated := errors.New("rgb/7.png: truncated image")
	for _, c := range []struct {
		name  string
		spoil func(o *runOptions, from *atomic.Bool)
		at    int
	}{
		{"training", func(o *runOptions, from *atomic.Bool) {
			o.Train = &broken{Dataset: o.Train, err: truncated, bad: func(int) bool { return from.Load() }}
		}, 6},
		{"validation", func(o *runOptions, from *atomic.Bool) {
			o.Val = &broken{Dataset: o.Val, err: truncated, bad: func(i int) bool { return i == 5 && from.Load() }}
		}, 8},
		{"last validation", func(o *runOptions, from *atomic.Bool) {
			o.Config.Train.ValEvery = 0
			o.Val = &broken{Dataset: o.Val, err: truncated, bad: func(i int) bool { return i == 5 }}
		}, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			o := options(dir)
			from := new(atomic.Bool)
			c.spoil(&o, from)
			o.OnStep = func(p *Progress) {
				if p.Step == 6 {
					from.Store(true)
				}
			}
			_, err := pretrain(context.Background(), o)
			var s *StopError
			if !errors.As(err, &s) || !errors.Is(err, truncated) || s.Step < c.at || s.Step > c.at+3 { // the loader reads ahead
				t.Fatalf("got %v, want a run saved at about step %d", err, c.at)
			}
			if c.name == "last validation" {
				return
			}
			o = options(dir)
			o.Resume = true
			if r := finish(t, context.Background(), o); r.Resumed != s.Step {
				t.Errorf("resumed at %d, want %d", r.Resumed, s.Step)
			}
			same(t, c.name, results(t, dir), want)
		})
	}
}

// TestSkipBad trains and validates without the samples that cannot be read, and counts each of them
// once.
func TestSkipBad(t *testing.T) {
	o := options(t.TempDir())
	o.SkipBad = true
	o.Train = &broken{Dataset: o.Train, err: os.ErrInvalid, bad: func(i int) bool { return i%10 == 3 }}
	o.Val = &broken{Dataset: o.Val, err: os.ErrInvalid, bad: func(i int) bool { return i < 3 }}
	r := finish(t, context.Background(), o)
	if r.Steps != 12 || r.SkippedData != 4+3 || r.FirstSkipped == nil || r.FirstSkipped.Error() != "sample 3: invalid argument" || r.Evaluation.Samples != 3 {
		t.Errorf("%+v", r)
	}
	// The picture, of samples 0, 1, 3 and 4, leaves them out as well.
	if _, err := os.Stat(filepath.Join(o.Dir, PicturesFile)); err != nil {
		t.Error(err)
	}
}

// TestCounted wants a bad sample to be read once, and an interruption to say nothing about a sample.
func TestCounted(t *testing.T) {
	for err, reads := range map[error]int{os.ErrInvalid: 1, context.Canceled: 3} {
		t.Run(err.Error(), func(t *testing.T) {
			tried := 0
			c := &counted{Dataset: &broken{Dataset: scenes.New(0, 4, 16, 1), err: err, bad: func(int) bool {
				tried++
				return true
			}}}
			for range 3 {
				if _, got := c.Sample(2); !errors.Is(got, err) {
					t.Errorf("got %v", got)
				}
			}
			bad, first := c.skipped()
			if counts := reads == 1; tried != reads || (len(bad) == 1 && errors.Is(first, err)) != counts {
				t.Errorf("read %d times, want %d; %v counted, the first because of %v", tried, reads, bad, first)
			}
		})
	}
}

// TestDivergedRun wants the last good checkpoint to stay as it was.
func TestDivergedRun(t *testing.T) {
	for _, first := range []int{2, 7} {
		t.Run(fmt.Sprintf("after step %d", first), func(t *testing.T) {
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
			saved := -1
			if first > 5 {
				saved = 5
			}
			err := stopped(t, o, saved)
			var d *DivergedError
			if !errors.As(err, &d) || d.First != "input depth of the batch" || d.Step < first || d.Step > first+3 {
				t.Fatal(err)
			}
			if saved < 0 {
				if _, err := os.Stat(dir); err == nil {
					t.Error("a folder is left that cannot be resumed")
				}
			} else if readFile(t, dir, CheckpointName(5)) != checkpoint {
				t.Error("the checkpoint was changed")
			}
		})
	}
}

// TestDivergedValidation wants the last good checkpoint to stay where only validation finds that the
// run has diverged, also at a step to save.
func TestDivergedValidation(t *testing.T) {
	o := options(filepath.Join(t.TempDir(), "run"))
	o.Config.Train.SaveEvery = 2
	m, err := multimae.NewModel(o.Config)
	if err != nil {
		t.Fatal(err)
	}
	o.Objective = NewPretraining(m)
	checkpoint := ""
	o.OnStep = func(p *Progress) {
		if p.Step == 4 {
			checkpoint = readFile(t, o.Dir, CheckpointName(2))
			fill(parameter(t, m.Params, "output_adapters.rgb.out_proj.bias"), 1e30) // finite, but not its square
		}
	}
	_, err = Run(context.Background(), o.Options)
	var s *StopError
	var d *DivergedError
	if !errors.As(err, &s) || s.Step != 2 || !errors.As(err, &d) || d.Step != 4 || !testkit.Mentions(err.Error(), "step 4: validation…loss of rgb…optim.lr…"+CheckpointName(2)) {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, CheckpointName(4))); err == nil || readFile(t, o.Dir, CheckpointName(2)) != checkpoint {
		t.Errorf("the last checkpoint is not that of step 2 as it was, %v", err)
	}
}

// endsValidating interrupts a run at the end of a validation.
type endsValidating struct {
	Objective
	interrupt func()
}

func (o *endsValidating) Evaluate(ctx context.Context, train, val data.Dataset, skipBad bool, pool *tensor.Pool) (*Evaluation, error) {
	defer o.interrupt()
	return o.Objective.Evaluate(ctx, train, val, skipBad, pool)
}

// TestInterruptedValidation wants an interrupt not to hide what else a validation has found.
func TestInterruptedValidation(t *testing.T) {
	for _, c := range []struct{ step, kept int }{{4, 2}, {12, 12}} { // between two steps, and after the last
		t.Run(fmt.Sprintf("step %d", c.step), func(t *testing.T) {
			o := options(filepath.Join(t.TempDir(), "run"))
			o.Config.Train.SaveEvery, o.Config.Train.ValEvery = 2, c.step
			m, err := multimae.NewModel(o.Config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			o.Objective = &endsValidating{NewPretraining(m), cancel}
			o.OnStep = func(p *Progress) {
				if p.Step == c.step {
					fill(parameter(t, m.Params, "output_adapters.rgb.out_proj.bias"), 1e30)
				}
			}
			_, err = Run(ctx, o.Options)
			var s *StopError
			if !errors.As(err, &s) || s.Step != c.kept || !errors.As(err, new(*DivergedError)) || ctx.Err() == nil {
				t.Errorf("got %v, want a DivergedError and the checkpoint of step %d", err, c.kept)
			}
		})
	}
}

// TestUpdateOverflows wants no parameters to be saved that are not finite.
func TestUpdateOverflows(t *testing.T) {
	o := options(t.TempDir())
	o.Config.Optim.LR, o.Config.Train.WarmupSteps = 1e39, 0
	o.Config.Train.SaveEvery = 1
	err := stopped(t, o, -1)
	var d *DivergedError
	if !errors.As(err, &d) || d.Step != 1 || !testkit.Mentions(d.First, "model.global_tokens…element 0") {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(o.Dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestSaveFails goes on from the checkpoint before one that could not be saved.
func TestSaveFails(t *testing.T) {
	for _, c := range []struct {
		name string
		kept int
	}{{CheckpointName(8), 5}, {multimae.WeightsFile, 8}, {bestWeights, 8}} { // 8 is the second best
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			path := filepath.Join(dir, c.name)
			o := options(dir)
			o.OnStep = func(p *Progress) {
				if p.Step == 6 { // no one can write a file where a folder is
					os.Rename(path, path+".before")
					if err := os.Mkdir(path, 0o777); err != nil {
						t.Error(err)
					}
				}
			}
			if err := stopped(t, o, c.kept); !errors.As(err, new(*FolderError)) || !strings.Contains(err.Error(), path) {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			os.Rename(path+".before", path)
			o = options(dir)
			o.Resume = true
			if r := finish(t, context.Background(), o); r.Resumed != c.kept {
				t.Errorf("resumed at %d, want %d", r.Resumed, c.kept)
			}
			same(t, c.name, results(t, dir), straightRun(t))
			noLeftovers(t, dir)
		})
	}
}

// TestResumeRefused resumes a run whose files are damaged or gone.
func TestResumeRefused(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	o := options(dir)
	o.OnStep = func(*Progress) { cancel() }
	finish(t, ctx, o)
	whole := readFile(t, dir, CheckpointName(1))
	o = options(dir)
	o.Resume = true
	o.OnDamaged = func(err error, step int) { t.Errorf("went on from %d without %v", step, err) }
	refuse := func(what, want string) {
		t.Helper()
		if _, err := pretrain(context.Background(), o); err == nil || !testkit.Mentions(err.Error(), dir+"…"+want) || errors.As(err, new(*StopError)) {
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
	refuse("all damaged", CheckpointName(3)+" is damaged…"+path+" is damaged…checkpoint")
	put(filepath.Join(dir, CheckpointName(3)), whole)
	refuse("another name", CheckpointName(3)+"…step 1…"+CheckpointName(1))
	if err := errors.Join(os.Remove(path), os.Remove(filepath.Join(dir, CheckpointName(3)))); err != nil {
		t.Fatal(err)
	}
	refuse("gone", "no checkpoint…model.safetensors")
	put(filepath.Join(dir, oldCheckpoint), whole)
	refuse("before checksums", oldCheckpoint+"…checksum")
	if err := os.Remove(filepath.Join(dir, oldCheckpoint)); err != nil {
		t.Fatal(err)
	}
	config := readFile(t, dir, multimae.ConfigFile)
	for damage, want := range map[string]string{
		"{":  "line 1",
		"{}": `model: got ""`,
		strings.Replace(config, `"lr"`, `"lrr"`, 1):                        `lrr…"lr"`,
		strings.Replace(config, `"train": {`, `"case": {`, 1):              `"train"`,
		strings.Replace(config, `"image_size": 16`, `"image_size": 20`, 1): "patch_size 8",
	} {
		if err := os.WriteFile(filepath.Join(dir, multimae.ConfigFile), []byte(damage), 0o666); err != nil {
			t.Fatal(err)
		}
		refuse("config.json", want)
	}
	// With the configuration alone, as after a kill before the first checkpoint, the run begins.
	if err := os.WriteFile(filepath.Join(dir, multimae.ConfigFile), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{MetricsFile, multimae.WeightsFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if r := finish(t, context.Background(), o); r.Resumed != 0 || r.Steps != 12 {
		t.Errorf("%+v", r)
	}
	same(t, "only config.json", results(t, dir), straightRun(t))
}

// saved returns the steps of the checkpoints in a folder.
func saved(t *testing.T, dir string) []int {
	t.Helper()
	steps, err := (&folder{dir: dir}).checkpoints()
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

// TestFallsBack damages checkpoints. The run must go on from the last good one, and say so.
func TestFallsBack(t *testing.T) {
	want := straightRun(t)
	cases := []struct {
		damaged []int
		from    int
		best    bool
	}{{[]int{11, 10}, 8, false}, {[]int{11}, 10, true}, {[]int{10}, 11, false}, {nil, 11, true}}
	if testing.Short() {
		cases = cases[:2]
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%v damaged", c.damaged), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			ctx, cancel := context.WithCancel(context.Background())
			o := options(dir)
			o.Keep = 3 // 8, 10, 11
			o.OnStep = func(p *Progress) {
				if p.Step == 11 {
					cancel()
				}
			}
			finish(t, ctx, o)
			var paths []string
			for _, step := range c.damaged {
				path := filepath.Join(dir, CheckpointName(step))
				flip(t, path)
				if step > c.from {
					paths = append(paths, path+" is damaged: its ")
				}
			}
			if c.best {
				// A run needs only the step and the loss of the best model, and a validation as
				// good is to come.
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
					t.Errorf("going on from %d, want %d", step, c.from)
				}
				told = append(told, err.Error())
			}
			o.OnStart = func(done int) {
				if len(told) != len(paths) {
					t.Fatalf("told %q, want %d", told, len(paths))
				}
				for i := range told {
					if !strings.Contains(told[i], paths[i]) {
						t.Errorf("told %q, want %q", told[i], paths[i])
					}
				}
			}
			if r := finish(t, context.Background(), o); r.Resumed != c.from || r.Best.Step != 12 {
				t.Errorf("%+v", r)
			}
			same(t, "gone on", results(t, dir), want)
			// The checkpoints passed over are gone, the earlier ones are as they were.
			left := saved(t, dir)
			for _, step := range left {
				if err := verify(filepath.Join(dir, CheckpointName(step))); (err != nil) != (step < c.from && slices.Contains(c.damaged, step)) {
					t.Errorf("%v is left: %v", left, err)
				}
			}
		})
	}
}

// TestBest wants the best model to be that of the lowest validation loss, whether the run is
// stopped before that validation, at it or after it, or goes back to before it.
func TestBest(t *testing.T) {
	worse := func(dir string) runOptions { // learns, then unlearns
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
		if best.Step == 0 || e.Loss < best.Criterion {
			best = Best{step, e.Loss}
		}
		// The best model is in place when OnEvaluate is called.
		m, err := multimae.LoadDir(filepath.Join(straight, BestDir))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Evaluate(context.Background(), m, o.Val, trivial, EvaluateOptions{Samples: valSamples, Seed: 1}, nil)
		if err != nil || again.Loss != best.Criterion {
			t.Errorf("step %d: the best model has loss %v, want %v: %v", step, again.Loss, best.Criterion, err)
		}
	}
	if r := finish(t, context.Background(), o); r.Best != best || best.Step < 4 || best.Step > 14 {
		t.Fatalf("best %+v, want %+v, in the middle", r.Best, best)
	}
	want := resultsAt(t, straight, 16)
	f, err := weights.Open(filepath.Join(straight, bestWeights))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m := f.Metadata(); m["gomae_step"] != fmt.Sprint(best.Step) || m["gomae_val_loss"] != fmt.Sprint(best.Criterion) {
		t.Errorf("metadata %v, want %+v", m, best)
	}

	for _, c := range []struct {
		at     int
		behind bool // goes back to before the best one
	}{{best.Step - 1, false}, {best.Step, false}, {best.Step + 1, true}, {15, false}} {
		t.Run(fmt.Sprintf("stopped at %d, best %d", c.at, best.Step), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			ctx, cancel := context.WithCancel(context.Background())
			o := worse(dir)
			o.Keep = 99
			o.OnStep = func(p *Progress) {
				if p.Step == c.at {
					cancel()
				}
			}
			finish(t, ctx, o)
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
			if r := finish(t, context.Background(), o); r.Best != best || r.Resumed != from {
				t.Errorf("%+v", r)
			}
			same(t, "gone on", resultsAt(t, dir, 16), want)
		})
	}

	// If it cannot be written, the validation is not logged.
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
	if _, err := pretrain(context.Background(), o); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.Rename(path+".before", path)); err != nil {
		t.Fatal(err)
	}
	o = worse(dir)
	o.Resume = true
	finish(t, context.Background(), o)
	same(t, "not written", resultsAt(t, dir, 16), want)
}

// TestKeep counts checkpoints.
func TestKeep(t *testing.T) {
	for keep, want := range map[int]string{0: "[10 12]", 1: "[12]", 99: "[4 5 8 10 12]"} {
		t.Run(fmt.Sprint(keep), func(t *testing.T) {
			o := options(filepath.Join(t.TempDir(), "run [1]")) // a name that is no pattern
			o.Keep = keep
			finish(t, context.Background(), o)
			if got := fmt.Sprint(saved(t, o.Dir)); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			// A checkpoint of a process that was killed before it could remove it, and the file
			// that it was writing. Other files stay.
			for _, name := range []string{CheckpointName(3), "." + CheckpointName(13) + ".tmp-1", ".notes.tmp-1", "checkpoint-3.safetensors"} {
				if err := os.WriteFile(filepath.Join(o.Dir, name), nil, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			o.Resume = true
			finish(t, context.Background(), o)
			if keep < 99 && fmt.Sprint(saved(t, o.Dir)) != want {
				t.Errorf("%v after another", saved(t, o.Dir))
			}
			if left, _ := fs.Glob(os.DirFS(o.Dir), ".*"); fmt.Sprint(left) != "[.notes.tmp-1]" {
				t.Errorf("left %v", left)
			}
		})
	}
	o := options(t.TempDir())
	o.Keep = -1
	if _, err := pretrain(context.Background(), o); err == nil || !strings.Contains(err.Error(), "keep: got -1") {
		t.Errorf("error %v", err)
	}
}

// TestMetricsDamaged wants a line that cannot be read to take no other line with it.
func TestMetricsDamaged(t *testing.T) {
	dir := t.TempDir()
	finish(t, context.Background(), options(dir))
	path := filepath.Join(dir, MetricsFile)
	whole := readFile(t, path)
	second := strings.Index(whole, "\n") + 1
	damaged := whole[:second] + "}" + whole[second+1:]
	if err := os.WriteFile(path, []byte(damaged+"\x00\x00\x00\n{\"step\": 1"), 0o666); err != nil {
		t.Fatal(err)
	}
	o := options(dir)
	o.Resume = true
	finish(t, context.Background(), o)
	if got := readFile(t, path); got != damaged {
		t.Errorf("got\n%s\nwant\n%s", got, damaged)
	}
}
