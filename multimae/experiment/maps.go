package experiment

import (
	"fmt"
	"maps"
	"math"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/nn"
)

// withMaps is a dataset whose depth and class maps are made from its samples.
type withMaps struct {
	data.Dataset
	remake remake
}

// remake returns new maps for a sample, by modality. Several goroutines may call it at once.
type remake func(s *data.Sample) (map[string]*data.Map, error)

func (d *withMaps) Sample(i int) (*data.Sample, error) {
	s, err := d.Dataset.Sample(i)
	if err != nil {
		return nil, err
	}
	made, err := d.remake(s)
	if err != nil {
		return nil, fmt.Errorf("sample %s: %w", s.Name, err)
	}
	all := maps.Clone(s.Maps)
	maps.Copy(all, made)
	return &data.Sample{Name: s.Name, Maps: all}, nil
}

// spoil makes true maps worse: each square of block×block pixels has the class and the mean depth of
// one place; a share of the squares is of any class, and the depth of all is off by some deviation.
func spoil(classes int) remake {
	const block, share, deviation = 8, 0.3, 0.2
	return func(s *data.Sample) (map[string]*data.Map, error) {
		depth, ids := s.Maps["depth"], s.Maps["semseg"]
		if depth == nil || ids == nil {
			return nil, fmt.Errorf("has no depth or no semseg to spoil")
		}
		r := nn.NewRNG(0x5b01, nn.Hash(s.Name)) // the same at every visit
		d := &data.Map{C: 1, H: depth.H, W: depth.W, Pix: make([]float32, len(depth.Pix))}
		squares(d.W, d.H, block, func(x0, y0, x1, y1 int) {
			sum := float32(0)
			for y := y0; y < y1; y++ {
				for x := x0; x < x1; x++ {
					sum += depth.Pix[y*d.W+x]
				}
			}
			v := sum / float32((x1-x0)*(y1-y0)) * float32(math.Exp(deviation*r.Normal()))
			fill(d.Pix, d.W, x0, y0, x1, y1, v)
		})
		c := &data.Map{H: ids.H, W: ids.W, IDs: make([]uint8, len(ids.IDs))}
		squares(c.W, c.H, block, func(x0, y0, x1, y1 int) {
			id := ids.IDs[(y0+y1)/2*c.W+(x0+x1)/2]
			if r.Chance(share) {
				id = uint8(r.Intn(classes))
			}
			fill(c.IDs, c.W, x0, y0, x1, y1, id)
		})
		return map[string]*data.Map{"depth": d, "semseg": c}, nil
	}
}

// squares calls f with the corners of all squares, which may be cut off at the right and below.
func squares(w, h, side int, f func(x0, y0, x1, y1 int)) {
	for y := 0; y < h; y += side {
		for x := 0; x < w; x += side {
			f(x, y, min(x+side, w), min(y+side, h))
		}
	}
}

func fill[T any](pix []T, w, x0, y0, x1, y1 int, v T) {
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			pix[y*w+x] = v
		}
	}
}
