package multimae

import (
	"cmp"
	"math"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// inputAdapter turns the visible patches of one modality into tokens by a linear projection of
// their pixels or, for a class map, of the embeddings of their pixels' classes. There is no
// embedding of the modality itself: the bias of the projection takes that part.
type inputAdapter struct {
	in       *Input
	side     int            // of a patch, on the modality's own grid
	channels int            // C, or the width E of the class embedding
	pos      *positionTable // of width D
	classes  *tensor.Tensor // [classes, E], class maps only
	weight   *tensor.Tensor // [D, channels, side, side]
	bias     *tensor.Tensor // [D]
}

func newInputAdapter(m *Backbone, in *Input) *inputAdapter {
	prefix, ps, d := "input_adapters."+in.Name, m.Params, m.config.Encoder.Dim
	a := &inputAdapter{in: in, side: m.config.PatchSize / in.Stride, channels: in.Channels}
	if in.Kind == KindClasses {
		a.pos = m.newPositions(prefix, d, vit.Bilinear)
		a.channels = in.ClassEmbDim
		a.classes = ps.Add(prefix+".class_emb.weight", nn.TruncatedNormal(cmp.Or(in.ClassEmbStd, 0.02)), in.NumClasses, a.channels)
	} else {
		a.pos = m.newPositions(prefix, d, vit.Bicubic)
	}
	n := a.channels * a.side * a.side
	a.weight = ps.AddWeight(prefix+".proj.weight", nn.Xavier(d, n), d, a.channels, a.side, a.side)
	a.bias = ps.Add(prefix+".proj.bias", nn.Uniform(1/math.Sqrt(float64(n))), d)
	return a
}

// project returns the projections [R, D] of the R visible patches of the modality, and for each row
// of the encoder's tokens which of them it shows, or none. patches says which patch of the modality
// a row shows, or none. Masked patches cost nothing.
func (a *inputAdapter) project(t *tensor.Tape, b *Batch, l *layout, patches []int32) (x *tensor.Tensor, rows []int32) {
	s := t.Scope()
	rows = t.Ints(len(patches))
	shown := t.Ints(len(patches))[:0] // rows that show the modality
	for r, p := range patches {
		rows[r] = when(p != none, int32(len(shown)))
		if p != none {
			shown = append(shown, int32(r))
		}
	}
	h, w := b.H/a.in.Stride, b.W/a.in.Stride
	pixels := a.side * a.side
	if a.classes == nil {
		images := b.Images[a.in.Name]
		image, patch := a.channels*h*w, a.channels*pixels
		x = t.New(len(shown), patch)
		t.Parallel(len(shown), func(_, i int) {
			r := int(shown[i])
			vit.Patch(x.Data[i*patch:][:patch], images[r/l.length*image:][:image], a.channels, h, w, a.side, int(patches[r]))
		})
	} else {
		maps := b.Classes[a.in.Name]
		ids := t.Ints(len(shown) * pixels)
		for i, r := range shown {
			vit.Patch(ids[i*pixels:][:pixels], maps[int(r)/l.length*h*w:][:h*w], 1, h, w, a.side, int(patches[r]))
		}
		x = embedClasses(t, a.classes, ids, pixels)
	}
	return s.Keep(tensor.Linear(t, x, a.weight, a.bias)), rows
}

// embedClasses returns [R, E·P] for ids [R, P]: the embeddings of the P pixels of each patch, with
// the channels outermost as in the weight of a convolution. Ids beyond the table, of pixels without
// a class, give zeros.
func embedClasses(t *tensor.Tape, table *tensor.Tensor, ids []int32, pixels int) *tensor.Tensor {
	classes, e := table.Shape[0], table.Shape[1]
	x := t.New(len(ids)/pixels, e*pixels)
	t.Parallel(len(ids)/pixels, func(_, r int) {
		patch := x.Data[r*e*pixels:][:e*pixels]
		clear(patch)
		for p, id := range ids[r*pixels:][:pixels] {
			if int(id) < classes {
				for c, v := range table.Data[int(id)*e:][:e] {
					patch[c*pixels+p] = v
				}
			}
		}
	})
	if t.Record("class embedding", x, table) {
		t.Back(func() {
			g := t.Grad(table)
			// Each worker takes channels of the table, so that no two add to the same number.
			t.Parallel(e, func(_, c int) {
				sums := make([]float64, classes) // float32 would lose digits: a class has thousands of pixels
				for i, id := range ids {
					if int(id) < classes {
						sums[id] += float64(x.Grad[(i/pixels*e+c)*pixels+i%pixels])
					}
				}
				for k, s := range sums {
					g[k*e+c] += float32(s)
				}
			})
		})
	}
	return x
}
