package multimae

import (
	"math"
	"sync"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// inputAdapter turns the visible patches of one modality into tokens by a
// linear projection: of the pixels, or for a class map of the pixels'
// embeddings. A modality's bias is all that tells its tokens from others.
type inputAdapter struct {
	in       *Input
	patch    int            // side of a patch on the modality's own grid
	channels int            // C, or the width of the class embedding
	pos      *positionTable // of width D
	classes  *tensor.Tensor // [classes, E], class maps only
	weight   *tensor.Tensor // [D, channels, p, p]
	bias     *tensor.Tensor // [D]
}

func newInputAdapter(ps *nn.Params, c *BackboneConfig, in *Input) *inputAdapter {
	prefix := "input_adapters." + in.Name
	d, p := c.Encoder.Dim, c.PatchSize/in.Stride
	a := &inputAdapter{in: in, patch: p, channels: in.Channels}
	resampling := vit.Bicubic
	if in.Kind == KindClasses {
		resampling = vit.Bilinear
	}
	a.pos = newPositionTable(ps, prefix, c, d, resampling)
	if in.Kind == KindClasses {
		a.channels = in.ClassEmbDim
		a.classes = ps.Add(prefix+".class_emb.weight", nn.TruncatedNormal(0.02), in.NumClasses, in.ClassEmbDim)
	}
	f := a.channels * p * p
	a.weight = ps.AddWeight(prefix+".proj.weight", nn.Xavier(d, f), d, a.channels, p, p)
	a.bias = ps.Add(prefix+".proj.bias", nn.Uniform(1/math.Sqrt(float64(f))), d)
	return a
}

// project returns the projections [R, D] of the R visible patches of modality
// number k of the masks. Masked patches cost nothing.
func (a *inputAdapter) project(t *tensor.Tape, b *Batch, l *layout, k int) *tensor.Tensor {
	at := t.Ints(l.rows)[:0] // encoder rows
	for r, of := range l.of[k] {
		if of == 0 {
			at = append(at, int32(r))
		}
	}
	h, w := b.H/a.in.Stride, b.W/a.in.Stride
	pp := a.patch * a.patch
	perSample := l.rows / b.Size
	f := a.channels * pp
	var x *tensor.Tensor
	if a.classes == nil {
		x = t.New(len(at), f)
		images := b.Images[a.in.Name]
		t.Parallel(len(at), func(_, i int) {
			s := int(at[i]) / perSample
			vit.Patch(x.Data[i*f:(i+1)*f], images[s*a.channels*h*w:][:a.channels*h*w], a.channels, h, w, a.patch, int(l.patch[at[i]]))
		})
	} else {
		ids := t.Ints(len(at) * pp)
		maps := b.Classes[a.in.Name]
		for i, r := range at {
			s := int(r) / perSample
			vit.Patch(ids[i*pp:(i+1)*pp], maps[s*h*w:][:h*w], 1, h, w, a.patch, int(l.patch[r]))
		}
		x = embedClasses(t, a.classes, ids, pp)
	}
	y := tensor.Linear(t, x, a.weight, a.bias)
	t.Done(x)
	return y
}

// embedClasses returns [R, E·P] for ids [R, P]: the embedding of each of the P
// pixels of a patch, with the channels outermost as in a convolution's weight.
// Ids beyond the table, of ignored pixels, are all zeros.
func embedClasses(t *tensor.Tape, table *tensor.Tensor, ids []int32, p int) *tensor.Tensor {
	n, e := table.Shape[0], table.Shape[1]
	x := t.New(len(ids)/p, e*p)
	t.Parallel(len(ids)/p, func(_, r int) {
		out := x.Data[r*e*p : (r+1)*e*p]
		for j, id := range ids[r*p : (r+1)*p] {
			if int(id) >= n {
				for c := range e {
					out[c*p+j] = 0
				}
				continue
			}
			for c, v := range table.Data[int(id)*e:][:e] {
				out[c*p+j] = v
			}
		}
	})
	if t.Record("class embedding", x, table) {
		t.Back(func() {
			g := t.Grad(table)
			// By channels, so that no two workers meet in a row of the table.
			t.Parallel(e, func(_, c int) {
				sums := make([]float64, n) // a class may be met thousands of times
				for i, id := range ids {
					if int(id) < n {
						sums[id] += float64(x.Grad[i/p*e*p+c*p+i%p])
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

// positionTable is a stored position table with its copies in token order, one
// for each grid that was asked for.
type positionTable struct {
	table  *tensor.Tensor // [1, dim, n, n]
	how    vit.Resampling
	mu     sync.Mutex
	cached map[[2]int]*tensor.Tensor
}

func newPositionTable(ps *nn.Params, prefix string, c *BackboneConfig, dim int, how vit.Resampling) *positionTable {
	n := c.ImageSize / c.PatchSize
	init := func(_ *nn.RNG, x []float32) { vit.SinCos(x, dim, n, n) }
	return &positionTable{table: ps.AddFixed(prefix+".pos_emb", init, 1, dim, n, n), how: how}
}

// rows returns the table for an nh×nw grid in token order, [nh·nw, dim].
func (p *positionTable) rows(nh, nw int) *tensor.Tensor {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := [2]int{nh, nw}
	if p.cached[key] == nil {
		const most = 16 // sizes kept: a server may be asked for any
		if p.cached == nil || len(p.cached) >= most {
			p.cached = map[[2]int]*tensor.Tensor{}
		}
		dim, n := p.table.Shape[1], p.table.Shape[2]
		p.cached[key] = tensor.From(vit.PositionRows(p.table.Data, dim, n, n, nh, nw, p.how), nh*nw, dim)
	}
	return p.cached[key]
}

func (p *positionTable) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cached = nil
}
