package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestCommitted checks that the committed assembly is what the generator
// writes.
func TestCommitted(t *testing.T) {
	dir := t.TempDir()
	if err := generate(dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, suffix := range []string{"_amd64.s", "_amd64.go"} {
			name := f.name + suffix
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join("..", "asm", name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("asm/%s is not what the generator writes: run go generate in asm", name)
			}
		}
	}
}

// TestNormalTail checks the fit itself, apart from float32 rounding.
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
