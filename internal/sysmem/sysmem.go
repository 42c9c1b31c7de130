// Package sysmem tells how much memory this process may use, so that what cannot
// fit is refused with a message instead of ended by the system.
package sysmem

import (
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
)

// Limit returns the bytes of memory that this process may use in all, and what
// sets the limit: the machine's memory, its control group's (as in a container) or
// the limit on its address space (ulimit -v), whichever is least. bytes is 0 where
// the system does not say.
func Limit() (bytes uint64, source string) {
	bytes, source = physical(), "this machine"
	for _, l := range []struct {
		bytes  uint64
		source string
	}{{controlGroup("/"), "the memory limit of this control group"}, {addressSpace(), "the limit on address space (ulimit -v)"}} {
		if l.bytes > 0 && (bytes == 0 || l.bytes < bytes) {
			bytes, source = l.bytes, l.source
		}
	}
	return bytes, source
}

// controlGroup is the least memory limit of the process's control group and those
// around it, of version 2 or 1, or 0 without one. root is "/", but for tests.
func controlGroup(root string) uint64 {
	least := uint64(0)
	groups, err := os.ReadFile(path.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(groups) { // hierarchy:controllers:/path
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) != 3 {
			continue
		}
		folder, file := "sys/fs/cgroup", "memory.max"
		if parts[1] != "" {
			if !strings.Contains(","+parts[1]+",", ",memory,") {
				continue
			}
			folder, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			b, err := os.ReadFile(path.Join(root, folder, dir, file))
			// "max" is no number; version 1 writes a number beyond any memory.
			if n, e := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil && e == nil && n < 1<<60 && (least == 0 || n < least) {
				least = n
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}
