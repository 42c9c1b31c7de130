// Package metrics judges predictions of downstream tasks: classes of pixels and of images, depth,
// and any other values.
//
// Each type collects what Add tells it about one image or batch after another, and Merge adds what
// another one of its kind has collected. The figures are computed from whole counts and exact sums,
// so they are the same bits in whatever order the images come and however they are divided among
// collectors. Shares are in percent.
package metrics
