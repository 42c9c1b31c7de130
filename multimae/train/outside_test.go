package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/scenes"
)

// stoppedAt returns the folder of a run that was interrupted after a step.
func stoppedAt(t *testing.T, step int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	o := options(dir)
	o.OnStep = func(p *Progress) {
		if p.Step == step {
			cancel()
		}
	}
	finish(t, ctx, o)
	return dir
}

// copied returns a copy of the folder of a run.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestNoFile puts something else in the place of the last checkpoint. The run must go on from the
// one before, say so, and write that checkpoint again.
func TestNoFile(t *testing.T) {
	want := straightRun(t)
	stopped := stoppedAt(t, 10)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	link := func(target string) func(string) error {
		return func(path string) error { return os.Symlink(target, path) }
	}
	for name, put := range map[string]func(path string) error{
		"folder": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o777), os.WriteFile(filepath.Join(path, "mine"), nil, 0o666))
		},
		"dangling link":  link(elsewhere),
		"circular link":  link(CheckpointName(10)),
		"link to folder": link("."),
		"device":         link(os.DevNull),
		"named pipe":     mkfifo,
	} {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, stopped)
			path := filepath.Join(dir, CheckpointName(10))
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := put(path); err != nil {
				t.Skip(err)
			}
			o := options(dir)
			o.Resume = true
			told := 0
			o.OnDamaged = func(err error, step int) {
				if told++; !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || step != 8 {
					t.Errorf("going on from %d: %v", step, err)
				}
			}
			if r := finish(t, context.Background(), o); r.Resumed != 8 || told != 1 {
				t.Errorf("resumed at %d, told %d times", r.Resumed, told)
			}
			same(t, name, results(t, dir), want)
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%v, error %v; want the checkpoint", info, err)
			}
			if _, err := os.Stat(elsewhere); err == nil {
				t.Error("written through the link")
			}
			if name == "folder" {
				if _, err := os.Stat(filepath.Join(path+".damaged-1", "mine")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("link to the checkpoint", func(t *testing.T) {
		dir := copied(t, stopped)
		path := filepath.Join(dir, CheckpointName(10))
		if err := errors.Join(os.Rename(path, path+".moved"), os.Symlink(path+".moved", path)); err != nil {
			t.Skip(err)
		}
		o := options(dir)
		o.Resume = true
		if r := finish(t, context.Background(), o); r.Resumed != 10 {
			t.Errorf("resumed at %d", r.Resumed)
		}
	})
	t.Run("folder, and a checkpoint before it", func(t *testing.T) {
		dir := copied(t, stopped)
		path := filepath.Join(dir, CheckpointName(12))
		if err := errors.Join(os.Remove(filepath.Join(dir, CheckpointName(10))), os.Mkdir(path, 0o777)); err != nil {
			t.Fatal(err)
		}
		o := options(dir)
		o.Resume = true
		if r := finish(t, context.Background(), o); r.Resumed != 8 {
			t.Errorf("resumed at %d", r.Resumed)
		}
		same(t, "folder", results(t, dir), want)
		if !isFolder(path + ".damaged-1") {
			t.Error("the folder is gone")
		}
	})
	// They are no checkpoints that could take the place of one.
	t.Run("after the last step", func(t *testing.T) {
		dir := copied(t, stopped)
		for step := 20; step < 24; step++ {
			if err := os.Mkdir(filepath.Join(dir, CheckpointName(step)), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		o := options(dir)
		o.Resume = true
		finish(t, context.Background(), o)
		for _, step := range []int{10, 12, 20, 21, 22, 23} {
			if _, err := os.Stat(filepath.Join(dir, CheckpointName(step))); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestMetricsNoFile wants what is no file in the place of the metrics to be refused at once.
func TestMetricsNoFile(t *testing.T) {
	stopped := stoppedAt(t, 1)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	for name, put := range map[string]func(path string) error{
		"folder":        func(path string) error { return os.Mkdir(path, 0o777) },
		"dangling link": func(path string) error { return os.Symlink(elsewhere, path) },
		"circular link": func(path string) error { return os.Symlink(MetricsFile, path) },
		"device":        func(path string) error { return os.Symlink("/dev/zero", path) },
		"named pipe":    mkfifo,
	} {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, stopped)
			path := filepath.Join(dir, MetricsFile)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := put(path); err != nil {
				t.Skip(err)
			}
			o := options(dir)
			o.Resume = true
			if _, err := pretrain(context.Background(), o); !errors.As(err, new(*FolderError)) || !strings.Contains(err.Error(), MetricsFile) {
				t.Errorf("error %v", err)
			}
			if _, err := os.Stat(elsewhere); err == nil {
				t.Error("written through the link")
			}
		})
	}
}

// TestConfigChanged edits the configuration of a run that was stopped.
func TestConfigChanged(t *testing.T) {
	stopped := stoppedAt(t, 1)
	for _, c := range []struct {
		name string
		edit func(c *multimae.Config)
		want string // "" if it may change
	}{
		{"seed", func(c *multimae.Config) { c.Train.Seed = 77 }, "train.seed was 1 and is now 77"},
		{"batch", func(c *multimae.Config) { c.Train.Batch = 3 }, "train.batch was 4 and is now 3"},
		{"lr", func(c *multimae.Config) { c.Optim.LR = 0.5 }, "optim.lr was 0.003 and is now 0.5"},
		{"heads", func(c *multimae.Config) { c.Encoder.Heads = 4 }, "encoder.heads was 2 and is now 4"},
		{"normalize", func(c *multimae.Config) { c.Inputs[0].Normalize = "none" }, `inputs.rgb.normalize was none and is now "none"`},
		{"flip", func(c *multimae.Config) { c.Train.Flip = false }, "train.flip was true and is now none"},
		{"order", func(c *multimae.Config) { c.Inputs[0], c.Inputs[1] = c.Inputs[1], c.Inputs[0] }, "inputs.depth"},
		{"what may change", func(c *multimae.Config) {
			t := &c.Train
			t.Steps, t.SaveEvery, t.ValEvery, t.LogEvery, t.Data, t.From = 3, 1, 0, 3, "/elsewhere", "/another"
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copied(t, stopped)
			config, err := LoadRun(dir)
			if err != nil {
				t.Fatal(err)
			}
			c.edit(config)
			if err := os.WriteFile(filepath.Join(dir, multimae.ConfigFile), config.JSON(), 0o666); err != nil {
				t.Fatal(err)
			}
			o := options(dir)
			o.Resume = true
			r, err := pretrain(context.Background(), o)
			if c.want == "" && (err != nil || r.Steps != 3 || r.Resumed != 1) {
				t.Errorf("%+v, error %v", r, err)
			}
			if c.want != "" && (!errors.Is(err, ErrOtherConfig) || !testkit.Mentions(err.Error(), CheckpointName(1)+"…"+c.want+"…train.steps")) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestMetricsKept damages lines of the metrics of a run that was stopped. No other line may be lost,
// nor that line.
func TestMetricsKept(t *testing.T) {
	want := straightRun(t)[MetricsFile]
	stopped := stoppedAt(t, 11)
	whole := readFile(t, stopped, MetricsFile)
	long := strings.Repeat("x", maxLine+1) + "\n"
	for _, c := range []struct{ name, before, after, aside string }{
		{"first line of no JSON", "}\n", "", ""},
		{"first line of a later step", `{"step": 99999}` + "\n", "", ""},
		{"first line without a step", "{}\n", "", ""},
		{"first line too long", long, "", ""},
		{"after the last line", "", "}\n{}\n", "}\n{}\n"},
		{"among later steps", "", `{"step": 50}` + "\n}\n" + `{"step": 51}` + "\n" + long + `{"st`, "}\n" + long},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copied(t, stopped)
			path := filepath.Join(dir, MetricsFile)
			if err := os.WriteFile(path, []byte(c.before+whole+c.after), 0o666); err != nil {
				t.Fatal(err)
			}
			o := options(dir)
			o.Resume = true
			told := ""
			o.OnDamaged = func(err error, step int) { told = err.Error() }
			finish(t, context.Background(), o)
			got, ok := strings.CutPrefix(results(t, dir)[MetricsFile], c.before)
			if !ok || got != want {
				t.Errorf("got\n%.2000s\nwant\n%s", got, want)
			}
			if aside := path + ".damaged-1"; c.aside != "" && (!testkit.Mentions(told, path+"…"+aside) || readFile(t, aside) != c.aside) {
				t.Errorf("told %q", told)
			} else if _, err := os.Stat(aside); c.aside == "" && (told != "" || err == nil) {
				t.Errorf("told %q, error %v", told, err)
			}
		})
	}
	t.Run("all lines", func(t *testing.T) {
		dir := copied(t, stopped)
		path := filepath.Join(dir, MetricsFile)
		bad := strings.ReplaceAll(whole, "{", "[")
		if err := os.WriteFile(path, []byte(bad), 0o666); err != nil {
			t.Fatal(err)
		}
		o := options(dir)
		o.Resume = true
		finish(t, context.Background(), o)
		if got := readFile(t, path+".damaged-1"); got != bad {
			t.Errorf("kept\n%s\nwant\n%s", got, bad)
		}
	})
	t.Run("last line break", func(t *testing.T) {
		dir := copied(t, stopped)
		if err := os.WriteFile(filepath.Join(dir, MetricsFile), []byte(strings.TrimSuffix(whole, "\n")), 0o666); err != nil {
			t.Fatal(err)
		}
		o := options(dir)
		o.Resume = true
		finish(t, context.Background(), o)
		if got := results(t, dir)[MetricsFile]; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestDiscardedMetrics: where an open file cannot be removed, that of a run without a checkpoint stays,
// and must be empty so that it is in nobody's way. Another name of the file stands for it here.
func TestDiscardedMetrics(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	f := &folder{dir: dir}
	if err := f.claim(); err != nil {
		t.Fatal(err)
	}
	if err := f.metrics.log([]field{{"step", 1}}); err != nil {
		t.Fatal(err)
	}
	stays := filepath.Join(t.TempDir(), MetricsFile)
	if err := os.Link(f.path(MetricsFile), stays); err != nil {
		f.release(true)
		t.Skip(err)
	}
	f.release(true)
	if got := readFile(t, stays); got != "" {
		t.Errorf("the metrics still hold %q", got)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestReplaced puts links and pipes in the place of the files that a run writes at its end. They must
// be replaced, and nothing written through them.
func TestReplaced(t *testing.T) {
	want := straightRun(t)
	stopped := stoppedAt(t, 11)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	for name, put := range map[string]func(path string) error{
		"dangling link": func(path string) error { return os.Symlink(elsewhere, path) },
		"circular link": func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"device":        func(path string) error { return os.Symlink("/dev/full", path) },
		"named pipe":    mkfifo,
	} {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, stopped)
			for _, file := range []string{CheckpointName(12), multimae.WeightsFile, PicturesFile, bestWeights, filepath.Join(BestDir, multimae.ConfigFile)} {
				path := filepath.Join(dir, file)
				if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				if err := put(path); err != nil {
					t.Skip(err)
				}
			}
			o := options(dir)
			o.Resume = true
			o.OnDamaged = func(error, int) {}
			finish(t, context.Background(), o)
			same(t, name, results(t, dir), want)
			if _, err := os.Stat(elsewhere); err == nil {
				t.Error("written through a link")
			}
		})
	}
}

// TestBlockedSample interrupts a run while samples cannot be read to their ends. Where bad samples are
// skipped, no others are tried in their place.
func TestBlockedSample(t *testing.T) {
	training := func(o *runOptions, block func()) {
		o.Config.Train.ValEvery = 0 // which reads them too
		o.OnStep = func(p *Progress) {
			if p.Step == 2 {
				block()
			}
		}
	}
	validating := func(o *runOptions, block func()) {
		o.OnStep = func(p *Progress) {
			if p.Step == 4 {
				block()
			}
		}
	}
	drawing := func(o *runOptions, block func()) {
		o.OnEvaluate = func(step int, _ *Evaluation) {
			if step == 12 {
				block()
			}
		}
	}
	for _, c := range []struct {
		name  string
		ranks int
		skip  bool
		when  func(o *runOptions, block func())
		val   bool  // block the samples held out; otherwise those to train on
		most  int32 // samples that are tried; 0 means any number
	}{
		{"training", 1, false, training, false, 2}, // one for each worker
		{"training, skipping", 1, true, training, false, 2},
		{"training, skipping, 2 ranks", 2, true, training, false, 2},
		{"validating", 1, false, validating, true, 0},
		{"validating, skipping, 2 ranks", 2, true, validating, true, 0},
		{"trivial predictors", 1, false, validating, false, 0},
		{"trivial predictors, 2 ranks", 2, false, validating, false, 0},
		{"trivial predictors, skipping, 2 ranks", 2, true, validating, false, 0},
		{"drawing, skipping", 1, true, drawing, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			release := make(chan struct{})
			defer close(release)
			var blocked atomic.Bool
			var tried atomic.Int32
			results, errs := together(c.ranks, func(ranks Ranks) (*Result, error) {
				o := options(dir)
				o.Workers, o.SkipBad, o.Ranks = 2, c.skip, ranks
				o.Train = scenes.New(0, 8, 20, 1)
				if c.when(&o, func() {}); ranks.Rank() > 0 {
					return pretrain(context.Background(), o)
				}
				c.when(&o, func() { blocked.Store(true) })
				hang := func(int) {
					if blocked.Load() {
						if tried.Add(1) == 1 {
							time.AfterFunc(300*time.Millisecond, cancel) // most often all that was read ahead is used by then
						}
						<-release
					}
				}
				if c.val {
					o.Val = &hooked{o.Val, hang}
				} else {
					o.Train = &hooked{o.Train, hang}
				}
				return pretrain(ctx, o)
			})
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			for rank, r := range results {
				if !r.Interrupted || r.Steps < 1 || r.SkippedData != 0 {
					t.Errorf("rank %d: %+v", rank, r)
				}
			}
			if n := saved(t, dir); len(n) == 0 || n[len(n)-1] != results[0].Steps {
				t.Errorf("checkpoints of steps %v, stopped after step %d", n, results[0].Steps)
			}
			if n := tried.Load(); c.most > 0 && n > c.most {
				t.Errorf("%d samples were tried", n)
			}
		})
	}
}
