package scenes

import (
	"math"
	"slices"

	"github.com/gomae/gomae/multimae/data"
)

// render returns the maps of a size×size picture of the room.
func (s *scene) render(size int) *data.Sample {
	n := size * size
	s.depth, s.prim, s.color = slices.Grow(s.depth[:0], n)[:n], slices.Grow(s.prim[:0], n)[:n], slices.Grow(s.color[:0], n)[:n]
	s.traceRoom(size)
	for i := range s.prims {
		s.trace(i, size)
	}
	s.shade(size)
	return s.quantise(size)
}

// ray returns the direction through the centre of pixel (x, y). Its component along the camera's
// axis is 1, so that t of a hit is the depth.
func (s *scene) ray(x, y, size int) vec {
	k := 2 * s.tan / float32(size)
	u := (float32(x) + 0.5 - float32(size)/2) * k
	v := (float32(size)/2 - float32(y) - 0.5) * k
	return s.to.add(s.right.mul(u)).add(s.up.mul(v))
}

func (s *scene) traceRoom(size int) {
	exit := func(o, d, dim float32) float32 {
		switch {
		case d > 0:
			return (dim - o) / d
		case d < 0:
			return -o / d
		}
		return math.MaxFloat32
	}
	i := 0
	for y := range size {
		for x := range size {
			d := s.ray(x, y, size)
			t := min(exit(s.eye.x, d.x, s.dim.x), exit(s.eye.z, d.z, s.dim.z))
			surface := int16(surfaceWall)
			if ty := exit(s.eye.y, d.y, s.dim.y); ty < t {
				t, surface = ty, surfaceFloor
				if d.y > 0 {
					surface = surfaceCeiling
				}
			}
			s.depth[i], s.prim[i] = t, -1-surface
			i++
		}
	}
}

// trace draws one primitive over whatever is farther away. It tries only the pixels within the
// outline of the bounding box. The camera's position in the primitive's axes is the same for all of
// them.
func (s *scene) trace(index, size int) {
	p := &s.prims[index]
	x0, y0, x1, y1 := s.outline(p, size)
	if x0 >= x1 || y0 >= y1 {
		return
	}
	o := p.frame.local(s.eye.sub(p.pos))
	right := p.frame.local(s.right).mul(2 * s.tan / float32(size))
	for y := y0; y < y1; y++ {
		first := p.frame.local(s.ray(x0, y, size))
		for x := x0; x < x1; x++ {
			d := first.add(right.mul(float32(x - x0)))
			if t, ok := p.hit(o, d); ok && t < s.depth[y*size+x] {
				s.depth[y*size+x], s.prim[y*size+x] = t, int16(index)
			}
		}
	}
}

// outline returns a rectangle of pixels [x0,x1)×[y0,y1) that contains the picture of p.
func (s *scene) outline(p *primitive, size int) (x0, y0, x1, y1 int) {
	const near = 0.05
	lox, loy := float32(math.MaxFloat32), float32(math.MaxFloat32)
	hix, hiy := -lox, -loy
	c := p.pos.sub(s.eye)
	behind := 0
	for k := range 8 {
		e := p.ext
		if k&1 != 0 {
			e.x = -e.x
		}
		if k&2 != 0 {
			e.y = -e.y
		}
		if k&4 != 0 {
			e.z = -e.z
		}
		q := c.add(p.frame.world(e))
		z := q.dot(s.to)
		if z < near {
			behind++
			continue
		}
		u, v := q.dot(s.right)/z, q.dot(s.up)/z
		lox, hix = min(lox, u), max(hix, u)
		loy, hiy = min(loy, v), max(hiy, v)
	}
	switch behind {
	case 0:
	case 8:
		return 0, 0, 0, 0
	default: // it reaches behind the camera and can be anywhere in the picture
		return 0, 0, size, size
	}
	k := float32(size) / (2 * s.tan)
	half := float32(size) / 2
	at := func(v float32) int { return int(min(max(v, 0), float32(size))) }
	return at(half + lox*k), at(half - hiy*k), at(half + hix*k + 1), at(half - loy*k + 1)
}

// quantise returns the maps in the steps that PNG files have.
func (s *scene) quantise(size int) *data.Sample {
	n := size * size
	rgb := &data.Map{C: 3, H: size, W: size, Pix: make([]float32, 3*n)}
	depth := &data.Map{C: 1, H: size, W: size, Pix: make([]float32, n)}
	ids := &data.Map{H: size, W: size, IDs: make([]uint8, n)}
	mean := float32(0)
	for _, c := range s.color {
		// Pixels brighter than white do not darken the others.
		mean += min(0.3*c.x+0.6*c.y+0.1*c.z, 1.5)
	}
	gain := s.exposure * float32(n) / max(mean, 1e-3)
	for i, c := range s.color {
		for k, v := range [3]float32{c.x, c.y, c.z} {
			v *= gain
			v *= (1 + v*0.25) / (1 + v) // rolls off highlights; 1.15 → white
			rgb.Pix[k*n+i] = float32(int(min(sqrt(1.45*v), 1)*255+0.5)) / 255
		}
		depth.Pix[i] = float32(int(min(s.depth[i]*(65536/far)+0.5, 65535))) * 0x1p-16
		if k := s.prim[i]; k >= 0 {
			ids.IDs[i] = s.prims[k].class
		} else {
			ids.IDs[i] = [3]uint8{classFloor, classWall, classCeiling}[-1-k]
		}
	}
	return &data.Sample{Maps: map[string]*data.Map{"rgb": rgb, "depth": depth, "semseg": ids}}
}
