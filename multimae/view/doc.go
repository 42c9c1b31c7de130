// Package view draws what a model reads and predicts: masked inputs, reconstructions beside the
// truth, and labelled grids of pictures. Package images makes the single pictures.
package view
