// Package data supplies training samples: rendered scenes, folders of images,
// and a loader that makes batches of them.
//
// A [Dataset] is a sequence of aligned samples. [Scenes] ray-traces furnished
// rooms with colour, depth and classes, so a model can be trained and tested
// without any download. [OpenFolder] and [OpenSplit] read
// DIR/<modality>/CLASS/x.png; [WriteFolder] writes that layout, and [Check]
// finds everything that is wrong with one.
//
// A [Loader] crops, mirrors, resizes and normalises samples into batches, the
// same ones whatever the number of its workers, and starts at any batch.
// [Collate] does so without augmentation, for validation.
package data
