package scenes

import "math"

// onWall hangs a picture, a window or a door on a wall that the camera sees, if there is room for
// it.
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
		// The wall that this direction meets, and where it meets it.
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
		// The z axis of the frame points into the room.
		turn := yaw([4]float32{math.Pi / 2, -math.Pi / 2, 0, math.Pi}[wall])
		pos := [4]vec{{0, at, along}, {s.dim.x, at, along}, {along, at, 0}, {along, at, s.dim.z}}[wall]
		b.hang(class, pos, turn, x, y)
		return
	}
}

// hang adds the parts of a thing on a wall, of half sides x and y around pos.
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

// rim adds four bars around a flat thing on a wall.
func (b *builder) rim(local func(x, y, z float32) vec, turn frame, x, y, w, depth float32, mat uint8) {
	b.box(local(x-w, 0, 0), turn, vec{w, y, depth}, mat)
	b.box(local(w-x, 0, 0), turn, vec{w, y, depth}, mat)
	b.box(local(0, y-w, 0), turn, vec{x, w, depth}, mat)
	b.box(local(0, w-y, 0), turn, vec{x, w, depth}, mat)
}
