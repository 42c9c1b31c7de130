// Package images takes Go images into a model and out of it, without any dependency but the
// standard library.
//
// [Batch] makes a batch of the images of one view. [Picture] draws what a model predicts: colour,
// depth in a perceptual colour map, classes in a fixed palette. The parts that both are made of are
// for those who have their own sizes, crops or scales.
//
// Pixels are flat row-major slices. A slice of the wrong length is the caller's mistake and panics
// with the lengths; NaN values do not: they are drawn in magenta, which none of the colour maps
// contains, so that a diverged model is seen at a glance.
package images
