package scenes

import (
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/nn"
)

func mustSample(t testing.TB, ds data.Dataset, i int) *data.Sample {
	t.Helper()
	s, err := ds.Sample(i)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScenes(t *testing.T) {
	a, b := New(0, 40, 48, 7), New(30, 10, 48, 7)
	want := make([]*data.Sample, 40)
	for i := range want {
		want[i] = mustSample(t, a, i)
	}
	t.Run("Deterministic", func(t *testing.T) {
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := g; i < 10; i += 2 {
					if s, err := b.Sample(i); err != nil || !reflect.DeepEqual(s, want[30+i]) {
						t.Errorf("scene %d (%v) is not what it was as number %d of another range", i, err, 30+i)
					}
				}
			}()
		}
		wg.Wait()
		if other := mustSample(t, New(0, 1, 48, 8), 0); reflect.DeepEqual(other.Maps, want[0].Maps) {
			t.Error("another seed gives the same scene")
		}
	})
	t.Run("Steps", func(t *testing.T) {
		for _, s := range want {
			for i, v := range s.Maps["rgb"].Pix {
				if k := v * 255; !(v >= 0 && v <= 1) || abs(k-float32(math.Round(float64(k)))) > 1e-4 {
					t.Fatalf("%s: rgb[%d] = %v is not a step of 1/255", s.Name, i, v)
				}
			}
			for i, v := range s.Maps["depth"].Pix {
				if k := v * 65536; !(v > 0 && v < 1) || k != float32(int(k)) {
					t.Fatalf("%s: depth[%d] = %v is not a step of 2^-16", s.Name, i, v)
				}
			}
		}
	})
	t.Run("Errors", func(t *testing.T) {
		for _, i := range []int{-1, 40} {
			if _, err := a.Sample(i); err == nil {
				t.Errorf("sample %d of 40: no error", i)
			}
		}
		if _, err := New(0, 1, 0, 1).Sample(0); err == nil {
			t.Error("size 0: no error")
		}
	})
}

// TestSceneBalance keeps scenes worth learning from: no class covers most of the pictures or is
// rare, and pictures are neither dark nor washed out.
func TestSceneBalance(t *testing.T) {
	const n, size = 200, 32
	ds := New(0, n, size, 3)
	var pixels, scenes [16]int
	for i := range n {
		s := mustSample(t, ds, i)
		var seen [16]int
		for _, id := range s.Maps["semseg"].IDs {
			seen[id]++
		}
		for c, k := range seen {
			pixels[c] += k
			if k >= 4 {
				scenes[c]++
			}
		}
		var sum float64
		for _, v := range s.Maps["rgb"].Pix {
			sum += float64(v)
		}
		if mean := sum / (3 * size * size); mean < 0.25 || mean > 0.85 {
			t.Errorf("%s: mean brightness %.2f", s.Name, mean)
		}
	}
	for c, name := range Classes {
		share := float64(pixels[c]) / (n * size * size)
		t.Logf("%-9s %5.1f %% of pixels, in %3d of %d scenes", name, 100*share, scenes[c], n)
		if share > 0.36 || share < 0.004 || scenes[c] < n/4 {
			t.Errorf("%s: %.1f %% of pixels, in %d of %d scenes", name, 100*share, scenes[c], n)
		}
	}
}

// TestShapes compares the hit of each shape with a walk along the ray in small steps.
func TestShapes(t *testing.T) {
	inside := func(p *primitive, q vec) bool {
		r := p.a + p.b*q.y
		switch p.shape {
		case shapeSphere:
			return q.dot(q) <= p.ext.x*p.ext.x
		case shapeBox:
			return abs(q.x) <= p.ext.x && abs(q.y) <= p.ext.y && abs(q.z) <= p.ext.z
		case shapeFrustum:
			return abs(q.y) <= p.ext.y && q.x*q.x+q.z*q.z <= r*r
		case shapePyramid:
			return abs(q.y) <= p.ext.y && abs(q.x) <= r && abs(q.z) <= r
		}
		ring := sqrt(q.x*q.x+q.z*q.z) - p.a
		return ring*ring+q.y*q.y <= p.ext.y*p.ext.y
	}
	prims := map[string]primitive{
		"sphere":   {shape: shapeSphere, ext: vec{.5, .5, .5}},
		"box":      {shape: shapeBox, ext: vec{.5, .3, .4}},
		"cylinder": {shape: shapeFrustum, ext: vec{.4, .5, .4}, a: .4},
		"cone":     {shape: shapeFrustum, ext: vec{.4, .5, .4}, a: .2, b: -.4},
		"bucket":   {shape: shapeFrustum, ext: vec{.5, .3, .5}, a: .4, b: .3},
		"pyramid":  {shape: shapePyramid, ext: vec{.4, .5, .4}, a: .2, b: -.4},
		"torus":    {shape: shapeTorus, ext: vec{.6, .15, .6}, a: .45},
	}
	for name, p := range prims {
		t.Run(name, func(t *testing.T) {
			r := nn.NewRNG(1)
			hits := 0
			for range 400 {
				o := vec{r.Float32(-1, 1), r.Float32(-1, 1), r.Float32(-1, 1)}.unit().mul(2)
				d := vec{r.Float32(-.6, .6), r.Float32(-.6, .6), r.Float32(-.6, .6)}.sub(o).mul(r.Float32(.5, 2))
				const step = 1. / 1024
				tolerance := float32(3 * step)
				if p.shape == shapeTorus { // found to half a millimetre across, so to more along a graze
					tolerance = 16 * step
				}
				want := float32(-1)
				for i := range 8 * 1024 {
					if inside(&p, o.add(d.mul(float32(i)*step))) {
						want = float32(i) * step
						break
					}
				}
				got, ok := p.hit(o, d)
				if ok && want >= 0 {
					hits++
					if abs(got-want) > tolerance {
						t.Fatalf("ray %v + t·%v: t = %v, want %v", o, d, got, want)
					}
					n := p.normal(o.add(d.mul(got)))
					if l := n.dot(n); abs(l-1) > 1e-3 || n.dot(d) > 0.02*sqrt(d.dot(d)) {
						t.Fatalf("normal %v of length² %v for a ray along %v", n, l, d)
					}
				}
				if ok != (want >= 0) { // a graze may go either way
					mid := o.add(d.mul(max(got, want)))
					in := 0
					for k := range 200 {
						if inside(&p, mid.add(d.mul(float32(k)*step/8))) {
							in++
						}
					}
					if in > 60 {
						t.Fatalf("ray %v + t·%v: hit %v, want %v", o, d, ok, want)
					}
				}
			}
			if hits < 50 {
				t.Errorf("only %d rays hit", hits)
			}
		})
	}
}

// TestCasters checks that pictures have the shadows of all things, not only of those that were found
// for each tile.
func TestCasters(t *testing.T) {
	const size = 45 // five tiles and a part of one
	s := new(scene)
	left, kept := 0, 0
	for k := range uint64(40) {
		s.compose(nn.NewRNG(6, k))
		s.render(size)
		for i := range s.lights {
			l := &s.lights[i]
			kept += len(l.casters)
			l.casters = l.casters[:0]
			for j := range s.things {
				if s.things[j].shadow && j != l.owner {
					l.casters = append(l.casters, uint8(j))
				}
			}
			left += len(l.casters)
		}
		for i, got := range s.color {
			d := s.ray(i%size, i/size, size)
			if want := s.shadePoint(s.eye.add(d.mul(s.depth[i])), d, s.prim[i]); got != want {
				t.Fatalf("scene %d: pixel (%d,%d) is %v, want %v", k, i%size, i/size, got, want)
			}
		}
	}
	if kept == 0 || kept > left/2 { // of the last tile of each scene
		t.Errorf("%d of %d things found", kept, left)
	}
}

// TestOutline checks that a primitive has no pixel outside its outline and no hit outside its sphere.
func TestOutline(t *testing.T) {
	const size = 24
	s := new(scene)
	for k := range uint64(30) {
		s.compose(nn.NewRNG(5, k))
		for i := range s.prims {
			p := &s.prims[i]
			x0, y0, x1, y1 := s.outline(p, size)
			o := p.frame.local(s.eye.sub(p.pos))
			for y := range size {
				for x := range size {
					d := s.ray(x, y, size)
					_, ok := p.hit(o, p.frame.local(d))
					if ok && (x < x0 || x >= x1 || y < y0 || y >= y1) {
						t.Fatalf("scene %d, primitive %d (shape %d): pixel (%d,%d) lies outside [%d,%d)×[%d,%d)", k, i, p.shape, x, y, x0, x1, y0, y1)
					}
					if ok && misses(p.pos.sub(s.eye), d, d.dot(d), slack*p.radius) {
						t.Fatalf("scene %d, primitive %d (shape %d): pixel (%d,%d) lies outside the sphere", k, i, p.shape, x, y)
					}
				}
			}
		}
	}
}

func BenchmarkScene(b *testing.B) {
	for _, size := range []int{64, 224} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			ds := New(0, 1<<30, size, 1)
			for i := range b.N {
				mustSample(b, ds, i)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1e3/float64(b.N), "ms/scene")
		})
	}
}
