package scenes

// shade computes the colour of every pixel.
func (s *scene) shade(size int) {
	last := make([]int, len(s.lights)) // for each light the thing that shaded the last pixel: it is likely to shade this one too
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

// light returns the light that point p with normal n sends back along d.
func (s *scene) light(p, n, d vec, mat *material, texture vec, own int, last []int) vec {
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

// shadowed reports whether a thing lies between o and o+d.
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
