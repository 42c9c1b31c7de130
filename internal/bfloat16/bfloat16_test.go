package bfloat16

import (
	"fmt"
	"math"
	"testing"
)

// Example rounds to the nearest of two neighbours.
func Example() {
	fmt.Println(Float(Bits(1.003)), Float(Bits(1.005)))
	// Output: 1 1.0078125
}

// TestEach takes all numbers there and back, and those in between to the nearer one.
func TestEach(t *testing.T) {
	for i := range 1 << 16 {
		b := uint16(i)
		v := Float(b)
		if v != v {
			if back := Float(Bits(v)); back == back {
				t.Fatalf("%04x: a NaN became %g", b, back)
			}
			continue
		}
		if Bits(v) != b {
			t.Fatalf("%04x is %g, which is %04x", b, v, Bits(v))
		}
		if math.IsInf(float64(v), 0) {
			continue
		}
		up := b + 1 // the neighbour farther from 0, or infinity
		even := b + b&1
		bits := math.Float32bits(v)
		for _, c := range []struct {
			low  uint32
			want uint16
		}{{1, b}, {0x7fff, b}, {0x8000, even}, {0x8001, up}, {0xffff, up}} {
			if got := Bits(math.Float32frombits(bits | c.low)); got != c.want {
				t.Fatalf("%08x became %04x, want %04x", bits|c.low, got, c.want)
			}
		}
	}
}

// TestNaN keeps a NaN whose upper half alone is infinity.
func TestNaN(t *testing.T) {
	if v := Float(Bits(math.Float32frombits(0x7f800001))); v == v {
		t.Errorf("got %g, want NaN", v)
	}
}
