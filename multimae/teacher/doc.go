// Package teacher makes depth and class maps from photographs with networks that others have trained:
// any network in ONNX that computes one map from one photograph, or a fine-tuned model of gomae.
// MultiMAE (Bachmann et al., 2022) is pre-trained on such pseudo-labels.
//
//	t, err := teacher.Open([]string{"objects.json", "places.json"}, teacher.Options{})
//	…
//	defer t.Close()
//	photo, w, h, err := data.ReadPhoto("photo.jpg")
//	…
//	job, err := t.Prepare(photo) // at the size that the networks want
//	err = job.Run(ctx)
//	ids, err := job.Map(w, h)    // at the photograph's size
//
// Only [Open] makes a [Teacher]: the zero one has no network, nor does one that is closed.
//
// A [Description] beside a network says how it is fed and what comes out. Those of well-known networks
// are part of the package: see [Known].
//
// Networks in ONNX run in ONNX Runtime, a shared library that the package opens at run time without
// cgo. Where it is looked for: the path in [Options], the one in the environment variable
// [LibraryVariable], and the places where the package onnxruntime of Python and those of the system
// put it. Such a library is code that runs in this process: name only those that you trust. Models of
// gomae need nothing but Go. With the tag noonnx the package is built without ONNX; a program on Linux
// that has no such tag is linked against the C library of the system.
//
// Each network computes in one thread, so that the result does not depend on how many photographs are
// under way.
package teacher
