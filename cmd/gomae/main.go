// Command gomae trains and runs MultiMAE, a multi-modal, multi-task masked
// autoencoder. Run it without arguments, or as gomae help COMMAND, for its
// commands and flags.
//
// Each command is a file with a constructor that [commands] lists. It parses
// flags and calls the library; what a user of the library would miss does not
// belong here. Results go to stdout, progress and talk to stderr. The exit
// code is 0 for success, 1 where a check failed or the work could not be done,
// 2 for wrong usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gomae/gomae/internal/machine"
	"github.com/peterbourgon/ff/v3/ffcli"
	"github.com/schollz/progressbar/v3"
)

// commands are the subcommands in the order of the help.
//
// A command has Name, ShortUsage ("gomae NAME [flags] ..."), ShortHelp (a
// phrase in lower case), LongHelp (a description, a line "Examples:" and
// indented examples), a FlagSet whose usages name their value in backquotes,
// and Exec, which returns usagef's error for what only the caller can put
// right. Flags may stand before, between and after arguments.
func commands(e *env) []*ffcli.Command {
	return []*ffcli.Command{
		pretrainCommand(e),
		reconstructCommand(e),
		renderCommand(e),
		dataCommand(e),
		convertCommand(e),
		parityCommand(e),
		infoCommand(e),
		helpCommand(e),
		versionCommand(e),
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks the command to save and end. It also restores
	// the default effect, so that a second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program, for main and for tests. ctx ends when the user
// interrupts.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (exitCode int) {
	out := &stickyWriter{w: stdout}
	e := &env{stdout: out, stderr: stderr}
	cmd, args := find(rootCommand(e), args)
	err := e.exec(ctx, cmd, args)
	if err == nil && out.err != nil {
		err = fmt.Errorf("writing the result: %w", out.err)
	}
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errReported):
		return 1
	case errors.Is(err, errNoCommand):
		fmt.Fprint(stderr, cmd.UsageFunc(cmd))
		return 2
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %v\nRun \"%s -h\" for help.\n", cmd.Name, err, cmd.Name)
		return 2
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.Name, err)
	return 1
}

// exec runs a command that find has found.
func (e *env) exec(ctx context.Context, cmd *ffcli.Command, args []string) error {
	if helped, err := e.parse(cmd, args); helped || err != nil {
		return err
	}
	if name := cmd.FlagSet.Name(); name != "help" && name != "version" {
		if _, _, err := machine.SIMD(); err != nil {
			return usagef("%w", err)
		}
	}
	return cmd.Run(ctx)
}

// env is what a command may touch beside files.
type env struct {
	stdout io.Writer // results
	stderr io.Writer // progress and talk
}

// errReported ends a command with exit code 1 after it has itself said why.
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

// terminal reports whether stderr is one.
func (e *env) terminal() bool {
	f, ok := e.stderr.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// bar is a progress bar of total steps on stderr, or an invisible one where
// that is not a terminal. Clear it before anything else is written.
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

// stickyWriter keeps its first error: a result that reached no one, on a full
// disk, is no success.
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
