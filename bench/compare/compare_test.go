package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain makes this binary the programs that adapters run, too.
func TestMain(m *testing.M) {
	if os.Getenv("GOMAE_COMPARE_FAKE") != "" {
		os.Exit(fake(os.Args[1]))
	}
	os.Exit(m.Run())
}

func fake(kind string) int {
	const name = "BenchmarkGemm/shape=99x768x768/weights=packed/threads=1"
	switch kind {
	case "ours":
		fmt.Println("simd: avx2\ngoos: linux")
		fmt.Printf("%s-2 100 1000 ns/op 90.0 %%peak 100 GFLOP/s\nPASS\n", name)
	case "peer":
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
	case "silent":
	case "slow":
		fmt.Printf("%s 100 2000 ns/op\nBenchmarkGemm/sha", name)
		time.Sleep(time.Minute)
	}
	return 0
}

// fakeAdapter is one that runs this binary.
func fakeAdapter(name string) adapter {
	return adapter{name: name, does: products, commands: func(_ *adapter, program string, _ []string, _ float64) [][]string {
		return [][]string{{program, name}}
	}}
}

func fakeRunner(t *testing.T, rounds int, kinds ...string) *runner {
	t.Setenv("GOMAE_COMPARE_FAKE", "1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{root: t.TempDir(), rounds: rounds, seconds: 1, python: exe, logf: t.Logf,
		peak:   func(threads int) float64 { return 200 * float64(threads) },
		config: [][2]string{{"machine", "lab"}, {"commit", "c0ffee"}, {"date", "2026-01-02T03:04Z"}}}
	for _, k := range kinds {
		r.peers = append(r.peers, fakeAdapter(k))
	}
	r.ours = func(string) (*adapter, error) {
		return &adapter{name: own, commands: func(*adapter, string, []string, float64) [][]string { return [][]string{{exe, "ours"}} }}, nil
	}
	return r
}

func has(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestRunner: all take turns, what cannot run is named and left out, and the
// others go on.
func TestRunner(t *testing.T) {
	r := fakeRunner(t, 3, "peer", "absent", "crash", "broken", "zero", "silent")
	kept := 0
	r.keep = func(ms []*measurement) error { kept = len(ms); return nil }
	ms, notes, err := r.run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
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
	if kept != len(ms) {
		t.Errorf("kept %d of %d", kept, len(ms))
	}
	if len(notes) != 5 { // each once, not in each round
		t.Errorf("notes are %q", notes)
	}
	has(t, strings.Join(notes, "\n"), "peer absent is absent; install it with: apt install it", "peer crash: element (1,2) is 3, want 4",
		"broken prints what is no benchmark result", "has no time above 0 ns/op", "silent printed no benchmark result")

	// What was measured can be stored and read again.
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
		t.Errorf("read again:\n%s\nwant\n%s", got, want)
	}
}

// TestInterrupt: what was measured until then is returned, without a line that
// was not finished.
func TestInterrupt(t *testing.T) {
	r := fakeRunner(t, 3, "slow")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.logf = func(format string, args ...any) {
		if strings.HasPrefix(format, "round") { // ours is done, and the peer begins
			time.AfterFunc(500*time.Millisecond, cancel)
		}
	}
	start := time.Now()
	ms, _, err := r.run(ctx)
	if !errors.Is(err, context.Canceled) || time.Since(start) > 20*time.Second {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
	if len(ms) != 2 || ms[0].peer != own || ms[1].peer != "slow" {
		t.Errorf("%d results, want ours and the peer's first", len(ms))
	}
}

func TestOursFails(t *testing.T) {
	r := fakeRunner(t, 1)
	ours, _ := r.ours("")
	ours.commands = func(*adapter, string, []string, float64) [][]string { return [][]string{{r.python, "crash"}} }
	r.ours = func(string) (*adapter, error) { return ours, nil }
	if _, _, err := r.run(context.Background()); err == nil || !strings.Contains(err.Error(), "want 4") {
		t.Errorf("error is %v", err)
	}
}

func TestPrepare(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	absent := new(absentError)
	a := &adapter{name: "torch"}
	if _, err := a.prepare(ctx, dir, dir, "no-such-python"); !errors.As(err, &absent) || !strings.Contains(err.Error(), "-python") {
		t.Errorf("no interpreter: %v", err)
	}
	a = &adapter{name: "gonum", build: "bench/peers/gonum"}
	if _, err := a.prepare(ctx, dir, dir, ""); !errors.As(err, &absent) {
		t.Errorf("no folder: %v", err)
	}
	// A module that was never downloaded.
	for path, text := range map[string]string{
		"go.mod":  "module x\n\ngo 1.24\n\nrequire github.com/gomae/absent v0.1.0\n",
		"main.go": "package main\n\nimport _ \"github.com/gomae/absent\"\n\nfunc main() {}\n",
	} {
		path = filepath.Join(dir, a.build, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	// go.sum lacks it, so the checksum is missing before the module is.
	if err := os.WriteFile(filepath.Join(dir, a.build, "go.sum"), []byte(
		"github.com/gomae/absent v0.1.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"+
			"github.com/gomae/absent v0.1.0/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := a.prepare(ctx, dir, t.TempDir(), "")
	if !errors.As(err, &absent) || !strings.Contains(err.Error(), "install it with: go -C bench/peers/gonum mod download") {
		t.Errorf("no module: %v", err)
	}
}

func TestCommands(t *testing.T) {
	names := []string{"Forward/model=base/batch=8/threads=1", "Forward/model=base/batch=1/threads=2", "TrainStep/model=base/batch=8/threads=2", "Forward/model=tiny/batch=16/threads=1"}
	var got []string
	for _, c := range script("t.py", true, "--dtype", "float32")(&adapter{variants: "eager,onednn"}, "py", names, 0.5) {
		got = append(got, strings.Join(c, " "))
	}
	want := []string{
		"py t.py --model base --batch 1,8 --threads 1,2 --seconds 0.5 --mode forward --compile eager,onednn --dtype float32",
		"py t.py --model base --batch 8 --threads 2 --seconds 0.5 --mode train --compile eager,onednn --dtype float32",
		"py t.py --model tiny --batch 16 --threads 1 --seconds 0.5 --mode forward --compile eager,onednn --dtype float32",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c := goPeer("-lib", "onednn")(nil, "blas", []string{"Gemm/shape=2x3x4/weights=raw/threads=2", "Gemm/shape=2x3x4/weights=raw/threads=1"}, 2)[0]
	if got := strings.Join(c, " "); got != "blas -lib onednn -bench ^Benchmark(Gemm/shape=2x3x4/weights=raw/threads=2|Gemm/shape=2x3x4/weights=raw/threads=1)$ -threads 1,2 -seconds 2" {
		t.Errorf("got %s", got)
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
		{presets["gemm"], "Forward/model=tiny/batch=16/threads=1", false},
		{presets["all"], "AdamW/threads=1", true},
		{"Op/(a|b/)|AdamW", "AdamW/threads=1", true},
		{"Op/[/|]", "AdamW/threads=1", false},
		{"AdamW/a/b/c", "AdamW/threads=1", false},
	} {
		s, err := newSelector(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.match(c.name); got != c.want {
			t.Errorf("%q matches %s: %v", c.pattern, c.name, got)
		}
	}
	if _, err := newSelector("Gemm/("); err == nil {
		t.Error("a pattern with an open bracket is accepted")
	}
}

func read(t *testing.T, names ...string) []*measurement {
	t.Helper()
	for i := range names {
		names[i] = filepath.Join("testdata", names[i])
	}
	ms, err := readFiles(names)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

// TestStatistics holds medians, intervals, ratios and p-values against those
// computed by hand.
func TestStatistics(t *testing.T) {
	r := newReport(read(t, "session.txt"), nil)
	if len(r.Tables) != 1 || len(r.Tables[0].Rows) != 2 {
		t.Fatalf("%d tables", len(r.Tables))
	}
	row := r.Tables[0].Rows[0]
	if row.Ours == nil || len(row.Peers) != 1 || row.Date != "2026-01-02T03:04Z" || row.Commit != "c0ffee" {
		t.Fatalf("%+v", row)
	}
	near := func(what string, got *float64, want float64) {
		t.Helper()
		if got == nil || math.Abs(*got-want) > 1e-4*want {
			t.Errorf("%s is %v, want %g", what, got, want)
		}
	}
	ours, torch := row.Ours, row.Peers[0]
	near("our median", &ours.Seconds, 102.5e-6)
	near("lower end", &ours.CI[0], 100e-6) // of 6 the least and the greatest: confidence 1 − 2/2⁶
	near("upper end", &ours.CI[1], 105e-6)
	near("our share", ours.Share, 80)
	// The fastest of float32 is the peer: not eager, and not bfloat16.
	if torch.who() != "torch compile-f32 2.13" || torch.N != 6 {
		t.Errorf("the peer is %s, n=%d", torch.who(), torch.N)
	}
	near("its median", &torch.Seconds, 205e-6)
	near("its ratio", torch.Ratio, 2)
	near("its rate", torch.GFLOPS, 100)
	near("its share", torch.Share, 40)
	near("p", torch.P, 2./924) // all of 6 above all of 6, two-sided: 2/C(12,6)
	if op := r.Tables[0].Rows[1].Ours; op.Share != nil || op.GFLOPS != nil {
		t.Errorf("an operation without multiplications has a share: %+v", op)
	}

	var b strings.Builder
	r.text(&b)
	has(t, b.String(), "lab, Test CPU, avx512 (commit c0ffee, 2026-01-02T03:04Z)", "102.5 µs", "2.00× (p=0.002)", noAccelerators)
	if strings.Contains(b.String(), "∞") {
		t.Errorf("6 measurements give an interval:\n%s", &b)
	}
	if out, err := json.Marshal(r); err != nil || !bytes.Contains(out, []byte(`"ratio":2`)) {
		t.Errorf("%s, %v", out, err)
	}
}

// TestFew: below 6 measurements there is no interval, and that is said.
func TestFew(t *testing.T) {
	ms := slices.DeleteFunc(read(t, "torch.txt"), func(m *measurement) bool { return m.variant != "onednn-f32" })
	if len(ms) != 1 || ms[0].peer != "torch" || ms[0].name != "Forward/model=tiny/batch=16/threads=1" || ms[0].machine != "torch" {
		t.Fatalf("%+v", ms)
	}
	r := newReport(ms, nil)
	var b strings.Builder
	r.text(&b)
	has(t, b.String(), "torch onednn-f32 2.13.0+cu130", "± ∞: a confidence interval at 95 % takes 6 measurements")
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// TestSessions: only figures of one session are compared, and the latest
// counts.
func TestSessions(t *testing.T) {
	ms := read(t, "session.txt")
	var b strings.Builder
	fmt.Fprint(&b, "machine: lab\nsimd: avx512\ndate: 2026-02-01T00:00Z\nBenchmarkForward/model=base/batch=8/threads=1 1 1000 ns/op\n",
		"simd: avx2\nBenchmarkForward/model=base/batch=8/threads=1 1 3000 ns/op\n")
	later, broken, err := parse(strings.NewReader(b.String()), "", "", own)
	if err != nil || broken != nil {
		t.Fatal(broken, err)
	}
	r := newReport(append(later, ms...), nil)
	if len(r.Tables) != 2 || r.Tables[0].SIMD != "avx512" || r.Tables[1].SIMD != "avx2" || len(r.first()) != 1 {
		t.Fatalf("%d tables", len(r.Tables))
	}
	row := r.Tables[0].Rows[0]
	if math.Abs(row.Ours.Seconds-1e-6) > 1e-12 || len(row.Peers) != 0 {
		t.Errorf("%+v", row)
	}
}

func TestCosts(t *testing.T) {
	prices, err := parsePrices("lab=0.36,h100=3.6")
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(read(t, "session.txt", "h100.txt"), prices)
	if len(r.Tables) != 1 {
		t.Errorf("an accelerator has a table of its own: %d", len(r.Tables))
	}
	var got []string
	for _, c := range r.Costs {
		got = append(got, strings.Join(c.cells(), "|"))
	}
	want := []string{
		"Forward/model=base/batch=8|lab|CPU, 1 thread|gomae|2026-01-02T03:04Z|0.01|78048.8|0.00",
		"Forward/model=base/batch=8|lab|CPU, 1 thread|torch compile-f32 2.13|2026-01-02T03:04Z|0.03|39024.4|0.00",
		"Forward/model=base/batch=8|h100|NVIDIA H100 80GB HBM3|torch compile-bf16 2.13.0|2026-01-05|0.45|2222.2|0.45",
		"Forward/model=base/batch=8|h100|NVIDIA H100 80GB HBM3|torch eager-f32 2.13.0|2026-01-05|2.00|500.0|2.00",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var b strings.Builder
	r.text(&b)
	if strings.Contains(b.String(), noAccelerators) {
		t.Error("says that there are no accelerators")
	}
	for _, bad := range []string{"lab", "lab=x", "lab=-1", "lab=0", "lab=NaN"} {
		if _, err := parsePrices(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestFloors(t *testing.T) {
	known := []string{"Gemm", "Forward", "Op"}
	floors, err := parseFloors(strings.NewReader(`# comment
Forward/*/threads=1 %peak 79.5
Forward/* ratio torch 2.5   # too much
Forward/* ratio gonum 1
Op/* %peak 1
Gemm/* %peak 1
`), "f", known)
	if err != nil {
		t.Fatal(err)
	}
	s := newReport(read(t, "session.txt"), nil).check(floors)
	if s.Held != 1 || s.Unmeasured != 3 || len(s.Below) != 1 {
		t.Fatalf("%+v", s)
	}
	has(t, s.Below[0], "Forward/model=base/batch=8/threads=1 (lab, Test CPU, avx512): the time of torch compile-f32 2.13 over ours is 2, want at least 2.5")
	for line, want := range map[string]string{
		"Gem/* %peak 1":        "Gem/* matches no benchmark; there are Gemm, Forward, Op",
		"Gemm %peak":           "want PATTERN",
		"Gemm share 3":         "want PATTERN",
		"Gemm %peak -1":        "want a number above 0",
		"Gemm ratio torch NaN": "want a number above 0",
	} {
		if _, err := parseFloors(strings.NewReader("\n"+line), "f", known); err == nil || !strings.Contains(err.Error(), "f:2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

// wellFormed parses a text as XML to its end.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

func TestPage(t *testing.T) {
	r := newReport(read(t, "session.txt", "h100.txt"), nil)
	r.Notes = []string{"peer <x> & y is absent"}
	r.Floors = &floorSum{Below: []string{"too slow"}}
	var b strings.Builder
	if err := r.html(&b); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, b.String())
	has(t, b.String(), "<svg ", "prefers-color-scheme:dark", "lab, Test CPU, avx512", "torch compile-f32 2.13", "2.00× (p=0.002)",
		"peer &lt;x&gt; &amp; y is absent", "NVIDIA H100", `<li class="bad">too slow</li>`, "80 % gomae", "40 % torch compile-f32")
	for _, external := range regexp.MustCompile(`(src|href)=|url\(|@import|<script`).FindAllString(b.String(), -1) {
		t.Errorf("the page needs something else: %s", external)
	}
	if svg := plot(r.Tables[0].Rows[1:]); svg != "" {
		t.Errorf("a plot without shares: %s", svg)
	}
}

// in runs the program in this repository.
func in(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), "../..", args, &o, &e)
	return code, o.String(), e.String()
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	floors := func(text string) string {
		path := filepath.Join(dir, "floors.txt")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	session := filepath.Join("testdata", "session.txt")
	page := filepath.Join(dir, "page.html")
	code, out, errs := in(t, "-from", session, "-floors", floors("Forward/* %peak 80\n"), "-html", page, "-bench", "Forward")
	if code != 0 || errs != "" {
		t.Errorf("at the floor: %d, %s", code, errs)
	}
	has(t, out, "floors: 1 figures hold, 0 do not, 0 floors were not measured")
	if text, err := os.ReadFile(page); err != nil || !bytes.Contains(text, []byte("</html>")) || strings.Contains(string(text), "layer-norm") {
		t.Errorf("the page: %v", err)
	}
	code, out, _ = in(t, "-from", session, "-floors", floors("Forward/* %peak 80.1\n"))
	if code != 1 {
		t.Errorf("below the floor: %d", code)
	}
	has(t, out, "below the floor: Forward/model=base/batch=8/threads=1")
	if code, _, errs = in(t, "-from", session, "-floors", floors("Backward/* %peak 1\n")); code != 1 || !strings.Contains(errs, "matches no benchmark; there are ") {
		t.Errorf("a floor for nothing: %d, %s", code, errs)
	}
	// Several files, as a shell expands a pattern, and flags after them.
	code, out, errs = in(t, "-from", session, filepath.Join("testdata", "h100.txt"), "-json", "-floors", "", "-price", "h100=3")
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || len(r.Costs) != 4 || r.Floors != nil {
		t.Errorf("%d, %v: %s%s", code, err, out, errs)
	}
	for _, args := range [][]string{
		{"-rounds", "0"}, {"-seconds", "0"}, {"-bench", "("}, {"-peers", "nobody"}, {"-price", "x"}, {"stray"}, {"-from", session, "-save"}, {"-no-such-flag"},
	} {
		if code, _, errs := in(t, args...); code != 2 || errs == "" {
			t.Errorf("%v: exit code %d, %q; want 2 and a message", args, code, errs)
		}
	}
	for _, args := range [][]string{{"-from", "absent.txt"}, {"-from", session, "-bench", "Nothing"}, {"-from", "compare_test.go"}} {
		if code, _, errs := in(t, args...); code != 1 || errs == "" {
			t.Errorf("%v: exit code %d, %q; want 1 and a message", args, code, errs)
		}
	}
}

// TestReadme: the README's table and plots are what the tool makes of the
// stored results, and cannot be typed.
func TestReadme(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	ms, err := readFiles([]string{filepath.Join(root, "bench/results")})
	if err != nil {
		t.Fatal(err)
	}
	quick, err := newSelector(presets["quick"])
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(slices.DeleteFunc(ms, func(m *measurement) bool { return !quick.match(m.name) }), nil)
	want, err := between(readme, r.markdown())
	if err != nil {
		t.Fatal(err)
	}
	const remedy = "write it with: go run ./bench/compare -markdown"
	if !bytes.Equal(readme, want) {
		t.Errorf("the README's benchmarks are not those of bench/results; %s", remedy)
	}
	for _, table := range r.first() {
		svg, err := os.ReadFile(filepath.Join(root, plotPath(table.Machine)))
		if err != nil || string(svg) != plot(table.Rows) {
			t.Errorf("%s is not the plot of bench/results (%v); %s", plotPath(table.Machine), err, remedy)
		}
		wellFormed(t, string(svg))
	}
	if _, err := between([]byte(endMark+beginMark), ""); err == nil {
		t.Error("marks in the wrong order are accepted")
	}

	// The same by the program, elsewhere.
	copied := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(copied, []byte("before\n"+beginMark+"\nold\n"+endMark+"\nafter\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := in(t, "-markdown", "-readme", copied); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	if got, _ := os.ReadFile(copied); string(got) != "before\n"+beginMark+"\n"+r.markdown()+endMark+"\nafter\n" {
		t.Errorf("got %s", got)
	}
	for _, table := range r.first() {
		if _, err := os.Stat(filepath.Join(filepath.Dir(copied), plotPath(table.Machine))); err != nil {
			t.Error(err)
		}
	}
}

// TestStoredFloors: the floors of the repository are those of stored results,
// so these must hold.
func TestStoredFloors(t *testing.T) {
	code, out, errs := in(t, "-from", "../results/zen5-2-cores.txt,../results/zen5-2-cores,../results/zen4-2-cores")
	if code != 0 || !strings.Contains(out, " 0 do not, 0 floors were not measured") {
		t.Errorf("exit code %d: %s%s", code, out[max(0, len(out)-300):], errs)
	}
}
