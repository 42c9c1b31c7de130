package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gomae/gomae/internal/strictjson"
)

// command is a command of the program, or a group of commands. Package flag does the parsing,
// because the flags have one dash.
type command struct {
	name     string        // in full: "gomae data check"
	usage    string        // name, flags and arguments: "gomae data check [flags] DIR"
	short    string        // what it does: a phrase in lower case
	about    string        // a description of a few lines
	examples []string      // command lines; a group has none
	flags    *flag.FlagSet // from newFlags; each usage names its value in backquotes
	// run does the work. args are the arguments without the flags. It returns usagef's error where
	// the command line is wrong. nil for a group.
	run  func(ctx context.Context, args []string) error
	subs []*command // of a group
}

// newFlags returns an empty set of flags that leaves it to the program to report errors.
func newFlags() *flag.FlagSet {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// word returns the last word of the name, which selects the command within its group.
func (c *command) word() string { return c.name[strings.LastIndexByte(c.name, ' ')+1:] }

// words returns the words that select the commands of a group.
func (c *command) words() (words []string) {
	for _, sub := range c.subs {
		words = append(words, sub.word())
	}
	return words
}

// find follows the words at the head of args from group to command and returns what is left.
func (c *command) find(args []string) (*command, []string) {
	for len(args) > 0 {
		i := slices.Index(c.words(), args[0])
		if i < 0 {
			break
		}
		c, args = c.subs[i], args[1:]
	}
	return c, args
}

// parse sets the flags and returns the arguments. It returns flag.ErrHelp where args ask for help.
func (c *command) parse(args []string) ([]string, error) {
	if c.run == nil {
		if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			return nil, c.unknown(args[0])
		}
		if len(args) == 0 || args[0] == "--" {
			return nil, errNoCommand
		}
	}
	err := c.flags.Parse(flagsFirst(c.flags, args))
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		err = c.flagError(err)
	}
	return c.flags.Args(), err
}

// flagsFirst moves flags in front of arguments: package flag stops at the first argument, and
// people write flags and arguments in any order.
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
				return flags // without "--", which would be taken for the missing value
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

// usageError is a wrong command line: exit code 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errNoCommand is the error of arguments that end where a command is needed.
var errNoCommand = errors.New("no command")

// unknown is the error of a word that selects no command of the group.
func (c *command) unknown(word string) error {
	if near := strictjson.Nearest(word, c.words()); near != "" {
		return usagef("unknown command %q; did you mean %q?", word, near)
	}
	for _, sub := range c.subs {
		if slices.Contains(sub.words(), word) { // of a group
			return usagef("unknown command %q; did you mean \"%s %s\"?", word, sub.name, word)
		}
	}
	return usagef("unknown command %q; the commands are %s", word, strings.Join(c.words(), ", "))
}

// otherThanFlag says how to get what other programs have a flag for, on commands that have the flags
// it names.
var otherThanFlag = map[string]struct {
	remedy string
	flags  []string
}{
	"lr":            {"the learning rate is \"optim.lr\" of a configuration, which -config takes", []string{"config"}},
	"learning-rate": {"the learning rate is \"optim.lr\" of a configuration, which -config takes", []string{"config"}},
	"weight-decay":  {"the weight decay is \"optim.weight_decay\" of a configuration, which -config takes", []string{"config"}},
	"epochs":        {"the length of a run is counted in -steps of -batch samples", []string{"steps", "batch"}},
	"epoch":         {"the length of a run is counted in -steps of -batch samples", []string{"steps", "batch"}},
	"device":        {"there is one device, the CPU; -workers says how many cores", []string{"workers"}},
	"gpu":           {"there is one device, the CPU; -workers says how many cores", []string{"workers"}},
}

// flagError rephrases an error of package flag, which names neither the values that a flag takes
// nor a near miss.
func (c *command) flagError(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	message := err.Error()
	if name, ok := strings.CutPrefix(message, "flag provided but not defined: -"); ok {
		var known []string
		c.flags.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		switch {
		case slices.Contains(c.words(), name):
			return usagef("unknown flag -%s; did you mean \"%s %s\"?", name, c.name, name)
		case c.run == nil:
			return usagef("unknown flag -%s; flags come after the command", name)
		case len(known) == 0:
			return usagef("unknown flag -%s; this command has no flags", name)
		}
		lacks := func(name string) bool { return !slices.Contains(known, name) }
		if other, ok := otherThanFlag[name]; ok && !slices.ContainsFunc(other.flags, lacks) {
			return usagef("unknown flag -%s; %s", name, other.remedy)
		}
		if near := strictjson.Nearest(name, known); near != "" {
			return usagef("unknown flag -%s; did you mean -%s?", name, near)
		}
		return usagef("unknown flag -%s; the flags are -%s", name, strings.Join(known, ", -"))
	}
	if name, ok := strings.CutPrefix(message, "flag needs an argument: -"); ok {
		return usagef("value missing: %s", describe(c.flags.Lookup(name)))
	}
	if head, ok := strings.CutSuffix(message, ": parse error"); ok {
		// head ends in "-NAME".
		f := c.flags.Lookup(head[strings.LastIndex(head, " -")+2:])
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

// need returns a usage error if a required flag has no value.
func need(fs *flag.FlagSet, names ...string) error {
	for _, name := range names {
		if f := fs.Lookup(name); f.Value.String() == "" {
			return usagef("flag missing: %s", describe(f))
		}
	}
	return nil
}

// atLeast returns an error for the first of the named flags, numbers all, that is below least.
func atLeast(fs *flag.FlagSet, least int, names ...string) error {
	for _, name := range names {
		if v := fs.Lookup(name).Value.(flag.Getter).Get().(int); v < least {
			return usagef("-%s %d: want %d or more", name, v, least)
		}
	}
	return nil
}

// describe returns a flag with its value and its meaning.
func describe(f *flag.Flag) string {
	value, usage := flag.UnquoteUsage(f)
	return fmt.Sprintf("-%s %s: %s", f.Name, value, strings.TrimSuffix(usage, " (required)"))
}

// given returns the names of the flags on the command line.
func given(fs *flag.FlagSet) map[string]bool {
	names := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { names[f.Name] = true })
	return names
}

// within returns a usage error if a number is outside its range.
func within[T int | float64](name string, v, lo, hi T) error {
	if !(v >= lo && v <= hi) {
		return usagef("-%s %v: want %v to %v", name, v, lo, hi)
	}
	return nil
}

// exactly returns a usage error unless there are as many arguments as names.
func exactly(args []string, names ...string) error {
	if len(args) < len(names) {
		return usagef("argument missing: %s", names[len(args)])
	}
	if len(args) > len(names) {
		return usagef("unexpected argument %q", args[len(names)])
	}
	return nil
}
