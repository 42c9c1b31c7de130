package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// has reports each of wants that a text lacks.
func has(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
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

// TestStatistics compares medians, intervals, ratios and p-values with those computed by hand.
func TestStatistics(t *testing.T) {
	r := newReport(read(t, "session.txt"), nil)
	if len(r.Tables) != 1 || len(r.Tables[0].Rows) != 2 {
		t.Fatalf("%d tables, want one with two rows", len(r.Tables))
	}
	row := r.Tables[0].Rows[0]
	if row.Ours == nil || len(row.Peers) != 1 || row.Date != "2026-01-02T03:04Z" || row.Commit != "c0ffee" {
		t.Fatalf("%+v", row)
	}
	// The peer is represented by its fastest variant in float32: neither eager nor bfloat16.
	ours, torch := row.Ours, row.Peers[0]
	if torch.who() != "torch compile-f32 2.13" || torch.N != 6 {
		t.Errorf("the peer is %s with %d measurements", torch.who(), torch.N)
	}
	for _, c := range []struct {
		name string
		got  *float64
		want float64
	}{
		{"our median", &ours.Seconds, 102.5e-6},
		{"lower end", &ours.CI[0], 100e-6}, // the extremes of 6 have a confidence of 1 − 2/2⁶
		{"upper end", &ours.CI[1], 105e-6},
		{"our share", ours.Share, 80},
		{"its median", &torch.Seconds, 205e-6},
		{"its ratio", torch.Ratio, 2},
		{"its rate", torch.GFLOPS, 100},
		{"its share", torch.Share, 40},
		{"p", torch.P, 2. / 924}, // all 6 above all 6, two-sided: 2/C(12,6)
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got == nil || math.Abs(*c.got-c.want) > 1e-4*c.want {
				t.Errorf("got %v, want %g", c.got, c.want)
			}
		})
	}
	if op := r.Tables[0].Rows[1].Ours; op.Share != nil || op.GFLOPS != nil {
		t.Errorf("an operation without multiplications has a share: %+v", op)
	}

	var b strings.Builder
	r.text(&b)
	has(t, b.String(), "lab, Test CPU, avx512 (commit c0ffee, 2026-01-02T03:04Z)", "102.5 µs", "2.00× (p=0.002)", noAccelerators)
	if strings.Contains(b.String(), "∞") {
		t.Errorf("6 measurements have an interval:\n%s", &b)
	}
	if out, err := json.Marshal(r); err != nil || !bytes.Contains(out, []byte(`"ratio":2`)) {
		t.Errorf("%s, %v", out, err)
	}
}

// TestFew has fewer measurements than an interval needs.
func TestFew(t *testing.T) {
	ms := slices.DeleteFunc(read(t, "torch.txt"), func(m *measurement) bool { return m.variant != "onednn-f32" })
	if len(ms) != 1 || ms[0].peer != "torch" || ms[0].name != "Forward/model=tiny/batch=16/threads=1" || ms[0].machine != "torch" {
		t.Fatalf("%+v", ms)
	}
	r := newReport(ms, nil)
	var b strings.Builder
	r.text(&b)
	has(t, b.String(), "torch onednn-f32 2.13.0+cu130", r.few())
	if r.few() == "" || r.Tables[0].Rows[0].Peers[0].CI != nil {
		t.Error("one measurement has an interval")
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// TestSessions has three sessions on a machine. The latest at a level counts, and figures of different
// sessions are not compared: not those of a peer that keeps to no level with ours at another one.
func TestSessions(t *testing.T) {
	ms := read(t, "session.txt")
	var b strings.Builder
	fmt.Fprint(&b, "machine: lab\nsimd: avx512\ndate: 2026-02-01T00:00Z\nBenchmarkForward/model=base/batch=8/threads=1 1 1000 ns/op\n",
		"simd: avx2\ndate: 2026-03-01T00:00Z\nBenchmarkForward/model=base/batch=8/threads=1 1 3000 ns/op\n",
		"simd:\npeer: onnxruntime\nBenchmarkForward/model=base/batch=8/threads=1 1 2000 ns/op\n")
	later, broken, err := parse(strings.NewReader(b.String()), "", "", own)
	if err != nil || broken != nil {
		t.Fatal(broken, err)
	}
	r := newReport(append(later, ms...), nil)
	if len(r.Tables) != 2 || r.Tables[0].SIMD != "avx512" || r.Tables[1].SIMD != "avx2" || len(best(r.Tables)) != 1 {
		t.Fatalf("%d tables", len(r.Tables))
	}
	row := r.Tables[0].Rows[0]
	if math.Abs(row.Ours.Seconds-1e-6) > 1e-12 || len(row.Peers) != 0 {
		t.Errorf("%+v", row)
	}
}

// TestQualified wants a summary to say that a level is below the CPU's and that a ratio rests on few
// measurements.
func TestQualified(t *testing.T) {
	for _, c := range []struct {
		name, level string
		rounds      int
		want        string
	}{
		{"one round", "avx2", 1, "lab, limited to avx2 |\n|---|---|\n| Forward pass, 1 thread | 0.125 ms per image; PyTorch takes 2.00 times as long (measured once) |"},
		{"two rounds", "avx512", 2, "lab, avx512 |\n|---|---|\n| Forward pass, 1 thread | 0.125 ms per image; PyTorch takes 2.00 times as long (measured twice) |"},
		{"three rounds", "avx512", 3, "lab, avx512 |\n|---|---|\n| Forward pass, 1 thread | 0.125 ms per image; PyTorch takes 2.00 times as long |"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			fmt.Fprintf(&b, "machine: lab\nsimd: %s\nbest-simd: avx512\ndate: 2026-02-01T00:00Z\n", c.level)
			const line = "BenchmarkForward/model=base/batch=8/threads=1 1 %d ns/op\n"
			for range 3 {
				fmt.Fprintf(&b, line, 1_000_000)
			}
			b.WriteString("peer: torch\nvariant: eager-f32\n")
			for range c.rounds {
				fmt.Fprintf(&b, line, 2_000_000)
			}
			ms, broken, err := parse(strings.NewReader(b.String()), "", "", own)
			if err != nil || broken != nil {
				t.Fatal(broken, err)
			}
			has(t, newReport(ms, nil).summary(), c.want)
		})
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
		t.Error("the text denies that there are accelerators")
	}
	for _, bad := range []string{"lab", "lab=x", "lab=-1", "lab=0", "lab=NaN"} {
		t.Run(bad, func(t *testing.T) {
			if _, err := parsePrices(bad); err == nil {
				t.Error("it is accepted")
			}
		})
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
simd avx512
Forward/* %peak 1
simd avx512 attic lab
Forward/* %peak 2
simd avx512 attic
Forward/* %peak 99
simd avx2
Forward/* %peak 99
`), "f", known)
	if err != nil {
		t.Fatal(err)
	}
	s := newReport(read(t, "session.txt"), nil).check(floors)
	if s.Held != 3 || s.Unmeasured != 5 || len(s.Below) != 1 {
		t.Fatalf("%+v", s)
	}
	has(t, s.Below[0], "Forward/model=base/batch=8/threads=1", "lab", "torch compile-f32", "2.5")
	for _, c := range []struct{ line, key string }{
		{"Gem/* %peak 1", "Gem/*"},
		{"Gemm %peak", "Gemm %peak"},
		{"Gemm share 3", "Gemm share 3"},
		{"simd sse", `"sse"`},
		{"Gemm %peak -1", `"-1"`},
		{"Gemm ratio torch NaN", `"NaN"`},
	} {
		t.Run(c.line, func(t *testing.T) {
			_, err := parseFloors(strings.NewReader("\n"+c.line), "f", known)
			var floor *floorError
			if !errors.As(err, &floor) || floor.path != "f" || floor.line != 2 || !strings.Contains(floor.problem, c.key) {
				t.Errorf("got %v, want an error of line 2 of f that names %s", err, c.key)
			}
		})
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
		t.Errorf("the page loads something from elsewhere: %s", external)
	}
	if svg := plot(r.Tables[0].Rows[1:]); svg != "" {
		t.Errorf("a plot without shares: %s", svg)
	}
}
