// Package vit is the vision transformer of Dosovitskiy et al. (2021), in the parts that a masked
// autoencoder shares with others: patches, position tables, and the stack of pre-norm blocks.
package vit
