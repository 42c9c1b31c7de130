package asm

import (
	"fmt"
	"os"
	"strings"
)

// Level is an instruction set that the kernels are written for.
type Level int

// The levels, lowest first.
const (
	Generic Level = iota // plain Go
	AVX2                 // AVX2, FMA3 and BMI2: 8 floats a register
	AVX512               // AVX-512 F, BW, DQ and VL, FMA3 and BMI2: 16 floats a register
)

var levelNames = [...]string{Generic: "generic", AVX2: "avx2", AVX512: "avx512"}

// String returns the level's name in GOMAE_SIMD: generic, avx2 or avx512.
func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return levelNames[l]
}

const envName = "GOMAE_SIMD"

var (
	supported, hardware = detect()
	level, why, envErr  = choose(os.Getenv(envName), supported, hardware)
)

// choose returns the level for a value of GOMAE_SIMD, and the reason. If the value cannot be met,
// it returns the best supported level and an error, which the program can report with its other
// settings.
func choose(wish string, supported []Level, hardware string) (Level, string, error) {
	best := supported[len(supported)-1]
	if wish == "" {
		return best, hardware, nil
	}
	names := make([]string, len(supported))
	for i, l := range supported {
		names[i] = l.String()
		if wish == l.String() {
			return l, envName + "=" + wish, nil
		}
	}
	problem := "is unknown"
	for _, n := range levelNames {
		if wish == n {
			problem = "is not supported here (" + hardware + ")"
		}
	}
	return best, hardware, fmt.Errorf("asm: %s=%q %s; allowed values: %s", envName, wish, problem, strings.Join(names, ", "))
}

// Current returns the level the kernels run at.
func Current() Level { return level }

// Supported returns the levels that this CPU and this build can run, lowest first. Generic is
// always the first.
func Supported() []Level { return append([]Level(nil), supported...) }

// Why returns a readable reason for the level chosen at start: what the CPU has, the environment
// variable, or the build tag.
func Why() string { return why }

// Err returns an error if GOMAE_SIMD is unknown or asks for something that this CPU or this build
// cannot do. The kernels then run at the best supported level.
func Err() error { return envErr }

// Use switches to level l and returns a function that switches back. It is for tests and benchmarks
// and must not be called while kernels run: sizes such as [PanelCols] change with the level, so
// data packed at one level cannot be read at another. It panics if l is not supported.
func Use(l Level) (restore func()) {
	for _, s := range supported {
		if s == l {
			old := level
			level = l
			return func() { level = old }
		}
	}
	panic(fmt.Sprintf("asm: level, got %v, want one of %v", l, supported))
}

// mustLen panics unless a slice has exactly the wanted length.
func mustLen(what string, got, want int) {
	if got != want {
		fail(what, got, "%d", want)
	}
}

// mustHold panics unless a slice has at least the wanted length.
func mustHold(what string, got, want int) {
	if got < want {
		fail(what, got, "at least %d", want)
	}
}

// fail is a function of its own so that the checks are inlined into their callers.
//
//go:noinline
func fail(what string, got int, want string, args ...any) {
	panic(fmt.Sprintf("asm: %s, got %d, want %s", what, got, fmt.Sprintf(want, args...)))
}
