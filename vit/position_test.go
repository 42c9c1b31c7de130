package vit

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/tensor"
)

// TestSinCos compares with the formula of the published table, element by element, and on square
// grids with the published index order too.
func TestSinCos(t *testing.T) {
	for _, c := range []struct{ dim, nh, nw int }{{4, 1, 1}, {8, 3, 3}, {32, 14, 14}, {768, 4, 4}, {16, 2, 5}, {12, 7, 3}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			d, n := c.dim, c.nh*c.nw
			got := make([]float32, d*n)
			SinCos(got, d, c.nh, c.nw)
			for channel := range d {
				k := channel % (d / 4)
				omega := math.Pow(10000, -float64(k)/(float64(d)/4))
				for row := range c.nh {
					for col := range c.nw {
						var want float64
						switch channel / (d / 4) {
						case 0:
							want = math.Sin(float64(row) * omega)
						case 1:
							want = math.Cos(float64(row) * omega)
						case 2:
							want = math.Sin(float64(col) * omega)
						case 3:
							want = math.Cos(float64(col) * omega)
						}
						if v := got[channel*n+row*c.nw+col]; math.Abs(float64(v)-want) > u {
							t.Fatalf("%+v: channel %d at row %d, column %d is %v, want %v", c, channel, row, col, v, want)
						}
						if c.nh != c.nw {
							continue
						}
						// The published order: position i of a w×h grid is (i div h, i mod h) and
						// stands at flat index i.
						i := row*c.nw + col
						uv := [2]int{i / c.nh, i % c.nh}[channel/(d/2)]
						f := [2]func(float64) float64{math.Sin, math.Cos}[channel/(d/4)%2]
						if v := got[channel*n+i]; math.Abs(float64(v)-f(float64(uv)*omega)) > u {
							t.Fatalf("%+v: channel %d at position %d differs from the published order", c, channel, i)
						}
					}
				}
			}
		})
	}
	for _, c := range []struct{ dim, values int }{{6, 6}, {8, 7}} {
		mustPanicWith(t, "vit: SinCos, got dim", func() { SinCos(make([]float32, c.values), c.dim, 1, 1) })
	}
}

func mustPanicWith(t *testing.T, prefix string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := fmt.Sprint(recover()); !strings.HasPrefix(r, prefix) {
			t.Errorf("panic %q, want one with %q", r, prefix)
		}
	}()
	f()
}

// resampled is one value of a table resampled to th×tw: the sum of all inputs, repeated beyond the
// border, each times the kernel's weight at its distance.
func resampled(plane []float32, nh, nw, th, tw, i, j int, kernel func(float64) float64) float64 {
	y := (float64(i)+0.5)*float64(nh)/float64(th) - 0.5
	x := (float64(j)+0.5)*float64(nw)/float64(tw) - 0.5
	clamp := func(k, n int) int { return max(0, min(k, n-1)) }
	sum := 0.0
	for p := -4; p < nh+4; p++ {
		for q := -4; q < nw+4; q++ {
			sum += kernel(y-float64(p)) * kernel(x-float64(q)) * float64(plane[clamp(p, nh)*nw+clamp(q, nw)])
		}
	}
	return sum
}

// keys is the cubic convolution kernel as its paper writes it, a = −3/4.
func keys(s float64) float64 {
	const a = -0.75
	switch s = math.Abs(s); {
	case s < 1:
		return (a+2)*s*s*s - (a+3)*s*s + 1
	case s < 2:
		return a*s*s*s - 5*a*s*s + 8*a*s - 4*a
	}
	return 0
}

func triangle(s float64) float64 { return max(0, 1-math.Abs(s)) }

func TestPositionRows(t *testing.T) {
	const dim = 3
	for _, c := range []struct{ nh, nw, th, tw int }{
		{4, 4, 4, 4}, {2, 5, 2, 5}, {4, 4, 7, 7}, {4, 4, 2, 2}, {14, 14, 5, 9}, {3, 3, 12, 2}, {1, 1, 3, 2}, {2, 2, 1, 1}, {5, 5, 5, 6}, {2, 7, 7, 2}, {6, 6, 3, 12},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			table := testkit.Normal(fmt.Sprint(c), dim*c.nh*c.nw)
			for how, kernel := range map[Resampling]func(float64) float64{Bicubic: keys, Bilinear: triangle} {
				got := PositionRows(tensor.NewInference(nil), table, dim, c.nh, c.nw, c.th, c.tw, how)
				if len(got) != c.th*c.tw*dim {
					t.Fatalf("%+v: %d values", c, len(got))
				}
				for k := range dim {
					plane := table[k*c.nh*c.nw:][:c.nh*c.nw]
					for i := range c.th {
						for j := range c.tw {
							want := resampled(plane, c.nh, c.nw, c.th, c.tw, i, j, kernel)
							if v := got[(i*c.tw+j)*dim+k]; math.Abs(float64(v)-want) > u*math.Abs(want)+1e-13 {
								t.Errorf("%+v, resampling %d: channel %d at %d, %d is %v, want %v", c, how, k, i, j, v, want)
							}
							if c.th == c.nh && c.tw == c.nw && got[(i*c.tw+j)*dim+k] != plane[i*c.nw+j] {
								t.Errorf("%+v: the same grid changes channel %d at %d, %d", c, k, i, j)
							}
						}
					}
				}
			}
		})
	}
	mustPanicWith(t, "vit: PositionRows, got 11 values, want 3×2×2", func() { PositionRows(tensor.NewInference(nil), make([]float32, 11), 3, 2, 2, 4, 4, Bicubic) })
}
