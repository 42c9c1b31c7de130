// Package view shows what a model reads and predicts: masked inputs, reconstructions beside the truth,
// and labelled grids of pictures. The pictures themselves are package images'.
package view
