package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/peterbourgon/ff/v3/ffcli"
)

const asMain = "GOMAE_TEST_AS_MAIN"

// TestMain is the command itself where a test starts its own binary: for
// signals and for the environment that is read before main.
func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is the command as a process.
func program(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	if runtime.GOOS == "js" || runtime.GOOS == "windows" {
		t.Skip("no processes or signals on " + runtime.GOOS)
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asMain+"=1"), env...)
	return cmd
}

// gomae runs the command in this process.
func gomae(args ...string) (code int, stdout, stderr string) {
	return gomaeContext(context.Background(), args...)
}

func gomaeContext(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

// each calls f for every command, groups included.
func each(f func(c *ffcli.Command)) {
	var walk func(c *ffcli.Command)
	walk = func(c *ffcli.Command) {
		f(c)
		for _, sub := range c.Subcommands {
			walk(sub)
		}
	}
	walk(rootCommand(&env{io.Discard, io.Discard}))
}

// TestHelp holds what commands promises of each command, and that all ways to
// ask for help give the same.
func TestHelp(t *testing.T) {
	each(func(c *ffcli.Command) {
		words := strings.Fields(c.Name)[1:]
		code, text, stderr := gomae(append([]string{"help"}, words...)...)
		if code != 0 || stderr != "" {
			t.Errorf("help %s: exit %d, stderr %q", c.Name, code, stderr)
		}
		for _, ask := range []string{"-h", "--help"} {
			if code, again, stderr := gomae(append(words, ask)...); code != 0 || again != text || stderr != "" {
				t.Errorf("%s %s: exit %d, stderr %q, other text: %v", c.Name, ask, code, stderr, again != text)
			}
		}
		if c.ShortHelp == "" || !strings.HasPrefix(c.ShortUsage, c.Name) || !strings.Contains(text, c.ShortUsage) {
			t.Errorf("%s: short help %q, usage %q", c.Name, c.ShortHelp, c.ShortUsage)
		}
		if (c.Exec == nil) != (len(c.Subcommands) > 0) {
			t.Errorf("%s: either Exec or Subcommands, please", c.Name)
		}
		if _, examples, ok := strings.Cut(text, "\nExamples:\n"); c.Exec != nil && (!ok || !strings.Contains(examples, c.Name)) {
			t.Errorf("%s: no example", c.Name)
		}
		for line := range strings.Lines(text) {
			if strings.TrimRight(line, " \n") != strings.TrimSuffix(line, "\n") || utf8.RuneCountInString(line) > 101 {
				t.Errorf("%s: line %q is longer than 100 or ends in spaces", c.Name, line)
			}
		}
		flags := 0
		c.FlagSet.VisitAll(func(f *flag.Flag) {
			flags++
			value, usage := flag.UnquoteUsage(f)
			if usage == "" || !isBool(f) && !strings.Contains(f.Usage, "`"+value+"`") {
				t.Errorf("%s -%s: usage %q names no value in backquotes", c.Name, f.Name, f.Usage)
			}
			if !strings.Contains(text, "\n  "+strings.TrimSpace("-"+f.Name+" "+value)) {
				t.Errorf("%s -%s is not in the help", c.Name, f.Name)
			}
			if f.DefValue != "" && !strings.Contains(text, "(default "+f.DefValue+")") {
				t.Errorf("%s -%s: default %s is not in the help", c.Name, f.Name, f.DefValue)
			}
		})
		if got := strings.Contains(text, "\nFlags:\n"); got != (flags > 0) {
			t.Errorf("%s: %d flags, section: %v", c.Name, flags, got)
		}
	})
	_, all, _ := gomae("help")
	for _, name := range []string{"render", "data check", "info", "help", "version"} {
		if !strings.Contains(all, "\n  "+name+" ") {
			t.Errorf("help does not list %q", name)
		}
	}
}

// TestWrongUsage: exit code 2, the reason and the way to help on stderr, and
// nothing on stdout.
func TestWrongUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "Usage:\n  gomae COMMAND"},
		{"--", "Usage:\n  gomae COMMAND"},
		{"data", "Usage:\n  gomae data check DIR"},
		{"rendr", `gomae: unknown command "rendr"; did you mean "render"?`},
		{"data chek x", `gomae data: unknown command "chek"; did you mean "check"?`},
		{"help rendr", `gomae help: unknown command "rendr"; did you mean "render"?`},
		{"help data chek", `did you mean "check"?`},
		{"help render x", `unexpected argument "x" after "gomae render"`},
		{"-version", `gomae: unknown flag -version; did you mean "gomae version"?`},
		{"-n 3 render", "gomae: unknown flag -n; flags follow a command"},
		{"version -n", "gomae version: unknown flag -n; there are no flags here"},
		{"version x", `gomae version: unexpected argument "x"`},
		{"render", "gomae render: flag missing: -out DIR: write to folder"},
		{"render -out", "gomae render: value missing: -out DIR: write to folder"},
		{"render -sede 1", "gomae render: unknown flag -sede; did you mean -seed?"},
		{"render -out x -n many", `invalid value "many" for flag -n: want a whole number`},
		{"render -out x -n 99999999999999999999", `flag -n: value out of range`},
		{"render -out x -seed -1", "flag -seed: want a whole number, 0 or more"},
		{"render -out x -split half", "flag -split: want a number"},
		{"render -out x -split NaN", "-split NaN: want 0 to 0.9"},
		{"render -out x -split 0.5 -n 1", "-n 1 leaves nothing to divide"},
		{"render -out x -n 0", "-n 0: want 1 to 10000000"},
		{"render -out x -size 15", "-size 15: want 16 to 2048"},
		{"render -out x y", `unexpected argument "y"`},
		{"data check", "gomae data check: argument missing: DIR"},
		{"data check x -config", "value missing: -config FILE"},
		{"data check x y", `unexpected argument "y"`},
		{"data check x -classes 255", "flag -classes: want 1 to 254, or the word scenes"},
		{"data check x -inputs rgb,deth", `"deth" is none of rgb, depth, semseg`},
		{"data check x -inputs rgb,rgb", "rgb stands twice"},
		{"data check x -inputs rgb -config y", "-config and -inputs exclude each other"},
		{"info x", `unexpected argument "x"`},
		{"info -json=maybe", "for -json: want true or false"},
		{"info -time 3", "flag -time: want a duration such as 1.5s"},
		{"info -time 0s", "-time 0s: want a duration above 0"},
	} {
		code, stdout, stderr := gomae(strings.Fields(c.args)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, c.want) || !strings.Contains(stderr, "-h") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q; want 2 and %q", c.args, code, stdout, stderr, c.want)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("wrong usage made a folder")
	}
}

func TestFlagsFirst(t *testing.T) {
	fs := new(flag.FlagSet)
	fs.Int("n", 0, "")
	fs.Bool("json", false, "")
	for _, c := range []struct{ args, want string }{
		{"", "--"},
		{"a -n 3 b", "-n 3 -- a b"},
		{"a --json b -n=3", "--json -n=3 -- a b"},
		{"-json=false a - -n -5", "-json=false -n -5 -- a -"},
		{"a -- -n 3", "-- a -n 3"},
		{"a -n", "-n"},
		{"-unknown a", "-unknown -- a"},
	} {
		if got := flagsFirst(fs, strings.Fields(c.args)); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for path, want := range map[string]string{"a/b-1.x": "a/b-1.x", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := quote(path); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := gomae("version")
	if f := strings.Fields(stdout); code != 0 || stderr != "" || len(f) < 4 || f[0] != "gomae" || !strings.Contains(stdout, runtime.Version()) {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestResultNotWritten: a result that is lost is an error.
func TestResultNotWritten(t *testing.T) {
	var stderr bytes.Buffer
	for _, args := range []string{"version", "help", "info -h"} {
		stderr.Reset()
		if code := run(context.Background(), strings.Fields(args), fullDisk{}, &stderr); code != 1 || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%s: exit %d, stderr %q", args, code, &stderr)
		}
	}
}

// TestWrongSIMD: the variable is read before main and refused before work.
func TestWrongSIMD(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"render", "-out", out}, 2, `GOMAE_SIMD="sse9" is unknown; allowed values: generic`},
		{[]string{"help"}, 0, "Usage:"},
		{[]string{"version"}, 0, "gomae "},
	} {
		cmd := program(t, []string{"GOMAE_SIMD=sse9"}, c.args...)
		text, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(text), c.want) {
			t.Errorf("%v: %v, %q", c.args, cmd.ProcessState, text)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("work was begun")
	}
}

// TestSignal interrupts a process that works.
func TestSignal(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	cmd := program(t, nil, "render", "-out", out, "-n", "1000000", "-size", "16")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	for {
		if files, _ := filepath.Glob(filepath.Join(out, "semseg", "scene", "0*.png")); len(files) > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "interrupted after") {
		t.Errorf("%v, stderr %q", cmd.ProcessState, &stderr)
	}
}
