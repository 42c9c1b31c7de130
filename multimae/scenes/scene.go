package scenes

import "sync"

// thing is an object of the room: consecutive primitives within a sphere.
type thing struct {
	from, to int
	centre   vec
	radius   float32
	shadow   bool // casts shadows; flat things on walls and floor do not
}

// light is a point light.
type light struct {
	pos   vec
	color vec
	owner int // the thing that holds the light and casts no shadow of it, or −1

	casters []uint8 // the things that may shade the tile at hand
}

// scene is a room [0, dim] with things, seen by one camera.
type scene struct {
	dim    vec
	room   [3]uint8 // materials of floor, wall, ceiling
	prims  []primitive
	things []thing
	mats   []material
	lights []light

	eye           vec
	right, up, to vec     // to is where the camera looks; all of length 1
	tan           float32 // tangent of half the field of view
	ambient       float32
	exposure      float32 // mean brightness of the picture

	// Buffers with one value for each pixel.
	depth []float32
	prim  []int16 // index of the primitive, or −1−surface for the room
	color []vec
}

const (
	far     = 16 // metres: the range of depth maps
	epsilon = 1e-3
)

const (
	surfaceFloor = iota
	surfaceWall
	surfaceCeiling
)

var scenePool = sync.Pool{New: func() any { return new(scene) }}
