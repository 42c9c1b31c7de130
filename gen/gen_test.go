package gen

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var generateFlag = flag.Bool("generate", false, "write the files of package asm instead of comparing them")

// TestFamilies compares the committed files of each family with what the generator writes, or
// writes them if -generate is given.
func TestFamilies(t *testing.T) {
	dir := filepath.Join("..", "asm")
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			assembly, stubs, err := f.generate(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range []struct {
				suffix string
				want   []byte
			}{{"_amd64.s", assembly}, {"_amd64.go", stubs}} {
				path := filepath.Join(dir, f.name+file.suffix)
				if *generateFlag {
					if err := os.WriteFile(path, file.want, 0o644); err != nil {
						t.Fatal(err)
					}
					continue
				}
				got, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if line, g, w := firstDifference(got, file.want); line > 0 {
					t.Errorf("%s:%d has %q, the generator writes %q; run go generate ./asm", path, line, g, w)
				}
			}
		})
	}
}

// firstDifference returns the number of the first line in which two texts differ and that line of
// each, or 0 if they are equal.
func firstDifference(got, want []byte) (line int, g, w string) {
	if bytes.Equal(got, want) {
		return 0, "", ""
	}
	gs, ws := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	n := 0
	for n < min(len(gs), len(ws))-1 && gs[n] == ws[n] {
		n++
	}
	return n + 1, gs[n], ws[n]
}

// TestNormalTail checks the fit of the polynomial, without the rounding to float32.
func TestNormalTail(t *testing.T) {
	for z := 0.0; z <= 14.5; z += 1.0 / 1024 {
		u, p := 1-2*tailK/(z+tailK), 0.0
		for _, c := range normalTail {
			p = p*u + float64(float32(c))
		}
		want := 0.5 * math.Erfc(z/math.Sqrt2) * math.Exp(z*z/2) * (z + tailK)
		if math.Abs(p/want-1) > 2e-8 {
			t.Fatalf("at %v: %v, want %v", z, p, want)
		}
	}
}
