package tensor

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// TestAdviseHuge: memory that has been written to moves to large pages, with an array of 64 KiB as
// with a larger one, and stays where it is with a smaller one.
func TestAdviseHuge(t *testing.T) {
	const page, pages = hugePage / 4, 4 // floats of a page
	// written returns memory of small pages, and a function that gives it back.
	written := func() (x []float32, free func()) {
		memory, err := syscall.Mmap(-1, 0, (pages+1)*hugePage, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			t.Fatal(err)
		}
		skip := -uintptr(unsafe.Pointer(&memory[0])) % hugePage
		x = unsafe.Slice((*float32)(unsafe.Pointer(&memory[skip])), pages*page)
		for i := range x {
			x[i] = float32(i)
		}
		return x, func() { syscall.Munmap(memory) }
	}
	x, free := written()
	unasked := largePages(t, x)
	_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, uintptr(unsafe.Pointer(&x[0])), hugePage, madvCollapse)
	free()
	switch {
	case unasked > 0:
		t.Skip("all memory is on large pages here")
	case errno != 0:
		t.Skipf("madvise: %v; Linux 6.1 moves memory to large pages", errno)
	}
	for _, c := range []struct {
		name   string
		length int // of the arrays, one in each large page
		want   int
	}{
		{"smaller", page/32 - 1, 0},
		{"64 KiB", page / 32, pages},
		{"all", pages * page, pages},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, free := written()
			defer free()
			for i := 0; i+c.length <= len(x); i += page {
				adviseHuge(x[i:][:c.length])
			}
			if got := largePages(t, x); got != c.want {
				t.Errorf("%d large pages, want %d", got, c.want)
			}
		})
	}
}

// largePages returns how many large pages there are in the areas of memory that x lies in.
func largePages(t *testing.T, x []float32) int {
	t.Helper()
	areas, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	from := uintptr(unsafe.Pointer(&x[0]))
	to := from + uintptr(len(x))*4
	sum, within := 0, false
	for line := range strings.Lines(string(areas)) {
		var first, end uintptr
		var kilobytes int
		if n, _ := fmt.Sscanf(line, "%x-%x ", &first, &end); n == 2 {
			within = first < to && from < end
		} else if n, _ := fmt.Sscanf(line, "AnonHugePages: %d kB", &kilobytes); n == 1 && within {
			sum += kilobytes
		}
	}
	return sum / (hugePage >> 10)
}
