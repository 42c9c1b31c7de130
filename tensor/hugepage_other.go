//go:build !linux

package tensor

func adviseHuge[T any]([]T) {}
