package scenes

import "math"

// The shapes of primitives, around the origin of their own axes.
type shape uint8

const (
	shapeSphere  shape = iota // radius ext.x
	shapeBox                  // half sides ext
	shapeFrustum              // round, about y: radius a+b·y for |y| ≤ ext.y
	shapePyramid              // square: half side a+b·y for |y| ≤ ext.y
	shapeTorus                // about y: ring radius a, tube radius ext.y
)

// primitive is a convex shape or a torus.
type primitive struct {
	shape shape
	class uint8
	mat   uint8 // index of the scene's materials
	thing uint8 // index of the scene's things
	pos   vec
	frame frame
	ext   vec // half sides of the bounding box along its own axes
	a, b  float32

	radius float32 // of a sphere around pos that contains it
}

// hit returns where the ray o+t·d, in the primitive's own axes, enters the shape, and whether it
// does. A ray that starts inside does not, except in a frustum, where t is where it leaves.
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
	// Division by zero gives infinities, which compare as they should. A ray within a face gives
	// NaN, and the comparison fails.
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

// hitFrustum solves x²+z² = (a+b·y)² and clips the ray to the two ends. A cylinder has b = 0, a
// cone the radius 0 at the top.
func (p *primitive) hitFrustum(o, d vec) (float32, bool) {
	ro, rd := p.a+p.b*o.y, p.b*d.y
	qa := d.x*d.x + d.z*d.z - rd*rd
	qb := o.x*d.x + o.z*d.z - ro*rd
	qc := o.x*o.x + o.z*o.z - ro*ro
	best := float32(math.MaxFloat32)
	if disc := qb*qb - qa*qc; disc >= 0 && qa != 0 {
		s := sqrt(disc)
		for _, t := range [2]float32{(-qb - s) / qa, (-qb + s) / qa} {
			// Beyond its tip the cone goes on with a negative radius.
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

// hitPyramid clips the ray to the six half-spaces that bound the pyramid.
func (p *primitive) hitPyramid(o, d vec) (float32, bool) {
	in, out := float32(0), float32(math.MaxFloat32)
	entered := false
	ro, rd := p.a+p.b*o.y, p.b*d.y
	// The ray starts at distance dist from the plane, positive outside, and the distance changes by
	// rate.
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

// hitTorus walks along the ray in steps of the distance to the surface: the closed form, a quartic,
// loses too many digits in single precision.
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

// normal returns the outward normal at q, a point of the surface in the primitive's own axes.
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
