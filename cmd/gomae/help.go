package main

import (
	"context"
	"fmt"

	"github.com/peterbourgon/ff/v3/ffcli"
)

func helpCommand(e *env) *ffcli.Command {
	return &ffcli.Command{
		Name:       "help",
		ShortUsage: "gomae help [COMMAND]",
		ShortHelp:  "describe a command and its flags",
		LongHelp: `Without COMMAND it lists all commands.

Examples:
  gomae help render
  gomae help data check`,
		Exec: func(_ context.Context, args []string) error {
			c, rest := find(rootCommand(e), args)
			if len(rest) > 0 {
				if len(c.Subcommands) > 0 {
					return unknownCommand(c, rest[0])
				}
				return usagef("unexpected argument %q after %q", rest[0], c.Name)
			}
			fmt.Fprint(e.stdout, usageText(c))
			return nil
		},
	}
}
