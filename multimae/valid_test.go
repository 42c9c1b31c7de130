package multimae

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// holes returns Valid of a batch's depth: each pixel is invalid with probability p, and all pixels
// of the first patches of each sample are.
func holes(c *Config, b *Batch, p float64, patches int) []bool {
	in := c.Input("depth")
	h, w, side := b.H/in.Stride, b.W/in.Stride, c.PatchSize/in.Stride
	valid := make([]bool, b.Size*h*w)
	r := nn.NewRNG(5)
	for i := range valid {
		y, x := i/w%h, i%w
		valid[i] = !r.Chance(p) && y/side*(w/side)+x/side >= patches
	}
	return valid
}

// TestValidLosses compares losses over batches with holes with means over the pixels that count.
func TestValidLosses(t *testing.T) {
	for _, name := range []string{LossMSE, LossL1, LossNormMSE, LossL1 + " of one pixel"} {
		t.Run(name, func(t *testing.T) {
			loss, onePixel := strings.CutSuffix(name, " of one pixel")
			c, height := smallConfig(), 16
			if onePixel {
				height = 96 // enough patches that the first samples have a valid one
				for i := range c.Inputs {
					if in := &c.Inputs[i]; in.Name == "depth" {
						in.Stride = c.PatchSize
					}
				}
				for i := range c.Outputs {
					if o := &c.Outputs[i]; o.Task == "depth" {
						o.Stride = c.PatchSize
					}
				}
			}
			at := slices.IndexFunc(c.Outputs, func(o Output) bool { return o.Task == "depth" })
			o := &c.Outputs[at]
			o.Loss = loss
			m := newModel(t, c)
			b := newBatch(c, 3, height, 24, 1, "rgb", "depth")
			side := c.PatchSize / o.Stride
			h, w := b.H/o.Stride, b.W/o.Stride
			valid := holes(c, b, 0.4, 1)
			clear(valid[2*h*w:]) // the last sample has none
			b.Valid = map[string][]bool{"depth": valid}
			masks := newMasks(t, c, b, 3, 9, "rgb", "depth")
			preds, losses, _ := stepOnAll(t, m, tensor.NewTape(nil), b, masks)

			image := m.Unpatch(at, preds[at], b.H, b.W)
			sum := 0.0
			for s := range 2 {
				total, n := 0.0, 0
				for patch, hidden := range masks.Task(s, "depth") {
					if !hidden {
						continue
					}
					var p, y []float64
					for i := range side * side {
						k := s*h*w + (patch/(w/side)*side+i/side)*w + patch%(w/side)*side + i%side
						if valid[k] {
							p, y = append(p, float64(image[k])), append(y, float64(b.Images["depth"][k]))
						}
					}
					if loss == LossNormMSE && len(y) > 0 {
						mean, variance := 0.0, 0.0
						for _, v := range y {
							mean += v / float64(len(y))
						}
						for _, v := range y {
							variance += (v - mean) * (v - mean) / float64(max(1, len(y)-1))
						}
						for i := range y {
							y[i] = (y[i] - mean) / math.Sqrt(variance+1e-6)
						}
					}
					for i := range y {
						if loss == LossL1 {
							total += math.Abs(p[i] - y[i])
						} else {
							total += (p[i] - y[i]) * (p[i] - y[i])
						}
						n++
					}
				}
				sum += total / float64(n) / 2
			}
			if got := float64(losses[at].Data[0]); !(math.Abs(got-sum) <= 1e-5*sum) {
				t.Errorf("loss %g, want %g", got, sum)
			}
			if got := m.LossSamples(b, masks)[at]; got != 2 {
				t.Errorf("the loss is of %d samples, want 2", got)
			}
			// What is stored where nothing was measured changes nothing.
			for i, v := range valid {
				if !v {
					b.Images["depth"][i] += 100
				}
			}
			again, err := m.Losses(tensor.NewTape(nil), preds, b, masks)
			if err != nil {
				t.Fatal(err)
			}
			testkit.SameBits(t, "loss", again[at].Data, losses[at].Data)
		})
	}
}

// TestValidEverywhere compares a batch that says that all its pixels are valid with one that does
// not say so: masks, losses and gradients have the same bits.
func TestValidEverywhere(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	var want []float32
	for _, all := range []bool{false, true} {
		b := newBatch(c, 3, 16, 24, 1, c.Inputs.Names()...)
		if all {
			b.Valid = map[string][]bool{"depth": slices.Repeat([]bool{true}, len(b.Images["depth"]))}
		}
		masks, r := new(Masks), nn.NewRNG(3)
		if err := m.DrawMasks(masks, &r, b, MaskOptions{Visible: 4}); err != nil {
			t.Fatal(err)
		}
		losses, total := step(t, m, tensor.NewTape(nil), b, masks)
		got := slices.Clone(total.Data)
		for _, l := range losses {
			got = append(got, l.Data...)
		}
		for _, p := range m.Params.All() {
			got = append(got, p.Grad...)
		}
		if all {
			testkit.SameBits(t, "losses and gradients", got, want)
		}
		want = got
	}
}

// TestValidParts adds up the losses of the parts of a batch with holes.
func TestValidParts(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	b := newBatch(c, 3, 16, 24, 1, c.Inputs.Names()...)
	b.Valid = map[string][]bool{"depth": holes(c, b, 0.5, 2)}
	clear(b.Valid["depth"][:len(b.Valid["depth"])/3])
	masks := newMasks(t, c, b, 4, 9, c.Inputs.Names()...)
	losses, _ := step(t, m, tensor.NewTape(nil), b, masks)
	sums := make([]float64, len(losses))
	samples := m.LossSamples(b, masks)
	for s := range b.Size {
		of, err := m.ForwardLosses(tensor.NewTape(nil), b.Slice(s, s+1), masks.Slice(s, s+1), nil, samples)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range of {
			sums[i] += float64(l.Data[0])
		}
	}
	for i, l := range losses {
		if want := float64(l.Data[0]); !(math.Abs(sums[i]-want) <= 1e-5*want) {
			t.Errorf("output %d: parts add up to %g, want %g", i, sums[i], want)
		}
	}
}

// TestValidMasks draws masks of batches in which some patches have no valid pixel.
func TestValidMasks(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	for _, k := range []struct {
		name             string
		inputs           []string
		blank            []int // patches of depth without a valid pixel, of each sample
		visible, encoded int
	}{
		{"some", c.Inputs.Names(), []int{2, 0, 5}, 7, 7},
		{"depth has none", c.Inputs.Names(), []int{6, 6, 6}, 12, 12},
		{"fewer than asked for", []string{"depth"}, []int{0, 4, 1}, 5, 2},
		{"a sample has none", []string{"depth"}, []int{0, 6, 1}, 5, 5},
	} {
		t.Run(k.name, func(t *testing.T) {
			b := newBatch(c, 3, 16, 24, 1, k.inputs...)
			var valid []bool
			for s, n := range k.blank {
				all := holes(c, b, 0, n)
				valid = append(valid, all[s*len(all)/3:][:len(all)/3]...)
			}
			b.Valid = map[string][]bool{"depth": valid}
			for seed := range uint64(50) {
				masks, r := new(Masks), nn.NewRNG(seed)
				if err := m.DrawMasks(masks, &r, b, MaskOptions{Visible: k.visible}); err != nil {
					t.Fatal(err)
				}
				if masks.Visible != k.encoded {
					t.Fatalf("%d visible tokens, want %d", masks.Visible, k.encoded)
				}
				for s, n := range k.blank {
					for patch, hidden := range masks.Task(s, "depth")[:n] {
						if !hidden && n < 6*len(k.inputs) {
							t.Fatalf("seed %d: patch %d of sample %d is visible", seed, patch, s)
						}
					}
				}
			}
		})
	}
}

// TestValidCheck refuses what does not fit the images of a batch.
func TestValidCheck(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	for name, valid := range map[string]map[string][]bool{
		"length":     {"depth": make([]bool, 5)},
		"absent":     {"rgb": make([]bool, 3*16*24)},
		"classes":    {"semseg": make([]bool, 3*4*6)},
		"not known":  {"infrared": make([]bool, 3*16*24)},
		"empty name": {"": nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBatch(c, 3, 16, 24, 1, "depth", "semseg")
			b.Valid = valid
			if err := m.Check(b); err == nil {
				t.Error("no error")
			}
		})
	}
	for _, in := range []Input{
		{Name: "x", Kind: KindImage, Channels: 3, Stride: 1, Invalid: []float64{0}},
		{Name: "x", Kind: KindImage, Channels: 1, Stride: 1, Invalid: []float64{math.Inf(1)}},
	} {
		t.Run(fmt.Sprint(in.Kind, in.Channels, in.Invalid), func(t *testing.T) {
			if err := c.checkInput(&in); err == nil {
				t.Error("no error")
			}
		})
	}
}
