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
	"github.com/gomae/gomae/internal/sysmem"
	"github.com/gomae/gomae/multimae"
	"github.com/klauspost/cpuid/v2"
)

// machineInfo is the report of info. The rates are measured.
type machineInfo struct {
	CPU     string  `json:"cpu"`
	Threads int     `json:"threads"` // of the CPU that this process may use
	Workers int     `json:"workers"` // GOMAXPROCS, the default of -workers
	SIMD    string  `json:"simd"`
	Why     string  `json:"simd_why"`
	Caches  string  `json:"caches"`
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
	config := fs.String("config", "", "estimate the memory of training as the config.json `FILE` says, and measure nothing")
	name := fs.String("preset", "", "the same for the preset `NAME`: "+strings.Join(multimae.PresetNames, ", "))
	return &command{
		name:  "gomae info",
		usage: "gomae info [flags]",
		short: "show the CPU, its caches, the instruction set in use and why, and measured peak rates",
		about: `Measures how many float32 operations a second the CPU computes with fused
multiply-adds (FMA, two operations each), and how fast it reads memory. Other
programs and a warm CPU lower the figures.

With -config or -preset it estimates the memory that training takes.`,
		examples: []string{
			"gomae info",
			"GOMAE_SIMD=avx2 gomae info -json",
			"gomae info -preset base",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if *each <= 0 || *each > time.Minute {
				return usagef("-time %v: want a duration above 0 and up to 1m", *each)
			}
			if *config != "" || *name != "" {
				return e.memoryInfo(*config, *name, *asJSON)
			}
			m := machineInfo{
				CPU:     cpuName(),
				Threads: runtime.NumCPU(), Workers: runtime.GOMAXPROCS(0),
				Version: version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
			}
			m.SIMD, m.Why, _ = machine.SIMD()
			m.Caches = machine.Caches()
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
caches       %s
FMA peak     %.0f GFLOP/s with one worker, %.0f with %d
memory read  %.0f GB/s with one worker, %.0f with %d%s
gomae        %s
Go           %s %s/%s
`, m.CPU, m.Threads, m.SIMD, m.Why, m.Caches, m.PeakOne, m.PeakAll, m.Workers, m.ReadOne, m.ReadAll, m.Workers, limit,
				m.Version, m.Go, m.OS, m.Arch)
			return nil
		},
	}
}

// memoryInfo reports how much memory training asks for as configured.
func (e *env) memoryInfo(path, name string, asJSON bool) error {
	var c *multimae.Config
	var err error
	switch {
	case path != "" && name != "":
		return usagef("-config and -preset: give one of them")
	case path != "":
		c, err = readRun(path, multimae.ParseConfig, func(c *multimae.Config) *multimae.Recipe { return &c.Train.Recipe })
	default:
		c, err = preset(name, 133) // classes of COCO, as in the paper
	}
	if err != nil {
		return err
	}
	workers := runtime.GOMAXPROCS(0)
	f := c.Footprint(workers)
	limit, source := sysmem.Limit()
	if asJSON {
		return e.writeJSON(struct {
			Values      float64 `json:"parameters"`
			Parameters  float64 `json:"parameter_bytes"`
			Optimizer   float64 `json:"optimizer_bytes"`
			Activations float64 `json:"activation_bytes"`
			Batches     float64 `json:"batch_bytes"`
			Total       float64 `json:"total_bytes"`
			Limit       uint64  `json:"limit_bytes"` // 0: the system does not say
		}{f.Parameters / 4, f.Parameters, f.Optimizer, f.Activations, f.Batches, f.Total(), limit})
	}
	fmt.Fprintf(e.stdout, `parameters   %s: %.1f million values
optimizer    %s: gradients and two moments
activations  %s: a step of %d images
batches      %s: prepared ahead by %d workers
in all       %s
`, sysmem.Format(f.Parameters), f.Parameters/4e6, sysmem.Format(f.Optimizer), sysmem.Format(f.Activations), c.Train.Batch,
		sysmem.Format(f.Batches), workers, sysmem.Format(f.Total()))
	if limit > 0 {
		fmt.Fprintf(e.stdout, "limit        %s: %s\n", sysmem.Format(float64(limit)), source)
	}
	return nil
}

// cpuName returns the name that the CPU gives itself.
func cpuName() string {
	return strings.Join(strings.Fields(cmp.Or(cpuid.CPU.BrandName, "unknown "+runtime.GOARCH)), " ")
}
