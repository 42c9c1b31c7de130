package lockfile

import (
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestRemove: a process may open a file and lock it after another one has removed it. Then a third one
// must not lock a new file of that name.
func TestRemove(t *testing.T) {
	switch runtime.GOOS {
	case "js", "wasip1", "plan9", "windows":
		t.Skip("no locks, or no removing of open files, on " + runtime.GOOS)
	}
	path := filepath.Join(t.TempDir(), "lock")
	var holders, most atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 500 {
				f, _, err := Open(path)
				if err != nil {
					t.Error(err)
					return
				}
				if f == nil {
					continue
				}
				if n := holders.Add(1); n > 1 {
					most.Store(n)
				}
				runtime.Gosched()
				holders.Add(-1)
				Remove(f)
			}
		}()
	}
	wg.Wait()
	if n := most.Load(); n > 1 {
		t.Errorf("%d have the file at once", n)
	}
}
