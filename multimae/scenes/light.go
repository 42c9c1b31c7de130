package scenes

// tileSize is the side in pixels of the squares in which a picture is shaded.
const tileSize = 8

// shade computes the colour of every pixel, tile by tile: what a tile shows lies close together, so
// that few things can come between it and a light.
func (s *scene) shade(size int) {
	for y := 0; y < size; y += tileSize {
		for x := 0; x < size; x += tileSize {
			s.shadeTile(x, y, min(x+tileSize, size), min(y+tileSize, size), size)
		}
	}
}

func (s *scene) shadeTile(x0, y0, x1, y1, size int) {
	var rays, points [tileSize * tileSize]vec
	lo, hi := s.dim, vec{}
	k := 0
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			rays[k] = s.ray(x, y, size)
			p := s.eye.add(rays[k].mul(s.depth[y*size+x]))
			points[k] = p
			lo = vec{min(lo.x, p.x), min(lo.y, p.y), min(lo.z, p.z)}
			hi = vec{max(hi.x, p.x), max(hi.y, p.y), max(hi.z, p.z)}
			k++
		}
	}
	half := hi.sub(lo).mul(0.5)
	// Rays to lights begin a little above the surface.
	s.findCasters(lo.add(half), sqrt(half.dot(half))+8*epsilon)
	k = 0
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			s.color[y*size+x] = s.shadePoint(points[k], rays[k], s.prim[y*size+x])
			k++
		}
	}
}

// shadePoint returns the colour of point p, which belongs to prim as in s.prim, seen along d.
func (s *scene) shadePoint(p, d vec, prim int16) vec {
	if prim < 0 {
		return s.light(p, s.roomNormal(p, -1-prim), d, &s.mats[s.room[-1-prim]], p, -1)
	}
	at := &s.prims[prim]
	q := at.frame.local(p.sub(at.pos))
	return s.light(p, at.frame.world(at.normal(q)), d, &s.mats[at.mat], q, int(at.thing))
}

// findCasters notes for each light the things that may lie between it and a point less than radius
// from centre: those whose sphere comes that close to the line from centre to the light.
func (s *scene) findCasters(centre vec, radius float32) {
	for k := range s.lights {
		l := &s.lights[k]
		l.casters = l.casters[:0]
		axis := l.pos.sub(centre)
		inv := 1 / axis.dot(axis)
		for i := range s.things {
			t := &s.things[i]
			if !t.shadow || i == l.owner {
				continue
			}
			to := t.centre.sub(centre)
			off := to.sub(axis.mul(min(max(to.dot(axis)*inv, 0), 1)))
			if reach := t.radius + radius; off.dot(off) > reach*reach {
				continue
			}
			l.casters = append(l.casters, uint8(i))
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

// light returns the light that point p with normal n sends back along d.
func (s *scene) light(p, n, d vec, mat *material, texture vec, own int) vec {
	albedo := mat.at(texture, n)
	if mat.glow > 0 {
		return albedo.mul(mat.glow)
	}
	// There is more light from above than from below, and less in the edges of the room.
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
		if s.shadowed(start, to, dist2, l.casters) {
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

// shadowed reports whether one of casters lies between o and o+d, and moves it to the front: it is
// likely to shade the next pixel too.
func (s *scene) shadowed(o, d vec, dist2 float32, casters []uint8) bool {
	for i, c := range casters {
		if s.blocks(&s.things[c], o, d, dist2) {
			casters[0], casters[i] = c, casters[0]
			return true
		}
	}
	return false
}

// slack makes the sphere around a primitive so much larger that no ray which touches a corner misses
// it by rounding.
const slack = 1.001

// blocks reports whether t lies between o and o+d, whose distance squared is dist2.
func (s *scene) blocks(t *thing, o, d vec, dist2 float32) bool {
	if misses(t.centre.sub(o), d, dist2, t.radius) {
		return false
	}
	for k := t.from; k < t.to; k++ {
		p := &s.prims[k]
		if misses(p.pos.sub(o), d, dist2, slack*p.radius) {
			continue
		}
		if q, ok := p.hit(p.frame.local(o.sub(p.pos)), p.frame.local(d)); ok && q < 1 {
			return true
		}
	}
	return false
}

// misses reports whether the ray along d, of length² dist2, leaves out the sphere of the radius around
// centre, as seen from where the ray starts.
func misses(centre, d vec, dist2, radius float32) bool {
	gap := centre.dot(centre) - radius*radius
	if gap <= 0 {
		return false
	}
	along := centre.dot(d)
	return along <= 0 || along*along < gap*dist2
}
