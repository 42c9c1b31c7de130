//go:build unix

package train

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
)

// killedDir is the environment variable with the folder of the run, if this binary is to be a
// process of the test.
const killedDir = "GOMAE_TEST_TRAIN"

func init() {
	dir := os.Getenv(killedDir)
	if dir == "" {
		return
	}
	_, err := os.Stat(filepath.Join(dir, multimae.ConfigFile))
	o := killedOptions(dir)
	o.Resume = err == nil
	o.OnDamaged = func(err error, step int) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	if filepath.Base(dir) == fineRun {
		c := fineConfig()
		c.Optim.LR, c.Train.WarmupSteps = 0.1, 40
		c.Train.Steps, c.Train.SaveEvery, c.Train.ValEvery, c.Train.LogEvery = 40, 1, 3, 1
		var m *heads.Model
		if m, err = heads.NewModel(c); err == nil {
			o.Objective = NewFinetuning(m)
			_, err = Run(context.Background(), o.Options)
		}
	} else {
		_, err = pretrain(context.Background(), o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// fineRun is the name of the folder of a run that fine-tunes.
const fineRun = "finetuned"

// killedOptions returns the options of a run that uses all random numbers there are and spends most
// of its time saving.
func killedOptions(dir string) runOptions {
	c := tinyConfig()
	c.Encoder.Dim, c.Encoder.DropPath, c.Train.Weighting = 64, 0.3, "uncertainty"
	c.Optim.LR, c.Train.WarmupSteps = 0.1, 40 // the best model is one in the middle
	c.Train.Steps, c.Train.SaveEvery, c.Train.ValEvery, c.Train.LogEvery = 40, 1, 3, 1
	return runOptions{Config: c, Options: Options{Dir: dir, Train: scenes.New(0, 40, 20, 1), Val: scenes.New(100, 6, 16, 1)}}
}

// TestKilledProcesses kills processes at random moments, many of them while they save, until the
// run is done. Its files must be those of a run that was left alone.
func TestKilledProcesses(t *testing.T) {
	for _, c := range []struct {
		name, folder string
		kills        int
		load         func(dir string) error
	}{
		{"pre-training", "run", 30, func(dir string) error { _, err := multimae.LoadDir(dir); return err }},
		{"fine-tuning", fineRun, 10, func(dir string) error { _, err := heads.LoadDir(dir); return err }},
	} {
		t.Run(c.name, func(t *testing.T) { killProcesses(t, c.folder, c.kills, c.load) })
	}
}

func killProcesses(t *testing.T, folderName string, kills int, load func(dir string) error) {
	begin := func(dir string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), killedDir+"="+dir), os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	straight := filepath.Join(t.TempDir(), folderName)
	began := time.Now()
	if err := begin(straight).Wait(); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	want := resultsAt(t, straight, 40)
	if strings.Contains(want[bestWeights], `"gomae_step":"40"`) {
		t.Log("the best model is the last one at this SIMD level, which shows less")
	}

	finished, saving := 0, 0
	if testing.Short() {
		kills = 3
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	dir := filepath.Join(t.TempDir(), folderName)
	for k, done := 0, false; k < kills || !done; k++ {
		life := time.Duration(r.Int64N(int64(whole * 2 / 5)))
		cmd := begin(dir)
		if k < kills {
			time.AfterFunc(life, func() { cmd.Process.Kill() })
		}
		err := cmd.Wait()
		what := fmt.Sprintf("seed %d, kill %d, after %v", seed, k, life)
		if done = err == nil; done {
			finished++
			same(t, what, resultsAt(t, dir, 40), want)
			noLeftovers(t, dir)
			dir = filepath.Join(t.TempDir(), folderName)
			continue
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
			t.Fatalf("%s: %v", what, err)
		}
		// A file with its name is complete at every moment.
		steps, _ := (&folder{dir: dir}).checkpoints() // there may be no folder yet
		for _, step := range steps {
			if err := verify(filepath.Join(dir, CheckpointName(step))); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if len(steps) > 3 {
			t.Errorf("%s: checkpoints %v", what, steps)
		}
		for _, dir := range []string{dir, filepath.Join(dir, BestDir)} {
			if _, err := os.Stat(filepath.Join(dir, multimae.WeightsFile)); err == nil {
				if err := load(dir); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			if temp, _ := filepath.Glob(filepath.Join(dir, ".*.tmp-*")); len(temp) > 0 {
				saving++
			}
		}
	}
	t.Logf("seed %d: %d kills, %d while saving; %d runs finished", seed, kills, saving, finished)
}
