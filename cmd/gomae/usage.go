package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/gomae/gomae/multimae"
)

// usageError is a command line that cannot be meant: exit code 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errNoCommand: the arguments end where a subcommand is needed.
var errNoCommand = errors.New("no command")

func rootCommand(e *env) *ffcli.Command {
	root := &ffcli.Command{
		Name:       "gomae",
		ShortUsage: "gomae COMMAND [flags] [arguments]",
		ShortHelp:  "multi-modal, multi-task masked autoencoders in pure Go",
		LongHelp: `"gomae help COMMAND" and "gomae COMMAND -h" describe a command and its flags.
Ctrl-C ends a command in good order, a second one at once. The environment
variable GOMAE_SIMD (generic, avx2 or avx512) lowers the instruction set that
"gomae info" shows.`,
		Subcommands: commands(e),
	}
	dress(root, "")
	return root
}

// dress gives a tree of commands what all have in common. Names become whole:
// "gomae data check".
func dress(c *ffcli.Command, parent string) {
	if c.FlagSet == nil {
		c.FlagSet = new(flag.FlagSet)
	}
	c.FlagSet.Init(c.Name, flag.ContinueOnError)
	c.FlagSet.SetOutput(io.Discard) // run writes errors, in its own words
	c.UsageFunc = usageText
	c.Name = strings.TrimSpace(parent + " " + c.Name)
	for _, sub := range c.Subcommands {
		dress(sub, c.Name)
	}
}

// find follows the subcommands at the head of args and returns what is left.
func find(c *ffcli.Command, args []string) (*ffcli.Command, []string) {
	for len(args) > 0 {
		var next *ffcli.Command
		for _, sub := range c.Subcommands {
			if sub.FlagSet.Name() == args[0] {
				next = sub
			}
		}
		if next == nil {
			break
		}
		c, args = next, args[1:]
	}
	return c, args
}

// parse sets the flags and arguments of a command. Where they asked for help,
// they got it.
func (e *env) parse(c *ffcli.Command, args []string) (helped bool, err error) {
	if len(c.Subcommands) > 0 {
		if len(args) == 0 {
			return false, errNoCommand
		}
		if !strings.HasPrefix(args[0], "-") {
			return false, unknownCommand(c, args[0])
		}
	}
	switch err := c.Parse(flagsFirst(c.FlagSet, args)); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(e.stdout, usageText(c))
		return true, nil
	case errors.As(err, new(ffcli.NoExecError)):
		return false, errNoCommand
	case err != nil:
		return false, flagError(c, err)
	}
	return false, nil
}

// flagsFirst moves flags before arguments, because package flag takes the
// first argument for the end of flags, and people write them in any order.
func flagsFirst(fs *flag.FlagSet, args []string) []string {
	var flags, rest []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			rest = append(rest, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		flags = append(flags, arg)
		name, _, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if f := fs.Lookup(name); f != nil && !hasValue && !isBool(f) {
			if len(args) == 0 {
				return flags // what follows would be taken for the value
			}
			flags, args = append(flags, args[0]), args[1:]
		}
	}
	return append(append(flags, "--"), rest...)
}

func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

func unknownCommand(parent *ffcli.Command, word string) error {
	return usagef("unknown command %q; did you mean %q?", word, multimae.Nearest(word, subcommands(parent)))
}

func subcommands(c *ffcli.Command) (names []string) {
	for _, sub := range c.Subcommands {
		names = append(names, sub.FlagSet.Name())
	}
	return names
}

// flagError says in our words what package flag says in its own.
func flagError(c *ffcli.Command, err error) error {
	fs := c.FlagSet
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	message := err.Error()
	if name, ok := strings.CutPrefix(message, "flag provided but not defined: -"); ok {
		var known []string
		fs.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		switch {
		case slices.Contains(subcommands(c), name):
			return usagef("unknown flag -%s; did you mean \"%s %s\"?", name, c.Name, name)
		case len(c.Subcommands) > 0:
			return usagef("unknown flag -%s; flags follow a command", name)
		case len(known) == 0:
			return usagef("unknown flag -%s; there are no flags here", name)
		}
		return usagef("unknown flag -%s; did you mean -%s?", name, multimae.Nearest(name, known))
	}
	if name, ok := strings.CutPrefix(message, "flag needs an argument: -"); ok {
		return usagef("value missing: %s", describe(fs.Lookup(name)))
	}
	if head, ok := strings.CutSuffix(message, ": parse error"); ok {
		// head ends in "-NAME".
		f := fs.Lookup(head[strings.LastIndex(head, " -")+2:])
		if g, ok := f.Value.(flag.Getter); ok {
			switch g.Get().(type) {
			case bool:
				return usagef("%s: want true or false", head)
			case int, int64:
				return usagef("%s: want a whole number", head)
			case uint, uint64:
				return usagef("%s: want a whole number, 0 or more", head)
			case float64:
				return usagef("%s: want a number", head)
			case time.Duration:
				return usagef("%s: want a duration such as 1.5s or 200ms", head)
			}
		}
	}
	return usagef("%s", message)
}

// need is a usage error where a required flag has no value.
func need(fs *flag.FlagSet, names ...string) error {
	for _, name := range names {
		if f := fs.Lookup(name); f.Value.String() == "" {
			return usagef("flag missing: %s", describe(f))
		}
	}
	return nil
}

// describe is a flag with its value and meaning.
func describe(f *flag.Flag) string {
	value, usage := flag.UnquoteUsage(f)
	return fmt.Sprintf("-%s %s: %s", f.Name, value, strings.TrimSuffix(usage, " (required)"))
}

// within is a usage error where a number is outside its range.
func within[T int | float64](name string, v, lo, hi T) error {
	if !(v >= lo && v <= hi) {
		return usagef("-%s %v: want %v to %v", name, v, lo, hi)
	}
	return nil
}

// exactly is a usage error unless there are as many arguments as names.
func exactly(args []string, names ...string) error {
	if len(args) < len(names) {
		return usagef("argument missing: %s", names[len(args)])
	}
	if len(args) > len(names) {
		return usagef("unexpected argument %q", args[len(names)])
	}
	return nil
}

// usageText is the help of a command.
func usageText(c *ffcli.Command) string {
	var b strings.Builder
	about, examples, _ := strings.Cut(strings.TrimSpace(c.LongHelp), "Examples:\n")
	fmt.Fprintf(&b, "%s: %s\n\nUsage:\n  %s\n", c.Name, c.ShortHelp, c.ShortUsage)
	var rows [][2]string
	var list func(c *ffcli.Command)
	list = func(c *ffcli.Command) {
		for _, sub := range c.Subcommands {
			if sub.Exec != nil {
				rows = append(rows, [2]string{strings.TrimPrefix(sub.Name, "gomae "), sub.ShortHelp})
			}
			list(sub)
		}
	}
	list(c)
	section(&b, "Commands", rows)
	if about != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(about))
	}
	rows = nil
	c.FlagSet.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		switch {
		case f.DefValue != "":
			usage += " (default " + f.DefValue + ")"
		case !strings.Contains(usage, "(required)"):
			usage += " (default none)"
		}
		rows = append(rows, [2]string{strings.TrimSpace("-" + f.Name + " " + value), usage})
	})
	section(&b, "Flags", rows)
	if examples != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", examples)
	}
	return b.String()
}

// section writes two aligned columns, the second one wrapped.
func section(b *strings.Builder, title string, rows [][2]string) {
	if len(rows) == 0 {
		return
	}
	const lineWidth = 100
	left := 0
	for _, r := range rows {
		left = max(left, utf8.RuneCountInString(r[0]))
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, r := range rows {
		fmt.Fprintf(b, "  %-*s ", left, r[0])
		at := left + 3
		for _, word := range strings.Fields(r[1]) {
			n := utf8.RuneCountInString(word) + 1
			if at+n > lineWidth && at > left+3 {
				fmt.Fprintf(b, "\n%*s", left+3, "")
				at = left + 3
			}
			b.WriteString(" " + word)
			at += n
		}
		b.WriteByte('\n')
	}
}

// quote makes a path ready to be pasted into a shell.
func quote(path string) string {
	if path != "" && !strings.ContainsFunc(path, func(r rune) bool {
		return strings.ContainsRune(" \t\n'\"\\$&;|<>()*?[]{}~#!`", r)
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
