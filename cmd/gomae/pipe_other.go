//go:build !unix

package main

// There is no such signal.
func keepBrokenPipes() {}

func brokenPipe(error) bool { return false }
