package teacher

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

const (
	ignored = multimae.IDIgnored
	// maxInput bounds the pixels of a network's input, which follow the sides of the photograph: one
	// of 20000×10 pixels must not become one of 518×1036000.
	maxInput = 1 << 23
)

// input is what a network is run on.
type input struct {
	x    []float32
	h, w int
}

// size returns the size of the input for a photograph of w×h pixels.
func (l *layer) size(w, h int) (nw, nh int, err error) {
	if l.h > 0 {
		return l.w, l.h, nil
	}
	side := min(w, h)
	target := l.d.Input.ShortSide
	if target == 0 {
		side, target = max(w, h), l.d.Input.LongSide
	}
	step := max(l.d.Input.Multiple, 1)
	scaled := func(n int) int {
		return max(int(math.Round(float64(n)*float64(target)/float64(side)/float64(step))), 1) * step
	}
	if nw, nh = scaled(w), scaled(h); nw > maxInput/nh {
		return 0, 0, fmt.Errorf("%d×%d pixels would be %d×%d for the network, more than %d million; the sides differ too much", w, h, nw, nh, maxInput/1_000_000)
	}
	return nw, nh, nil
}

// prepare resizes and normalises a photograph.
func (l *layer) prepare(photo *images.Map) (*input, error) {
	w, h, err := l.size(photo.W, photo.H)
	if err != nil {
		return nil, err
	}
	d := &l.d.Input
	n := h * w
	in := &input{x: make([]float32, 3*n), h: h, w: w}
	fx, fy := images.NewFilter(photo.W, w), images.NewFilter(photo.H, h)
	plane := make([]float32, n)
	for c := range 3 {
		from := c
		if d.Channels == "BGR" {
			from = 2 - c
		}
		resizePlane(plane, photo.Pix[from*photo.H*photo.W:][:photo.H*photo.W], photo.W, 1, w, h, fx, fy)
		lo, hi, mean, std := 0.0, 1.0, 0.0, 1.0
		if len(d.Range) == 2 {
			lo, hi = d.Range[0], d.Range[1]
		}
		if len(d.Mean) == 3 {
			mean = d.Mean[c]
		}
		if len(d.Std) == 3 {
			std = d.Std[c]
		}
		scale, shift := float32((hi-lo)/std), float32((lo-mean)/std)
		at, step := c*n, 1
		if l.layout == NHWC {
			at, step = c, 3
		}
		for i, v := range plane {
			in.x[at+i*step] = v*scale + shift
		}
	}
	return in, nil
}

// resizePlane resizes one channel of src, whose pixels are step values apart, to dst [h, w].
func resizePlane(dst, src []float32, srcW, step, w, h int, fx, fy *images.Filter) {
	row := make([]float32, srcW)
	for y := range h {
		clear(row)
		first, weight := fy.At(y)
		for i, wt := range weight {
			if wt == 0 {
				continue
			}
			in := src[(first+i)*srcW*step:]
			for x := range row {
				row[x] += wt * in[x*step]
			}
		}
		for x := range w {
			first, weight := fx.At(x)
			sum := float32(0)
			for i, wt := range weight {
				sum += wt * row[first+i]
			}
			dst[y*w+x] = sum
		}
	}
}

// grid is an output as c maps of h×w values. Value (k, y, x) is at k·stepC + (y·w + x)·stepX.
type grid struct {
	values       []float32
	c, h, w      int
	stepC, stepX int
}

// grid reads the shape of an output as the description says.
func (l *layer) grid(out *output) (*grid, error) {
	shape := out.shape
	ofScores := l.d.Output.Kind == KindLogits || l.d.Output.Kind == KindProbabilities
	if ofScores && out.values == nil {
		return nil, fmt.Errorf("output.kind: got %q, but the network returns whole numbers; are they %q?", l.d.Output.Kind, KindIDs)
	}
	if l.d.Output.Kind == KindIDs && out.ids == nil {
		return nil, fmt.Errorf("output.kind: got %q, but the network returns float32 %v; are they %q?", KindIDs, shape, KindLogits)
	}
	if !ofScores && l.d.Output.Kind != KindIDs && out.values == nil {
		return nil, fmt.Errorf("output.kind: got %q, but the network returns whole numbers", l.d.Output.Kind)
	}
	if ofScores {
		if len(shape) != 4 || shape[0] != 1 {
			return nil, fmt.Errorf("output: want four dimensions of one photograph; the network returns %v", shape)
		}
		g := &grid{values: out.values, c: shape[1], h: shape[2], w: shape[3], stepC: shape[2] * shape[3], stepX: 1}
		if l.d.Output.Layout == NHWC {
			g = &grid{values: out.values, c: shape[3], h: shape[1], w: shape[2], stepC: 1, stepX: shape[3]}
		}
		if l.table != nil && g.c != len(l.table.ids) {
			return nil, fmt.Errorf("classes: got %d, but the output %v has %d; is output.layout right?", len(l.table.ids), shape, g.c)
		}
		return g, nil
	}
	// Dimensions of one photograph and one channel may be there or not.
	var sides []int
	for _, n := range shape {
		if n != 1 {
			sides = append(sides, n)
		}
	}
	if len(sides) != 2 {
		return nil, fmt.Errorf("output: want one map of one photograph; the network returns %v", shape)
	}
	return &grid{values: out.values, c: 1, h: sides[0], w: sides[1], stepX: 1}, nil
}

// read writes an output to a map: depth, or labels of the pixels that are ignored so far.
func (l *layer) read(m *images.Map, out *output) error {
	g, err := l.grid(out)
	if err != nil {
		return err
	}
	if l.table != nil {
		return l.label(m, g, out.ids)
	}
	m.C = 1
	m.Pix, err = g.resize(m.W, m.H)
	return err
}

// resize returns the first map at w×h pixels.
func (g *grid) resize(w, h int) ([]float32, error) {
	dst := make([]float32, w*h)
	resizePlane(dst, g.values, g.w, g.stepX, w, h, images.NewFilter(g.w, w), images.NewFilter(g.h, h))
	for _, v := range dst {
		if !(math.Abs(float64(v)) <= math.MaxFloat32) {
			return nil, ErrNotFinite
		}
	}
	return dst, nil
}

// label writes the labels of a network to the pixels of m that are ignored so far.
func (l *layer) label(m *images.Map, g *grid, ids []int) error {
	if l.d.Output.Kind == KindIDs {
		return l.labelIDs(m, g, ids)
	}
	fx, fy := images.NewFilter(g.w, m.W), images.NewFilter(g.h, m.H)
	rows := make([]float32, g.c*g.w) // a row of every class, as the output has them
	scores := make([]float32, g.c)   // of a pixel
	stepC, stepX := g.stepC, g.stepX
	if stepC != 1 {
		stepC = g.w // a row has no more of a class
	}
	for y := range m.H {
		out := m.IDs[y*m.W:][:m.W]
		g.blend(rows, y, fy)
		for x, id := range out {
			if id != ignored {
				continue // another network has the word
			}
			clear(scores)
			first, weight := fx.At(x)
			for i, wt := range weight {
				if wt == 0 {
					continue
				}
				at := (first + i) * stepX
				if stepC == 1 {
					for c, v := range rows[at:][:g.c] {
						scores[c] += wt * v
					}
					continue
				}
				for c := range scores {
					scores[c] += wt * rows[at+c*stepC]
				}
			}
			id, ok := l.decide(scores)
			if !ok {
				return ErrNotFinite
			}
			out[x] = id
		}
	}
	return nil
}

// blend writes row y of the resized maps to rows: [c, w], or [w, c] where the channels come last.
func (g *grid) blend(rows []float32, y int, fy *images.Filter) {
	clear(rows)
	first, weight := fy.At(y)
	for i, wt := range weight {
		if wt == 0 {
			continue
		}
		at := (first + i) * g.w * g.stepX
		if g.stepC == 1 {
			for k, v := range g.values[at:][:len(rows)] {
				rows[k] += wt * v
			}
			continue
		}
		for c := range g.c {
			row := rows[c*g.w:][:g.w]
			for x, v := range g.values[c*g.stepC+at:][:g.w] {
				row[x] += wt * v
			}
		}
	}
}

// decide returns the label of the class with the largest score, or ignored where its probability is
// too small: that of all classes which become this label. It reports whether all scores are finite.
func (l *layer) decide(scores []float32) (id uint8, ok bool) {
	best, sum := 0, float32(0)
	for c, v := range scores {
		sum += v - v // NaN for NaN and infinities
		if v > scores[best] {
			best = c
		}
	}
	if sum != 0 {
		return 0, false
	}
	id = l.table.ids[best]
	if l.d.Confidence == 0 || id == ignored {
		return id, true
	}
	var all, mine float64
	for c, v := range scores {
		p := float64(v)
		if l.d.Output.Kind == KindLogits {
			d := p - float64(scores[best])
			if d < -30 {
				continue // far below what confidence can tell
			}
			p = math.Exp(d)
		}
		all += p
		if l.table.ids[c] == id {
			mine += p
		}
	}
	if !(mine >= l.d.Confidence*all) {
		return ignored, true
	}
	return id, true
}

// labelIDs is label for a network that returns ids.
func (l *layer) labelIDs(m *images.Map, g *grid, ids []int) error {
	for y := range m.H {
		row := ids[(2*y+1)*g.h/(2*m.H)*g.w:][:g.w]
		for x := range m.W {
			i := y*m.W + x
			if m.IDs[i] != ignored {
				continue
			}
			id := row[(2*x+1)*g.w/(2*m.W)]
			switch {
			case id >= 0 && id < len(l.table.ids):
				m.IDs[i] = l.table.ids[id]
			case id != ignored:
				return fmt.Errorf("the network returns the id %d, but classes has 0..%d", id, len(l.table.ids)-1)
			}
		}
	}
	return nil
}
