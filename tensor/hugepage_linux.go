package tensor

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of a large page of memory on amd64 and arm64.
const hugePage = 2 << 20

// adviseHuge asks the system for large pages where x lies. A matrix product walks down columns whose
// rows lie kilobytes apart: each row is on a small page of its own, of which the processor can
// remember too few. In a virtual machine, where looking one up costs double, a step of ViT-B on one
// core took a tenth longer when only buffers from 4 MB on had large pages. What shares the first and
// the last page with x is most likely a part of the same model. If the system refuses, nothing is
// lost.
func adviseHuge(x []float32) {
	const madvHugePage = 14
	if len(x)*4 < hugePage/8 { // small pages will do, and a small program has few others
		return
	}
	start := uintptr(unsafe.Pointer(&x[0]))
	end := (start + uintptr(len(x))*4 + hugePage - 1) &^ (hugePage - 1)
	start &^= hugePage - 1
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, start, end-start, madvHugePage)
}
