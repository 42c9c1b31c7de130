// Command gomlx times gomlx's backend in pure Go: see package peers. The program
// that does is a module of its own, in adapter; this one builds it, from modules
// that were downloaded before, and runs it with the same flags.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

func main() { os.Exit(run()) }

func run() int {
	_, file, _, _ := runtime.Caller(0)
	source := filepath.Join(filepath.Dir(file), "adapter")
	dir, err := os.MkdirTemp("", "gomae-gomlx-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "adapter")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir, build.Env = source, append(os.Environ(), "GOPROXY=off", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n%s", build, err, out)
		fmt.Fprintf(os.Stderr, "peer gomlx is absent; install it with: go mod download -C %s\n", source)
		return 3
	}
	cmd := exec.Command(program, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
