package tensor

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of a large page of memory on amd64 and arm64.
const hugePage = 2 << 20

// Advice for madvise, the second from Linux 6.1 on.
const madvHugePage, madvCollapse = 14, 25

// adviseHuge asks the system for large pages where x lies. A matrix product walks down columns whose
// rows lie kilobytes apart: each row is on a small page of its own, of which the processor can
// remember too few, and in a virtual machine looking one up costs double. What shares the first and
// the last page with x is most likely a part of the same model: while only arrays from 4 MB on had
// large pages, a step of ViT-B on one core took a tenth longer, and so did a step of "tiny", which
// has small arrays alone, while only those from 256 KiB on had them. If the system refuses, nothing
// is lost.
func adviseHuge[T any](x []T) {
	var value T
	bytes := uintptr(len(x)) * unsafe.Sizeof(value)
	if bytes < hugePage/32 { // small pages will do, and a small program has few others
		return
	}
	start := uintptr(unsafe.Pointer(&x[0]))
	end := (start + bytes + hugePage - 1) &^ (hugePage - 1)
	start &^= hugePage - 1
	// The first is for large pages that nobody has written to. In Go's heap they are few: the second
	// moves what is there.
	for _, advice := range []uintptr{madvHugePage, madvCollapse} {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, start, end-start, advice)
	}
}
