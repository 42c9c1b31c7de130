package evaluate

import (
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/tensor"
)

// predict returns the predictions for a group: [B, C], or [B, H, W, C] at the size that the model
// sees.
func (g *group) predict(t *tensor.Tape, m *heads.Model, o *Options) ([]*tensor.Tensor, error) {
	if o.Slide {
		return g.slide(t, m)
	}
	return m.Forward(t, g.inputs, nil)
}

// slide is predict by windows: the mean of their predictions at each pixel.
func (g *group) slide(t *tensor.Tape, m *heads.Model) ([]*tensor.Tensor, error) {
	c, b := m.Config, g.inputs
	side, windows := c.ImageSize, float32(0)
	sums := make([]*tensor.Tensor, len(c.Outputs))
	seen := make([]float32, b.H*b.W) // how many windows have the pixel
	for i := range c.Outputs {
		if o := &c.Outputs[i]; o.Head == heads.Linear {
			sums[i] = tensor.New(b.Size, o.NumClasses)
		} else {
			sums[i] = tensor.New(b.Size, b.H, b.W, o.NumClasses)
		}
	}
	for _, y := range steps(b.H, side, c.PatchSize) {
		for _, x := range steps(b.W, side, c.PatchSize) {
			t.Reset()
			preds, err := m.Forward(t, cut(b, c, y, x, side), nil)
			if err != nil {
				return nil, err
			}
			for i, pred := range preds {
				add(t, sums[i], pred, y, x)
			}
			for r := range side {
				for k := range side {
					seen[(y+r)*b.W+x+k]++
				}
			}
			windows++
		}
	}
	for _, sum := range sums {
		if len(sum.Shape) == 2 {
			for k := range sum.Data {
				sum.Data[k] /= windows
			}
			continue
		}
		n, classes := len(seen), sum.Cols()
		t.Parallel(b.Size*n, func(_, i int) {
			for k := range classes {
				sum.Data[i*classes+k] /= seen[i%n]
			}
		})
	}
	return sums, nil
}

// steps returns where windows of side pixels begin along n pixels: every two thirds of a window, in
// whole patches, and one at the end.
func steps(n, side, patch int) (at []int) {
	step := max(patch, side*2/3/patch*patch)
	for x := 0; x+side < n; x += step {
		at = append(at, x)
	}
	return append(at, n-side)
}

// cut returns the square of side pixels at row y and column x of each image of a batch.
func cut(b *multimae.Batch, c *heads.Config, y, x, side int) *multimae.Batch {
	part := &multimae.Batch{Size: b.Size, H: side, W: side, Images: map[string][]float32{}, Classes: map[string][]int32{}}
	for i := range c.Inputs {
		in := &c.Inputs[i]
		h, w, y, x, side := b.H/in.Stride, b.W/in.Stride, y/in.Stride, x/in.Stride, side/in.Stride
		if pix, ok := b.Images[in.Name]; ok {
			part.Images[in.Name] = squares(pix, h, w, y, x, side)
		}
		if ids, ok := b.Classes[in.Name]; ok {
			part.Classes[in.Name] = squares(ids, h, w, y, x, side)
		}
	}
	return part
}

// squares returns the square at row y and column x of each plane of planes [.., h, w].
func squares[T any](planes []T, h, w, y, x, side int) []T {
	out := make([]T, 0, len(planes)/(h*w)*side*side)
	for ; len(planes) > 0; planes = planes[h*w:] {
		for r := range side {
			out = append(out, planes[(y+r)*w+x:][:side]...)
		}
	}
	return out
}

// add adds the prediction for a window at row y and column x to the sum.
func add(t *tensor.Tape, sum, pred *tensor.Tensor, y, x int) {
	if len(pred.Shape) == 2 {
		for k, v := range pred.Data {
			sum.Data[k] += v
		}
		return
	}
	h, w, row := sum.Shape[1], sum.Shape[2], pred.Shape[2]*pred.Cols()
	side, c := pred.Shape[1], pred.Cols()
	t.Parallel(pred.Shape[0]*side, func(_, i int) {
		s, r := i/side, i%side
		to := sum.Data[((s*h+y+r)*w+x)*c:][:row]
		for k, v := range pred.Data[i*row:][:row] {
			to[k] += v
		}
	})
}
