package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/parity"
)

const tinyDump = "../../testdata/parity/pretrain_tiny"

// damagedDump returns a copy of a dump with one weight changed.
func damagedDump(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "damaged")
	if err := os.CopyFS(dir, os.DirFS(tinyDump)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "model.safetensors")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-2] ^= 0x20 // the exponent of the last weight
	write(t, b, path)
	return dir
}

func TestParity(t *testing.T) {
	code, stdout, stderr := gomae("parity", tinyDump)
	if code != 0 || stderr != "" || !strings.HasSuffix(stdout, "\n8 passed, 0 failed\n") || !strings.HasPrefix(stdout, tinyDump+" (multimae, SIMD level ") {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, stdout)
	}
	for _, group := range []string{"encoder", "out", "loss", "grad", "step0", "step1", "step2", "param"} {
		// Name, tensors, error, PyTorch's, ratio, verdict, worst tensor.
		if !regexp.MustCompile(`\n  ` + group + ` +\d+ +\d\.\d\de-\d\d +\d\.\d\de-\d\d +\d\.\d\d +pass +[a-z0-9_.]+\n`).MatchString(stdout) {
			t.Errorf("no line for %s in\n%s", group, stdout)
		}
	}
	damaged := damagedDump(t)
	code, stdout, stderr = gomae("parity", damaged, tinyDump, "-workers", "1")
	if code != 1 || stderr != "" || !strings.Contains(stdout, "FAIL") || !strings.Contains(stdout, "\n  first in ") {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, stdout)
	}
	var passed, failed int
	last := stdout[strings.LastIndex(strings.TrimSuffix(stdout, "\n"), "\n")+1:]
	if n, err := fmt.Sscanf(last, "%d passed, %d failed\n", &passed, &failed); n != 2 || passed < 8 || failed < 1 || passed+failed != 16 {
		t.Errorf("last line %q: %v", last, err)
	}

	// A folder that cannot be read fails, and the others are run.
	none := filepath.Join(t.TempDir(), "none")
	code, stdout, stderr = gomae("parity", none, tinyDump)
	if code != 1 || !strings.HasSuffix(stdout, "\n8 passed, 1 failed\n") || !strings.Contains(stderr, "dump "+none+": ") {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, stdout)
	}
	if code, stdout, stderr = gomae("parity", trained(t)); code != 1 || stdout != "0 passed, 1 failed\n" || !strings.Contains(stderr, `"case"`) {
		t.Errorf("a model folder: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if code, stdout, stderr := gomaeContext(ctx, "parity", tinyDump); code != 1 || stdout != "" || !strings.Contains(stderr, "interrupted after 0 of 1 folder; run it again") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	for args, want := range map[string]string{"": "argument missing: DIR", "x -workers -1": "-workers -1: want 0 or more"} {
		refuses(t, 2, want, append([]string{"parity"}, strings.Fields(args)...)...)
	}
}

func TestParityMarkdown(t *testing.T) {
	const segmenter = "../../testdata/parity/vit_segmenter"
	code, stdout, stderr := gomae("parity", "-markdown", segmenter, tinyDump)
	lines := strings.Split(stdout, "\n")
	if code != 0 || stderr != "" || len(lines) != 7 || lines[6] != "" {
		t.Fatalf("exit %d, stderr %q\n%s", code, stderr, stdout)
	}
	if !regexp.MustCompile(`^SIMD level [a-z0-9]+; bold: above PyTorch's own error and above 5e-07\.$`).MatchString(lines[0]) {
		t.Errorf("the line above the table is %q", lines[0])
	}
	// The first dump has no encoder, whose column comes first all the same.
	if lines[2] != "| dump | encoder | out | loss | grad | step0 | step1 | step2 | param | largest ratio |" || lines[3] != "|---|---|---|---|---|---|---|---|---|---|" {
		t.Errorf("head of the table:\n%s\n%s", lines[2], lines[3])
	}
	const cell = `(\*\*)?\d\.\de-\d\d \(\d\.\d\d\)(\*\*)? \| `
	const largest = `(\*\*)?\d\.\d\d, [a-z0-9]+(\*\*)? \|$`
	for i, want := range []string{`^\| .vit_segmenter. \| – \| (` + cell + `){7}` + largest, `^\| .pretrain_tiny. \| (` + cell + `){8}` + largest} {
		if !regexp.MustCompile(want).MatchString(lines[4+i]) {
			t.Errorf("row %q", lines[4+i])
		}
	}

	// What misses the aim is in bold: the cell, and the largest ratio.
	code, stdout, _ = gomae("parity", "-markdown", damagedDump(t))
	row := regexp.MustCompile(`(?m)^\| .damaged. \|.* \*\*\d\.\de[-+]\d\d \(\d+\.\d\d\)\*\* .* \*\*\d+\.\d\d, [a-z0-9]+\*\* \|$`)
	if code != 1 || !row.MatchString(stdout) {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	// What cannot be read has no row.
	none := filepath.Join(t.TempDir(), "none")
	if code, stdout, stderr = gomae("parity", "-markdown", none, tinyDump); code != 1 || strings.Contains(stdout, "none") || !strings.Contains(stderr, "dump "+none+": ") {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, stdout)
	}
	if code, stdout, _ = gomae("parity", "-markdown", none); code != 1 || stdout != "" {
		t.Errorf("a table of nothing: exit %d\n%s", code, stdout)
	}
	if code, _, stderr := gomae("parity", "-json", "-markdown", tinyDump); code != 2 || !testkit.Mentions(stderr, "-json…-markdown") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}

// TestRatioTable checks that the table in testdata/README.md has the committed dumps and the
// present form. Its digits are those of one machine.
func TestRatioTable(t *testing.T) {
	b, err := os.ReadFile("../../testdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- begin ratios -->\n")
	table, _, end := strings.Cut(rest, "<!-- end ratios -->")
	if !ok || !end {
		t.Fatal("testdata/README.md has no table between its marks")
	}
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(.+?)` \\|").FindAllStringSubmatch(table, -1) {
		rows = append(rows, m[1])
	}
	dumps, err := os.ReadDir("../../testdata/parity")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, d := range dumps {
		want = append(want, d.Name())
	}
	const remedy = "\nmake it anew with the command above it"
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("the table in testdata/README.md has rows %v, the dumps are %v%s", rows, want, remedy)
	}
	_, now, _ := gomae("parity", "-markdown", tinyDump)
	head := strings.SplitAfter(now, "\n")[1:4]
	if !strings.Contains(table, strings.Join(head, "")) || !strings.HasPrefix(table, "SIMD level avx512; ") {
		t.Errorf("the table in testdata/README.md does not have the head\n%s%s", strings.Join(head, ""), remedy)
	}
}

func TestParityJSON(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	code, stdout, _ := gomae("parity", "-json", tinyDump, damagedDump(t), none)
	var reports []struct {
		parity.Report
		Error string `json:"error"`
	}
	dec := json.NewDecoder(strings.NewReader(stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&reports); err != nil || dec.More() || code != 1 || len(reports) != 3 {
		t.Fatalf("exit %d, %v\n%s", code, err, stdout)
	}
	if r := reports[0]; !r.Pass() || len(r.Groups) != 8 || r.Dir != tinyDump || r.Error != "" {
		t.Errorf("%+v", r)
	}
	if r := reports[1]; r.Pass() || len(r.Groups) != 8 {
		t.Errorf("%+v", r)
	}
	if r := reports[2]; len(r.Groups) != 0 || r.Dir != none || !strings.HasSuffix(r.Error, "config.json: "+absence(t, filepath.Join(none, "config.json"))) {
		t.Errorf("%+v", r)
	}
	if code, stdout, _ := gomae("parity", "-json", tinyDump); code != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}
