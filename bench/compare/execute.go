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
	"runtime"
	"slices"
	"strings"
	"time"
)

var exeSuffix = map[bool]string{true: ".exe"}[runtime.GOOS == "windows"]

// absentError reports that a peer is not installed.
type absentError struct {
	peer   string
	reason string // may be empty
	remedy string // such as "install it with: COMMAND"
}

func (e *absentError) Error() string {
	reason := e.reason
	if reason != "" {
		reason = ": " + reason
	}
	return fmt.Sprintf("peer %s is absent%s; %s", e.peer, reason, e.remedy)
}

// absentLine is the last line of a program whose peer is not installed.
var absentLine = regexp.MustCompile(`^peer (\S+) is absent; (.+)$`)

var (
	errNoResults = errors.New("printed no benchmark result")
	errMalformed = errors.New("printed malformed benchmark results")
)

// offline is the environment in which the go command downloads nothing.
func offline() []string { return append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly") }

// prepare builds the adapter's program in dir, or finds the interpreter.
func (a *adapter) prepare(ctx context.Context, root, dir, python string) (program string, err error) {
	if a.build == "" {
		program, err = exec.LookPath(python)
		if err != nil {
			return "", &absentError{a.name, err.Error(), "install Python 3, or name its interpreter with -python"}
		}
		return filepath.Abs(program)
	}
	if _, err := os.Stat(filepath.Join(root, a.build)); err != nil {
		return "", &absentError{a.name, "this checkout has no " + a.build, "restore it with: git checkout " + a.build}
	}
	program = filepath.Join(dir, a.name+exeSuffix)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	cmd.Dir, cmd.Env = filepath.Join(root, a.build), offline()
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("GOPROXY=off")) {
			return "", &absentError{a.name, "", fmt.Sprintf("install it with: go -C %s mod download", a.build)}
		}
		return "", fmt.Errorf("peer %s: building %s: %w\n%s", a.name, a.build, err, tail(out))
	}
	return program, nil
}

// run runs the adapter once for the benchmarks of names. It returns what was measured even if it
// returns an error.
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

// execute runs a command and reads the results from its stdout.
func execute(ctx context.Context, dir string, argv []string, peer string) ([]*measurement, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), largePages())
	// Programs print each result at once, so an interrupt loses at most the line in progress. A
	// program that ignores the interrupt is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	runErr := cmd.Run()
	text := stdout.Bytes()
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	ms, broken, err := parse(bytes.NewReader(text), peer, "", peer)
	output := func() string { return tail(slices.Concat(text, stderr.Bytes())) }
	switch {
	case ctx.Err() != nil:
		return ms, ctx.Err()
	case runErr != nil:
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if m := absentLine.FindStringSubmatch(lines[len(lines)-1]); m != nil {
			return ms, &absentError{m[1], "", m[2]}
		}
		return ms, fmt.Errorf("%s: %w\n%s", peer, runErr, output())
	case err != nil:
		return ms, err
	case len(broken) > 0:
		return ms, fmt.Errorf("%s %w: %w", peer, errMalformed, errors.Join(broken...))
	case len(ms) == 0:
		return nil, fmt.Errorf("%s %w\n%s", peer, errNoResults, output())
	}
	return ms, nil
}

// largePages is the environment variable by which malloc of glibc asks for large pages, as package
// tensor does for ours. On a virtual machine PyTorch takes a twelfth to a seventh less time with them,
// and ONNX Runtime and oneDNN a twentieth.
func largePages() string {
	const name = "GLIBC_TUNABLES"
	return name + "=glibc.malloc.hugetlb=1" + strings.TrimSuffix(":"+os.Getenv(name), ":")
}

// tail returns the last lines of a program's output.
func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
