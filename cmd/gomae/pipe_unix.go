//go:build unix

package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// keepBrokenPipes makes writing to a pipe without a reader an error, on stdout and stderr, too: by
// default the signal ends the program, and what it trained is lost. Programs that it starts have
// the default, which they would not have after signal.Ignore.
func keepBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// brokenPipe reports whether an error is that of writing to a pipe without a reader.
func brokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }
