package scenes

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/nn"
)

// The classes of rendered scenes.
const (
	classFloor = iota
	classWall
	classCeiling
	classRug
	classPicture
	classWindow
	classDoor
	classTable
	classChair
	classLamp
	classBox
	classBall
	classCylinder
	classCone
	classPyramid
	classRing
)

// Classes are the names of the class ids of rendered scenes: the index is
// the id. A class is a shape; colour, texture, size and place tell nothing
// about it.
var Classes = []string{
	"floor", "wall", "ceiling", "rug", "picture", "window", "door", "table",
	"chair", "lamp", "box", "ball", "cylinder", "cone", "pyramid", "ring",
}

// New returns a dataset of n ray-traced rooms of size×size pixels with the
// modalities rgb, depth and semseg, aligned to the pixel. Sample i is scene
// number first+i, named "scene/%06d" after it, and depends on that number,
// size and seed only; the size changes the sampling, not the scene.
//
// rgb is in steps of 1/255. Depth is the distance along the camera's axis
// divided by 16 m, in steps of 2^−16. Semseg holds indices of Classes.
// Scenes are the same on every run; machines whose compilers fuse
// multiplication and addition may differ in a pixel here and there.
func New(first, n, size int, seed uint64) data.Dataset {
	return &scenes{first, max(n, 0), size, seed}
}

// maxSize bounds what a scene takes to render: 64 megapixels.
const maxSize = 8000

type scenes struct {
	first, n, size int
	seed           uint64
}

func (d *scenes) Len() int { return d.n }

func (d *scenes) Sample(i int) (*data.Sample, error) {
	if i < 0 || i >= d.n {
		return nil, fmt.Errorf("scenes: scene %d of %d", i, d.n)
	}
	if d.size < 1 || d.size > maxSize {
		return nil, fmt.Errorf("scenes: scenes of %d×%d pixels", d.size, d.size)
	}
	s := scenePool.Get().(*scene)
	defer scenePool.Put(s)
	s.compose(nn.NewRNG(d.seed, uint64(d.first+i)))
	out := s.render(d.size)
	out.Name = fmt.Sprintf("scene/%06d", d.first+i)
	return out, nil
}

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

// compose makes the scene anew from its random numbers.
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

// camera stands near a corner or a side and looks into the room.
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
	// High cameras look down: so about as much floor as wall is seen.
	sp, cp := math.Sincos(b.r.Uniform(0.14, 0.44) + 0.18*float64(s.eye.y-1.4))
	s.to = vec{float32(sy * cp), float32(-sp), float32(cy * cp)}
	s.right = vec{0, 1, 0}.cross(s.to).unit()
	s.up = s.to.cross(s.right)
	s.tan = float32(math.Tan(b.r.Uniform(55, 82) / 2 * math.Pi / 180))
}

// hue is a random colour in linear light, neither too dark nor too grey.
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

// material adds a random one, its pattern of about scale periods a metre.
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

// surface is a material for floor, wall or ceiling: calmer than those of
// objects, and striped along the room.
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

// begin starts a thing of a class; end measures it.
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
		r := sqrt(p.ext.dot(p.ext))
		if p.shape == shapeSphere {
			r = p.ext.x
		}
		e := vec{r, r, r}
		l, h := p.pos.sub(e), p.pos.add(e)
		lo = vec{min(lo.x, l.x), min(lo.y, l.y), min(lo.z, l.z)}
		hi = vec{max(hi.x, h.x), max(hi.y, h.y), max(hi.z, h.z)}
	}
	t.centre = lo.add(hi).mul(0.5)
	for i := t.from; i < t.to; i++ {
		p := &b.prims[i]
		far := p.pos.sub(t.centre)
		r := sqrt(p.ext.dot(p.ext))
		if p.shape == shapeSphere {
			r = p.ext.x
		}
		t.radius = max(t.radius, sqrt(far.dot(far))+r)
	}
	return t
}

// put adds a primitive to the thing begun last.
func (b *builder) put(p primitive) {
	p.class = b.class
	p.thing = uint8(len(b.things) - 1)
	b.prims = append(b.prims, p)
}

func (b *builder) box(at vec, f frame, ext vec, mat uint8) {
	b.put(primitive{shape: shapeBox, pos: at, frame: f, ext: ext, mat: mat})
}

// frustum is round, or square for a pyramid, with its radius or half side at
// the bottom and at the top.
func (b *builder) frustum(shape shape3, at vec, f frame, half, bottom, top float32, mat uint8) {
	r := max(bottom, top)
	b.put(primitive{shape: shape, pos: at, frame: f, ext: vec{r, half, r}, a: (bottom + top) / 2, b: (top - bottom) / (2 * half), mat: mat})
}

// place finds a free circle of radius r on the floor that the camera sees.
func (b *builder) place(r float32) (vec, bool) {
	s := b.scene
	for range 24 {
		u := b.r.Float32(-0.85, 0.85) * s.tan
		dir := vec{s.to.x + s.right.x*u, 0, s.to.z + s.right.z*u}.unit()
		// Near enough to be seen well, far enough for its foot to be in view.
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

// stand puts an object of the class on the floor, where there is room.
func (b *builder) stand(class uint8) {
	f := b.r.Float32
	switch class {
	case classTable:
		b.table()
	case classChair:
		b.chair()
	case classLamp:
		if at, ok := b.place(0.22); ok {
			b.lamp(at, f(1.1, 1.7), 0.22)
		}
	default:
		size := f(0.26, 0.6)
		if at, ok := b.place(size); ok {
			top := b.solid(class, at, size)
			if class == classBox && b.r.Chance(0.4) {
				b.small(vec{at.x, top, at.z}, size*0.55)
			}
		}
	}
}

// small puts a little object on something.
func (b *builder) small(at vec, size float32) {
	classes := [...]uint8{classBox, classBall, classCylinder, classCone, classPyramid, classRing, classLamp}
	class := classes[b.r.Intn(len(classes))]
	if class == classLamp {
		b.lamp(at, b.r.Float32(0.35, 0.55), min(size, 0.16))
		return
	}
	b.solid(class, at, size)
}

// solid is one of the single shapes, within size of the vertical line through
// at, on which it stands. It returns the height of its top.
func (b *builder) solid(class uint8, at vec, size float32) (top float32) {
	f := b.r.Float32
	mat := b.material(1.7 / size)
	turn := yaw(b.angle())
	up := func(h float32) vec { return vec{at.x, at.y + h, at.z} }
	b.begin(class)
	var half float32
	switch class {
	case classBall:
		half = size
		b.put(primitive{shape: shapeSphere, pos: up(size), frame: tilted(b.angle(), b.angle()), ext: vec{size, size, size}, mat: mat})
	case classBox:
		e := vec{size * f(0.5, 0.72), size * f(0.4, 1.1), size * f(0.5, 0.72)}
		half = e.y
		b.box(up(half), turn, e, mat)
	case classCylinder:
		r := size * f(0.45, 0.85)
		switch half = size * f(0.6, 1.7); {
		case b.r.Chance(0.25): // on its side
			long := sqrt(size*size - r*r*0.25)
			b.frustum(shapeFrustum, up(r), tilted(b.angle(), math.Pi/2), long, r, r, mat)
			half = r
		case at.y == 0 && b.r.Chance(0.12): // a pillar up to the ceiling
			half = b.dim.y / 2
			fallthrough
		default:
			b.frustum(shapeFrustum, up(half), turn, half, r, r, mat)
		}
	case classCone:
		half = size * f(0.7, 1.4)
		b.frustum(shapeFrustum, up(half), turn, half, size*f(0.65, 0.95), 0, mat)
	case classPyramid:
		half = size * f(0.6, 1.3)
		b.frustum(shapePyramid, up(half), turn, half, size*0.7, 0, mat)
	case classRing:
		tube := size * f(0.16, 0.27)
		ring := size - tube
		p := primitive{shape: shapeTorus, frame: turn, ext: vec{size, tube, size}, a: ring, mat: mat}
		half = tube
		if b.r.Chance(0.65) { // upright
			half = size
			p.frame = tilted(b.angle(), math.Pi/2)
		}
		p.pos = up(half)
		b.put(p)
	}
	b.end()
	return at.y + 2*half
}

func (b *builder) legs(at vec, f frame, x, z, height, thick float32, round bool, mat uint8) {
	for k := range 4 {
		sx, sz := x-thick, z-thick
		if k&1 != 0 {
			sx = -sx
		}
		if k&2 != 0 {
			sz = -sz
		}
		p := at.add(f.world(vec{sx, height / 2, sz}))
		if round {
			b.frustum(shapeFrustum, p, f, height/2, thick*0.8, thick*1.2, mat)
		} else {
			b.box(p, f, vec{thick, height / 2, thick}, mat)
		}
	}
}

func (b *builder) table() {
	f := b.r.Float32
	x, z, h, thick := f(0.4, 0.75), f(0.3, 0.5), f(0.5, 0.8), f(0.025, 0.05)
	at, ok := b.place(sqrt(x*x+z*z) * 0.9)
	if !ok {
		return
	}
	turn := yaw(b.angle())
	top, leg := b.material(3), b.material(4)
	b.begin(classTable)
	if b.r.Chance(0.3) { // a round top
		x = (x + z) / 2
		z = x
		b.frustum(shapeFrustum, vec{at.x, h, at.z}, turn, thick, x, x, top)
		x, z = x*0.75, z*0.75
	} else {
		b.box(vec{at.x, h, at.z}, turn, vec{x, thick, z}, top)
	}
	b.legs(at, turn, x, z, h-thick, f(0.025, 0.045), b.r.Chance(0.5), leg)
	b.end()
	if b.r.Chance(0.6) {
		b.small(at.add(turn.world(vec{f(-0.4, 0.4) * x, h + thick, f(-0.3, 0.3) * z})), f(0.12, 0.22))
	}
}

func (b *builder) chair() {
	f := b.r.Float32
	w, d, h, back := f(0.2, 0.27), f(0.2, 0.26), f(0.4, 0.5), f(0.2, 0.32)
	at, ok := b.place(sqrt(w*w + d*d))
	if !ok {
		return
	}
	turn := yaw(b.angle())
	seat, leg := b.material(4), b.material(4)
	b.begin(classChair)
	b.box(vec{at.x, h, at.z}, turn, vec{w, 0.03, d}, seat)
	if b.r.Chance(0.6) {
		b.box(at.add(turn.world(vec{0, h + back, -d + 0.025})), turn, vec{w, back, 0.025}, seat)
	} else { // rails between posts
		for _, s := range [2]float32{-1, 1} {
			b.box(at.add(turn.world(vec{s * (w - 0.025), h + back, -d + 0.025})), turn, vec{0.025, back, 0.025}, leg)
		}
		for _, s := range [2]float32{0.9, 1.75} {
			b.box(at.add(turn.world(vec{0, h + back*s, -d + 0.025})), turn, vec{w, back * 0.2, 0.02}, seat)
		}
	}
	b.legs(at, turn, w, d, h-0.03, f(0.02, 0.035), b.r.Chance(0.4), leg)
	b.end()
}

// lamp is a foot, a pole and a shade; some are switched on.
func (b *builder) lamp(at vec, height, size float32) {
	f := b.r.Float32
	metal, shade := b.material(5), b.material(4)
	turn := yaw(b.angle())
	shadeHalf := min(height*f(0.12, 0.2), size*0.9)
	b.begin(classLamp)
	b.frustum(shapeFrustum, vec{at.x, at.y + 0.015, at.z}, turn, 0.015, size*0.75, size*0.7, metal)
	b.frustum(shapeFrustum, vec{at.x, at.y + height/2, at.z}, turn, height/2, max(0.018, size*0.09), max(0.018, size*0.09), metal)
	b.frustum(shapeFrustum, vec{at.x, at.y + height, at.z}, turn, shadeHalf, size, size*f(0.4, 0.75), shade)
	b.end()
	if b.r.Chance(0.5) {
		m := &b.mats[shade]
		m.glow = f(1.1, 1.6)
		m.a = lerp(m.a, vec{1, 0.9, 0.7}, 0.6)
		m.b = lerp(m.b, vec{1, 0.9, 0.7}, 0.4)
		if len(b.lights) < 3 {
			b.lights = append(b.lights, light{vec{at.x, at.y + height, at.z}, vec{1, 0.85, 0.6}.mul(f(0.4, 0.8)), len(b.things) - 1})
		}
	}
}

// rug lies on the floor under whatever comes; it takes no place.
func (b *builder) rug() {
	f := b.r.Float32
	x, z := f(0.7, 1.4), f(0.5, 1)
	const half = 0.008
	s := b.scene
	flat := vec{s.to.x, 0, s.to.z}.unit()
	at := s.eye.add(flat.mul(f(1.6, 3))).add(s.right.mul(f(-0.7, 0.7)))
	at = vec{min(max(at.x, 1), s.dim.x-1), half, min(max(at.z, 1), s.dim.z-1)}
	turn := yaw(b.angle())
	b.begin(classRug)
	inner, border := b.material(3), b.material(3)
	if b.r.Chance(0.35) {
		r := min(x, 0.95)
		b.frustum(shapeFrustum, at, turn, half, r, r, border)
		at.y += half
		b.frustum(shapeFrustum, at, turn, half, r*0.8, r*0.8, inner)
	} else {
		b.box(at, turn, vec{min(x, 1), half, min(z, 0.8)}, border)
		at.y += half
		b.box(at, turn, vec{min(x, 1) - 0.12, half, min(z, 0.8) - 0.12}, inner)
	}
	b.end().shadow = false
}

// onWall hangs a picture, a window or a door where the camera looks.
func (b *builder) onWall() {
	f := b.r.Float32
	s := b.scene
	class := [...]uint8{classPicture, classWindow, classDoor}[b.r.Intn(3)]
	var x, y, at float32 // half sides, height of the centre
	switch class {
	case classPicture:
		x, y = f(0.3, 0.75), f(0.25, 0.55)
		at = f(1.1, 1.7)
	case classWindow:
		x, y = f(0.45, 0.95), f(0.45, 0.7)
		at = f(1.2, 1.6)
	default:
		x, y = f(0.36, 0.5), min(f(0.92, 1.08), s.dim.y/2-0.1)
		at = y
	}
	for range 10 {
		u := f(-0.8, 0.8) * s.tan
		dir := vec{s.to.x + s.right.x*u, 0, s.to.z + s.right.z*u}
		// The wall that this direction meets, and where along it.
		wall, t := 0, float32(math.MaxFloat32)
		for k, v := range [4][3]float32{{s.eye.x, dir.x, 0}, {s.eye.x, dir.x, s.dim.x}, {s.eye.z, dir.z, 0}, {s.eye.z, dir.z, s.dim.z}} {
			if q := (v[2] - v[0]) / v[1]; q > 0 && q < t {
				wall, t = k, q
			}
		}
		p := s.eye.add(dir.mul(t))
		along, length := p.z, s.dim.z
		if wall >= 2 {
			along, length = p.x, s.dim.x
		}
		along = min(max(along, x+0.1), length-x-0.1)
		free := true
		for _, o := range b.walls[wall] {
			free = free && abs(o.x-along) > o.r+x+0.08
		}
		if !free {
			continue
		}
		b.walls[wall] = append(b.walls[wall], spot{x: along, r: x})
		// z of the frame points into the room.
		turn := yaw([4]float32{math.Pi / 2, -math.Pi / 2, 0, math.Pi}[wall])
		pos := [4]vec{{0, at, along}, {s.dim.x, at, along}, {along, at, 0}, {along, at, s.dim.z}}[wall]
		b.hang(class, pos, turn, x, y)
		return
	}
}

func (b *builder) hang(class uint8, pos vec, turn frame, x, y float32) {
	f := b.r.Float32
	local := func(x, y, z float32) vec { return pos.add(turn.world(vec{x, y, z})) }
	b.begin(class)
	switch class {
	case classPicture: // a canvas within a raised frame
		canvas, rim := b.material(4), b.material(6)
		b.mats[rim].pattern = plain
		w := f(0.03, 0.06)
		b.box(local(0, 0, 0), turn, vec{x, y, 0.02}, canvas)
		b.rim(local, turn, x, y, w, 0.035, rim)
	case classWindow: // a bright pane with a cross
		pane, rim := b.material(1), b.material(6)
		m := &b.mats[pane]
		*m = material{pattern: gradient, a: vec{0.35, 0.6, 1}.mul(f(0.7, 1.1)), b: vec{1, 1, 1}, scale: f(0.6, 1.4), phase: m.phase, dir: vec{0, 1, 0}, glow: f(0.9, 1.5)}
		if b.r.Chance(0.25) { // dusk
			m.a, m.b = vec{0.9, 0.4, 0.2}, vec{0.3, 0.25, 0.6}
		}
		b.mats[rim].pattern = plain
		b.box(local(0, 0, 0), turn, vec{x, y, 0.015}, pane)
		b.rim(local, turn, x, y, 0.045, 0.04, rim)
		b.box(local(0, 0, 0), turn, vec{0.025, y, 0.03}, rim)
		b.box(local(0, f(-0.2, 0.3)*y, 0), turn, vec{x, 0.025, 0.03}, rim)
	default: // a leaf with two panels, a frame and a knob
		leaf, rim, knob := b.material(2), b.material(6), b.material(6)
		b.mats[rim].pattern = plain
		b.box(local(0, 0, 0), turn, vec{x, y, 0.02}, leaf)
		b.rim(local, turn, x, y, 0.05, 0.04, rim)
		b.box(local(0, y*0.45, 0), turn, vec{x * 0.6, y * 0.35, 0.035}, leaf)
		b.box(local(0, -y*0.45, 0), turn, vec{x * 0.6, y * 0.35, 0.035}, leaf)
		side := sign(f(-1, 1))
		b.put(primitive{shape: shapeSphere, pos: local(side*x*0.78, -0.02, 0.07), frame: turn, ext: vec{0.045, 0.045, 0.045}, mat: knob})
	}
	b.end().shadow = false
}

// rim is four bars around a flat thing on a wall.
func (b *builder) rim(local func(x, y, z float32) vec, turn frame, x, y, w, depth float32, mat uint8) {
	b.box(local(x-w, 0, 0), turn, vec{w, y, depth}, mat)
	b.box(local(w-x, 0, 0), turn, vec{w, y, depth}, mat)
	b.box(local(0, y-w, 0), turn, vec{x, w, depth}, mat)
	b.box(local(0, w-y, 0), turn, vec{x, w, depth}, mat)
}
