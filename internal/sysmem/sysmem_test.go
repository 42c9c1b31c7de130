package sysmem

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

func TestLimit(t *testing.T) {
	bytes, source := Limit()
	t.Logf("%d MiB: %s", bytes>>20, source)
	switch runtime.GOOS {
	case "linux", "darwin", "windows":
		if bytes < 1<<24 || bytes > 1<<50 {
			t.Errorf("%d bytes", bytes)
		}
	}
}

func TestAddressable(t *testing.T) {
	for _, c := range []struct {
		goos, goarch string
		intSize      int
		want         uint64
	}{
		{"linux", "amd64", 64, 0},
		{"windows", "arm64", 64, 0},
		{"linux", "arm", 32, 4 << 30},
		{"linux", "386", 32, 4 << 30},
		{"windows", "386", 32, 2 << 30},
		{"js", "wasm", 64, 4 << 30},
	} {
		t.Run(c.goos+"/"+c.goarch, func(t *testing.T) {
			if got := addressable(c.goos, c.goarch, c.intSize); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
	limit, source := Limit()
	if strconv.IntSize == 32 && (limit == 0 || limit > 4<<30) {
		t.Errorf("%d bytes: %s", limit, source)
	}
}

func TestControlGroup(t *testing.T) {
	for name, c := range map[string]struct {
		groups string
		files  map[string]string
		want   uint64
	}{
		"none":             {"", nil, 0},
		"version 2":        {"0::/a/b\n", map[string]string{"a/b/memory.max": "max\n", "a/memory.max": "4096\n", "memory.max": "8192\n"}, 4096},
		"version 2, root":  {"0::/\n", map[string]string{"memory.max": "8192\n"}, 8192},
		"version 1":        {"3:cpu:/x\n4:memory,hugetlb:/y\n", map[string]string{"memory/y/memory.limit_in_bytes": "5000\n"}, 5000},
		"version 1, large": {"4:memory:/\n", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"not a list":       {"hello", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write := func(name, content string) {
				t.Helper()
				p := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(content), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if name != "none" {
				write("proc/self/cgroup", c.groups)
			}
			for file, content := range c.files {
				write("sys/fs/cgroup/"+file, content)
			}
			if got := controlGroup(root); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}
