// Package images turns Go images into what a model takes, and what it predicts into images.
//
// [Batch] makes a batch of the images of one view. [Picture] draws what a model predicts: colour,
// depth in a perceptual colour map, and classes in a fixed palette. Programs with sizes, crops or
// scales of their own use the parts that these two are made of.
//
// image.Decode drops the EXIF orientation of a file, so that photographs may lie on their side: pass
// them through [Upright], with their [Orientation], before [Batch]. Of a lossy WebP file it returns too
// little contrast, which [WidenWebP] restores.
//
// Pixels are flat row-major slices. A slice of the wrong length is a mistake of the caller and
// panics. NaN values are drawn in magenta, which no colour map contains, so that a diverged model
// is seen at a glance.
package images
