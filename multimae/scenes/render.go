package scenes

import (
	"math"
	"slices"
	"sync"

	"github.com/gomae/gomae/multimae/data"
)

type vec struct{ x, y, z float32 }

func (a vec) add(b vec) vec           { return vec{a.x + b.x, a.y + b.y, a.z + b.z} }
func (a vec) sub(b vec) vec           { return vec{a.x - b.x, a.y - b.y, a.z - b.z} }
func (a vec) mul(s float32) vec       { return vec{a.x * s, a.y * s, a.z * s} }
func (a vec) times(b vec) vec         { return vec{a.x * b.x, a.y * b.y, a.z * b.z} }
func (a vec) dot(b vec) float32       { return a.x*b.x + a.y*b.y + a.z*b.z }
func (a vec) cross(b vec) vec         { return vec{a.y*b.z - a.z*b.y, a.z*b.x - a.x*b.z, a.x*b.y - a.y*b.x} }
func (a vec) unit() vec               { return a.mul(1 / sqrt(a.dot(a))) }
func lerp(a, b vec, t float32) vec    { return a.add(b.sub(a).mul(t)) }
func sqrt(v float32) float32          { return float32(math.Sqrt(float64(v))) }
func abs(v float32) float32           { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }
func floor(v float32) int32           { i := int32(v); return i - int32(math.Float32bits(v-float32(i))>>31) }
func sincos(a float32) (s, c float32) { x, y := math.Sincos(float64(a)); return float32(x), float32(y) }

// frame is an orthonormal basis: the axes of a primitive in the room.
type frame struct{ x, y, z vec }

func (f *frame) local(v vec) vec { return vec{f.x.dot(v), f.y.dot(v), f.z.dot(v)} }
func (f *frame) world(v vec) vec { return f.x.mul(v.x).add(f.y.mul(v.y)).add(f.z.mul(v.z)) }

// yaw is the basis turned by a about the vertical.
func yaw(a float32) frame {
	s, c := sincos(a)
	return frame{vec{c, 0, -s}, vec{0, 1, 0}, vec{s, 0, c}}
}

// tilted is yaw, tipped over by b first.
func tilted(a, b float32) frame {
	f := yaw(a)
	s, c := sincos(b)
	return frame{f.x, f.y.mul(c).add(f.z.mul(s)), f.z.mul(c).sub(f.y.mul(s))}
}

// The shapes of primitives, around the origin of their own axes.
type shape3 uint8

const (
	shapeSphere  shape3 = iota // radius ext.x
	shapeBox                   // half sides ext
	shapeFrustum               // round, about y: radius a+b·y for |y| ≤ ext.y
	shapePyramid               // square: half side a+b·y for |y| ≤ ext.y
	shapeTorus                 // about y: ring radius a, tube radius ext.y
)

// primitive is a convex shape or a torus.
type primitive struct {
	shape shape3
	class uint8
	mat   uint8 // index of the scene's materials
	thing uint8 // index of the scene's things
	pos   vec
	frame frame
	ext   vec // half sides of the bounding box along its own axes
	a, b  float32
}

// thing is an object: a run of primitives within one sphere.
type thing struct {
	from, to int
	centre   vec
	radius   float32
	shadow   bool // casts shadows; flat things on walls and floor need not
}

// light is a point light.
type light struct {
	pos   vec
	color vec
	owner int // the thing that it sits in, which does not shade it, or −1
}

// scene is a room [0,dim] with things, seen by one camera.
type scene struct {
	dim    vec
	room   [3]uint8 // materials of floor, wall, ceiling
	prims  []primitive
	things []thing
	mats   []material
	lights []light

	eye           vec
	right, up, to vec     // to is where the camera looks; all of length 1
	tan           float32 // of half the field of view
	ambient       float32
	exposure      float32 // mean brightness of the picture

	// Buffers, one value a pixel.
	depth []float32
	prim  []int16 // primitive, or −1−surface for the room
	color []vec
}

const (
	far     = 16 // metres; the range of depth maps
	epsilon = 1e-3
)

const (
	surfaceFloor = iota
	surfaceWall
	surfaceCeiling
)

var scenePool = sync.Pool{New: func() any { return new(scene) }}

// hit returns where the ray o+t·d, in the primitive's own axes, enters the
// shape, or ok = false. A ray that starts inside does not count.
func (p *primitive) hit(o, d vec) (t float32, ok bool) {
	switch p.shape {
	case shapeSphere:
		a, b, c := d.dot(d), o.dot(d), o.dot(o)-p.ext.x*p.ext.x
		disc := b*b - a*c
		if disc < 0 || b > 0 {
			return 0, false
		}
		t = (-b - sqrt(disc)) / a
		return t, t > 0
	case shapeBox:
		t, _, ok = slabs(o, d, p.ext)
		return t, ok && t > 0
	case shapeFrustum:
		return p.hitFrustum(o, d)
	case shapePyramid:
		return p.hitPyramid(o, d)
	}
	return p.hitTorus(o, d)
}

// slabs clips a ray to the box of half sides e.
func slabs(o, d, e vec) (in, out float32, ok bool) {
	// Division by zero gives infinities, which compare as they should; only a
	// ray within a face is NaN, and fails the comparison.
	ix, iy, iz := 1/d.x, 1/d.y, 1/d.z
	x0, x1 := (-e.x-o.x)*ix, (e.x-o.x)*ix
	if x0 > x1 {
		x0, x1 = x1, x0
	}
	y0, y1 := (-e.y-o.y)*iy, (e.y-o.y)*iy
	if y0 > y1 {
		y0, y1 = y1, y0
	}
	if y0 > x0 {
		x0 = y0
	}
	if y1 < x1 {
		x1 = y1
	}
	z0, z1 := (-e.z-o.z)*iz, (e.z-o.z)*iz
	if z0 > z1 {
		z0, z1 = z1, z0
	}
	if z0 > x0 {
		x0 = z0
	}
	if z1 < x1 {
		x1 = z1
	}
	return x0, x1, x0 <= x1 && x1 > 0
}

// hitFrustum solves x²+z² = (a+b·y)² and clips to the two ends. A cylinder is
// the case b = 0, a cone that of radius 0 at the top.
func (p *primitive) hitFrustum(o, d vec) (float32, bool) {
	ro, rd := p.a+p.b*o.y, p.b*d.y
	qa := d.x*d.x + d.z*d.z - rd*rd
	qb := o.x*d.x + o.z*d.z - ro*rd
	qc := o.x*o.x + o.z*o.z - ro*ro
	best := float32(math.MaxFloat32)
	if disc := qb*qb - qa*qc; disc >= 0 && qa != 0 {
		s := sqrt(disc)
		for _, t := range [2]float32{(-qb - s) / qa, (-qb + s) / qa} {
			// The mirror cone beyond the tip has a negative radius.
			if y := o.y + t*d.y; t > 0 && t < best && abs(y) <= p.ext.y && ro+t*rd >= 0 {
				best = t
			}
		}
	}
	if (o.y > p.ext.y) == (d.y < 0) || (o.y < -p.ext.y) == (d.y > 0) {
		end := p.ext.y
		if d.y > 0 {
			end = -end
		}
		t := (end - o.y) / d.y
		x, z, r := o.x+t*d.x, o.z+t*d.z, p.a+p.b*end
		if t > 0 && t < best && x*x+z*z <= r*r {
			best = t
		}
	}
	return best, best < math.MaxFloat32
}

// hitPyramid clips the ray to the six half-spaces.
func (p *primitive) hitPyramid(o, d vec) (float32, bool) {
	in, out := float32(0), float32(math.MaxFloat32)
	entered := false
	ro, rd := p.a+p.b*o.y, p.b*d.y
	// dist > 0 is outside; it changes by rate along the ray.
	for _, h := range [6][2]float32{
		{o.x - ro, d.x - rd}, {-o.x - ro, -d.x - rd},
		{o.z - ro, d.z - rd}, {-o.z - ro, -d.z - rd},
		{o.y - p.ext.y, d.y}, {-o.y - p.ext.y, -d.y},
	} {
		dist, rate := h[0], h[1]
		switch {
		case rate < 0:
			if t := -dist / rate; t > in {
				in, entered = t, true
			}
		case rate > 0:
			out = min(out, -dist/rate)
		case dist > 0:
			return 0, false
		}
		if in > out {
			return 0, false
		}
	}
	return in, entered
}

// hitTorus walks along the ray by the distance to the surface: a quartic in
// closed form loses too many digits in single precision.
func (p *primitive) hitTorus(o, d vec) (float32, bool) {
	t, out, ok := slabs(o, d, p.ext)
	if !ok || t <= 0 {
		return 0, false
	}
	inv := 1 / sqrt(d.dot(d))
	for range 40 {
		q := o.add(d.mul(t))
		ring := sqrt(q.x*q.x+q.z*q.z) - p.a
		dist := sqrt(ring*ring+q.y*q.y) - p.ext.y
		if dist < epsilon/2 {
			return t, true
		}
		if t += dist * inv; t > out {
			return 0, false
		}
	}
	return 0, false
}

// normal is the outward normal at q, a point of the surface in own axes.
func (p *primitive) normal(q vec) vec {
	switch p.shape {
	case shapeSphere:
		return q.mul(1 / p.ext.x)
	case shapeBox:
		x, y, z := p.ext.x-abs(q.x), p.ext.y-abs(q.y), p.ext.z-abs(q.z)
		switch {
		case x <= y && x <= z:
			return vec{sign(q.x), 0, 0}
		case y <= z:
			return vec{0, sign(q.y), 0}
		}
		return vec{0, 0, sign(q.z)}
	case shapeFrustum:
		r := sqrt(q.x*q.x + q.z*q.z)
		if p.ext.y-abs(q.y) < abs(p.a+p.b*q.y-r) || r == 0 {
			return vec{0, sign(q.y), 0}
		}
		return vec{q.x / r, -p.b, q.z / r}.unit()
	case shapePyramid:
		r := p.a + p.b*q.y
		x, z := r-abs(q.x), r-abs(q.z)
		if end := p.ext.y - abs(q.y); end < x && end < z {
			return vec{0, sign(q.y), 0}
		}
		if x < z {
			return vec{sign(q.x), -p.b, 0}.unit()
		}
		return vec{0, -p.b, sign(q.z)}.unit()
	}
	r := max(sqrt(q.x*q.x+q.z*q.z), epsilon)
	k := 1 - p.a/r
	return vec{q.x * k, q.y, q.z * k}.unit()
}

func sign(v float32) float32 {
	if v < 0 {
		return -1
	}
	return 1
}

// render fills the maps of a size×size picture.
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

// ray is the direction through the centre of pixel (x, y), of depth 1 along
// the camera's axis: so t of a hit is the depth.
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

// trace draws one primitive over what is farther away. Only the pixels within
// the outline of its bounding box are tried, and the camera's position in the
// primitive's axes is the same for all of them.
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

// outline is a rectangle of pixels [x0,x1)×[y0,y1) that contains p's picture.
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
	default: // reaches behind the camera: anywhere
		return 0, 0, size, size
	}
	k := float32(size) / (2 * s.tan)
	half := float32(size) / 2
	at := func(v float32) int { return int(min(max(v, 0), float32(size))) }
	return at(half + lox*k), at(half - hiy*k), at(half + hix*k + 1), at(half - loy*k + 1)
}

// shade computes the colour of every pixel.
func (s *scene) shade(size int) {
	last := make([]int, len(s.lights)) // the thing that shaded the previous pixel most likely shades this one
	i := 0
	for y := range size {
		for x := range size {
			d := s.ray(x, y, size)
			p := s.eye.add(d.mul(s.depth[i]))
			var n, texture vec
			var mat *material
			own := -1
			if k := s.prim[i]; k >= 0 {
				prim := &s.prims[k]
				q := prim.frame.local(p.sub(prim.pos))
				n = prim.frame.world(prim.normal(q))
				texture, mat, own = q, &s.mats[prim.mat], int(prim.thing)
			} else {
				n = s.roomNormal(p, -1-k)
				texture, mat = p, &s.mats[s.room[-1-k]]
			}
			s.color[i] = s.light(p, n, d, mat, texture, own, last)
			i++
		}
	}
}

func (s *scene) roomNormal(p vec, surface int16) vec {
	switch surface {
	case surfaceFloor:
		return vec{0, 1, 0}
	case surfaceCeiling:
		return vec{0, -1, 0}
	}
	x, z := min(p.x, s.dim.x-p.x), min(p.z, s.dim.z-p.z)
	switch {
	case x < z && p.x < s.dim.x/2:
		return vec{1, 0, 0}
	case x < z:
		return vec{-1, 0, 0}
	case p.z < s.dim.z/2:
		return vec{0, 0, 1}
	}
	return vec{0, 0, -1}
}

// light is the light that point p, of normal n, sends back along d.
func (s *scene) light(p, n, d vec, mat *material, texture vec, own int, last []int) vec {
	albedo := mat.at(texture, n)
	if mat.glow > 0 {
		return albedo.mul(mat.glow)
	}
	// More light from above than from below, and less in the room's edges.
	edge := min(p.x, s.dim.x-p.x, p.z, s.dim.z-p.z)
	height := min(p.y, s.dim.y-p.y)
	amb := s.ambient * (0.8 + 0.2*n.y) * (0.75 + 0.25*min(1, 2.5*(max(edge, 0)+max(height, 0))))
	sum := vec{amb, amb, amb * 1.04}
	var gloss vec
	view := d.mul(-1 / sqrt(d.dot(d)))
	start := p.add(n.mul(4 * epsilon))
	for k := range s.lights {
		l := &s.lights[k]
		to := l.pos.sub(start)
		dist2 := to.dot(to)
		facing := n.dot(to)
		if facing <= 0 || own >= 0 && own == l.owner {
			continue
		}
		if s.shadowed(start, to, dist2, l.owner, &last[k]) {
			continue
		}
		dir := to.mul(1 / sqrt(dist2))
		fall := 1 / (1 + 0.09*dist2)
		sum = sum.add(l.color.mul(n.dot(dir) * fall))
		if mat.gloss > 0 {
			if h := n.dot(dir.add(view).unit()); h > 0 {
				h *= h
				h *= h
				h *= h
				h *= h
				h *= h // ^32
				gloss = gloss.add(l.color.mul(mat.gloss * h * fall))
			}
		}
	}
	return albedo.times(sum).add(gloss)
}

// shadowed reports whether a thing stands on the way from o to o+d.
func (s *scene) shadowed(o, d vec, dist2 float32, owner int, last *int) bool {
	if *last < len(s.things) && *last != owner && s.blocks(*last, o, d, dist2) {
		return true
	}
	for i := range s.things {
		if i != *last && i != owner && s.blocks(i, o, d, dist2) {
			*last = i
			return true
		}
	}
	return false
}

func (s *scene) blocks(i int, o, d vec, dist2 float32) bool {
	t := &s.things[i]
	if !t.shadow {
		return false
	}
	c := t.centre.sub(o)
	along := c.dot(d)
	gap := c.dot(c) - t.radius*t.radius
	if gap > 0 && (along <= 0 || along*along < gap*dist2) {
		return false
	}
	for k := t.from; k < t.to; k++ {
		p := &s.prims[k]
		if q, ok := p.hit(p.frame.local(o.sub(p.pos)), p.frame.local(d)); ok && q < 1 {
			return true
		}
	}
	return false
}

// quantise makes the maps, in the steps that PNG files have.
func (s *scene) quantise(size int) *data.Sample {
	n := size * size
	rgb := &data.Map{C: 3, H: size, W: size, Pix: make([]float32, 3*n)}
	depth := &data.Map{C: 1, H: size, W: size, Pix: make([]float32, n)}
	ids := &data.Map{H: size, W: size, IDs: make([]uint8, n)}
	mean := float32(0)
	for _, c := range s.color {
		// What is brighter than white does not make the rest dark.
		mean += min(0.3*c.x+0.6*c.y+0.1*c.z, 1.5)
	}
	gain := s.exposure * float32(n) / max(mean, 1e-3)
	for i, c := range s.color {
		for k, v := range [3]float32{c.x, c.y, c.z} {
			v *= gain
			v *= (1 + v*0.25) / (1 + v) // rolls off highlights; 1.25 → white
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

// Patterns of materials.
type pattern uint8

const (
	plain pattern = iota
	checker
	stripes
	blotches
	grid
	gradient
	patterns
)

// material is a solid texture: its colour is a function of the place in space,
// so it needs no map of a surface's coordinates.
type material struct {
	pattern     pattern
	a, b        vec // colours, linear light
	scale       float32
	phase       vec
	dir         vec // of stripes and gradients
	gloss, glow float32
	seed        uint32
}

// at is the colour at p. n tells on which faces a solid pattern would lie
// within a layer and flicker: there the coordinate along n is ignored.
func (m *material) at(p, n vec) vec {
	if m.pattern == plain {
		return m.a
	}
	q := p.mul(m.scale).add(m.phase)
	flat := func(v, n float32) float32 {
		if abs(n) > 0.95 {
			return 0
		}
		return v
	}
	switch m.pattern {
	case checker:
		if (floor(flat(q.x, n.x))+floor(flat(q.y, n.y))+floor(flat(q.z, n.z)))&1 == 0 {
			return m.a
		}
		return m.b
	case stripes:
		v := q.dot(m.dir)
		if v -= float32(floor(v)); v < 0.5 {
			return m.a
		}
		return m.b
	case blotches:
		v := 0.65*m.noise(q) + 0.35*m.noise(q.mul(2.7))
		return lerp(m.a, m.b, min(max(2.2*v-0.6, 0), 1))
	case grid:
		line := func(v, n float32) bool {
			v -= float32(floor(v))
			return abs(n) <= 0.95 && v < 0.12
		}
		if line(q.x, n.x) || line(q.y, n.y) || line(q.z, n.z) {
			return m.b
		}
		return m.a
	}
	v := q.dot(m.dir) * 0.35
	v -= float32(floor(v))
	return lerp(m.a, m.b, 2*min(v, 1-v))
}

// noise is smooth and within 0..1.
func (m *material) noise(p vec) float32 {
	x, y, z := floor(p.x), floor(p.y), floor(p.z)
	fx, fy, fz := p.x-float32(x), p.y-float32(y), p.z-float32(z)
	fx, fy, fz = fx*fx*(3-2*fx), fy*fy*(3-2*fy), fz*fz*(3-2*fz)
	at := func(dx, dy, dz int32) float32 {
		h := m.seed ^ uint32(x+dx)*0x8da6b343 ^ uint32(y+dy)*0xd8163841 ^ uint32(z+dz)*0xcb1ab31f
		h ^= h >> 15
		h *= 0x2c1b3c6d
		h ^= h >> 12
		h *= 0x297a2d39
		return float32(h>>8) * 0x1p-24
	}
	row := func(dy, dz int32) float32 { a := at(0, dy, dz); return a + (at(1, dy, dz)-a)*fx }
	near := row(0, 0)
	near += (row(1, 0) - near) * fy
	back := row(0, 1)
	back += (row(1, 1) - back) * fy
	return near + (back-near)*fz
}
