// Package sysmem tells how much memory this process may use, so that what cannot
// fit is refused with a message instead of ended by the system.
package sysmem

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// Limit returns the bytes of memory that this process may use in all, and what
// sets the limit: the machine's memory, its control group's (as in a container),
// the limit on its address space (ulimit -v) or the size of its addresses, whichever
// is least. bytes is 0 where the system does not say.
func Limit() (bytes uint64, source string) {
	bytes, source = physical(), "that of this machine"
	for _, l := range []struct {
		bytes  uint64
		source string
	}{
		{controlGroup("/"), "the limit of this control group"},
		{addressSpace(), "the limit on address space (ulimit -v)"},
		{addressable(runtime.GOOS, runtime.GOARCH, strconv.IntSize), "what a program of 32 bits can address"},
	} {
		if l.bytes > 0 && (bytes == 0 || l.bytes < bytes) {
			bytes, source = l.bytes, l.source
		}
	}
	return bytes, source
}

// addressable is how much memory a program can address whose addresses have 32 bits, or 0 for one
// with longer addresses. Those of wasm are shorter than its integers.
func addressable(goos, goarch string, intSize int) uint64 {
	switch {
	case goos == "windows" && goarch == "386":
		return 2 << 30
	case intSize == 32 || goarch == "wasm":
		return 4 << 30
	}
	return 0
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

// Check returns an error that says so if need bytes are more than this process may use. A tenth is
// left to the Go runtime and to what no estimate counts.
func Check(need float64) error {
	limit, source := Limit()
	if limit == 0 || need <= 0.9*float64(limit) {
		return nil
	}
	return fmt.Errorf("needs %s of memory, but %s is %s", Format(need), source, Format(float64(limit)))
}

// Format writes bytes for people, such as "3.2 GiB".
func Format(n float64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%.0f KiB", n/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.0f MiB", n/(1<<20))
	case n < 1<<50:
		return fmt.Sprintf("%.1f GiB", n/(1<<30))
	}
	return fmt.Sprintf("%.3g GiB", n/(1<<30))
}
