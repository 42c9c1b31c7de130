package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/gomae/gomae/internal/machine"
	"github.com/klauspost/cpuid/v2"
)

// machineInfo is the report of info. The rates are measured.
type machineInfo struct {
	CPU     string  `json:"cpu"`
	Threads int     `json:"threads"` // of the CPU that this process may use
	Workers int     `json:"workers"` // GOMAXPROCS, the default of -workers
	SIMD    string  `json:"simd"`
	Why     string  `json:"simd_why"`
	PeakOne float64 `json:"peak_gflops_one"` // float32 fused multiply-adds, two operations each
	PeakAll float64 `json:"peak_gflops_all"`
	ReadOne float64 `json:"read_gb_s_one"` // 10⁹ bytes a second from memory
	ReadAll float64 `json:"read_gb_s_all"`
	Version string  `json:"version"`
	Go      string  `json:"go"`
	OS      string  `json:"os"`
	Arch    string  `json:"arch"`
}

func infoCommand(e *env) *command {
	fs := newFlags()
	each := fs.Duration("time", 300*time.Millisecond, "measure each of the four figures for `T`")
	asJSON := fs.Bool("json", false, "print the report as JSON")
	return &command{
		name:  "gomae info",
		usage: "gomae info [flags]",
		short: "show the CPU, the instruction set in use and why, and measured peak rates",
		about: `Measures how many float32 operations a second the CPU computes with fused
multiply-adds (FMA, two operations each), and how fast it reads memory. Other
programs and a warm CPU lower the figures.`,
		examples: []string{
			"gomae info",
			"GOMAE_SIMD=avx2 gomae info -json",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if *each <= 0 || *each > time.Minute {
				return usagef("-time %v: want a duration above 0 and up to 1m", *each)
			}
			m := machineInfo{
				CPU:     strings.Join(strings.Fields(cmp.Or(cpuid.CPU.BrandName, "unknown "+runtime.GOARCH)), " "),
				Threads: runtime.NumCPU(), Workers: runtime.GOMAXPROCS(0),
				Version: version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
			}
			m.SIMD, m.Why, _ = machine.SIMD()
			for _, f := range []func(){
				func() { m.PeakOne = machine.PeakGFLOPS(1, *each) },
				func() { m.PeakAll = machine.PeakGFLOPS(m.Workers, *each) },
				func() { m.ReadOne = machine.ReadBandwidth(1, *each) / 1e9 },
				func() { m.ReadAll = machine.ReadBandwidth(m.Workers, *each) / 1e9 },
			} {
				if f(); ctx.Err() != nil {
					return errors.New("interrupted while measuring; run the command again")
				}
			}
			if *asJSON {
				return e.writeJSON(m)
			}
			limit := ""
			if m.SIMD == "generic" {
				limit = "; the generic code does not reach the limit of the memory"
			}
			fmt.Fprintf(e.stdout, `CPU          %s, %d threads
SIMD         %s: %s
FMA peak     %.0f GFLOP/s with one worker, %.0f with %d
memory read  %.0f GB/s with one worker, %.0f with %d%s
gomae        %s
Go           %s %s/%s
`, m.CPU, m.Threads, m.SIMD, m.Why, m.PeakOne, m.PeakAll, m.Workers, m.ReadOne, m.ReadAll, m.Workers, limit,
				m.Version, m.Go, m.OS, m.Arch)
			return nil
		},
	}
}
