package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runIn runs the command in the checkout at root.
func runIn(t *testing.T, root string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), root, args, &o, &e)
	return code, o.String(), e.String()
}

const checkout = "../.."

func TestCommand(t *testing.T) {
	session, h100 := filepath.Join("testdata", "session.txt"), filepath.Join("testdata", "h100.txt")
	floors := func(t *testing.T, text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "floors.txt")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("at the floor, with a page", func(t *testing.T) {
		page := filepath.Join(t.TempDir(), "page.html")
		code, out, errs := runIn(t, checkout, "-from", session, "-floors", floors(t, "Forward/* %peak 80\n"), "-html", page, "-bench", "Forward")
		if code != 0 || errs != "" {
			t.Errorf("exit code %d, %s", code, errs)
		}
		has(t, out, "floors: 1 at or above, 0 below, 0 not measured")
		text, err := os.ReadFile(page)
		if err != nil || !bytes.Contains(text, []byte("</html>")) || strings.Contains(string(text), "layer-norm") {
			t.Errorf("the page: %v", err)
		}
	})
	t.Run("below the floor", func(t *testing.T) {
		code, out, _ := runIn(t, checkout, "-from", session, "-floors", floors(t, "Forward/* %peak 80.1\n"))
		if code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		has(t, out, "below the floor: Forward/model=base/batch=8/threads=1")
	})
	t.Run("floor of no benchmark", func(t *testing.T) {
		code, _, errs := runIn(t, checkout, "-from", session, "-floors", floors(t, "Backward/* %peak 1\n"))
		if code != 1 || !strings.Contains(errs, "Backward/*") {
			t.Errorf("exit code %d, %s; want 1 and a message that names the pattern", code, errs)
		}
	})
	t.Run("several files, then flags", func(t *testing.T) {
		code, out, errs := runIn(t, checkout, "-from", session, h100, "-json", "-floors", "", "-price", "h100=3")
		var r report
		err := json.Unmarshal([]byte(out), &r)
		stored := func(c *cost) bool { return c.Machine != "lab" && c.Machine != "h100" } // of accelerators
		if r.Costs = slices.DeleteFunc(r.Costs, stored); err != nil || code != 0 || len(r.Costs) != 4 || r.Floors != nil {
			t.Errorf("exit code %d, %v: %s%s", code, err, out, errs)
		}
	})
	for _, c := range []struct {
		args []string
		code int
		key  string // that the message names
	}{
		{[]string{"-rounds", "0"}, 2, "-rounds 0"},
		{[]string{"-seconds", "0"}, 2, "-seconds 0"},
		{[]string{"-bench", "("}, 2, "-bench ("},
		{[]string{"-peers", "nobody"}, 2, "-peers nobody"},
		{[]string{"-peers", "gonum=x"}, 2, "-peers gonum=x"},
		{[]string{"-price", "x"}, 2, "-price x"},
		{[]string{"-name", "a/b", "-peers", "none"}, 2, "-name"},
		{[]string{"stray"}, 2, "stray"},
		{[]string{"-from", session, "-save"}, 2, "-save"},
		{[]string{"-no-such-flag"}, 2, "-no-such-flag"},
		{[]string{"-from", "absent.txt"}, 1, "absent.txt"},
		{[]string{"-from", session, "-bench", "Nothing"}, 1, "-bench Nothing"},
		{[]string{"-from", "main_test.go"}, 1, "main_test.go"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			code, _, errs := runIn(t, checkout, c.args...)
			if code != c.code || !strings.Contains(errs, c.key) {
				t.Errorf("exit code %d, %q; want %d and a message that names %s", code, errs, c.code, c.key)
			}
		})
	}
}

// TestMarkdown checks that the figures and plots of both READMEs are those of the stored results.
func TestMarkdown(t *testing.T) {
	const remedy = "write it with: go run ./bench/compare -markdown"
	ms, err := readFiles([]string{filepath.Join(checkout, "bench/results")})
	if err != nil {
		t.Fatal(err)
	}
	quick, err := newSelector(presets["quick"])
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(undisturbed(slices.DeleteFunc(ms, func(m *measurement) bool { return !quick.match(m.name) })), nil)
	for name, section := range r.sections() {
		t.Run(name, func(t *testing.T) {
			got, err := os.ReadFile(filepath.Join(checkout, name))
			if err != nil {
				t.Fatal(err)
			}
			want, err := replaceSection(got, section)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("its benchmarks are not those of bench/results; %s", remedy)
			}
		})
	}
	for _, table := range best(r.Tables) {
		t.Run(plotPath(table.Machine), func(t *testing.T) {
			svg, err := os.ReadFile(filepath.Join(checkout, "bench", plotPath(table.Machine)))
			if err != nil {
				t.Fatal(err)
			}
			if string(svg) != plot(table.Rows) {
				t.Errorf("it is not the plot of bench/results; %s", remedy)
			}
			wellFormed(t, string(svg))
		})
	}
}

func TestWriteMarkdown(t *testing.T) {
	root := t.TempDir()
	const before = "before\n" + beginMark + "\nold\n" + endMark + "\nafter\n"
	for _, name := range []string{"README.md", "bench/README.md"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(before), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	code, _, errs := runIn(t, root, "-markdown", "-floors", "", "-from", "testdata/session.txt")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	r := newReport(slices.DeleteFunc(read(t, "session.txt"), func(m *measurement) bool { return !headline.MatchString(m.name) }), nil)
	for name, section := range r.sections() {
		want := "before\n" + beginMark + "\n" + section + endMark + "\nafter\n"
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s is\n%s%v\nwant\n%s", name, got, err, want)
		}
	}
	has(t, r.summary(), "Forward pass, 1 thread", "PyTorch takes 2.00 times as long")
	if _, err := os.Stat(filepath.Join(root, "bench", plotPath("lab"))); err != nil {
		t.Error(err)
	}
	if _, err := replaceSection([]byte(endMark+beginMark), ""); err == nil {
		t.Error("marks in the wrong order are accepted")
	}
}

// TestStoredFloors checks the floors of the repository against the results they were taken from.
func TestStoredFloors(t *testing.T) {
	code, out, errs := runIn(t, checkout, "-from", "../results/zen5-2-cores.txt,../results/zen5-2-cores,../results/zen4-2-cores,../results/zen3-2-cores,../results/granite-rapids-2-cores")
	if code != 0 || !strings.Contains(out, " 0 below, 0 not measured") {
		t.Errorf("exit code %d: %s%s", code, out[max(0, len(out)-300):], errs)
	}
}
