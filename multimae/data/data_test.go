package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/image/tiff"

	"github.com/gomae/gomae/internal/stattest"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/nn"
)

var (
	rgbIn    = multimae.Input{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1}
	rgbaIn   = multimae.Input{Name: "rgba", Kind: multimae.KindImage, Channels: 4, Stride: 1}
	depthIn  = multimae.Input{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1}
	semsegIn = multimae.Input{Name: "semseg", Kind: multimae.KindClasses, NumClasses: 16, Stride: 4}
	all      = []multimae.Input{rgbIn, depthIn, semsegIn}
)

// patterns returns a dataset of n samples of size×size pixels with values that files can hold:
// colour in steps of 1/255, depth in steps of 2^−16, ids below 16.
func patterns(first, n, size int, seed uint64) Dataset {
	var ds Samples
	for i := range n {
		r := nn.NewRNG(seed, uint64(first+i))
		rgb := &Map{C: 3, H: size, W: size, Pix: make([]float32, 3*size*size)}
		depth := &Map{C: 1, H: size, W: size, Pix: make([]float32, size*size)}
		ids := &Map{H: size, W: size, IDs: make([]uint8, size*size)}
		for k := range rgb.Pix {
			rgb.Pix[k] = float32(r.Intn(256)) / 255
		}
		for k := range depth.Pix {
			depth.Pix[k] = float32(1+r.Intn(65534)) / 65536
			ids.IDs[k] = uint8(r.Intn(16))
		}
		ds = append(ds, &Sample{Name: fmt.Sprintf("scene/%06d", first+i), Maps: map[string]*Map{"rgb": rgb, "depth": depth, "semseg": ids}})
	}
	return ds
}

func abs(v float32) float32 { return float32(math.Abs(float64(v))) }

func mustSample(t testing.TB, ds Dataset, i int) *Sample {
	t.Helper()
	s, err := ds.Sample(i)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAligned crops samples whose colour, depth and classes say where their pixels came from.
func TestAligned(t *testing.T) {
	const w, h, size = 96, 80, 32
	rgb := &Map{C: 3, H: h, W: w, Pix: make([]float32, 3*w*h)}
	depth := &Map{C: 1, H: h, W: w, Pix: make([]float32, w*h)}
	ids := &Map{H: h, W: w, IDs: make([]uint8, w*h)}
	quarter := &Map{H: h / 4, W: w / 4, IDs: make([]uint8, w*h/16)}
	for y := range h {
		for x := range w {
			i := y*w + x
			rgb.Pix[i], rgb.Pix[w*h+i] = float32(x), float32(y)
			depth.Pix[i] = float32(x)
			ids.IDs[i] = uint8(x / 4)
			quarter.IDs[y/4*(w/4)+x/4] = uint8(x / 4)
		}
	}
	inputs := []multimae.Input{rgbIn, depthIn, semsegIn, {Name: "quarter", Kind: multimae.KindClasses, NumClasses: 99, Stride: 4}}
	inputs[0].Normalize, inputs[1].Normalize = "none", "none"
	s := &Sample{Name: "s", Maps: map[string]*Map{"rgb": rgb, "depth": depth, "semseg": ids, "quarter": quarter}}
	a := Augment{Crop: true, Flip: true}
	var z images.Resizer
	flips := 0
	for seed := range uint64(50) {
		r := nn.NewRNG(seed)
		c := a.draw(&r, w, h)
		var b multimae.Batch
		images.Reshape(&b, 2, size, size, inputs)
		z.Place(&b, 1, s.Maps, inputs, c)
		px := b.Images["rgb"][3*size*size:]
		dp := b.Images["depth"][size*size:]
		for i, v := range dp {
			if abs(v-px[i]) > 1e-4 {
				t.Fatalf("crop %v: depth says column %v, rgb %v", c, v, px[i])
			}
		}
		if left, right := px[0], px[size-1]; c.Flip != (left > right) {
			t.Fatalf("flip %v, but columns run from %v to %v", c.Flip, left, right)
		}
		if c.Flip {
			flips++
		}
		side := size / 4
		for y := range side {
			for x := range side {
				i := side*side + y*side + x
				// The mean column of the class cell's four pixels.
				col := (px[4*y*size+4*x+1] + px[4*y*size+4*x+2]) / 2
				for _, name := range []string{"semseg", "quarter"} {
					id := b.Classes[name][i]
					if want := (col + 0.5) / 4; abs(float32(id)+0.5-want) > 1 {
						t.Fatalf("crop %v: %s (%d,%d) is id %d, its pixels come from column %v", c, name, x, y, id, col)
					}
				}
			}
		}
	}
	if flips < 12 || flips > 38 {
		t.Errorf("%d flips of 50", flips)
	}
}

func TestCrop(t *testing.T) {
	a := Augment{Crop: true}
	r := nn.NewRNG(1)
	for range 2000 {
		c := a.crop(&r, 100, 60)
		area, aspect := float64(c.W*c.H)/6000, float64(c.W)/float64(c.H)
		if c.X < 0 || c.Y < 0 || c.X+c.W > 100 || c.Y+c.H > 60 || area < 0.19 || area > 1 || aspect < 0.7 || aspect > 1.42 {
			t.Fatalf("crop %+v: area %.3f, aspect %.3f", c, area, aspect)
		}
	}
	a.CropScale, a.CropRatio = [2]float64{1, 1}, [2]float64{1, 1}
	if got, want := a.crop(&r, 100, 60), (images.Crop{X: 20, W: 60, H: 60, FullW: 100, FullH: 60}); got != want {
		t.Errorf("what never fits: %+v, want %+v", got, want)
	}
	if got, want := a.crop(&r, 60, 101), (images.Crop{Y: 20, W: 60, H: 60, FullW: 60, FullH: 101}); got != want {
		t.Errorf("what never fits: %+v, want %+v", got, want)
	}
}

// TestScale draws squares for an image of 100×60 pixels: their sides, and their places within the image
// or around it.
func TestScale(t *testing.T) {
	a := Augment{Scale: [2]float64{0.5, 2}}
	r := nn.NewRNG(1)
	var factors []float64
	places := map[string][]float64{} // in 0..1, each draw spread over the width of a pixel
	for range 2000 {
		c := a.draw(&r, 100, 60)
		if c.W != c.H || c.FullW != 100 || c.FullH != 60 || c.Flip || c.Color != (images.Color{}) {
			t.Fatalf("crop %+v", c)
		}
		factors = append(factors, 100/(float64(c.W)+r.Float64()-0.5))
		for _, axis := range []struct {
			name     string
			at, full int
		}{{"x", c.X, 100}, {"y", c.Y, 60}} {
			name, at, room := axis.name+" within", axis.at, axis.full-c.W
			if room < 0 {
				name, at, room = axis.name+" around", -at, -room
			}
			if at < 0 || at > room {
				t.Fatalf("%s: crop %+v", name, c)
			}
			places[name] = append(places[name], (float64(at)+r.Float64())/float64(room+1))
		}
	}
	if d := stattest.KS(factors, stattest.UniformCDF(0.5, 2)); d > stattest.KSLimit {
		t.Errorf("scales are not uniform: √n·D = %.2f", d)
	}
	for _, name := range []string{"x within", "x around", "y within", "y around"} {
		if d := stattest.KS(places[name], stattest.UniformCDF(0, 1)); len(places[name]) < 100 || d > stattest.KSLimit {
			t.Errorf("%s, %d draws: places are not uniform: √n·D = %.2f", name, len(places[name]), d)
		}
	}
}

// TestColorFactors wants the three factors to be uniform, and each drawn for itself.
func TestColorFactors(t *testing.T) {
	a := Augment{Color: 0.4}
	r := nn.NewRNG(1)
	factors := map[string][]float64{}
	for range 2000 {
		c := a.draw(&r, 100, 60).Color
		b, k, s := float64(c.Brightness), float64(c.Contrast), float64(c.Saturation)
		for name, v := range map[string]float64{"brightness": b, "contrast": k, "saturation": s} {
			factors[name] = append(factors[name], v)
		}
		if b == k || k == s || s == b {
			t.Fatalf("equal factors %+v", c)
		}
	}
	for name, x := range factors {
		if d := stattest.KS(x, stattest.UniformCDF(0.6, 1.4)); d > stattest.KSLimit {
			t.Errorf("%s is not uniform: √n·D = %.2f", name, d)
		}
	}
}

func TestCollate(t *testing.T) {
	ds := patterns(0, 3, 40, 1)
	s := []*Sample{mustSample(t, ds, 0), mustSample(t, ds, 1)}
	s[0].Maps["semseg"].IDs[0] = 254
	b, err := Collate(s, all, 40)
	if err != nil {
		t.Fatal(err)
	}
	if b.Size != 2 || b.H != 40 || b.W != 40 || len(b.Images["rgb"]) != 2*3*1600 || len(b.Images["depth"]) != 3200 || len(b.Classes["semseg"]) != 200 {
		t.Fatalf("batch of %d: %d×%d", b.Size, b.H, b.W)
	}
	rgb := slices.Clone(b.Images["rgb"][4800:])
	images.DenormalizeRGB(rgb)
	for i, v := range rgb {
		if abs(v-s[1].Maps["rgb"].Pix[i]) > 1e-5 {
			t.Fatalf("rgb[%d] = %v, want %v", i, v, s[1].Maps["rgb"].Pix[i])
		}
	}
	full := all[2]
	full.Stride = 1
	if b, err = Collate(s, []multimae.Input{full}, 40); err != nil || b.Classes["semseg"][0] != 255 {
		t.Errorf("padding is not ignored: %v", err)
	}
	delete(s[0].Maps, "depth")
	if _, err = Collate(s, all, 40); err == nil {
		t.Error("a modality in half of the samples: no error")
	}
	if b, err = Collate(s[:1], all, 40); err != nil || b.Images["depth"] != nil || b.Images["rgb"] == nil {
		t.Errorf("a modality in no sample: %v, %v", b, err)
	}
	for _, size := range []int{0, 42} {
		if _, err = Collate(s, all, size); err == nil {
			t.Errorf("size %d: no error", size)
		}
	}
	if _, err = Collate(nil, all, 40); err == nil {
		t.Error("no samples: no error")
	}
}

// numbered is a dataset whose sample i is the number i in each pixel, or an error.
type numbered struct {
	n   int
	bad func(i int) bool
}

// badSample is the error of a sample that cannot be read.
type badSample int

func (i badSample) Error() string { return fmt.Sprintf("sample %d cannot be read", int(i)) }

func (d numbered) Len() int { return d.n }
func (d numbered) Sample(i int) (*Sample, error) {
	if d.bad != nil && d.bad(i) {
		return nil, badSample(i)
	}
	m := &Map{C: 1, H: 8, W: 8, Pix: make([]float32, 64)}
	for k := range m.Pix {
		m.Pix[k] = float32(i)
	}
	return &Sample{Name: fmt.Sprint(i), Maps: map[string]*Map{"x": m}}, nil
}

var numberedIn = []multimae.Input{{Name: "x", Kind: multimae.KindImage, Channels: 1, Stride: 1, Normalize: "none"}}

// take returns the sample numbers of n batches.
func take(t *testing.T, ds Dataset, c LoaderConfig, n int) (batches [][]int) {
	t.Helper()
	c.Inputs, c.Size = numberedIn, 8
	l := NewLoader(context.Background(), ds, c)
	defer l.Close()
	for range n {
		b, err := l.Next()
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for i := range b.Size {
			got = append(got, int(b.Images["x"][i*64]+0.5))
		}
		batches = append(batches, got)
		l.Release(b)
	}
	return batches
}

func TestLoaderOrder(t *testing.T) {
	ds := numbered{n: 10}
	c := LoaderConfig{Batch: 4, Seed: 3, Shuffle: true, Augment: Augment{Crop: true, Flip: true}}
	got := take(t, ds, c, 30)
	for e := range 10 {
		epoch := slices.Concat(got[3*e : 3*e+3]...)
		slices.Sort(epoch)
		if !slices.Equal(epoch, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Fatalf("epoch %d holds %v", e, epoch)
		}
	}
	if reflect.DeepEqual(got[:3], got[3:6]) {
		t.Error("two epochs have the same order")
	}
	c.Drop = true
	dropped := take(t, ds, c, 4)
	for _, b := range dropped {
		if len(b) != 4 {
			t.Errorf("Drop left a batch of %d", len(b))
		}
	}
	plain := take(t, ds, LoaderConfig{Batch: 4}, 4)
	if want := [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9}, {0, 1, 2, 3}}; !reflect.DeepEqual(plain, want) {
		t.Errorf("without Shuffle: %v, want %v", plain, want)
	}
}

// TestLoaderSame checks what exact resumes depend on: batch k is the same, bit for bit, for any
// number of workers and any start.
func TestLoaderSame(t *testing.T) {
	ds := patterns(0, 11, 32, 1)
	run := func(workers, start, n int) (out []*multimae.Batch) {
		l := NewLoader(context.Background(), ds, LoaderConfig{
			Inputs: all, Size: 16, Batch: 3, Seed: 5, Shuffle: true, Workers: workers, Start: start,
			Augment: Augment{Crop: true, Flip: true},
		})
		defer l.Close()
		for i := range n {
			b, err := l.Next()
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, clone(b))
			if i%3 != 0 { // some are kept
				l.Release(b)
			}
		}
		return out
	}
	want := run(1, 0, 13)
	for _, workers := range []int{2, 5} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			if !reflect.DeepEqual(run(workers, 0, 13), want) {
				t.Error("other batches than those of one worker")
			}
		})
	}
	for _, start := range []int{1, 4, 7} {
		t.Run(fmt.Sprintf("start at %d", start), func(t *testing.T) {
			if !reflect.DeepEqual(run(2, start, 13-start), want[start:]) {
				t.Error("other batches than those of a start at 0")
			}
		})
	}
	l := NewLoader(context.Background(), ds, LoaderConfig{Inputs: all, Size: 16, Batch: 3, Start: 1 << 30})
	defer l.Close()
	if _, err := l.Next(); err != nil {
		t.Error(err)
	}
}

func clone(b *multimae.Batch) *multimae.Batch {
	c := &multimae.Batch{Size: b.Size, H: b.H, W: b.W, Images: map[string][]float32{}, Classes: map[string][]int32{}}
	for k, v := range b.Images {
		c.Images[k] = slices.Clone(v)
	}
	for k, v := range b.Classes {
		c.Classes[k] = slices.Clone(v)
	}
	return c
}

func TestLoaderBad(t *testing.T) {
	ds := numbered{n: 8, bad: func(i int) bool { return i == 2 || i == 3 || i == 7 }}
	got := take(t, ds, LoaderConfig{Batch: 4, SkipBad: true, Workers: 3}, 2)
	if want := [][]int{{0, 1, 4, 4}, {4, 5, 6, 0}}; !reflect.DeepEqual(got, want) {
		t.Errorf("the batches are %v, want %v", got, want)
	}
	l := NewLoader(context.Background(), ds, LoaderConfig{Inputs: numberedIn, Size: 8, Batch: 2, Workers: 3})
	defer l.Close()
	if _, err := l.Next(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if _, err := l.Next(); !errors.Is(err, badSample(2)) {
			t.Errorf("a bad sample gives %v", err)
		}
	}
	none := NewLoader(context.Background(), numbered{n: 3, bad: func(int) bool { return true }}, LoaderConfig{Inputs: numberedIn, Size: 8, Batch: 2, SkipBad: true})
	defer none.Close()
	if _, err := none.Next(); !errors.As(err, new(badSample)) {
		t.Errorf("no good sample gives %v", err)
	}
}

// failing is a dataset every sample of which has an error.
type failing struct {
	numbered
	err  error
	read *atomic.Int32
}

func (f failing) Sample(i int) (*Sample, error) {
	f.read.Add(1)
	return nil, fmt.Errorf("sample %d: %w", i, f.err)
}

// TestLoaderInterrupted wants an interruption to be no bad sample, and a time limit of the dataset to
// be one.
func TestLoaderInterrupted(t *testing.T) {
	for err, reads := range map[error]int32{context.Canceled: 1, context.DeadlineExceeded: 5} {
		t.Run(err.Error(), func(t *testing.T) {
			ds := failing{numbered{n: 5}, err, new(atomic.Int32)}
			l := NewLoader(context.Background(), ds, LoaderConfig{Inputs: numberedIn, Size: 8, Batch: 2, SkipBad: true})
			defer l.Close()
			if _, got := l.Next(); !errors.Is(got, err) || ds.read.Load() != reads {
				t.Errorf("got %v after %d reads, want %d", got, ds.read.Load(), reads)
			}
		})
	}
}

func TestLoaderConfig(t *testing.T) {
	good := LoaderConfig{Inputs: numberedIn, Size: 8, Batch: 2}
	for name, change := range map[string]func(c *LoaderConfig){
		"input":                   func(c *LoaderConfig) { c.Inputs = nil },
		"batch":                   func(c *LoaderConfig) { c.Batch = 0 },
		"start":                   func(c *LoaderConfig) { c.Start = -1 },
		"size":                    func(c *LoaderConfig) { c.Size = 0 },
		"fewer than a batch of 4": func(c *LoaderConfig) { c.Drop, c.Batch = true, 4 },
		"scale":                   func(c *LoaderConfig) { c.Augment = Augment{Crop: true, CropScale: [2]float64{0.5, 2}} },
		"ratio":                   func(c *LoaderConfig) { c.Augment = Augment{Crop: true, CropRatio: [2]float64{2, 1}} },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			l := NewLoader(context.Background(), numbered{n: 3}, c)
			defer l.Close()
			if _, err := l.Next(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
		})
	}
	l := NewLoader(context.Background(), numbered{}, good)
	if _, err := l.Next(); err == nil {
		t.Error("empty dataset: no error")
	}
	l.Close()
}

func TestLoaderEnds(t *testing.T) {
	for range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		l := NewLoader(ctx, numbered{n: 100}, LoaderConfig{Inputs: numberedIn, Size: 8, Batch: 2, Workers: 4})
		if _, err := l.Next(); err != nil {
			t.Fatal(err)
		}
		cancel()
		for {
			if _, err := l.Next(); err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				break
			}
		}
		l.wg.Wait() // the context alone must end the workers
		l = NewLoader(context.Background(), numbered{n: 100}, LoaderConfig{Inputs: numberedIn, Size: 8, Batch: 2, Workers: 4})
		l.Close()
		l.Close()
	}
}

// TestLoaderRecycles counts the batches that a long run allocates.
func TestLoaderRecycles(t *testing.T) {
	l := NewLoader(context.Background(), numbered{n: 100}, LoaderConfig{Inputs: numberedIn, Size: 8, Batch: 2, Workers: 2})
	defer l.Close()
	seen := map[*multimae.Batch]bool{}
	for range 200 {
		b, err := l.Next()
		if err != nil {
			t.Fatal(err)
		}
		seen[b] = true
		l.Release(b)
	}
	if len(seen) > 2*2+2 {
		t.Errorf("%d batches allocated", len(seen))
	}
}

// TestLoaderHold checks that Hold puts work off until Resume, unless Next would soon wait for it, and
// changes no batch.
func TestLoaderHold(t *testing.T) {
	c := LoaderConfig{Batch: 2, Workers: 2, Seed: 5, Shuffle: true}
	want := take(t, numbered{n: 100}, c, 40)
	c.Hold = true
	if got := take(t, numbered{n: 100}, c, 40); !reflect.DeepEqual(got, want) { // without any Resume
		t.Errorf("batches %v, want %v", got, want)
	}
	c.Inputs, c.Size = numberedIn, 8
	var read atomic.Int64
	ds := numbered{n: 100, bad: func(int) bool {
		read.Add(1)
		return false
	}}
	l := NewLoader(context.Background(), ds, c)
	defer l.Close()
	reads := func(what string, want int64) {
		t.Helper()
		for range 2000 {
			if read.Load() >= want {
				break
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond) // for those that should not be
		if got := read.Load(); got != want {
			t.Fatalf("%s: %d samples were read, want %d", what, got, want)
		}
	}
	next := func() {
		t.Helper()
		if _, err := l.Next(); err != nil {
			t.Fatal(err)
		}
	}
	reads("at first", 2*2*2)
	for range 3 {
		next()
		reads("another batch is ready", 8)
	}
	next()
	reads("no batch was left", 10)
	l.Resume()
	reads("resumed", 16)
	l.Resume()
	reads("resumed twice", 16)
}

func TestPermutation(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 64, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := newPermutation(n, 1, 2)
			seen := make([]bool, n)
			for i := range n {
				seen[p.at(i)] = true
			}
			if slices.Contains(seen, false) {
				t.Error("not a permutation")
			}
		})
	}
	// Each of the 24 orders of four comes up about equally often.
	count := map[[4]int]int{}
	for e := range uint64(2400) {
		p := newPermutation(4, 7, e)
		count[[4]int{p.at(0), p.at(1), p.at(2), p.at(3)}]++
	}
	for o, k := range count {
		if k < 60 || k > 145 {
			t.Errorf("order %v comes up %d times of 2400", o, k)
		}
	}
	if len(count) != 24 {
		t.Errorf("%d orders of 24", len(count))
	}
}

func TestFolderRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	ds := patterns(4, 6, 32, 2)
	var last int
	if err := WriteFolder(context.Background(), dir, ds, func(done int) { last = done }); err != nil {
		t.Fatal(err)
	}
	if last != 6 {
		t.Errorf("progress ended at %d", last)
	}
	got, err := OpenFolder(dir, all)
	if err != nil {
		t.Fatal(err)
	}
	if got.Len() != 6 {
		t.Fatalf("%d samples", got.Len())
	}
	for i := range 6 {
		if !reflect.DeepEqual(mustSample(t, got, i), mustSample(t, ds, i)) {
			t.Errorf("sample %d changed on its way through the files", i)
		}
	}
	if p := new(Problem); !errors.As(WriteFolder(context.Background(), dir, ds, nil), &p) || p.File != dir {
		t.Errorf("a second write gives %v", p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := WriteFolder(ctx, t.TempDir(), ds, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := WriteFolder(context.Background(), t.TempDir(), Subset(numbered{n: 1, bad: func(int) bool { return true }}, []int{0}), nil); !errors.Is(err, badSample(0)) {
		t.Errorf("a bad sample: %v", err)
	}

	r, err := Check(context.Background(), dir, all)
	if err != nil || len(r.Problems) != 0 || r.Samples != 6 || len(r.Modalities) != 3 {
		t.Fatalf("check: %+v, %v", r, err)
	}
	for _, m := range r.Modalities {
		if m.Files != 6 || !reflect.DeepEqual(m.Sizes, []SizeCount{{32, 32, 6}}) {
			t.Errorf("summary %+v", m)
		}
	}
	if d := r.Modalities[1]; !(d.Min > 0 && d.Min < d.Mean && d.Mean < d.Max && d.Max < 1) {
		t.Errorf("depth range %+v", d)
	}
	var pixels int64
	for _, c := range r.Modalities[2].Classes {
		pixels += c.Pixels
	}
	if pixels != 6*32*32 {
		t.Errorf("%d pixels of classes", pixels)
	}
}

// TestWriteUnfit wants an error, and no file, for what a PNG file would lose.
func TestWriteUnfit(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		what string
		m    Map
		want string // "" if it fits
	}{
		{"the whole range", Map{C: 1, H: 1, W: 2, Pix: []float32{0, 1}}, ""},
		{"all are valid", Map{C: 1, H: 1, W: 2, Pix: []float32{0, 1}, Valid: []bool{true, true}}, ""},
		{"colour that overshoots", Map{C: 3, H: 1, W: 1, Pix: []float32{-0.1, 0, 1.1}}, ""},
		{"metres", Map{C: 1, H: 1, W: 2, Pix: []float32{0.5, 10}}, "pixel (1,0) is 10"},
		{"negative", Map{C: 1, H: 2, W: 1, Pix: []float32{0.5, -1}}, "pixel (0,1) is -1"},
		{"no number", Map{C: 1, H: 1, W: 2, Pix: []float32{nan, 0}}, "pixel (0,0) is NaN"},
		{"a hole", Map{C: 1, H: 1, W: 2, Pix: []float32{0.5, nan}, Valid: []bool{true, false}}, "pixel (1,0) is not valid"},
		{"a hole of colour", Map{C: 3, H: 1, W: 1, Pix: make([]float32, 3), Valid: []bool{false}}, "pixel (0,0) is not valid"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "x", "a.png")
			err := WriteFolder(context.Background(), dir, Samples{{Name: "a", Maps: map[string]*Map{"x": &c.m}}}, nil)
			_, missing := os.Stat(file)
			if c.want == "" {
				if err != nil || missing != nil {
					t.Errorf("error %v, %v", err, missing)
				}
				return
			}
			if p := new(Problem); !errors.As(err, &p) || p.File != file || !strings.Contains(p.Message, c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if missing == nil {
				t.Error("the file is written")
			}
		})
	}
}

func TestOpenSplit(t *testing.T) {
	write := func(dir string, first, n int) {
		t.Helper()
		if err := WriteFolder(context.Background(), dir, patterns(first, n, 8, 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	open := func(dir string, nt, nv int) {
		t.Helper()
		train, val, err := OpenSplit(dir, all)
		if err != nil {
			t.Fatal(err)
		}
		if train.Len() != nt || val.Len() != nv {
			t.Errorf("%d and %d samples, want %d and %d", train.Len(), val.Len(), nt, nv)
		}
		names := map[string]bool{}
		for _, ds := range []Dataset{train, val} {
			for i := range ds.Len() {
				s := mustSample(t, ds, i)
				if names[s.Name] {
					t.Errorf("%s is in both parts", s.Name)
				}
				names[s.Name] = true
			}
		}
	}
	given := t.TempDir()
	write(filepath.Join(given, "train"), 0, 3)
	write(filepath.Join(given, "val"), 3, 2)
	open(given, 3, 2)
	if r, err := Check(context.Background(), given, all); err != nil || r.Samples != 5 || len(r.Problems) != 0 {
		t.Errorf("check of a split folder: %+v, %v", r, err)
	}
	for _, n := range []int{2, 3, 60} {
		dir := t.TempDir()
		write(dir, 0, n)
		train, val, err := OpenSplit(dir, all)
		if err != nil || train.Len()+val.Len() != n || val.Len() < 1 || train.Len() < 1 || val.Len() > max(1, n/5) {
			t.Fatalf("%d samples: %v", n, err)
		}
		open(dir, train.Len(), val.Len())
	}
	one := t.TempDir()
	write(one, 0, 1)
	for _, dir := range []string{one, t.TempDir(), filepath.Join(one, "missing")} {
		if _, _, err := OpenSplit(dir, all); err == nil {
			t.Errorf("%s: no error", filepath.Base(dir))
		}
	}
}

func pngBytes(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// header is a PNG that says it has w×h pixels and then ends.
func header(w, h uint32, bits, kind byte) []byte {
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR")
	b = binary.BigEndian.AppendUint32(b, w)
	b = binary.BigEndian.AppendUint32(b, h)
	b = append(b, bits, kind, 0, 0, 0)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[12:]))
}

func TestReadImage(t *testing.T) {
	r := image.Rect(0, 0, 4, 3)
	grey8, grey16, nrgba := image.NewGray(r), image.NewGray16(r), image.NewNRGBA(r)
	for i := range 12 {
		grey8.Pix[i] = uint8(i)
		grey16.SetGray16(i%4, i/4, color.Gray16{uint16(5000 * i)})
		nrgba.SetNRGBA(i%4, i/4, color.NRGBA{uint8(i), uint8(2 * i), 200, uint8(20 * i)})
	}
	wide := image.NewNRGBA64(r)
	wide.SetNRGBA64(1, 0, color.NRGBA64{1000, 2000, 3000, 65535})
	palette := image.NewPaletted(r, color.Palette{color.Black, color.White, color.NRGBA{255, 0, 0, 255}})
	palette.Pix[5] = 2
	var jpg bytes.Buffer
	if err := jpeg.Encode(&jpg, nrgba, nil); err != nil {
		t.Fatal(err)
	}
	outOfRange := image.NewGray(r)
	outOfRange.Pix[6], outOfRange.Pix[9] = 77, 78
	outOfRange.Pix[0], outOfRange.Pix[1] = 254, 255
	raw := depthIn
	raw.Normalize = "none"
	metres := raw
	metres.HasUnit = true
	rgba := rgbIn
	rgba.Channels = 4
	five := rgbIn
	five.Channels = 5

	for _, c := range []struct {
		name string
		file []byte
		in   multimae.Input
		want string // part of the error; empty for none
		at   int
		val  float32
	}{
		{"rgb", pngBytes(t, nrgba), rgbIn, "", 12 + 5, 10. / 255},
		{"rgba", pngBytes(t, nrgba), rgba, "", 36 + 5, 100. / 255},
		{"rgb of grey", pngBytes(t, grey8), rgbIn, "", 24 + 5, 5. / 255},
		{"rgb of 16 bits", pngBytes(t, wide), rgbIn, "", 12 + 1, 2000. / 65535},
		{"rgb of palette", pngBytes(t, palette), rgbIn, "", 5, 1},
		{"jpeg", jpg.Bytes(), rgbIn, "", 24, -1},
		{"depth", pngBytes(t, grey16), depthIn, "", 11, 55000. / 65536},
		{"raw grey", pngBytes(t, grey8), raw, "", 7, 7. / 255},
		{"ids", pngBytes(t, grey8), semsegIn, "", 7, 7},
		{"ids of palette", pngBytes(t, palette), semsegIn, "", 5, 2},

		{"8-bit depth", pngBytes(t, grey8), depthIn, "8-bit png, expected 16-bit PNG", 0, 0},
		{"jpeg depth", jpg.Bytes(), depthIn, "expected 16-bit PNG", 0, 0},
		{"depth in a unit", pngBytes(t, grey16), metres, "", 11, 55000. / 65536},
		{"8-bit depth in a unit", pngBytes(t, grey8), metres, "8-bit png, expected 16-bit PNG", 0, 0},
		{"jpeg depth in a unit", jpg.Bytes(), metres, "8-bit jpeg, expected 16-bit PNG", 0, 0},
		{"colour depth", pngBytes(t, nrgba), depthIn, "colour image", 0, 0},
		{"id out of range", pngBytes(t, outOfRange), semsegIn, "pixel (2,1) has class id 77, outside 0..15 (and at 1 more pixels)", 0, 0},
		{"16-bit ids", pngBytes(t, grey16), semsegIn, "16 bits a pixel, expected 8", 0, 0},
		{"4-bit ids", header(4, 3, 4, 0), semsegIn, "4 bits a pixel, expected 8", 0, 0},
		{"colour ids", pngBytes(t, nrgba), semsegIn, "in colour", 0, 0},
		{"jpeg ids", jpg.Bytes(), semsegIn, "class map as jpeg", 0, 0},
		{"truncated", pngBytes(t, nrgba)[:60], rgbIn, "truncated image", 0, 0},
		{"truncated jpeg", jpg.Bytes()[:jpg.Len()/2], rgbIn, "truncated image", 0, 0},
		{"truncated header", pngBytes(t, nrgba)[:20], rgbIn, "truncated image", 0, 0},
		{"empty", nil, rgbIn, "empty file", 0, 0},
		{"text", []byte("not an image, but long enough"), rgbIn, "neither a PNG nor a JPEG", 0, 0},
		{"bomb", header(16000, 16000, 8, 2), rgbIn, "16000×16000 pixels", 0, 0},
		{"overflow", header(1<<31-1, 1<<31-1, 8, 2), rgbIn, "", 0, -1},
		{"one pixel", pngBytes(t, image.NewNRGBA(image.Rect(0, 0, 1, 1))), rgbIn, "one pixel", 0, 0},
		{"5 channels", pngBytes(t, nrgba), five, "5 channels", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.png")
			if err := os.WriteFile(path, c.file, 0o666); err != nil {
				t.Fatal(err)
			}
			m, err := ReadImage(path, c.in)
			if c.want != "" || c.name == "overflow" {
				prob := new(Problem)
				if !errors.As(err, &prob) || prob.File != path || prob.Remedy == "" || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want a problem with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.W != 4 || m.H != 3 {
				t.Fatalf("%d×%d", m.W, m.H)
			}
			got := float32(0)
			if c.in.Kind == multimae.KindClasses {
				got = float32(m.IDs[c.at])
			} else if got = m.Pix[c.at]; len(m.Pix) != 12*c.in.Channels {
				t.Fatalf("%d values", len(m.Pix))
			}
			if c.val >= 0 && abs(got-c.val) > 1e-7 {
				t.Errorf("[%d] = %v, want %v", c.at, got, c.val)
			}
		})
	}
	if _, err := ReadImage(filepath.Join(t.TempDir(), "none.png"), rgbIn); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestBadFolders breaks a good folder in each way, then opens, reads and checks it.
func TestBadFolders(t *testing.T) {
	good := t.TempDir()
	if err := WriteFolder(context.Background(), good, patterns(0, 3, 16, 1), nil); err != nil {
		t.Fatal(err)
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.RemoveAll(filepath.Join(dir, name)) }
	}
	write := func(name string, b []byte) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), b, 0o666) }
	}
	tall := image.NewGray(image.Rect(0, 0, 16, 17))
	quarter := image.NewGray(image.Rect(0, 0, 4, 4))
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
		when  string // "open", "read" or "" for no error
		want  []string
	}{
		{"partner", remove("depth/scene/000001.png"), "open", []string{"rgb/scene/000001.png: has no partner in depth", "depth/scene/000001.png"}},
		{"two partners", remove("rgb/scene/000001.png"), "open", []string{"depth/scene/000001.png: has no partner in rgb"}},
		{"no modality", remove("depth"), "open", []string{"depth: no such folder"}},
		{"empty modality", remove("semseg/scene"), "open", []string{"semseg: no PNG or JPEG file"}},
		{"twice", write("rgb/scene/000001.jpg", nil), "open", []string{"000001.png: ", "000001.jpg"}},
		{"type", write("rgb/scene/000009.tiff", nil), "open", []string{"rgb/scene/000009.tiff: "}},
		{"hidden", write("rgb/scene/.000009.png.tmp", nil), "", nil},
		{"readme", write("rgb/README.txt", nil), "", nil},
		{"depth bits", write("depth/scene/000001.png", pngBytes(t, image.NewGray(image.Rect(0, 0, 16, 16)))), "read", []string{"depth/scene/000001.png: 8-bit png, expected 16-bit PNG"}},
		{"truncated", write("rgb/scene/000002.png", pngBytes(t, image.NewNRGBA(image.Rect(0, 0, 16, 16)))[:50]), "read", []string{"rgb/scene/000002.png: truncated image"}},
		{"size", write("semseg/scene/000000.png", pngBytes(t, tall)), "read", []string{"16×16 pixels, but", "has 16×17"}},
		{"quarter", write("semseg/scene/000000.png", pngBytes(t, quarter)), "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(dir, "semseg"), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if c.name == "empty modality" {
				os.MkdirAll(filepath.Join(dir, "semseg"), 0o777)
			}
			ds, err := OpenFolder(dir, all)
			if (err != nil) != (c.when == "open") {
				t.Fatalf("open: %v", err)
			}
			for i := 0; err == nil && i < ds.Len(); i++ {
				_, err = ds.Sample(i)
			}
			if (err != nil) != (c.when != "") {
				t.Fatalf("read: %v", err)
			}
			r, cerr := Check(context.Background(), dir, all)
			if cerr != nil {
				t.Fatal(cerr)
			}
			if (len(r.Problems) > 0) != (c.when != "") {
				t.Fatalf("check: %v", r.Problems)
			}
			if err == nil {
				return
			}
			prob := new(Problem)
			if !errors.As(err, &prob) {
				t.Errorf("%T is no Problem", err)
			}
			for _, p := range r.Problems {
				if p.File == "" || p.Message == "" || p.Remedy == "" {
					t.Errorf("problem %+v", p)
				}
			}
			for _, want := range c.want {
				if !strings.Contains(filepath.ToSlash(err.Error()), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
				if got := filepath.ToSlash(problemList(r.Problems).Error()); !strings.Contains(got, want) {
					t.Errorf("report %q lacks %q", got, want)
				}
			}
		})
	}
	// The other files are checked even if a whole modality is missing.
	two := t.TempDir()
	if err := os.CopyFS(two, os.DirFS(good)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(remove("depth")(two), write("rgb/scene/000001.png", nil)(two)); err != nil {
		t.Fatal(err)
	}
	r, err := Check(context.Background(), two, all)
	if err != nil || len(r.Problems) != 2 || r.Problems[1].Message != "empty file" || r.Samples != 0 || r.Modalities[0].Files != 2 {
		t.Errorf("two problems: %+v, %v", r, err)
	}
	many := t.TempDir()
	if err := os.CopyFS(many, os.DirFS(good)); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := write(fmt.Sprintf("rgb/scene/1%05d.png", i), nil)(many); err != nil {
			t.Fatal(err)
		}
	}
	_, err = OpenFolder(many, all)
	if lines := strings.Split(fmt.Sprint(err), "\n"); len(lines) != 21 || lines[20] != "… and 2 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Check(ctx, good, all); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled check: %v", err)
	}
	if _, err := Check(context.Background(), filepath.Join(good, "none"), all); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("check of nothing: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	r := image.Rect(0, 0, 3, 2)
	for _, img := range []image.Image{image.NewGray(r), image.NewGray16(r), image.NewNRGBA(r), image.NewPaletted(r, color.Palette{color.Black, color.White})} {
		f.Add(pngBytes(f, img))
	}
	var jpg bytes.Buffer
	if err := jpeg.Encode(&jpg, image.NewGray(r), nil); err != nil {
		f.Fatal(err)
	}
	f.Add(jpg.Bytes())
	f.Add(header(1<<31-1, 1<<31-1, 8, 2))
	for orientation := byte(1); orientation <= 8; orientation++ {
		f.Add(withEXIF(f, image.NewNRGBA(r), orientation))
	}
	for _, c := range formats(f) {
		f.Add(c.file)
	}
	f.Add([]byte(webpTurned))
	f.Add(webpCanvas())
	f.Add(manyTrees())
	f.Add(flatTIFF(f, 64, 64, 1<<32-1))
	f.Add(tiffBytes(f, image.NewNRGBA64(r), &tiff.Options{Compression: tiff.Deflate, Predictor: true}))
	f.Add(flatPNG(f, 90, 90, 16, 6, 1))
	f.Add(emptyJPEG(65535, 16, 0xc2, 0x42, 0x11, 0x11))
	f.Add(emptyJPEG(16, 16, 0xc0, 0x22, 0x11, 0x11, 0x22))
	f.Fuzz(func(t *testing.T, b []byte) {
		// A forged size within the limit takes time and does no harm.
		if h, _ := readHead(b, &rgbIn); h != nil && h.w > 0 && h.h > 1<<20/h.w {
			return
		}
		for _, in := range append(all, rgbaIn) {
			var p *picture
			var prob *Problem
			if got, want := int64(testkit.Allocated(func() { p, prob = decode(b, &in) })), bound(b); got > want {
				t.Fatalf("%d bytes allocate %d, more than %d", len(b), got, want)
			}
			if prob != nil {
				if p != nil || prob.Message == "" || prob.Remedy == "" {
					t.Fatalf("%+v with %v", prob, p)
				}
				continue
			}
			s := &Sample{Maps: map[string]*Map{in.Name: p.m}}
			if err := s.Check(&in); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// BenchmarkLoader makes batches of eight from samples in memory: resize, standardise and collate.
func BenchmarkLoader(b *testing.B) {
	var ds Samples
	for i := range 8 {
		ds = append(ds, mustSample(b, patterns(0, 8, 256, 1), i))
	}
	l := NewLoader(b.Context(), ds, LoaderConfig{Inputs: all, Size: 224, Batch: 8, Shuffle: true, Augment: Augment{Crop: true, Flip: true}})
	defer l.Close()
	for b.Loop() {
		batch, err := l.Next()
		if err != nil {
			b.Fatal(err)
		}
		l.Release(batch)
	}
}
