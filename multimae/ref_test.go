package multimae

import (
	"math"
	"slices"

	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// ref is the model in float64, written from the paper's description and not from the code: one
// sample at a time, whole grids of tokens instead of indices into the visible ones, convolutions
// over images instead of products with patches, and losses between images under masks of pixels.
type ref struct {
	c *Config
	p map[string][]float64 // parameters by name
}

func newRef(m *Model) *ref {
	r := &ref{m.Config, map[string][]float64{}}
	for _, p := range m.Params.All() {
		v := make([]float64, len(p.Data))
		for i, x := range p.Data {
			v[i] = float64(x)
		}
		r.p[p.Name] = v
	}
	return r
}

// seq is a sequence of tokens.
type seq [][]float64

func (r *ref) linear(x seq, name string) seq {
	w, b := r.p[name+".weight"], r.p[name+".bias"]
	y := make(seq, len(x))
	for i, row := range x {
		n := len(w) / len(row)
		y[i] = make([]float64, n)
		copy(y[i], b)
		for j := range n {
			wj := w[j*len(row):][:len(row)]
			sum := 0.0
			for k, v := range row {
				sum += v * wj[k]
			}
			y[i][j] += sum
		}
	}
	return y
}

func (r *ref) norm(x seq, name string) seq {
	w, b := r.p[name+".weight"], r.p[name+".bias"]
	y := make(seq, len(x))
	for i, row := range x {
		n, mean, variance := float64(len(row)), 0.0, 0.0
		for _, v := range row {
			mean += v / n
		}
		for _, v := range row {
			variance += (v - mean) * (v - mean) / n
		}
		y[i] = make([]float64, len(row))
		for j, v := range row {
			y[i][j] = (v-mean)/math.Sqrt(variance+float64(r.c.Encoder.LayerNormEps))*w[j] + b[j]
		}
	}
	return y
}

func add(x, y seq) seq {
	z := make(seq, len(x))
	for i := range x {
		z[i] = make([]float64, len(x[i]))
		for j := range x[i] {
			z[i][j] = x[i][j] + y[i][j]
		}
	}
	return z
}

func (r *ref) mlp(x seq, name string) seq {
	h := r.linear(x, name+".fc1")
	for i := range h {
		for j, v := range h[i] {
			h[i][j] = v * 0.5 * (1 + math.Erf(v/math.Sqrt2))
		}
	}
	return r.linear(h, name+".fc2")
}

// cut is channels from..to of x.
func cut(x seq, from, to int) seq {
	y := make(seq, len(x))
	for i := range x {
		y[i] = x[i][from:to]
	}
	return y
}

func attend(q, k, v seq, heads int) seq {
	d := len(q[0])
	dh := d / heads
	y := make(seq, len(q))
	for i := range q {
		y[i] = make([]float64, d)
		for h := 0; h < d; h += dh {
			p, sum := make([]float64, len(k)), 0.0
			for j := range k {
				s := 0.0
				for c := h; c < h+dh; c++ {
					s += q[i][c] * k[j][c]
				}
				p[j] = math.Exp(s * math.Pow(float64(dh), -0.5))
				sum += p[j]
			}
			for j := range k {
				for c := h; c < h+dh; c++ {
					y[i][c] += p[j] / sum * v[j][c]
				}
			}
		}
	}
	return y
}

func (r *ref) block(x seq, name string, heads int) seq {
	d := len(x[0])
	qkv := r.linear(r.norm(x, name+".norm1"), name+".attn.qkv")
	x = add(x, r.linear(attend(cut(qkv, 0, d), cut(qkv, d, 2*d), cut(qkv, 2*d, 3*d), heads), name+".attn.proj"))
	return add(x, r.mlp(r.norm(x, name+".norm2"), name+".mlp"))
}

// positions is a position table in token order, for a batch's grid.
func (r *ref) positions(name string, b *Batch, how vit.Resampling) seq {
	table := r.p[name+".pos_emb"]
	n := r.c.ImageSize / r.c.PatchSize
	d := len(table) / (n * n)
	nh, nw := r.c.Grid(b.H, b.W)
	y := make(seq, nh*nw)
	if nh == n && nw == n {
		for i := range y {
			for c := range d {
				y[i] = append(y[i], table[c*n*n+i])
			}
		}
		return y
	}
	short := make([]float32, len(table))
	for i, v := range table {
		short[i] = float32(v)
	}
	rows := vit.PositionRows(tensor.NewInference(nil), short, d, n, n, nh, nw, how)
	for i := range y {
		for _, v := range rows[i*d : (i+1)*d] {
			y[i] = append(y[i], float64(v))
		}
	}
	return y
}

// embed is the tokens of all patches of one modality of sample s.
func (r *ref) embed(in *Input, b *Batch, s int) seq {
	name := "input_adapters." + in.Name
	weight, bias := r.p[name+".proj.weight"], r.p[name+".proj.bias"]
	p, h, w := r.c.PatchSize/in.Stride, b.H/in.Stride, b.W/in.Stride
	channels, how := in.Channels, vit.Bicubic
	pixel := func(c, y, x int) float64 { return float64(b.Images[in.Name][((s*in.Channels+c)*h+y)*w+x]) }
	if in.Kind == KindClasses {
		channels, how = in.ClassEmbDim, vit.Bilinear
		table := r.p[name+".class_emb.weight"]
		pixel = func(c, y, x int) float64 {
			id := int(b.Classes[in.Name][(s*h+y)*w+x])
			if id == IDPadding || id == IDIgnored {
				return 0
			}
			return table[id*channels+c]
		}
	}
	pos := r.positions(name, b, how)
	y := make(seq, len(pos))
	for i := range y {
		py, px := i/(w/p), i%(w/p)
		y[i] = make([]float64, len(bias))
		for d := range y[i] {
			sum := bias[d] + pos[i][d]
			for c := range channels {
				for dy := range p {
					for dx := range p {
						sum += weight[((d*channels+c)*p+dy)*p+dx] * pixel(c, py*p+dy, px*p+dx)
					}
				}
			}
			y[i][d] = sum
		}
	}
	return y
}

// rows splits a parameter into rows of d values.
func (r *ref) rows(name string, d int) seq {
	var y seq
	for v := r.p[name]; len(v) > 0; v = v[d:] {
		y = append(y, v[:d])
	}
	return y
}

// encode is the encoder's output for sample s.
func (r *ref) encode(b *Batch, m *Masks, s int) seq {
	var all, x seq
	for _, name := range m.Inputs {
		all = append(all, r.embed(r.c.Input(name), b, s)...)
	}
	for _, token := range m.Keep[s*m.Visible : (s+1)*m.Visible] {
		x = append(x, all[token])
	}
	x = append(x, r.rows("global_tokens", r.c.Encoder.Dim)...)
	for i := range r.c.Encoder.Depth {
		x = r.block(x, "encoder."+string(rune('0'+i)), r.c.Encoder.Heads)
	}
	return x
}

// decode is one output for sample s, in patches.
func (r *ref) decode(o *Output, tokens seq, b *Batch, m *Masks, s int) seq {
	name := "output_adapters." + o.Name
	c := r.linear(tokens, name+".proj_context")
	pos := r.positions(name, b, vit.Bilinear)
	mask := r.p[name+".mask_token"]
	n := m.Patches
	var grid seq // all tokens of all modalities, seen or not
	for k, modality := range m.Inputs {
		task := r.p[name+".task_embeddings."+modality]
		for i := range n {
			x := mask
			if at := slices.Index(m.visible(s), int32(k*n+i)); at >= 0 {
				x = c[at]
			}
			grid = append(grid, add(seq{x}, add(seq{pos[i]}, seq{task}))[0])
		}
	}
	var queries seq
	if k := m.Index(o.Task); k >= 0 && o.UseTaskQueries {
		queries = grid[k*n : (k+1)*n]
	} else {
		for i := range n {
			queries = append(queries, add(seq{mask}, add(seq{pos[i]}, seq{r.p[name+".task_embeddings."+o.Task]}))[0])
		}
	}
	var context seq
	for _, token := range m.Keep[s*m.Visible : (s+1)*m.Visible] {
		context = append(context, grid[token])
	}
	context = append(context, c[m.Visible:]...)
	q := r.linear(r.norm(queries, name+".query_norm"), name+".decoder.q")
	kv := r.linear(r.norm(context, name+".context_norm"), name+".decoder.kv")
	x := r.linear(attend(q, cut(kv, 0, o.Dim), cut(kv, o.Dim, 2*o.Dim), o.Heads), name+".decoder.proj")
	x = add(x, r.mlp(r.norm(x, name+".out_norm"), name+".mlp"))
	for i := range o.Depth {
		x = r.block(x, name+".decoder_transformer."+string(rune('0'+i)), o.Heads)
	}
	return r.linear(x, name+".out_proj")
}

// forward is the encoder's tokens and every output, of all samples: [B, …] as the model has them.
func (r *ref) forward(b *Batch, m *Masks) (tokens []float64, preds [][]float64) {
	preds = make([][]float64, len(r.c.Outputs))
	for s := range b.Size {
		x := r.encode(b, m, s)
		for _, row := range x {
			tokens = append(tokens, row...)
		}
		for i := range r.c.Outputs {
			for _, row := range r.decode(&r.c.Outputs[i], x, b, m, s) {
				preds[i] = append(preds[i], row...)
			}
		}
	}
	return tokens, preds
}

// loss is the loss of one output, pred as forward has it.
func (r *ref) loss(o *Output, pred []float64, b *Batch, m *Masks) float64 {
	p, h, w := r.c.PatchSize/o.Stride, b.H/o.Stride, b.W/o.Stride
	nw := w / p
	n := h / p * nw
	image := func(s, c, y, x int) float64 { // the prediction as an image
		patch := y/p*nw + x/p
		return pred[((s*n+patch)*o.Channels+c)*p*p+y%p*p+x%p]
	}
	target := func(s, c, y, x int) float64 { return float64(b.Images[o.Task][((s*o.Channels+c)*h+y)*w+x]) }
	pixel := func(s, y, x int) float64 { // the loss of a pixel
		mean := 0.0
		for c := range o.Channels {
			e := image(s, c, y, x) - target(s, c, y, x)
			if o.Loss == LossL1 {
				mean += math.Abs(e) / float64(o.Channels)
			} else {
				mean += e * e / float64(o.Channels)
			}
		}
		return mean
	}
	switch o.Loss {
	case LossNormMSE:
		raw := target
		type moments struct{ mean, variance float64 }
		seen := map[[3]int]moments{}
		target = func(s, c, y, x int) float64 {
			key := [3]int{s, y / p, x / p}
			if _, ok := seen[key]; !ok {
				var v moments
				count := float64(o.Channels * p * p)
				for pass := range 2 {
					for c := range o.Channels {
						for dy := range p {
							for dx := range p {
								t := raw(s, c, y/p*p+dy, x/p*p+dx)
								if pass == 0 {
									v.mean += t / count
								} else {
									v.variance += (t - v.mean) * (t - v.mean) / (count - 1)
								}
							}
						}
					}
				}
				seen[key] = v
			}
			return (raw(s, c, y, x) - seen[key].mean) / math.Sqrt(seen[key].variance+1e-6)
		}
	case LossCrossEntropy:
		pixel = func(s, y, x int) float64 {
			sum, uniform := 0.0, 0.0
			for c := range o.Channels {
				sum += math.Exp(image(s, c, y, x))
			}
			for c := range o.Channels {
				uniform -= (image(s, c, y, x) - math.Log(sum)) / float64(o.Channels)
			}
			own := math.Log(sum) - image(s, int(b.Classes[o.Task][(s*h+y)*w+x]), y, x)
			return (1-o.LabelSmoothing)*own + o.LabelSmoothing*uniform
		}
	}
	total, samples := 0.0, 0
	for s := range b.Size {
		sum, count := 0.0, 0
		for y := range h {
			for x := range w {
				if k := m.Index(o.Task); k >= 0 && !o.LossOnUnmasked && !m.Masked[s*m.Tokens()+k*n+y/p*nw+x/p] {
					continue
				}
				if ids, ok := b.Classes[o.Task]; ok && ids[(s*h+y)*w+x] >= IDPadding {
					continue
				}
				sum += pixel(s, y, x)
				count++
			}
		}
		if count > 0 {
			total += sum / float64(count)
			samples++
		}
	}
	return total / float64(max(samples, 1))
}

// losses is the loss of every output that the batch has a target for, and their sum.
func (r *ref) losses(preds [][]float64, b *Batch, m *Masks) (each []float64, total float64) {
	each = make([]float64, len(preds))
	for i := range r.c.Outputs {
		if o := &r.c.Outputs[i]; b.Images[o.Task] != nil || b.Classes[o.Task] != nil {
			each[i] = r.loss(o, preds[i], b, m)
			total += each[i]
		}
	}
	return each, total
}
