package sysmem

import (
	"encoding/binary"
	"syscall"
)

func physical() uint64 {
	// Sysctl takes the value for a string and drops a zero byte at its end.
	s, err := syscall.Sysctl("hw.memsize")
	if err != nil || len(s) > 8 {
		return 0
	}
	var b [8]byte
	copy(b[:], s)
	return binary.LittleEndian.Uint64(b[:])
}

func addressSpace() uint64 { return 0 } // not enforced there
