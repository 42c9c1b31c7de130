package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// slowScore computes the loss and the figure of an output over the pixels of whole images, in
// float64 and one value at a time. predict returns the prediction.
func slowScore(c *multimae.Config, o *multimae.Output, b *multimae.Batch, masks *multimae.Masks, predict func(s, ch, y, x int) float64) (loss, value float64) {
	h, w := b.H/o.Stride, b.W/o.Stride
	p := c.PatchSize / o.Stride
	sum, samples := 0.0, 0.0
	figure, pixels := 0.0, 0.0
	for s := range b.Size {
		mine, n := 0.0, 0.0
		at := func(ch, y, x int) float64 { return float64(b.Images[o.Task][((s*o.Channels+ch)*h+y)*w+x]) }
		for y := range h {
			for x := range w {
				if !o.LossOnUnmasked && !masks.Task(s, o.Task)[y/p*(w/p)+x/p] {
					continue
				}
				n++
				if o.Loss == multimae.LossCrossEntropy {
					id := int(b.Classes[o.Task][(s*h+y)*w+x])
					total, best := 0.0, 0
					for k := range o.Channels {
						total += math.Exp(predict(s, k, y, x))
						if predict(s, k, y, x) > predict(s, best, y, x) {
							best = k
						}
					}
					mine += math.Log(total) - predict(s, id, y, x)
					if best == id {
						figure++
					}
					pixels++
					continue
				}
				for ch := range o.Channels {
					want := at(ch, y, x)
					switch o.Loss {
					case multimae.LossNormMSE:
						mean, variance := 0.0, 0.0
						for _, square := range []bool{false, true} {
							for k := range o.Channels {
								for i := range p {
									for j := range p {
										v := at(k, y/p*p+i, x/p*p+j)
										if square {
											variance += (v - mean) * (v - mean) / float64(o.Channels*p*p-1)
										} else {
											mean += v / float64(o.Channels*p*p)
										}
									}
								}
							}
						}
						want = (want - mean) / math.Sqrt(variance+1e-6)
						fallthrough
					case multimae.LossMSE:
						d := predict(s, ch, y, x) - want
						mine += d * d / float64(o.Channels)
						e := d * float64(images.ImageNetStd[ch])
						figure += e * e
					case multimae.LossL1:
						mine += math.Abs(predict(s, ch, y, x) - want)
						figure += math.Abs(predict(s, ch, y, x) - want)
					}
					pixels++
				}
			}
		}
		if n > 0 {
			sum += mine / n
			samples++
		}
	}
	loss = sum / samples
	switch o.Loss {
	case multimae.LossMSE:
		return loss, -10 * math.Log10(figure/pixels)
	case multimae.LossL1:
		return loss, figure / pixels
	case multimae.LossCrossEntropy:
		return loss, 100 * figure / pixels
	}
	return loss, loss
}

// TestEvaluate compares every number with a slow computation, for losses of masked patches and of all.
func TestEvaluate(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprintf("loss_on_unmasked %v", all), func(t *testing.T) {
			c := tinyConfig()
			for i := range c.Outputs {
				c.Outputs[i].LossOnUnmasked = all
			}
			compareScores(t, c)
		})
	}
}

func compareScores(t *testing.T, c *multimae.Config) {
	c.Train.NumEncodedTokens = 5
	tr := newTrainer(t, c, nil)
	b := someBatch(t, c, 4)
	for range 12 {
		step(t, tr, b)
	}
	trainSet, val := scenes.New(0, 30, 16, 2), scenes.New(70, 48, 16, 3)
	o := EvaluateOptions{Samples: 12, Seed: 5}
	trivial, err := NewTrivial(context.Background(), c, trainSet, EvaluateOptions{Samples: 7}, 2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Evaluate(context.Background(), model(tr), val, trivial, o, nil)
	if err != nil {
		t.Fatal(err)
	}

	// The averages.
	var some []*data.Sample
	all := samples(t, trainSet)
	for k := range 7 {
		some = append(some, all[k*30/7])
	}
	known, err := data.Collate(some, c.Inputs, 16)
	if err != nil {
		t.Fatal(err)
	}
	means, counts := map[string][]float64{"rgb": make([]float64, 3), "depth": make([]float64, 1)}, make([]float64, 16)
	for i := range 7 * 256 {
		s, at := i/256, i%256
		means["depth"][0] += float64(known.Images["depth"][i]) / (7 * 256)
		for k := range 3 {
			means["rgb"][k] += float64(known.Images["rgb"][(s*3+k)*256+at]) / (7 * 256)
		}
	}
	for _, id := range known.Classes["semseg"] {
		counts[id]++
	}

	// The samples, masks and predictions.
	var held []*data.Sample
	for k, s := range samples(t, val) {
		if k%4 == 0 {
			held = append(held, s)
		}
	}
	vb, err := data.Collate(held, c.Inputs, 16)
	if err != nil {
		t.Fatal(err)
	}
	r := nn.NewRNG(5, streamVal, 0)
	masks, err := multimae.DrawMasks(&r, 12, []string{"rgb", "depth", "semseg"}, 4, multimae.MaskOptions{Visible: 5, Alphas: []float64{1}})
	if err != nil {
		t.Fatal(err)
	}
	preds, err := model(tr).Forward(tensor.NewTape(nil), vb, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	if got.Samples != 12 || len(got.Scores) != 4 {
		t.Fatalf("%+v", got)
	}
	for i, s := range got.Scores {
		out := &c.Outputs[i]
		h, w := 16/out.Stride, 16/out.Stride
		img := model(tr).Unpatch(i, preds[i], 16, 16)
		loss, value := slowScore(c, out, vb, masks, func(s, ch, y, x int) float64 { return float64(img[((s*out.Channels+ch)*h+y)*w+x]) })
		base, baseValue := slowScore(c, out, vb, masks, func(s, ch, y, x int) float64 {
			switch out.Loss {
			case multimae.LossNormMSE:
				return 0
			case multimae.LossCrossEntropy:
				return math.Log((counts[ch] + 1) / (7*64 + 16))
			}
			return means[out.Task][ch]
		})
		for _, v := range []struct {
			what      string
			got, want float64
		}{{"loss", s.Loss, loss}, {s.Figure, s.Value, value}, {"trivial loss", s.TrivialLoss, base}, {"trivial " + s.Figure, s.Trivial, baseValue}} {
			if !(math.Abs(v.got-v.want) <= 2e-5*math.Abs(v.want)) {
				t.Errorf("%s: %s is %.8g, want %.8g", s.Output, v.what, v.got, v.want)
			}
		}
		if want := []string{FigurePSNR, FigureL1, FigureAccuracy, FigureMSE}[i]; s.Output != out.Name || s.Figure != want {
			t.Errorf("output %d: %s with %s, want %s with %s", i, s.Output, s.Figure, out.Name, want)
		}
		sum += loss
	}
	if !(math.Abs(got.Loss-sum) <= 2e-5*sum) {
		t.Errorf("sum of losses %g, want %g", got.Loss, sum)
	}

	// Several workers compute the same numbers; other masks give other numbers.
	pool := tensor.NewPool(2)
	defer pool.Close()
	again, err := Evaluate(context.Background(), model(tr), val, trivial, o, pool)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(got) {
		t.Errorf("again: %+v, %v", again, err)
	}
	o.Seed++
	if again, err = Evaluate(context.Background(), model(tr), val, trivial, o, pool); err != nil || again.Loss == got.Loss {
		t.Errorf("another seed: %+v, %v", again, err)
	}
}

// only is a dataset with some of the modalities.
type only struct {
	data.Dataset
	modalities []string
}

func (o *only) Sample(i int) (*data.Sample, error) {
	s, err := o.Dataset.Sample(i)
	for name := range s.Maps {
		if !slices.Contains(o.modalities, name) {
			delete(s.Maps, name)
		}
	}
	return s, err
}

// TestEvaluateParts evaluates outputs without a score, samples that cannot be read, and several
// batches.
func TestEvaluateParts(t *testing.T) {
	c := tinyConfig()
	tr := newTrainer(t, c, nil)
	ctx := context.Background()
	val := scenes.New(0, 40, 16, 4)
	trivial, err := NewTrivial(ctx, c, val, EvaluateOptions{Samples: 40}, 1)
	if err != nil {
		t.Fatal(err)
	}
	evaluate := func(ds data.Dataset, o EvaluateOptions) (string, *Evaluation, error) {
		e, err := Evaluate(ctx, model(tr), ds, trivial, o, nil)
		if err != nil {
			return "", nil, err
		}
		names := ""
		for _, s := range e.Scores {
			names += s.Output + " "
			if !finite(s.Loss) || !finite(s.Value) || !finite(s.TrivialLoss) || !finite(s.Trivial) {
				t.Errorf("%+v", s)
			}
		}
		return names, e, nil
	}
	if names, e, err := evaluate(val, EvaluateOptions{Samples: 1000}); err != nil || e.Samples != 40 || names != "rgb depth semseg norm_rgb " {
		t.Errorf("more than there are: %s, %+v, %v", names, e, err)
	}
	if names, e, err := evaluate(val, EvaluateOptions{Samples: 1}); err != nil || e.Samples != 1 {
		t.Errorf("one: %s, %+v, %v", names, e, err)
	}
	if names, _, err := evaluate(&only{val, []string{"depth", "semseg"}}, EvaluateOptions{Samples: 20}); err != nil || names != "depth semseg " {
		t.Errorf("without colour: %s, %v", names, err)
	}
	bad := &broken{Dataset: val, err: os.ErrInvalid, bad: func(i int) bool { return i%2 == 0 || i < 17 }}
	if _, _, err := evaluate(bad, EvaluateOptions{Samples: 40}); !errors.Is(err, os.ErrInvalid) || !strings.HasPrefix(err.Error(), "sample 0: ") {
		t.Errorf("a sample that cannot be read: %v", err)
	}
	if _, e, err := evaluate(bad, EvaluateOptions{Samples: 40, SkipBad: true}); err != nil || e.Samples != 12 {
		t.Errorf("left out: %+v, %v", e, err)
	}
	bad.bad = func(int) bool { return true }
	if _, _, err := evaluate(bad, EvaluateOptions{Samples: 40, SkipBad: true}); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("none left: %v", err)
	}
	if _, _, err := evaluate(scenes.New(0, 0, 16, 1), EvaluateOptions{Samples: 40}); err == nil {
		t.Error("no samples: no error")
	}

	c.Train.NumEncodedTokens = 12
	if names, e, err := evaluate(val, EvaluateOptions{Samples: 20}); err != nil || names != "" || e.Loss != 0 {
		t.Errorf("nothing hidden: %s, %+v, %v", names, e, err)
	}
	for i := range c.Outputs {
		c.Outputs[i].LossOnUnmasked = true
	}
	if names, e, err := evaluate(val, EvaluateOptions{Samples: 20}); err != nil || names != "rgb depth semseg norm_rgb " || !finite(e.Criterion) {
		t.Errorf("nothing hidden, losses of all patches: %s, %+v, %v", names, e, err)
	}
	c.Train.NumEncodedTokens = 4
	fill(parameter(t, model(tr).Params, "output_adapters.depth.out_proj.bias"), float32(math.NaN()))
	if _, _, err := evaluate(val, EvaluateOptions{Samples: 20}); err == nil || !testkit.Mentions(err.Error(), "depth…NaN") {
		t.Errorf("NaN: %v", err)
	}
	var cancel context.CancelFunc
	ctx, cancel = context.WithCancel(ctx)
	stopping := &hooked{Dataset: val, hook: func(i int) {
		if i == 20 {
			cancel()
		}
	}}
	if _, _, err := evaluate(stopping, EvaluateOptions{Samples: 40}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := NewTrivial(ctx, c, val, EvaluateOptions{Samples: 40}, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		n, length int
		want      string
	}{{3, 0, "[]"}, {0, 3, "[]"}, {5, 3, "[0 1 2]"}, {3, 3, "[0 1 2]"}, {2, 5, "[0 2]"}, {4, 1 << 30, "[0 268435456 536870912 805306368]"}} {
		t.Run(fmt.Sprintf("%d of %d", c.n, c.length), func(t *testing.T) {
			if got := fmt.Sprint(data.Spread(c.n, c.length)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestEvaluateValid fills the pixels of depth that were not measured with anything: neither figures
// nor the trivial predictor change.
func TestEvaluateValid(t *testing.T) {
	c := tinyConfig()
	var want *Evaluation
	for _, garbage := range []float32{0, 1000, float32(math.NaN())} {
		ds := data.Subset(holed{scenes.New(0, 20, 20, 1), garbage}, []int{0, 1, 2, 3, 4, 5})
		m, err := multimae.NewModel(c)
		if err != nil {
			t.Fatal(err)
		}
		m.Init(1)
		o := EvaluateOptions{Samples: 6, Seed: 3}
		trivial, err := NewTrivial(context.Background(), c, ds, o, 1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Evaluate(context.Background(), m, ds, trivial, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want != nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %+v, want %+v", garbage, got, want)
		}
		want = got
	}
}

// TestShrunk wants batches of small samples to have the bits of those of the whole.
func TestShrunk(t *testing.T) {
	c := tinyConfig()
	rng := nn.NewRNG(1, 2)
	var whole data.Samples
	for k, size := range [][2]int{{50, 31}, {16, 16}, {9, 40}, {37, 64}} {
		h, w := size[0], size[1]
		s := &data.Sample{Name: fmt.Sprint(k), Maps: map[string]*data.Map{}}
		for i := range c.Inputs {
			in := &c.Inputs[i]
			m := &data.Map{H: h, W: w}
			if in.Kind == multimae.KindClasses {
				for range h * w {
					m.IDs = append(m.IDs, []uint8{0, 1, 2, multimae.IDPadding, multimae.IDIgnored}[rng.Intn(5)])
				}
			} else {
				m.C = in.Channels
				for range m.C * h * w {
					m.Pix = append(m.Pix, rng.Float32(0, 1))
				}
				if k > 1 {
					m.Hide(func(int) bool { return rng.Intn(3) == 0 })
				}
			}
			s.Maps[in.Name] = m
		}
		if k == 0 {
			s.Maps["semseg"] = images.Label(1)
		}
		whole = append(whole, s)
	}
	small := shrink(whole, c)
	var samples []*data.Sample
	for i := range whole {
		s, err := small.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		if w, h := images.Size(s.Maps); s.Name != whole[i].Name || w > c.ImageSize || h > c.ImageSize {
			t.Errorf("sample %s has %d×%d pixels", s.Name, w, h)
		}
		samples = append(samples, s)
	}
	got, err := data.Collate(samples, c.Inputs, c.ImageSize)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := data.Collate(whole, c.Inputs, c.ImageSize); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("another batch, %v", err)
	}
	delete(whole[1].Maps, "depth")
	whole[2].Maps["rgb"].C = 1
	if s, err := small.Sample(1); err != nil || s.Maps["depth"] != nil || s.Maps["rgb"] == nil {
		t.Errorf("without depth: %v, %v", s, err)
	}
	if s, err := small.Sample(2); err != nil || s.Check(&c.Inputs[0]) == nil {
		t.Errorf("a sample that does not fit: %v, %v", s, err)
	}
}

// holed is a dataset in which the left half of depth was not measured.
type holed struct {
	data.Dataset
	garbage float32
}

func (h holed) Sample(i int) (*data.Sample, error) {
	s, err := h.Dataset.Sample(i)
	if err != nil {
		return nil, err
	}
	d := *s.Maps["depth"]
	d.Pix = slices.Clone(d.Pix)
	d.Hide(func(i int) bool { return i%d.W < d.W/2 })
	for i, v := range d.Valid {
		if !v {
			d.Pix[i] = h.garbage
		}
	}
	out := &data.Sample{Name: s.Name, Maps: maps.Clone(s.Maps)}
	out.Maps["depth"] = &d
	return out, nil
}
