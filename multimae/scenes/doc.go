// Package scenes ray-traces furnished rooms: a dataset of colour, depth and semantic maps that
// needs no download and whose truth is exact. A room depends on its number and a seed only.
//
// scene.go has the parts of a room. compose.go, furniture.go and wall.go build one from random
// numbers, out of the shapes of shape.go and the textures of material.go. render.go finds what each
// pixel shows, light.go its colour.
package scenes
