package scenes

// The patterns of materials.
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

// material is a solid texture: its colour depends on the place in space, so that surfaces need no
// coordinates of their own.
type material struct {
	pattern     pattern
	a, b        vec // colours, linear light
	scale       float32
	phase       vec
	dir         vec // of stripes and gradients
	gloss, glow float32
	seed        uint32
}

// at returns the colour at p, where the surface has normal n. Along n the pattern does not change:
// a face that lies between two layers of it would flicker.
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

// noise is a smooth function with values in 0..1.
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
