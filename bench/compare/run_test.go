package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/perf/benchfmt"
)

// TestMain lets this binary also be the programs that adapters run: see fake.
func TestMain(m *testing.M) {
	if os.Getenv("GOMAE_COMPARE_FAKE") != "" {
		os.Exit(fake(os.Args[1], os.Args[2:]))
	}
	os.Exit(m.Run())
}

// fake is a program that an adapter runs. It returns the exit code.
func fake(kind string, args []string) int {
	const name = "BenchmarkGemm/shape=99x768x768/weights=packed/threads=1"
	switch kind {
	case "ours":
		fmt.Printf("simd: %s\ngoos: linux\n", cmp.Or(os.Getenv("GOMAE_SIMD"), "avx2"))
		fmt.Printf("%s-2 100 1000 ns/op 90.0 %%peak 100 GFLOP/s\nPASS\n", name)
	case "peer":
		if !strings.HasPrefix(os.Getenv("GLIBC_TUNABLES"), "glibc.malloc.hugetlb=1") {
			return 1
		}
		fmt.Printf("peer: fast\nversion: 1.2\n%s 100 2000 ns/op\nBenchmarkGemm/shape=1x1x1/threads=1 1 1 ns/op\n", name)
	case "absent":
		fmt.Fprintln(os.Stderr, "looking for it\npeer absent is absent; install it with: apt install it")
		return 3
	case "crash":
		fmt.Fprintln(os.Stderr, "peer crash: element (1,2) is 3, want 4")
		return 1
	case "broken":
		fmt.Println("Benchmark of something, 3 s")
	case "zero":
		fmt.Printf("%s 100 0 ns/op\n", name)
	case "spin": // as a busy process, until it is killed
		os.WriteFile(args[0], nil, 0o666)
		time.Sleep(time.Hour)
	case "silent":
	case "slow": // prints half of its second result, says so in a file, and hangs
		fmt.Printf("%s 100 2000 ns/op\nBenchmarkGemm/sha", name)
		os.WriteFile(args[0], nil, 0o666)
		time.Sleep(time.Hour)
	}
	return 0
}

// TestLargePages: malloc is told to use large pages beside what the user tells it.
func TestLargePages(t *testing.T) {
	for user, want := range map[string]string{
		"":                     "GLIBC_TUNABLES=glibc.malloc.hugetlb=1",
		"glibc.malloc.check=1": "GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.check=1",
	} {
		t.Setenv("GLIBC_TUNABLES", user)
		if got := largePages(); got != want {
			t.Errorf("with %q: %s, want %s", user, got, want)
		}
	}
}

// fakeAdapter returns an adapter that runs this binary as a program of that kind.
func fakeAdapter(kind string, args ...string) adapter {
	return adapter{name: kind, does: products, commands: func(_ *adapter, program string, _ []string, _ float64) [][]string {
		return [][]string{append([]string{program, kind}, args...)}
	}}
}

func fakeRunner(t *testing.T, rounds int, peers ...adapter) *runner {
	t.Setenv("GOMAE_COMPARE_FAKE", "1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{root: t.TempDir(), rounds: rounds, seconds: 1, python: exe, logf: t.Logf, peers: peers,
		peak:   func(threads int) float64 { return 200 * float64(threads) },
		config: [][2]string{{"machine", "lab"}, {"commit", "c0ffee"}, {"date", "2026-01-02T03:04Z"}}}
	r.ours = func(string) (*adapter, error) {
		return &adapter{name: own, commands: func(*adapter, string, []string, float64) [][]string { return [][]string{{exe, "ours"}} }}, nil
	}
	return r
}

func TestRunner(t *testing.T) {
	r := fakeRunner(t, 3, fakeAdapter("peer"), fakeAdapter("absent"), fakeAdapter("crash"), fakeAdapter("broken"), fakeAdapter("zero"), fakeAdapter("silent"))
	stored := 0
	r.store = func(ms []*measurement) error { stored = len(ms); return nil }
	ms, notes, err := r.run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("turns", func(t *testing.T) {
		var order []string
		for _, m := range ms {
			order = append(order, m.peer)
			if peak, _ := m.Value(peakUnit); peak != 200 || m.machine != "lab" || m.GetConfig("commit") != "c0ffee" {
				t.Errorf("%s by %s: peak %g on %q", m.name, m.peer, peak, m.machine)
			}
		}
		// The peer also printed a benchmark that it was not asked for.
		if want := []string{own, "fast", own, "fast", own, "fast"}; !slices.Equal(order, want) {
			t.Errorf("order is %v, want %v", order, want)
		}
		if stored != len(ms) {
			t.Errorf("%d results were stored, want all %d", stored, len(ms))
		}
	})
	t.Run("notes", func(t *testing.T) {
		if len(notes) != 5 { // each once, and not again in every round
			t.Fatalf("notes are %q, want 5", notes)
		}
		var absent *absentError
		if !errors.As(notes[0], &absent) || absent.peer != "absent" || !strings.HasSuffix(absent.remedy, "apt install it") {
			t.Errorf("absent: %v", notes[0])
		}
		var exit *exec.ExitError
		if !errors.As(notes[1], &exit) || exit.ExitCode() != 1 || !strings.Contains(notes[1].Error(), "element (1,2)") {
			t.Errorf("crash: %v", notes[1])
		}
		var syntax *benchfmt.SyntaxError
		if !errors.Is(notes[2], errMalformed) || !errors.As(notes[2], &syntax) {
			t.Errorf("broken: %v", notes[2])
		}
		if !errors.Is(notes[3], errMalformed) || !errors.Is(notes[3], errNoTime) {
			t.Errorf("zero: %v", notes[3])
		}
		if !errors.Is(notes[4], errNoResults) {
			t.Errorf("silent: %v", notes[4])
		}
	})
	t.Run("written and read again", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "lab", "x.txt")
		if err := write(path, ms); err != nil {
			t.Fatal(err)
		}
		again, err := readFiles([]string{filepath.Dir(path)})
		if err != nil {
			t.Fatal(err)
		}
		describe := func(ms []*measurement) string { b, _ := json.Marshal(newReport(ms, nil)); return string(b) }
		if got, want := describe(again), describe(ms); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestBusy: other processes run while everyone is measured, and no longer. The results are those of
// other benchmarks, at the level that peers keep to. At a level that they know nothing of, peers are in
// another table.
func TestBusy(t *testing.T) {
	r := fakeRunner(t, 1, fakeAdapter("peer"))
	r.config = append(r.config, [2]string{"best-simd", "avx512"})
	mark := filepath.Join(t.TempDir(), "spins")
	r.busy, r.spin = 2, []string{r.python, "spin", mark}
	for _, x := range []struct {
		simd, peers string
		tables      int
	}{{"avx2", "avx2", 1}, {"generic", "", 2}} {
		r.simd = x.simd
		t.Setenv("GOMAE_SIMD", x.simd)
		ms, notes, err := r.run(context.Background()) // which waits for the processes that it kills
		if err != nil || notes != nil || len(ms) != 2 {
			t.Fatal(ms, notes, err)
		}
		level := map[string]string{own: x.simd, "fast": x.peers}
		for _, m := range ms {
			if m.name != "Gemm/shape=99x768x768/weights=packed/threads=1/busy=2" || m.GetConfig("simd") != level[m.peer] {
				t.Errorf("%s by %s at %q", m.name, m.peer, m.GetConfig("simd"))
			}
		}
		report := newReport(ms, nil)
		if len(report.Tables) != x.tables || len(report.Tables[0].Rows) != 1 || len(report.Tables[0].Rows[0].Peers) != 2-x.tables {
			t.Errorf("%s: %d tables, want %d, a peer in ours only if there is one", x.simd, len(report.Tables), x.tables)
		}
	}
	r.spin = []string{mark + ".exe"}
	if _, _, err := r.run(context.Background()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without such a program: %v", err)
	}
}

// TestInterrupt interrupts a peer in the middle of a line. The results until then must be returned
// without that line.
func TestInterrupt(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	r := fakeRunner(t, 3, fakeAdapter("slow", started))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(started); err == nil {
				cancel()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	ms, _, err := r.run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if len(ms) != 2 || ms[0].peer != own || ms[1].peer != "slow" {
		t.Errorf("%d results, want ours and the first of the peer", len(ms))
	}
}

func TestOursFails(t *testing.T) {
	r := fakeRunner(t, 1)
	ours, _ := r.ours("")
	ours.commands = func(*adapter, string, []string, float64) [][]string { return [][]string{{r.python, "crash"}} }
	r.ours = func(string) (*adapter, error) { return ours, nil }
	var exit *exec.ExitError
	if _, _, err := r.run(context.Background()); !errors.As(err, &exit) {
		t.Errorf("error is %v, want that of the program", err)
	}
}

func TestPrepare(t *testing.T) {
	ctx, root := context.Background(), t.TempDir()
	// A module that needs another one, which was never downloaded. Its checksum has to be in go.sum:
	// without one the go command would complain about that first.
	const sum = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for name, text := range map[string]string{
		"go.mod":  "module x\n\ngo 1.24\n\nrequire github.com/gomae/absent v0.1.0\n",
		"go.sum":  "github.com/gomae/absent v0.1.0 " + sum + "\ngithub.com/gomae/absent v0.1.0/go.mod " + sum + "\n",
		"main.go": "package main\n\nimport _ \"github.com/gomae/absent\"\n\nfunc main() {}\n",
	} {
		path := filepath.Join(root, "peer", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		a      adapter
		remedy string // that the error names
	}{
		{"no interpreter", adapter{name: "torch"}, "-python"},
		{"no folder", adapter{name: "gonum", build: "nowhere"}, "nowhere"},
		{"module not downloaded", adapter{name: "gonum", build: "peer"}, "go -C peer mod download"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.a.prepare(ctx, root, t.TempDir(), "no-such-python")
			var absent *absentError
			if !errors.As(err, &absent) || absent.peer != c.a.name || !strings.Contains(absent.remedy, c.remedy) {
				t.Errorf("got %v, want an absentError of %s with the remedy %s", err, c.a.name, c.remedy)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	names := []string{"Forward/model=base/batch=8/threads=1", "Forward/model=base/batch=1/threads=2", "TrainStep/model=base/batch=8/threads=2", "Forward/model=tiny/batch=16/threads=1",
		"Finetune/model=base/head=dpt/inputs=rgb/size=224/batch=2/threads=2", "Finetune/model=base/head=dpt/inputs=rgb/size=224/batch=2/threads=1",
		"Finetune/model=base/head=convnext/inputs=rgb,depth/size=224/batch=2/threads=1"}
	products := []string{"Gemm/shape=2x3x4/weights=raw/threads=2", "Gemm/shape=2x3x4/weights=raw/threads=1"}
	for _, c := range []struct {
		name string
		got  [][]string
		want []string
	}{
		{"script", script("t.py", true, "--dtype", "float32")(&adapter{variants: "eager,onednn"}, "py", names, 0.5), []string{
			"py t.py --model base --batch 1,8 --threads 1,2 --seconds 0.5 --mode forward --compile eager,onednn --dtype float32",
			"py t.py --model base --batch 8 --threads 2 --seconds 0.5 --mode train --compile eager,onednn --dtype float32",
			"py t.py --model tiny --batch 16 --threads 1 --seconds 0.5 --mode forward --compile eager,onednn --dtype float32",
			"py t.py --model base --batch 2 --threads 1,2 --seconds 0.5 --mode finetune --head dpt --inputs rgb --size 224 --compile eager,onednn --dtype float32",
			"py t.py --model base --batch 2 --threads 1 --seconds 0.5 --mode finetune --head convnext --inputs rgb,depth --size 224 --compile eager,onednn --dtype float32",
		}},
		{"Go program", goPeer("-lib", "onednn")(nil, "blas", products, 2), []string{
			"blas -lib onednn -bench ^Benchmark(Gemm/shape=2x3x4/weights=raw/threads=2|Gemm/shape=2x3x4/weights=raw/threads=1)$ -threads 1,2 -seconds 2",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, argv := range c.got {
				got = append(got, strings.Join(argv, " "))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSelector(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{presets["quick"], "Gemm/shape=99x768x768/weights=packed/threads=2", true},
		{presets["quick"], "Gemm/shape=99x768x768/weights=raw/threads=2", false},
		{presets["quick"], "GemmBackward/shape=99x768x768/weights=packed/threads=1", false},
		{presets["quick"], "TrainStep/model=base/batch=8/threads=1", true},
		{presets["quick"], "TrainStep/model=base/batch=32/threads=1", false},
		{presets["models"], "Forward/model=tiny/batch=16/threads=1", true},
		{presets["finetune"], "Finetune/model=base/head=dpt/inputs=rgb/size=224/batch=2/threads=1", true},
		{presets["finetune"], "Finetune/model=base/head=convnext/inputs=rgb/size=512/batch=1/threads=1", false},
		{presets["gemm"], "Forward/model=tiny/batch=16/threads=1", false},
		{presets["all"], "AdamW/threads=1", true},
		{"Op/(a|b/)|AdamW", "AdamW/threads=1", true},
		{"Op/[/|]", "AdamW/threads=1", false},
		{"AdamW/a/b/c", "AdamW/threads=1", false},
	} {
		t.Run(c.pattern+" "+c.name, func(t *testing.T) {
			s, err := newSelector(c.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.match(c.name); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
	if _, err := newSelector("Gemm/("); err == nil {
		t.Error("a pattern with an open bracket is accepted")
	}
}
