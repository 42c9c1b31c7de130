package scenes

import "math"

// vec is a point, a direction or a colour.
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

// yaw returns the basis turned about the vertical by a.
func yaw(a float32) frame {
	s, c := sincos(a)
	return frame{vec{c, 0, -s}, vec{0, 1, 0}, vec{s, 0, c}}
}

// tilted returns the basis tipped over by b and then turned about the vertical by a.
func tilted(a, b float32) frame {
	f := yaw(a)
	s, c := sincos(b)
	return frame{f.x, f.y.mul(c).add(f.z.mul(s)), f.z.mul(c).sub(f.y.mul(s))}
}

func sign(v float32) float32 {
	if v < 0 {
		return -1
	}
	return 1
}
