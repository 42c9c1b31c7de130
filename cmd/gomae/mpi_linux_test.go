package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/multimae/train/mpi"
)

// mpirun returns the command in two processes of an MPI launcher.
func mpirun(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	run, err := exec.LookPath("mpirun")
	if err != nil {
		if os.Getenv("GOMAE_REQUIRE_MPI") != "" {
			t.Fatal(err)
		}
		t.Skip("there is no mpirun")
	}
	var options []string
	if about, _ := exec.Command(run, "--version").CombinedOutput(); strings.Contains(string(about), "Open MPI") {
		options = []string{"--oversubscribe", "--allow-run-as-root"}
	}
	options = append(options, "-n", "2", os.Args[0])
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, run, append(options, args...)...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	return cmd
}

// metricsOf returns the lines of a run's metrics without times.
func metricsOf(t *testing.T, dir string) (lines []map[string]float64) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, train.MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		line := map[string]float64{}
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		delete(line, "images_per_s")
		delete(line, "data_wait_s")
		lines = append(lines, line)
	}
	return lines
}

// closeTo wants the metrics of two runs to differ by rounding only.
func closeTo(t *testing.T, got, want []map[string]float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d lines of metrics, want %d", len(got), len(want))
	}
	for i, w := range want {
		for key, v := range w {
			if g, ok := got[i][key]; !ok || math.Abs(g-v) > 1e-4*max(math.Abs(v), 1e-2) {
				t.Errorf("line %d: %s is %g, want %g", i, key, g, v)
			}
		}
	}
}

// TestMPI trains with mpirun.
func TestMPI(t *testing.T) {
	config, alone := tinyConfig(t, func(c *multimae.Config) { c.Train.Steps = 8 }), filepath.Join(t.TempDir(), "run")
	if code, _, stderr := gomae("pretrain", "-config", config, "-out", alone); code != 0 {
		t.Fatal(stderr)
	}
	want := metricsOf(t, alone)

	t.Run("two ranks", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "run")
		text, err := mpirun(t, "pretrain", "-mpi", "-config", config, "-out", out).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		closeTo(t, metricsOf(t, out), want)
		if n := strings.Count(string(text), "look at"); n != 1 {
			t.Errorf("%d ranks say where the pictures are, want 1:\n%s", n, text)
		}
	})

	t.Run("killed rank and resume", func(t *testing.T) {
		// So many steps that the run is under way when a rank is killed.
		long, out := tinyConfig(t, func(c *multimae.Config) { c.Train.Steps, c.Train.SaveEvery = 100000, 1 }), filepath.Join(t.TempDir(), "run")
		cmd := mpirun(t, "pretrain", "-mpi", "-config", long, "-out", out)
		log := new(sharedLog)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		victim := 0
		for victim == 0 || len(checkpoints(out)) == 0 {
			if m := regexp.MustCompile(`rank 1 of 2: process (\d+)`).FindStringSubmatch(log.String()); m != nil {
				victim, _ = strconv.Atoi(m[1])
			}
			select {
			case err := <-ended:
				t.Fatalf("%v\n%s", err, log)
			case <-time.After(10 * time.Millisecond):
			}
		}
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Errorf("mpirun succeeded:\n%s", log)
		}
		if !strings.Contains(log.String(), strconv.Itoa(victim)) {
			t.Errorf("nothing names process %d:\n%s", victim, log)
		}
		// The last checkpoint is whole: a process alone goes on from it.
		before := checkpoints(out)
		cmd = program(t, nil, "pretrain", "-resume", "-out", out)
		log = new(sharedLog)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { ended <- cmd.Wait() }()
		for slices.Equal(checkpoints(out), before) {
			select {
			case err := <-ended:
				t.Fatalf("%v\n%s", err, log)
			case <-time.After(10 * time.Millisecond):
			}
		}
		cmd.Process.Signal(os.Interrupt)
		if <-ended; !strings.Contains(log.String(), "everything is saved") || strings.Contains(log.String(), "damaged") {
			t.Errorf("resuming alone: %s", log)
		}
	})

	t.Run("resume with another number of ranks", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "run")
		half := tinyConfig(t, func(c *multimae.Config) { c.Train.Steps = 8 })
		text, err := mpirun(t, "pretrain", "-mpi", "-config", half, "-out", out).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, step := range checkpoints(out)[1:] { // back to an earlier checkpoint
			if err := os.Remove(filepath.Join(out, step)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(filepath.Join(out, train.BestDir)); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := gomae("pretrain", "-resume", "-out", out); code != 0 {
			t.Fatal(stderr)
		}
		closeTo(t, metricsOf(t, out), want)
	})

	t.Run("without -mpi", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "run")
		text, err := mpirun(t, "pretrain", "-config", config, "-out", out).CombinedOutput()
		if err == nil || !strings.Contains(string(text), "-mpi") {
			t.Errorf("got %v, want an error that names -mpi:\n%s", err, text)
		}
		if _, err := os.Stat(out); err == nil {
			t.Error("the folder was made")
		}
	})

	t.Run("error of all", func(t *testing.T) {
		text, err := mpirun(t, "pretrain", "-mpi", "-config", config, "-out", alone).CombinedOutput()
		if err == nil || !strings.Contains(string(text), "holds a run already") {
			t.Errorf("got %v, want an error that names the run:\n%s", err, text)
		}
	})
}

// sharedLog is a buffer that may be read while it is written.
type sharedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *sharedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// checkpoints returns the names of the checkpoints in a folder, the oldest first.
func checkpoints(dir string) (names []string) {
	list, _ := filepath.Glob(filepath.Join(dir, "checkpoint-*.safetensors"))
	for _, path := range list {
		names = append(names, filepath.Base(path))
	}
	return names
}

// likeRanks are ranks as rank 0 sees them: those that are true exchange what it does.
type likeRanks []bool

func (likeRanks) Rank() int   { return 0 }
func (l likeRanks) Size() int { return len(l) }

func (l likeRanks) Sum(_ context.Context, x []float32) error {
	n := len(x) / len(l)
	for r, alike := range l {
		for i := range n {
			if alike {
				x[r*n+i] = x[i]
			} else {
				x[r*n+i] = -1
			}
		}
	}
	return nil
}

// TestShareOfCores divides cores among the ranks that may use the same ones.
func TestShareOfCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8)) // fewer than the machine has, or more
	t.Setenv("GOMAXPROCS", "")
	for _, c := range []struct {
		ranks likeRanks
		want  int
	}{
		{likeRanks{true, true, true, true}, 2},
		{likeRanks{true, false, false, false}, 8}, // bound, or on other hosts
		{likeRanks{true, false, true, false}, 4},
		{likeRanks{true, true, true, true, true, true, true, true, true}, 1},
	} {
		t.Run(fmt.Sprint(c.ranks), func(t *testing.T) {
			if got, err := shareOfCores(c.ranks, "host 0-7"); err != nil || got != c.want {
				t.Errorf("%d cores, %v; want %d", got, err, c.want)
			}
		})
	}
	t.Run("GOMAXPROCS", func(t *testing.T) {
		t.Setenv("GOMAXPROCS", "8")
		if got, err := shareOfCores(likeRanks{true, true}, ""); err != nil || got != max(1, min(8, runtime.NumCPU()/2)) {
			t.Errorf("%d cores, %v", got, err)
		}
	})
	if allowedCores() == "" {
		t.Error("no cores are allowed")
	}
}

// TestMPIAlone is one rank without a launcher.
func TestMPIAlone(t *testing.T) {
	refuses(t, 2, "-mpi-lib", "pretrain", "-mpi-lib", "x.so")
	refuses(t, 2, "-mpi-bfloat16", "pretrain", "-mpi-bfloat16")
	if n, _ := mpi.Launched(); n > 0 {
		t.Skip("a launcher started this test")
	}
	out := filepath.Join(t.TempDir(), "run")
	cmd := program(t, nil, "pretrain", "-mpi", "-mpi-lib", "/nowhere/libmpi.so", "-out", out)
	text, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(text), "mpi") {
		t.Errorf("got %v:\n%s", err, text)
	}
}
