package scenes

import (
	"math"

	"github.com/gomae/gomae/nn"
)

// builder furnishes a scene.
type builder struct {
	*scene
	r     nn.RNG
	spots []spot    // taken places on the floor
	walls [4][]spot // taken places along each wall
	class uint8
}

// spot is a circle on the floor, or (x, r) an interval of a wall.
type spot struct{ x, z, r float32 }

// compose makes a new scene from random numbers.
func (s *scene) compose(r nn.RNG) {
	s.prims, s.things, s.mats, s.lights = s.prims[:0], s.things[:0], s.mats[:0], s.lights[:0]
	b := &builder{scene: s, r: r}
	f := b.r.Float32
	s.dim = vec{f(3.5, 7.5), f(2.4, 3.4), f(3.5, 7.5)}
	s.room = [3]uint8{b.surface(), b.surface(), b.surface()}
	if b.r.Chance(0.6) { // most ceilings are light and plain
		v := f(0.5, 0.85)
		s.mats[s.room[2]] = material{a: vec{v, v * f(0.94, 1), v * f(0.86, 1)}}
	}
	b.camera()
	s.ambient = f(0.35, 0.6)
	s.exposure = f(0.08, 0.8) // from dusk to noon

	for range 1 + b.r.Intn(2) {
		warm := f(0, 0.25)
		s.lights = append(s.lights, light{
			pos:   vec{s.dim.x * f(0.2, 0.8), s.dim.y * f(0.78, 0.95), s.dim.z * f(0.2, 0.8)},
			color: vec{1 + warm, 1, 1 - warm}.mul(f(0.8, 1.5)),
			owner: -1,
		})
	}

	if b.r.Chance(0.55) {
		b.rug()
	}
	for range 2 + b.r.Intn(3) {
		b.onWall()
	}
	standing := []uint8{classTable, classChair, classLamp, classBox, classBall, classCylinder, classCone, classPyramid, classRing}
	for i := len(standing) - 1; i > 0; i-- {
		j := b.r.Intn(i + 1)
		standing[i], standing[j] = standing[j], standing[i]
	}
	for _, class := range standing[:4+b.r.Intn(3)] {
		b.stand(class)
	}
}

// camera puts the camera near a corner or a wall and turns it towards the middle of the room.
func (b *builder) camera() {
	f := b.r.Float32
	s := b.scene
	s.eye = vec{s.dim.x * f(0.08, 0.4), f(1, 1.9), s.dim.z * f(0.08, 0.4)}
	if b.r.Chance(0.5) {
		s.eye.x = s.dim.x - s.eye.x
	}
	if b.r.Chance(0.5) {
		s.eye.z = s.dim.z - s.eye.z
	}
	aim := vec{s.dim.x * f(0.35, 0.65), 0, s.dim.z * f(0.35, 0.65)}.sub(s.eye)
	sy, cy := math.Sincos(math.Atan2(float64(aim.x), float64(aim.z)) + b.r.Uniform(-0.35, 0.35))
	// High cameras look down, so that they see about as much floor as wall.
	sp, cp := math.Sincos(b.r.Uniform(0.14, 0.44) + 0.18*float64(s.eye.y-1.4))
	s.to = vec{float32(sy * cp), float32(-sp), float32(cy * cp)}
	s.right = vec{0, 1, 0}.cross(s.to).unit()
	s.up = s.to.cross(s.right)
	s.tan = float32(math.Tan(b.r.Uniform(55, 82) / 2 * math.Pi / 180))
}

// hue returns a random colour in linear light, neither too dark nor too grey.
func (b *builder) hue() vec {
	h, sat, val := 6*b.r.Float32(0, 1), b.r.Float32(0.15, 0.95), b.r.Float32(0.18, 0.9)
	channel := func(k float32) float32 {
		k += h
		if k >= 6 {
			k -= 6
		}
		return val * (1 - sat*max(0, min(k, 4-k, 1)))
	}
	return vec{channel(5), channel(3), channel(1)}
}

// material adds a random material whose pattern has about scale periods a metre, and returns its
// index.
func (b *builder) material(scale float32) uint8 {
	f := b.r.Float32
	m := material{
		pattern: pattern(b.r.Intn(int(patterns))),
		a:       b.hue(), b: b.hue(),
		scale: scale * f(0.6, 1.6),
		phase: vec{f(0, 1), f(0, 1), f(0, 1)},
		dir:   vec{f(-1, 1), f(-1, 1), f(-1, 1) + 0.01}.unit(),
		seed:  uint32(b.r.Uint64()),
	}
	if b.r.Chance(0.4) {
		m.gloss = f(0.1, 0.5)
	}
	if b.r.Chance(0.3) {
		m.pattern = plain
	}
	if b.r.Chance(0.5) { // two shades of one colour
		m.b = m.a.mul(f(0.3, 0.7))
	}
	s := b.scene
	s.mats = append(s.mats, m)
	return uint8(len(s.mats) - 1)
}

// surface adds a material for floor, wall or ceiling: calmer than the materials of objects, and
// striped along the room.
func (b *builder) surface() uint8 {
	i := b.material(1.6)
	m := &b.mats[i]
	m.b = lerp(m.a, m.b, b.r.Float32(0.25, 0.7))
	m.gloss *= 0.3
	if m.pattern == stripes {
		m.dir = vec{1, 0, 0}
		if b.r.Chance(0.5) {
			m.dir = vec{0, 0.3, 1}
		}
	}
	return i
}

// begin starts a thing of a class; end computes the sphere around it.
func (b *builder) begin(class uint8) {
	b.class = class
	b.things = append(b.things, thing{from: len(b.prims), shadow: true})
}

func (b *builder) end() *thing {
	t := &b.things[len(b.things)-1]
	t.to = len(b.prims)
	lo, hi := vec{1e9, 1e9, 1e9}, vec{-1e9, -1e9, -1e9}
	for i := t.from; i < t.to; i++ {
		p := &b.prims[i]
		e := vec{p.radius, p.radius, p.radius}
		l, h := p.pos.sub(e), p.pos.add(e)
		lo = vec{min(lo.x, l.x), min(lo.y, l.y), min(lo.z, l.z)}
		hi = vec{max(hi.x, h.x), max(hi.y, h.y), max(hi.z, h.z)}
	}
	t.centre = lo.add(hi).mul(0.5)
	for i := t.from; i < t.to; i++ {
		p := &b.prims[i]
		far := p.pos.sub(t.centre)
		t.radius = max(t.radius, sqrt(far.dot(far))+p.radius)
	}
	return t
}

// put adds a primitive to the thing that was begun last.
func (b *builder) put(p primitive) {
	p.class = b.class
	p.thing = uint8(len(b.things) - 1)
	p.radius = p.ext.x
	if p.shape != shapeSphere {
		p.radius = sqrt(p.ext.dot(p.ext))
	}
	b.prims = append(b.prims, p)
}

func (b *builder) box(at vec, f frame, ext vec, mat uint8) {
	b.put(primitive{shape: shapeBox, pos: at, frame: f, ext: ext, mat: mat})
}

// frustum adds a round shape, or a square one if it is a pyramid. bottom and top are its radii or
// half sides there.
func (b *builder) frustum(shape shape, at vec, f frame, half, bottom, top float32, mat uint8) {
	r := max(bottom, top)
	b.put(primitive{shape: shape, pos: at, frame: f, ext: vec{r, half, r}, a: (bottom + top) / 2, b: (top - bottom) / (2 * half), mat: mat})
}

// place finds a free circle of radius r on the floor where the camera sees it.
func (b *builder) place(r float32) (vec, bool) {
	s := b.scene
	for range 24 {
		u := b.r.Float32(-0.85, 0.85) * s.tan
		dir := vec{s.to.x + s.right.x*u, 0, s.to.z + s.right.z*u}.unit()
		// Near enough to be seen well, far enough for the foot to be in view.
		d := b.r.Float32(1, 1.45+r) + b.r.Float32(0, 1)*b.r.Float32(0, 3.2)
		p := s.eye.add(dir.mul(d + 0.35*r))
		if p.x < r+0.03 || p.z < r+0.03 || p.x > s.dim.x-r-0.03 || p.z > s.dim.z-r-0.03 || d < r+0.5 {
			continue
		}
		free := true
		for _, o := range b.spots {
			dx, dz, gap := o.x-p.x, o.z-p.z, o.r+r+0.04
			free = free && dx*dx+dz*dz > gap*gap
		}
		if free {
			b.spots = append(b.spots, spot{p.x, p.z, r})
			return vec{p.x, 0, p.z}, true
		}
	}
	return vec{}, false
}

func (b *builder) angle() float32 { return b.r.Float32(0, 2*math.Pi) }
