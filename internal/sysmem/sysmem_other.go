//go:build !linux && !darwin && !windows

package sysmem

func physical() uint64     { return 0 }
func addressSpace() uint64 { return 0 }
