package sysmem

import (
	"syscall"
	"unsafe"
)

// memoryStatus is MEMORYSTATUSEX.
type memoryStatus struct {
	length, load                                     uint32
	totalPhys, availPhys, totalPageFile, availPage   uint64
	totalVirtual, availVirtual, availExtendedVirtual uint64
}

func physical() uint64 {
	m := memoryStatus{length: uint32(unsafe.Sizeof(memoryStatus{}))}
	proc := syscall.NewLazyDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")
	if ok, _, _ := proc.Call(uintptr(unsafe.Pointer(&m))); ok == 0 {
		return 0
	}
	return m.totalPhys
}

func addressSpace() uint64 { return 0 }
