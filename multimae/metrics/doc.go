// Package metrics judges predictions of downstream tasks: classes of pixels and of images, depth,
// and any other values.
//
// Each type collects what Add tells it about one image or batch after another. Counts are the same in
// whatever order the images come, and sums, over one image after another, up to rounding. Shares are
// in percent.
package metrics
