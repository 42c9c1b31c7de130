// Package vit has the parts of a vision transformer, Dosovitskiy et al. (2021), that a masked
// autoencoder shares with others: patches, position tables, and the stack of pre-norm blocks.
package vit
