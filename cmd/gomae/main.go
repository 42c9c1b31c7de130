// Command gomae trains and runs MultiMAE, a multi-modal, multi-task masked autoencoder. Run it
// without arguments, or as gomae help COMMAND, for its commands and flags.
//
// Each command is a file with a constructor that [rootCommand] lists. It parses flags and calls the
// library; what a user of the library would miss does not belong here. This is the only package
// that knows flags: where the library says what is wrong, the command adds what to do about it on
// the command line. Results go to stdout, progress and messages to stderr. The exit code is 0 for
// success, 1 if a check failed or the work could not be done, 2 for wrong usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/gomae/gomae/internal/machine"
)

// rootCommand returns the program with all its commands, in the order of the help.
func rootCommand(e *env) *command {
	return &command{
		name:  "gomae",
		usage: "gomae COMMAND [flags] [arguments]",
		short: "multi-modal, multi-task masked autoencoders in pure Go",
		about: `"gomae help COMMAND" and "gomae COMMAND -h" describe a command and its flags.
Ctrl-C ends a command cleanly, and a second Ctrl-C ends it at once. The
environment variable GOMAE_SIMD (generic, avx2 or avx512) lowers the instruction
set that "gomae info" shows.

The code and the model rooms are BSD-3-Clause. The weights of photos are for
non-commercial research: see its card.`,
		flags: newFlags(),
		subs: []*command{
			pretrainCommand(e),
			finetuneCommand(e),
			evalCommand(e),
			probeCommand(e),
			experimentCommand(e),
			reconstructCommand(e),
			figureCommand(e),
			demoCommand(e),
			renderCommand(e),
			pseudolabelCommand(e),
			dataCommand(e),
			convertCommand(e),
			parityCommand(e),
			infoCommand(e),
			helpCommand(e),
			versionCommand(e),
		},
	}
}

func main() {
	keepBrokenPipes()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks the command to save and end, and run ends one that only waits. It also
	// restores the default effect, so that a second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program, for main and for tests. ctx ends when the user interrupts.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (exitCode int) {
	out := &stickyWriter{w: &interruptible{ctx: ctx, w: stdout}}
	stderr = &interruptible{ctx: ctx, w: stderr}
	e := &env{stdout: out, stderr: stderr}
	cmd, args := rootCommand(e).find(args)
	err := e.await(ctx, func() error { return e.exec(ctx, cmd, args) })
	if err == nil && out.err != nil {
		err = fmt.Errorf("writing the result: %w", out.err)
	}
	switch {
	case err == nil:
		return 0
	case brokenPipe(out.err) && brokenPipe(err): // the reader, such as head, has seen enough
		return 1
	case errors.Is(err, errReported):
		return 1
	case errors.Is(err, errNoCommand):
		fmt.Fprint(stderr, cmd.help())
		return 2
	case errors.As(err, new(*usageError)):
		fmt.Fprintf(stderr, "%s: %v\nRun \"%s -h\" for help.\n", cmd.name, err, cmd.name)
		return 2
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.name, err)
	return 1
}

// exec runs a command, or prints its help if args ask for it.
func (e *env) exec(ctx context.Context, cmd *command, args []string) error {
	args, err := cmd.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(e.stdout, cmd.help())
		return nil
	}
	if err != nil {
		return err
	}
	if word := cmd.word(); word != "help" && word != "version" {
		if _, _, err := machine.SIMD(); err != nil {
			return usagef("%w", err)
		}
	}
	return cmd.run(ctx, args)
}

// env is what a command writes to, apart from files.
type env struct {
	stdout io.Writer // results
	stderr io.Writer // progress and messages
	saver
}

// errReported ends a command that has already said what is wrong, with exit code 1.
var errReported = errors.New("reported")

// logf writes a line to stderr.
func (e *env) logf(format string, args ...any) { fmt.Fprintf(e.stderr, format+"\n", args...) }

// writeJSON writes v to stdout, indented.
func (e *env) writeJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(v)
}

// terminal reports whether stderr is a terminal.
func (e *env) terminal() bool {
	w := e.stderr
	if i, ok := w.(*interruptible); ok {
		w = i.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// bar returns a progress bar of total steps on stderr, which is invisible unless stderr is a
// terminal. Clear it before anything else is written.
func (e *env) bar(total int, unit string) *progressbar.ProgressBar {
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(e.stderr),
		progressbar.OptionSetVisibility(e.terminal()),
		progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(unit),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}

// stickyWriter keeps its first error: a command whose result was lost, on a full disk, has not
// succeeded.
type stickyWriter struct {
	w   io.Writer
	err error
}

func (s *stickyWriter) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if s.err == nil {
		s.err = err
	}
	return n, err
}
