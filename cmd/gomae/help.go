package main

import (
	"context"
	"fmt"
)

func helpCommand(e *env) *command {
	return &command{
		name:  "gomae help",
		usage: "gomae help [COMMAND]",
		short: "describe a command and its flags",
		about: "Without COMMAND it lists all commands.",
		examples: []string{
			"gomae help render",
			"gomae help data check",
		},
		flags: newFlags(),
		run: func(_ context.Context, args []string) error {
			c, rest := rootCommand(e).find(args)
			if len(rest) > 0 {
				if c.run == nil {
					return c.unknown(rest[0])
				}
				return usagef("unexpected argument %q after %q", rest[0], c.name)
			}
			fmt.Fprint(e.stdout, c.help())
			return nil
		},
	}
}
