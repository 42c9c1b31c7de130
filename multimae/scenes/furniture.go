package scenes

import "math"

// stand puts an object of the class on the floor if there is room for it.
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

// small puts a little object on top of something.
func (b *builder) small(at vec, size float32) {
	classes := [...]uint8{classBox, classBall, classCylinder, classCone, classPyramid, classRing, classLamp}
	class := classes[b.r.Intn(len(classes))]
	if class == classLamp {
		b.lamp(at, b.r.Float32(0.35, 0.55), min(size, 0.16))
		return
	}
	b.solid(class, at, size)
}

// solid adds an object of a single shape that stands at at, about as wide as size on each side of
// the vertical line through it; a cylinder that lies may reach a quarter farther. It returns the
// height of its top.
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

// legs adds four legs below a rectangle of half sides x and z.
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

// table adds a table, and perhaps something small on it.
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

// chair adds a chair with four legs and a back.
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

// lamp adds a foot, a pole and a shade. Some lamps are switched on.
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
			b.lights = append(b.lights, light{
				pos: vec{at.x, at.y + height, at.z}, color: vec{1, 0.85, 0.6}.mul(f(0.4, 0.8)), owner: len(b.things) - 1,
			})
		}
	}
}

// rug lays a rug on the floor. It takes no place: other things may stand on it.
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
