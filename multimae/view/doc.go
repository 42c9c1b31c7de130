// Package view turns what a model reads and predicts into pictures: colour images, depth maps in a
// perceptual colour map, class maps in a fixed palette, masked inputs, and labelled grids of them.
//
// Pixels come as the flat row-major slices the rest of the library works with. A slice of the wrong
// length is the caller's mistake and panics with the lengths; NaN values do not: they are drawn in
// magenta, which none of the maps contains, so that a diverged model is seen at a glance.
package view
