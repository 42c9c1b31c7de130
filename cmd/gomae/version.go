package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

func versionCommand(e *env) *command {
	return &command{
		name:     "gomae version",
		usage:    "gomae version",
		short:    "print the version of gomae and of Go",
		examples: []string{"gomae version"},
		flags:    newFlags(),
		run: func(_ context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "gomae %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

// version returns the version of the module, or the commit if the program was built from a
// checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v != "" && v != "(devel)" {
		return v
	}
	v = "devel"
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v += " " + s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			v += " (modified)"
		}
	}
	return v
}
