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

	"github.com/gomae/gomae/internal/testkit"
)

const asMain = "GOMAE_TEST_AS_MAIN"

// TestMain is the command itself if a test has started the test binary as a process: for signals,
// and for the environment that is read before main.
func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program returns the command as a process.
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

// refuses runs the command and requires the exit code, an empty stdout, and a stderr that mentions
// want.
func refuses(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	if got, stdout, stderr := gomae(args...); got != code || stdout != "" || !testkit.Mentions(stderr, want) {
		t.Errorf("%v: exit %d, stdout %q, stderr %q; want %d and %q", args, got, stdout, stderr, code, want)
	}
}

// each calls f for every command, groups included.
func each(f func(c *command)) {
	var walk func(c *command)
	walk = func(c *command) {
		f(c)
		for _, sub := range c.subs {
			walk(sub)
		}
	}
	walk(rootCommand(&env{stdout: io.Discard, stderr: io.Discard}))
}

// TestHelp checks what the help of each command must hold, and that all ways to ask for it print
// the same.
func TestHelp(t *testing.T) {
	each(func(c *command) {
		t.Run(c.name, func(t *testing.T) {
			words := strings.Fields(c.name)[1:]
			code, text, stderr := gomae(append([]string{"help"}, words...)...)
			if code != 0 || stderr != "" {
				t.Errorf("exit %d, stderr %q", code, stderr)
			}
			for _, ask := range []string{"-h", "--help"} {
				if code, again, stderr := gomae(append(words, ask)...); code != 0 || again != text || stderr != "" {
					t.Errorf("%s: exit %d, stderr %q, other text: %v", ask, code, stderr, again != text)
				}
			}
			if c.short == "" || !strings.HasPrefix(c.usage, c.name) || !strings.Contains(text, c.usage) {
				t.Errorf("short %q, usage %q", c.short, c.usage)
			}
			if (c.run == nil) != (len(c.subs) > 0) {
				t.Error("a command has run or subs, and not both")
			}
			for _, example := range c.examples {
				if !strings.Contains(example, c.name) || !strings.Contains(text, "\n  "+example+"\n") {
					t.Errorf("example %q", example)
				}
			}
			if c.run != nil && len(c.examples) == 0 {
				t.Error("no example")
			}
			for line := range strings.Lines(text) {
				if strings.TrimRight(line, " \n") != strings.TrimSuffix(line, "\n") || utf8.RuneCountInString(line) > 101 {
					t.Errorf("line %q is longer than 100 or ends in spaces", line)
				}
			}
			flags := 0
			c.flags.VisitAll(func(f *flag.Flag) {
				flags++
				value, usage := flag.UnquoteUsage(f)
				if usage == "" || !isBool(f) && !strings.Contains(f.Usage, "`"+value+"`") {
					t.Errorf("-%s: usage %q names no value in backquotes", f.Name, f.Usage)
				}
				if !strings.Contains(text, "\n  "+strings.TrimSpace("-"+f.Name+" "+value)) {
					t.Errorf("-%s is not in the help", f.Name)
				}
				if f.DefValue != "" && !strings.Contains(strings.Join(strings.Fields(text), " "), "(default "+f.DefValue+")") {
					t.Errorf("-%s: default %s is not in the help", f.Name, f.DefValue)
				}
			})
			if got := strings.Contains(text, "\nFlags:\n"); got != (flags > 0) {
				t.Errorf("%d flags, section: %v", flags, got)
			}
		})
	})
	_, all, _ := gomae("help")
	for _, name := range []string{"render", "data check", "info", "help", "version"} {
		if !strings.Contains(all, "\n  "+name+" ") {
			t.Errorf("help does not list %q", name)
		}
	}
}

// TestWrongUsage wants exit code 2, the reason and the way to help on stderr, and nothing on
// stdout.
func TestWrongUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "Usage:\n  gomae COMMAND"},
		{"--", "Usage:\n  gomae COMMAND"},
		{"data", "Usage:\n  gomae data check DIR"},
		{"rendr", `gomae: …"rendr"…"render"`},
		{"data chek x", `gomae data: …"chek"…"check"`},
		{"help rendr", `gomae help: …"rendr"…"render"`},
		{"help data chek", `gomae help: …"chek"…"check"`},
		{"help render x", `"x" after "gomae render"`},
		{"-version", `gomae: …-version…"gomae version"`},
		{"-n 3 render", "gomae: …-n;…command"},
		{"version -n", "gomae version: …-n;…no flags"},
		{"version x", `gomae version: …"x"`},
		{"render", "gomae render: flag missing: -out DIR"},
		{"render -out", "gomae render: value missing: -out DIR"},
		{"render -sede 1", "gomae render: …-sede…-seed"},
		{"render -out x -n many", `"many"…-n: want a whole number`},
		{"render -out x -n 99999999999999999999", `-n: value out of range`},
		{"render -out x -seed -1", "-seed: want a whole number, 0 or more"},
		{"render -out x -split half", "-split: want a number"},
		{"render -out x -split NaN", "-split NaN: want 0 to 0.9"},
		{"render -out x -split 0.5 -n 1", "-split 0.5…-n 1"},
		{"render -out x -n 0", "-n 0: want 1 to 10000000"},
		{"render -out x -size 15", "-size 15: want 16 to 2048"},
		{"render -out x y", `unexpected argument "y"`},
		{"data check", "gomae data check: argument missing: DIR"},
		{"data check x -config", "value missing: -config FILE"},
		{"data check x y", `unexpected argument "y"`},
		{"data check x -classes 255", "-classes: want 1 to 254…scenes"},
		{"data check x -inputs rgb,deth", `"deth"…rgb, depth, semseg`},
		{"data check x -inputs rgb,rgb", "-inputs rgb,rgb: rgb "},
		{"data check x -inputs rgb -config y", "-config…-inputs"},
		{"pretrain -lr 1", "-lr;…optim.lr…-config"},
		{"probe -lr 1", "-lr; the flags are -cache"},
		{"finetune -epochs 1", "-epochs;…-steps of -batch"},
		{"experiment alpha -epochs 1", "-epochs; …steps"},
		{"eval -device gpu", "-device;…-workers"},
		{"reconstruct -device gpu", "-device; …-depth"},
		{"experiment alpha -preset tyni", `-preset tyni…"tiny"`},
		{"info x", `unexpected argument "x"`},
		{"info -json=maybe", "-json: want true or false"},
		{"info -time 3", "-time: want a duration"},
		{"info -time 0s", "-time 0s: want"},
	} {
		t.Run(c.args, func(t *testing.T) {
			refuses(t, 2, c.want+"…-h", strings.Fields(c.args)...)
		})
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
		t.Run(c.args, func(t *testing.T) {
			if got := flagsFirst(fs, strings.Fields(c.args)); !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	for separator, paths := range map[rune]map[string]string{
		'/': {"a/b-1.x": "a/b-1.x", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", `a\b`: `'a\b'`},
		'\\': {
			`C:\a\b-1.x`: `C:\a\b-1.x`, "": `""`, `C:\a b\c`: `"C:\a b\c"`, `a b\`: `"a b\\"`, "it's": `"it's"`, "a,b": `"a,b"`, "a&b": `"a&b"`, "$x": "$x",
			"a~1[2]": "a~1[2]",
		},
	} {
		for path, want := range paths {
			t.Run(string(separator)+" "+path, func(t *testing.T) {
				if got := quoteFor(separator, path); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := gomae("version")
	if f := strings.Fields(stdout); code != 0 || stderr != "" || len(f) < 4 || f[0] != "gomae" || !strings.Contains(stdout, runtime.Version()) {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// fullDisk is a writer on which nothing can be written.
type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// TestResultNotWritten wants an error if the result is lost.
func TestResultNotWritten(t *testing.T) {
	for _, args := range []string{"version", "help", "info -h"} {
		t.Run(args, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := run(context.Background(), strings.Fields(args), fullDisk{}, &stderr); code != 1 || !strings.Contains(stderr.String(), errFull.Error()) {
				t.Errorf("exit %d, stderr %q", code, &stderr)
			}
		})
	}
}

// TestWrongSIMD wants a wrong variable, which is read before main, to be refused before any work.
func TestWrongSIMD(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"render", "-out", out}, 2, `GOMAE_SIMD="sse9"…generic`},
		{[]string{"pretrain", "-out", out}, 2, `GOMAE_SIMD="sse9"…generic`},
		{[]string{"help"}, 0, "Usage:"},
		{[]string{"version"}, 0, "gomae "},
	} {
		t.Run(c.args[0], func(t *testing.T) {
			cmd := program(t, []string{"GOMAE_SIMD=sse9"}, c.args...)
			text, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != c.code || !testkit.Mentions(string(text), c.want) {
				t.Errorf("%v, %q", cmd.ProcessState, text)
			}
		})
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("work was begun")
	}
}

// TestSignal interrupts a process at work.
func TestSignal(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	cmd := program(t, nil, "render", "-out", out, "-n", "1000000", "-size", "16")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for !anyScene(out) {
		select {
		case err := <-ended:
			t.Fatalf("ended: %v, %s", err, &stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
	cmd.Process.Signal(os.Interrupt)
	<-ended
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "interrupted after") {
		t.Errorf("%v, stderr %q", cmd.ProcessState, &stderr)
	}
}
