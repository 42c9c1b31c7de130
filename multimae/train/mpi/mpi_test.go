package mpi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/bfloat16"
)

// The tests run themselves under mpirun. role says what a process of it does.
const role = "GOMAE_TEST_ROLE"

func TestMain(m *testing.M) {
	if f := roles[os.Getenv(role)]; f != nil {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	code := m.Run()
	if leave() != nil && code == 0 {
		code = 1
	}
	os.Exit(code)
}

// leave leaves the world of the benchmarks, if they are in one.
var leave = func() error { return nil }

var roles = map[string]func() error{"sums": sums, "silent": silent, "abort": abortOne, "late": late, "closed": closed}

// mpirun runs n processes of a role and returns what they wrote.
func mpirun(t *testing.T, what string, n int) (string, error) {
	t.Helper()
	run, err := exec.LookPath("mpirun")
	if err != nil {
		if os.Getenv("GOMAE_REQUIRE_MPI") != "" {
			t.Fatal(err)
		}
		t.Skip("there is no mpirun")
	}
	args := []string{"-n", fmt.Sprint(n)}
	if about, _ := exec.Command(run, "--version").CombinedOutput(); strings.Contains(string(about), "Open MPI") {
		args = append(args, "--oversubscribe", "--allow-run-as-root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, run, append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), role+"="+what)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	return string(out), err
}

// sums compares sums of several lengths, to the bit, with those of one process in the order of ranks.
func sums() error {
	w, err := Start(Options{})
	if err != nil {
		return err
	}
	for _, n := range []int{0, 1, 7, small, small + 1, 1<<18 + 3} {
		for round := range 3 {
			var mine, want []float32
			for r := range w.Size() {
				random := rand.New(rand.NewPCG(uint64(r), uint64(n+round)))
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(random.NormFloat64() * 1e3)
				}
				if r == w.Rank() {
					mine = x
				}
				if r == 0 {
					want = append([]float32(nil), x...)
				} else {
					add(want, x)
				}
			}
			if err := w.Sum(context.Background(), mine); err != nil {
				return err
			}
			for i := range mine {
				if mine[i] != want[i] {
					return fmt.Errorf("sum of %d: element %d is %g, want %g", n, i, mine[i], want[i])
				}
			}
		}
	}
	if err := sumsBFloat16(w); err != nil {
		return err
	}
	if w.Host(w.Size()-1) == "" || w.Library() == "" {
		return errors.New("no name of a host, or none of the library")
	}
	fmt.Printf("rank %d of %d summed\n", w.Rank(), w.Size())
	return w.Close()
}

// sumsBFloat16 does the same with values that travel in bfloat16.
func sumsBFloat16(w *World) error {
	round := func(v float32) float32 { return bfloat16.Float(bfloat16.Bits(v)) }
	for _, n := range []int{0, 1, 2, 7, small + 1, 1<<18 + 3} {
		var mine []float32
		want := make([]float32, n)
		for r := range w.Size() {
			random := rand.New(rand.NewPCG(uint64(r), uint64(n)))
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(random.NormFloat64() * 1e3)
				want[i] += round(x[i])
			}
			if n > 2 {
				x[2] = float32(math.Inf(1))
				want[2] += x[2]
			}
			if r == w.Rank() {
				mine = x
			}
		}
		if err := w.SumBFloat16(context.Background(), mine); err != nil {
			return err
		}
		for i, v := range want {
			if v = round(v); w.Size() > 1 && mine[i] != v { // one rank sends nothing, and rounds nothing
				return fmt.Errorf("sum of %d in bfloat16: element %d is %g, want %g", n, i, mine[i], v)
			}
		}
	}
	return nil
}

func TestSum(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			out, err := mpirun(t, "sums", n)
			if err != nil {
				t.Fatal(err)
			}
			for r := range n {
				if want := fmt.Sprintf("rank %d of %d summed", r, n); !strings.Contains(out, want) {
					t.Errorf("no %q", want)
				}
			}
		})
	}
}

// silent is a rank 1 that no longer answers, as one without power.
func silent() error {
	w, err := Start(Options{Lost: func(err error) {
		lost := new(LostError)
		fmt.Println("is lost:", errors.As(err, &lost), lost.Rank)
	}})
	if err != nil {
		return err
	}
	if w.Rank() == 1 {
		w.call(func() error { select {} })
	}
	return w.Sum(context.Background(), make([]float32, 10))
}

func TestLostRank(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	out, err := mpirun(t, "silent", 3)
	if err == nil || !strings.Contains(out, "is lost: true 1") {
		t.Errorf("got %v", err)
	}
}

// abortOne ends rank 0, for which the others wait.
func abortOne() error {
	w, err := Start(Options{})
	if err != nil {
		return err
	}
	if w.Rank() == 0 {
		w.Abort(7)
	}
	return w.Sum(context.Background(), make([]float32, 10))
}

func TestAbort(t *testing.T) {
	if _, err := mpirun(t, "abort", 3); err == nil {
		t.Error("mpirun succeeded")
	}
}

// closed is a process that finds an error after it has left the others.
func closed() error {
	w, err := Start(Options{})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		fmt.Println("not closed:", err)
		return nil
	}
	time.AfterFunc(30*time.Second, func() {
		fmt.Println("not ended")
		os.Exit(0)
	})
	w.Abort(7)
	return nil
}

func TestAbortClosed(t *testing.T) {
	if _, err := mpirun(t, "closed", 2); err == nil {
		t.Error("mpirun succeeded")
	}
}

// late is a rank 0 that comes to a sum after the other's context has ended.
func late() error {
	w, err := Start(Options{})
	if err != nil {
		return err
	}
	if w.Rank() == 0 {
		select {}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	err = w.Sum(ctx, make([]float32, 10))
	fmt.Println("ended:", errors.Is(err, context.DeadlineExceeded))
	w.Abort(1)
	return nil
}

func TestContext(t *testing.T) {
	if out, _ := mpirun(t, "late", 2); !strings.Contains(out, "ended: true") {
		t.Error("the sum did not end with its context")
	}
}

func TestLaunched(t *testing.T) {
	for _, l := range launchers {
		t.Setenv(l.size, "")
	}
	if n, _ := Launched(); n != 0 {
		t.Errorf("without a launcher: got %d processes, want 0", n)
	}
	for _, l := range launchers {
		t.Run(l.size, func(t *testing.T) {
			t.Setenv(l.size, "4")
			if n, name := Launched(); n != 4 || name != l.name {
				t.Errorf("got %d by %q, want 4 by %q", n, name, l.name)
			}
		})
	}
}

// TestHere names a file of the current folder, without a slash. It is no library, which is said only
// of files that are found.
func TestHere(t *testing.T) {
	t.Chdir(t.TempDir())
	const lib = "libhere.so"
	if err := os.WriteFile(lib, []byte("no library"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Options{Lib: lib}); err == nil || !errors.Is(err, ErrUnsupported) && !strings.Contains(err.Error(), "./"+lib) {
		t.Errorf("got %v, want an error that names ./%s", err, lib)
	}
}

func TestNoLibrary(t *testing.T) {
	for name, lib := range map[string]string{"missing": "/nowhere/libmpi.so", "another": "libm.so.6"} {
		t.Run(name, func(t *testing.T) {
			if _, err := Start(Options{Lib: lib}); err == nil || !errors.Is(err, ErrUnsupported) && !strings.Contains(err.Error(), lib) {
				t.Errorf("got %v, want an error that names %s", err, lib)
			}
		})
	}
}
