// Package metrics judges predictions of downstream tasks: classes of pixels and of images, depth,
// and any other values.
//
// Each type collects what Add tells it about one image or batch after another. Counts are the same in
// whatever order the images come, and sums, over one image after another, up to rounding. Shares are
// in percent.
//
// Where several processes each add a part of the images, Reduce makes what one of them has collected
// that of all. It calls sum once, which replaces x by its sum over the processes.
package metrics
