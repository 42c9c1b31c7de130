package tensor

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of a large page of memory on amd64 and arm64.
const hugePage = 2 << 20

// adviseHuge asks the system for large pages under x. A matrix product walks down columns whose
// rows lie kilobytes apart: each row is on a small page of its own, of which the processor can
// remember too few. If the system refuses, nothing is lost.
func adviseHuge(x []float32) {
	const madvHugePage = 14
	if len(x) < hugePage/2 { // at least one page lies inside
		return
	}
	start := uintptr(unsafe.Pointer(&x[0]))
	skip := -start & (hugePage - 1)
	inside := (uintptr(len(x))*4 - skip) &^ (hugePage - 1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&x[skip/4])), inside)
	_ = syscall.Madvise(b, madvHugePage)
}
