package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/metrics"
	"github.com/gomae/gomae/tensor"
)

// reference computes the metrics of a model from heads.Model.Predict of one image at a time, and of
// windows by loops over pixels.
type reference struct {
	t    *testing.T
	m    *heads.Model
	h, w int // that the model sees
	o    Options
}

// predict returns the prediction [C, h, w] of an output for a sample at the size of its truth.
func (r *reference) predict(s *data.Sample, output string) []float32 {
	r.t.Helper()
	c := r.m.Config
	b := &multimae.Batch{Size: 1, H: r.h, W: r.w, Images: map[string][]float32{"rgb": make([]float32, 3*r.h*r.w)}}
	full := s.Maps["rgb"]
	new(images.Resizer).Place(b, 0, s.Maps, c.Inputs, images.Crop{W: full.W, H: full.H, FullW: full.W, FullH: full.H})
	run := func(b *multimae.Batch) *multimae.Predicted {
		p, err := r.m.Predict(context.Background(), b, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		return p.Output(output)
	}
	channels := 0
	pix, seen := []float32(nil), make([]float32, r.h*r.w)
	if !r.o.Slide {
		p := run(b)
		channels, pix = p.Channels, p.Pix
	} else {
		side := c.ImageSize
		for _, y := range r.windows(r.h) {
			for _, x := range r.windows(r.w) {
				part := &multimae.Batch{Size: 1, H: side, W: side, Images: map[string][]float32{}}
				for i := range 3 * side * side {
					part.Images["rgb"] = append(part.Images["rgb"], b.Images["rgb"][(i/(side*side)*r.h+y+i/side%side)*r.w+x+i%side])
				}
				p := run(part)
				channels = p.Channels
				if pix == nil {
					pix = make([]float32, channels*r.h*r.w)
				}
				for i, v := range p.Pix {
					pix[(i/(side*side)*r.h+y+i/side%side)*r.w+x+i%side] += v
				}
				for i := range side * side {
					seen[(y+i/side)*r.w+x+i%side]++
				}
			}
		}
		for i := range pix {
			pix[i] /= seen[i%len(seen)]
		}
	}
	// tensor has the channels last.
	n := r.h * r.w
	last := make([]float32, len(pix))
	for i := range pix {
		last[i%n*channels+i/n] = pix[i]
	}
	resized := tensor.ResizeBilinear(tensor.NewInference(nil), tensor.From(last, 1, r.h, r.w, channels), full.H, full.W, false)
	return heads.ChannelsFirst(resized)
}

// windows returns where windows begin: 0, then every two thirds in whole patches, and at the end.
func (r *reference) windows(n int) []int {
	return map[int][]int{16: {0}, 24: {0, 8}, 32: {0, 8, 16}, 40: {0, 8, 16, 24}}[n]
}

func (r *reference) metrics(all data.Samples) map[string]float64 {
	r.t.Helper()
	want := map[string]float64{}
	for i := range r.m.Config.Outputs {
		o := &r.m.Config.Outputs[i]
		confusion := metrics.NewConfusion(o.NumClasses, multimae.IDIgnored)
		depth, aligned := metrics.NewDepth(metrics.AlignNone, 1e-3), metrics.NewDepth(metrics.AlignDepth, 1e-3)
		disparity := metrics.NewDepth(metrics.AlignDisparity, 0x1p-16)
		var values metrics.Values
		for _, s := range all {
			pred, truth := r.predict(s, o.Name), s.Maps[o.TargetName()]
			switch o.Name {
			case "semseg":
				var ids []int32
				for _, id := range truth.IDs {
					ids = append(ids, int32(id))
				}
				p := multimae.Predicted{Channels: o.NumClasses, H: truth.H, W: truth.W, Pix: pred}
				if err := confusion.Add(ids, p.IDs(0)); err != nil {
					r.t.Fatal(err)
				}
			case "depth":
				var metres []float32
				for _, v := range truth.Pix {
					metres = append(metres, v*65.536)
				}
				depth.Add(pred, metres, truth.Valid)
				aligned.Add(pred, metres, truth.Valid)
			case "relative":
				aligned.Add(pred, truth.Pix, truth.Valid)
				disparity.Add(pred, truth.Pix, truth.Valid)
			case "normals":
				values.Add(pred, truth.Pix, truth.Valid)
			}
		}
		switch o.Name {
		case "semseg":
			want["semseg miou"], want["semseg pixel_accuracy"], want["semseg mean_accuracy"] = confusion.MeanIoU(), confusion.Accuracy(), confusion.MeanAccuracy()
		case "normals":
			want["normals l1"], want["normals rmse"] = values.L1(), values.RMSE()
		default:
			for suffix, d := range map[string]*metrics.Depth{"": depth, Aligned: aligned, AlignedDisparity: disparity} {
				if e := d.Errors(); e.Pixels > 0 {
					for k, v := range map[string]float64{Delta1: e.Delta[0], Delta2: e.Delta[1], Delta3: e.Delta[2], RMSE: e.RMSE, AbsRel: e.AbsRel, Log10: e.Log10} {
						want[o.Name+" "+k+suffix] = v
					}
				}
			}
		}
	}
	return want
}

// share matches the metrics that count pixels, in percent.
var share = regexp.MustCompile(` (miou|pixel_accuracy|mean_accuracy|delta[123])`)

// TestEvaluate compares every metric with the reference, for images that are as large as the model
// sees them, larger and smaller, and no squares.
func TestEvaluate(t *testing.T) {
	for _, c := range []struct {
		name         string
		h, w         int // of the images
		o            Options
		seenH, seenW int
	}{
		{"as they are", 16, 16, Options{}, 16, 16},
		{"larger images", 33, 50, Options{}, 16, 24},
		{"higher images", 50, 33, Options{}, 24, 16},
		{"smaller images", 9, 11, Options{}, 16, 16}, // 19.6 pixels are two patches
		{"another size", 32, 32, Options{Size: 24}, 24, 24},
		{"windows", 40, 60, Options{Slide: true}, 16, 24},
		{"windows of a larger size", 32, 40, Options{Slide: true, Size: 32}, 32, 40},
		{"one window", 16, 16, Options{Slide: true}, 16, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			names, mains := []string{"semseg", "depth", "normals", "relative"}, []string{MIoU, Delta1, L1, Delta1 + Aligned}
			if c.o.Slide { // which relative values are not for
				names = names[:3]
			}
			m := model(t, names...)
			all := random(3, c.h, c.w)
			ref := &reference{t: t, m: m, h: c.seenH, w: c.seenW, o: c.o}
			want := ref.metrics(all)
			r, err := Evaluate(context.Background(), m, all, c.o, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]float64{}
			for _, x := range r.Metrics() {
				got[x.Output+" "+x.Name] = x.Value
			}
			if len(got) != len(want) || r.Samples != 3 || r.Skipped != 0 || !(r.Loss > 0) {
				t.Errorf("%d metrics, want %d; %d samples, %d skipped, loss %v", len(got), len(want), r.Samples, r.Skipped, r.Loss)
			}
			for k, v := range want {
				limit := 1e-5 * max(1, v)
				if share.MatchString(k) { // one of 400 pixels may be judged otherwise where two values are as good as equal
					limit += 0.3
				}
				if !(math.Abs(got[k]-v) <= limit) {
					t.Errorf("%s: got %v, want %v", k, got[k], v)
				}
			}
			for i, o := range r.Outputs {
				if main := o.Metrics[0]; main.Name != mains[i] || main.More != (main.Name != L1) {
					t.Errorf("%s: the main metric %s is not first: %+v", o.Name, mains[i], o.Metrics)
				}
			}
			if r.Outputs[0].Confusion.Counted() != r.Outputs[0].Pixels || r.Outputs[1].Confusion != nil {
				t.Error("confusion matrices")
			}
		})
	}
}

// TestLoss wants the loss of heads.Model.Losses over all pixels, however samples are grouped.
func TestLoss(t *testing.T) {
	m := model(t, "semseg", "depth")
	all := random(5, 16, 16)
	b, err := data.Collate(all, slices.Concat(m.Config.Inputs, m.Config.TargetInputs()), 16)
	if err != nil {
		t.Fatal(err)
	}
	in, targets := m.Config.Split(b)
	tape := tensor.NewInference(nil)
	preds, err := m.Forward(tape, in, nil)
	if err != nil {
		t.Fatal(err)
	}
	losses, err := m.Losses(tape, preds, targets)
	if err != nil {
		t.Fatal(err)
	}
	want := float64(losses[0].Data[0]) + float64(losses[1].Data[0])
	r, err := Evaluate(context.Background(), m, all, Options{}, nil)
	if err != nil || math.Abs(r.Loss-want) > 1e-5*want {
		t.Errorf("loss %v, want %v, %v", r, want, err)
	}
}

// TestClassify compares with Predict of the centred square.
func TestClassify(t *testing.T) {
	m := model(t, "class")
	all := random(20, 24, 20)
	var top metrics.TopK
	right := 0
	for _, s := range all {
		b, err := data.Collate([]*data.Sample{s}, m.Config.Inputs, 16)
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Predict(context.Background(), b, nil)
		if err != nil {
			t.Fatal(err)
		}
		label := int32(s.Maps["class"].Label)
		if err := top.Add(p.Outputs[0].Pix, 7, []int32{label}); err != nil {
			t.Fatal(err)
		}
		if p.Outputs[0].IDs(0)[0] == label {
			right++
		}
	}
	r, err := Evaluate(context.Background(), m, all, Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := r.Outputs[0]
	if o.Metrics[0].Value != top.Top1() || o.Metrics[1].Value != top.Top5() || o.Metrics[0].Value != 5*float64(right) || o.Pixels != 20 {
		t.Errorf("got %+v, want %v and %v", o.Metrics, top.Top1(), top.Top5())
	}
	if _, err := Evaluate(context.Background(), m, all, Options{Size: 24}, nil); err != nil {
		t.Errorf("another size: %v", err)
	}
}

// TestSame wants the same bits from any number of workers.
func TestSame(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3)) // no pool is larger
	m := model(t, "semseg", "depth")
	all := random(20, 20, 20)
	var want string
	for _, workers := range []int{1, 2, 3} {
		pool := tensor.NewPool(workers)
		defer pool.Close()
		r, err := Evaluate(context.Background(), m, all, Options{}, pool)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(r.Metrics(), r.Loss); workers == 1 {
			want = got
		} else if got != want {
			t.Errorf("%d workers: got %s, want %s", workers, got, want)
		}
	}
}

// TestSizes mixes images of different shapes, which cannot be in one batch, with progress.
func TestSizes(t *testing.T) {
	m := model(t, "semseg")
	all := slices.Concat(random(3, 16, 16), random(2, 16, 32), random(1, 40, 20), random(2, 16, 16))
	counts := metrics.NewConfusion(5)
	for _, s := range all {
		r, err := Evaluate(context.Background(), m, data.Samples{s}, Options{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range r.Outputs[0].Confusion.Counts {
			counts.Counts[i] += n
		}
	}
	done := 0
	r, err := Evaluate(context.Background(), m, all, Options{Progress: func(n int) { done = n }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Outputs[0].Confusion.Counts, counts.Counts) || done != 8 {
		t.Errorf("%d samples; counts\n%v, want\n%v", done, r.Outputs[0].Confusion.Counts, counts.Counts)
	}
	if r, err = Evaluate(context.Background(), m, all, Options{Samples: 3}, nil); err != nil || r.Samples != 3 {
		t.Errorf("3 samples: %+v, %v", r, err)
	}
}

// broken is a dataset of which some samples cannot be read.
type broken struct{ data.Samples }

var errBroken = errors.New("broken")

func (b broken) Sample(i int) (*data.Sample, error) {
	if i%2 == 0 {
		return nil, errBroken
	}
	return b.Samples[i], nil
}

// interrupted has one sample whose reading was given up.
type interrupted struct{ data.Samples }

func (x interrupted) Sample(i int) (*data.Sample, error) {
	if i == 3 {
		return nil, context.Canceled
	}
	return x.Samples[i], nil
}

func TestRefused(t *testing.T) {
	without := func(name string) data.Samples {
		all := random(2, 16, 16)
		delete(all[1].Maps, name)
		return all
	}
	with := func(edit func(maps map[string]*images.Map)) data.Samples {
		all := random(2, 16, 16)
		for _, s := range all {
			edit(s.Maps)
		}
		return all
	}
	diverged := func(t *testing.T, names ...string) *heads.Model {
		m := model(t, names...)
		for _, p := range m.Params.All() {
			for i := range p.Data {
				p.Data[i] = float32(math.NaN())
			}
		}
		m.PositionsChanged()
		return m
	}
	for _, c := range []struct {
		name  string
		model *heads.Model
		ds    data.Dataset
		o     Options
		want  string
	}{
		{"no samples", model(t, "semseg"), data.Samples{}, Options{}, "no samples"},
		{"no input", model(t, "semseg"), without("rgb"), Options{}, "x/1 has no rgb…input"},
		{"no truth", model(t, "semseg"), without("semseg"), Options{}, "x/1 has no semseg…add it"},
		{"no class", model(t, "class"), without("class"), Options{}, "x/1 has no class…CLASS"},
		{"a class of another model", model(t, "class"), with(func(m map[string]*images.Map) { m["class"] = images.Label(7) }), Options{}, "class number 7…7 classes"},
		{"ids of another model", model(t, "semseg"), with(func(m map[string]*images.Map) { m["semseg"].IDs[3] = 9 }), Options{}, "x/0…semseg…id 9 at index 3, want 0..4…255"},
		{"nothing labelled", model(t, "semseg"), with(func(m map[string]*images.Map) {
			for i := range m["semseg"].IDs {
				m["semseg"].IDs[i] = 255
			}
		}), Options{}, "output semseg: none of 2 samples has a labelled pixel in semseg"},
		{"nothing measured", model(t, "depth"), with(func(m map[string]*images.Map) { m["depth"].Hide(func(int) bool { return true }) }), Options{}, "output depth: none of 2 samples has a valid pixel in depth"},
		{"depth of zero", model(t, "depth"), with(func(m map[string]*images.Map) { clear(m["depth"].Pix) }), Options{}, "none of 2 samples has a valid pixel"},
		{"diverged classes", diverged(t, "semseg"), random(2, 16, 16), Options{}, "output semseg: predictions are not finite"},
		{"diverged depth", diverged(t, "depth"), random(2, 16, 16), Options{}, "output depth: predictions are not finite"},
		{"diverged values", diverged(t, "normals"), random(2, 16, 16), Options{}, "output normals: predictions are not finite"},
		{"another kind", model(t, "depth"), with(func(m map[string]*images.Map) { m["depth"] = m["rgb"] }), Options{}, "x/0: depth is [3,16,16]…1 channels"},
		{"a class in place of a map", model(t, "semseg"), with(func(m map[string]*images.Map) { m["semseg"] = images.Label(1) }), Options{}, "x/0: semseg is one class of the whole image"},
		{"valid pixels of another size", model(t, "depth"), with(func(m map[string]*images.Map) { m["depth"].Valid = make([]bool, 9) }), Options{}, "x/0: depth has 16×16 pixels…of 9"},
		{"more valid pixels than pixels", model(t, "depth"), with(func(m map[string]*images.Map) { m["depth"].Valid = make([]bool, 999) }), Options{}, "x/0: depth has 16×16 pixels…of 999"},
		{"part of a patch", model(t, "semseg"), random(2, 16, 16), Options{Size: 20}, "size: got 20…multiple of 8…16 or 24"},
		{"odd patches", model(t, "dpt"), random(2, 32, 32), Options{Size: 48}, "size: got 48…multiple of 32…even…dpt…32 or 64"},
		{"negative size", model(t, "semseg"), random(2, 16, 16), Options{Size: -8}, "size: got -8"},
		{"huge size", model(t, "semseg"), random(2, 16, 16), Options{Size: 1 << 20}, "size: got 1048576"},
		{"a window larger than the image", model(t, "semseg"), random(2, 16, 16), Options{Slide: true, Size: 8}, "size: got 8…at least 16"},
		{"windows of relative depth", model(t, "semseg", "relative"), random(2, 16, 16), Options{Slide: true}, "slide: output relative has no unit…leave slide out"},
		{"windows of classes", model(t, "class"), random(2, 16, 16), Options{Slide: true}, "slide…whole images"},
		{"a long image", model(t, "semseg"), random(1, 4, 40), Options{}, "x/0 has 40×4 pixels…more than 8 times"},
		{"an unreadable sample", model(t, "semseg"), broken{random(3, 16, 16)}, Options{}, "broken"},
		{"only unreadable samples", model(t, "semseg"), broken{random(1, 16, 16)}, Options{SkipBad: true}, "none of 1 samples…broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Evaluate(context.Background(), c.model, c.ds, c.o, nil); err == nil || !testkit.Mentions(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("unreadable samples left out", func(t *testing.T) {
		r, err := Evaluate(context.Background(), model(t, "semseg"), broken{random(5, 16, 16)}, Options{SkipBad: true}, nil)
		if err != nil || r.Samples != 2 || r.Skipped != 3 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("interrupted while reading", func(t *testing.T) {
		if r, err := Evaluate(context.Background(), model(t, "semseg"), interrupted{random(5, 16, 16)}, Options{SkipBad: true}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := Evaluate(ctx, model(t, "semseg"), random(2, 16, 16), Options{}, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestParts wants four processes, two of which have no samples, to measure what one does.
func TestParts(t *testing.T) {
	alone, err := Measure(t.Context(), model(t, "semseg"), random(2, 16, 16), Options{}, 0, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.Reduce(func([]float64) error { return nil }); err == nil {
		t.Error("processes that divide the samples in different ways are not refused")
	}
	for _, names := range [][]string{{"semseg", "depth", "relative", "normals"}, {"class"}} {
		t.Run(names[0], func(t *testing.T) {
			m, ds := model(t, names...), broken{random(9, 24, 16)}
			o := Options{SkipBad: true}
			want, err := Evaluate(t.Context(), m, ds, o, nil)
			if err != nil {
				t.Fatal(err)
			}
			var others [][]float64
			var whole *Sums
			for part := range 4 { // the first has one sample, the second the others
				if whole, err = Measure(t.Context(), m, ds, o, part, 4, nil); err != nil {
					t.Fatal(err)
				}
				call := 0
				if err := whole.Reduce(func(x []float64) error {
					if call++; call > len(others) {
						others = append(others, make([]float64, len(x)))
					}
					for i, v := range others[call-1] {
						x[i] += v
					}
					copy(others[call-1], x)
					return nil
				}); part == 3 && err != nil || call != len(others) { // before, the sums are not of all
					t.Fatal(call, err)
				}
			}
			got, err := whole.Result()
			if err != nil {
				t.Fatal(err)
			}
			if got.Samples != want.Samples || got.Skipped != want.Skipped || math.Abs(got.Loss-want.Loss) > 1e-6 {
				t.Errorf("%d samples, %d skipped, loss %g, want %d, %d and %g", got.Samples, got.Skipped, got.Loss, want.Samples, want.Skipped, want.Loss)
			}
			for i, w := range want.Metrics() {
				if g := got.Metrics()[i]; g.Name != w.Name || math.Abs(g.Value-w.Value) > 1e-9*max(1, math.Abs(w.Value)) {
					t.Errorf("%+v, want %+v", g, w)
				}
			}
			for i := range want.Outputs {
				if g, w := &got.Outputs[i], &want.Outputs[i]; g.Pixels != w.Pixels || !reflect.DeepEqual(g.Confusion, w.Confusion) {
					t.Errorf("%s: %d pixels and %+v, want %d and %+v", g.Name, g.Pixels, g.Confusion, w.Pixels, w.Confusion)
				}
			}
		})
	}
}

// TestDPT has images whose shape rounds to an odd number of patches.
func TestDPT(t *testing.T) {
	if _, err := Evaluate(context.Background(), model(t, "dpt"), random(1, 32, 48), Options{}, nil); err != nil {
		t.Error(err)
	}
}
