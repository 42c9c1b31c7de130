// Package data supplies training samples: datasets in folders of images, and a loader that makes
// batches of them.
//
// A [Dataset] is a sequence of aligned samples. [OpenFolder] and [OpenSplit] read
// DIR/<modality>/CLASS/x.png and what else [ReadImage] takes, [WriteFolder] writes that layout, and
// [Check] finds everything that is wrong with a folder. Package scenes has a dataset of rendered
// rooms, which needs no download.
//
// A [Loader] crops, mirrors, resizes and normalises samples into batches. They are the same for any
// number of workers, and the loader can start at any batch. [Collate] makes a batch without
// augmentation, for validation.
package data
