// Package probe asks how much a frozen encoder knows about the classes of images that it was not
// trained to tell apart: by a linear classifier of its features, and by the classes of the nearest
// neighbours in their space.
//
// The features of an image are the mean of the encoder's tokens. Extractor computes them once and
// keeps them on disk.
package probe
