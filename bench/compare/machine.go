package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomae/gomae/asm"
	"github.com/gomae/gomae/internal/machine"
	"github.com/klauspost/cpuid/v2"
)

// defaultMachine names this machine after its processor and number of threads.
func defaultMachine() string {
	words := regexp.MustCompile(`[a-z0-9]+`).FindAllString(strings.ToLower(cpuid.CPU.BrandName), -1)
	words = append(slices.DeleteFunc(words, func(w string) bool { return slices.Contains([]string{"r", "tm", "cpu", "processor", "with"}, w) }),
		fmt.Sprint(runtime.GOMAXPROCS(0)), "threads")
	return strings.Join(words, "-")
}

// configLines are the configuration lines of a run that starts now: the machine, the commit, which
// is the second of them, the date, and its caches, which tell apart processors whose names a virtual
// machine hides.
func configLines(root, name string, now time.Time) ([][2]string, error) {
	if strings.ContainsAny(name, `/\ `) || name == "" {
		return nil, fmt.Errorf("-name %q: want the name of a folder, without spaces and slashes", name)
	}
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("rev-parse", "--short", "HEAD")
	if err != nil {
		commit = "unknown"
	} else if changes, err := git("status", "--porcelain", "--untracked-files=no"); err != nil || changes != "" {
		commit += "-changed"
	}
	levels := asm.Supported()
	return [][2]string{
		{"machine", name}, {"commit", commit}, {"date", now.UTC().Format("2006-01-02T15:04Z")},
		{"threads-available", strconv.Itoa(runtime.GOMAXPROCS(0))}, {"go", runtime.Version()},
		{"best-simd", levels[len(levels)-1].String()}, {"caches", machine.Caches()},
	}, nil
}

// measurePeak measures the peak of fused multiply-adds with that many threads, in GFLOP/s.
func measurePeak(threads int) float64 {
	return machine.PeakGFLOPS(threads, 100*time.Millisecond)
}
