package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// adapter runs another library, or our own benchmarks, and has it print
// results in Go's benchmark format under the names of our benchmarks, with its
// name and version as configuration lines "peer" and "version" (and "variant"
// where it has several). One that is not installed ends with an exit code other
// than 0 and the line "peer NAME is absent; install it with: COMMAND" last on
// stderr.
type adapter struct {
	name  string
	does  *regexp.Regexp // names of benchmarks it knows; others are not asked for
	build string         // folder of a Go program, below the root; empty for a script
	// variants are those that a peer with several is asked for, by commas.
	variants string
	// commands are what to run for a set of benchmarks; the folder is that of
	// the checkout. program is what was built, or the interpreter.
	commands func(a *adapter, program string, names []string, seconds float64) [][]string
}

var (
	products   = regexp.MustCompile(`^(Gemm|Op/linear-gelu)/`)
	wholeModel = regexp.MustCompile(`^(Forward|TrainStep)/`)
	inference  = regexp.MustCompile(`^Forward/`)
)

// adapters is the table of peers. To add one, write a program of that kind and
// add its line.
var adapters = []adapter{
	{"onednn", products, "bench/peers/blas", "", goPeer("-lib", "onednn")},
	{"openblas", products, "bench/peers/blas", "", goPeer("-lib", "openblas")},
	{"gonum", products, "bench/peers/gonum", "", goPeer()},
	{"gomlx", products, "bench/peers/gomlx", "", goPeer()},
	{"torch", wholeModel, "", "eager,onednn,compile,freeze", script("bench/torch_bench.py", true, "--dtype", "float32")},
	{"onnxruntime", inference, "", "", script("bench/onnx_bench.py", false)},
}

// goPeer makes the command of a program on bench/peers.
func goPeer(args ...string) func(*adapter, string, []string, float64) [][]string {
	return func(_ *adapter, program string, names []string, seconds float64) [][]string {
		quoted := make([]string, len(names))
		for i, n := range names {
			quoted[i] = regexp.QuoteMeta(n)
		}
		return [][]string{append(append([]string{program}, args...),
			"-bench", "^Benchmark("+strings.Join(quoted, "|")+")$",
			"-threads", list(names, "threads"), "-seconds", fmt.Sprint(seconds))}
	}
}

// script makes the commands of a Python program: one for each model and mode,
// because the batches asked for differ with them.
func script(path string, modes bool, args ...string) func(*adapter, string, []string, float64) [][]string {
	return func(a *adapter, python string, names []string, seconds float64) (commands [][]string) {
		var kinds []string // "Forward/model=base"
		of := map[string][]string{}
		for _, n := range names {
			p := strings.SplitN(n, "/", 3)
			kind := p[0] + "/" + p[1]
			if of[kind] == nil {
				kinds = append(kinds, kind)
			}
			of[kind] = append(of[kind], n)
		}
		for _, kind := range kinds {
			bench, model, _ := strings.Cut(kind, "/model=")
			c := []string{python, path, "--model", model, "--batch", list(of[kind], "batch"),
				"--threads", list(of[kind], "threads"), "--seconds", fmt.Sprint(seconds)}
			if modes {
				c = append(c, "--mode", map[string]string{"Forward": "forward", "TrainStep": "train"}[bench])
			}
			if a.variants != "" {
				c = append(c, "--compile", a.variants)
			}
			commands = append(commands, append(c, args...))
		}
		return commands
	}
}

// list is the different values of a part of benchmarks' names: "1,2".
func list(names []string, key string) string {
	var values []int
	for _, n := range names {
		values = append(values, part(n, key))
	}
	slices.Sort(values)
	var words []string
	for _, v := range slices.Compact(values) {
		words = append(words, strconv.Itoa(v))
	}
	return strings.Join(words, ",")
}

// absentError says what is missing and how to install it.
type absentError struct{ message string }

func (e *absentError) Error() string { return e.message }

// offline keeps the go command from downloading modules.
func offline() []string { return append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly") }

// prepare builds an adapter's program in dir, or finds the interpreter.
func (a *adapter) prepare(ctx context.Context, root, dir, python string) (program string, err error) {
	if a.build == "" {
		program, err = exec.LookPath(python)
		if err != nil {
			return "", &absentError{fmt.Sprintf("peer %s is absent: %v; install Python 3, or give its path with -python", a.name, err)}
		}
		return filepath.Abs(program)
	}
	if _, err := os.Stat(filepath.Join(root, a.build)); err != nil {
		return "", &absentError{fmt.Sprintf("peer %s is absent: this checkout has no %s", a.name, a.build)}
	}
	program = filepath.Join(dir, a.name+exeSuffix)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	cmd.Dir, cmd.Env = filepath.Join(root, a.build), offline()
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("GOPROXY=off")) {
			return "", &absentError{fmt.Sprintf("peer %s is absent; install it with: go -C %s mod download", a.name, a.build)}
		}
		return "", fmt.Errorf("peer %s: building %s: %w\n%s", a.name, a.build, err, tail(out))
	}
	return program, nil
}

// run runs the adapter once for the benchmarks of names. It returns what was
// measured also beside an error.
func (a *adapter) run(ctx context.Context, root, program string, names []string, seconds float64) ([]*measurement, error) {
	var all []*measurement
	var errs []error
	for _, argv := range a.commands(a, program, names, seconds) {
		ms, err := execute(ctx, root, argv, a.name)
		all = append(all, slices.DeleteFunc(ms, func(m *measurement) bool { return !slices.Contains(names, m.name) })...)
		if err != nil {
			errs = append(errs, err)
			if absent := new(absentError); errors.As(err, &absent) || ctx.Err() != nil {
				break
			}
		}
	}
	return all, errors.Join(errs...)
}

// execute runs a command and reads the results on its stdout.
func execute(ctx context.Context, dir string, argv []string, peer string) ([]*measurement, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	// What was measured has been printed, so an interrupt loses one line at
	// most; a program that does not end is ended.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	runErr := cmd.Run()
	text := stdout.Bytes()
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	ms, broken, err := parse(bytes.NewReader(text), peer, "", peer)
	switch {
	case ctx.Err() != nil:
		return ms, ctx.Err()
	case runErr != nil:
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if last := lines[len(lines)-1]; strings.HasPrefix(last, "peer ") && strings.Contains(last, "absent") {
			return ms, &absentError{last}
		}
		return ms, fmt.Errorf("%s: %w\n%s", peer, runErr, tail(slices.Concat(text, stderr.Bytes())))
	case err != nil:
		return ms, err
	case len(broken) > 0:
		return ms, fmt.Errorf("%s prints what is no benchmark result: %w", peer, errors.Join(broken...))
	case len(ms) == 0:
		return nil, fmt.Errorf("%s printed no benchmark result\n%s", peer, tail(slices.Concat(text, stderr.Bytes())))
	}
	return ms, nil
}

// tail is the end of a program's output.
func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
