// Package scenes renders rooms: a data set of colour, depth and semantic maps
// that needs no download and has exact truth. Everything that a room holds
// follows from its number and a seed.
package scenes
