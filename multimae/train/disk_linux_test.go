package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mount mounts for the time of a test, which is skipped where it may not.
func mount(t *testing.T, source, dir, kind string, flags uintptr, data string) (unmount func()) {
	t.Helper()
	if err := syscall.Mount(source, dir, kind, flags, data); err != nil {
		t.Skipf("mounting a file system: %v; run the test as root", err)
	}
	done := false
	unmount = func() {
		if !done {
			done = true
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(unmount)
	return unmount
}

// TestDiskFull fills a disk at several moments of a run: what was saved stays,
// the error says what to do, and after that the run goes on to the same bits.
func TestDiskFull(t *testing.T) {
	disk := t.TempDir()
	mount(t, "tmpfs", disk, "tmpfs", 0, "size=2m")
	filler := filepath.Join(disk, "filler")
	fill := func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	straight := t.TempDir()
	run1(t, context.Background(), options(straight))
	want := results(t, straight)

	dir := filepath.Join(disk, "run")
	fill()
	if _, err := Run(context.Background(), options(dir)); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")+": ") || !strings.Contains(err.Error(), "make room, or give another -out") {
		t.Errorf("at the beginning: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a folder without a run is left")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at, kept int // filled after, and then kept
	}{{1, 0}, {4, 0}, {6, 5}, {9, 8}, {12, 10}} {
		what := fmt.Sprintf("full after step %d", c.at)
		o := options(dir)
		before := ""
		o.OnStep = func(p *Progress) {
			if p.Step == c.at {
				fill()
				if c.kept > 0 {
					before = readFile(t, dir, CheckpointName(c.kept))
				}
			}
		}
		_, err := Run(context.Background(), o)
		remedy := "no checkpoint was saved before. Make room there, or make it writable, and go on with -resume"
		if c.kept > 0 {
			remedy = fmt.Sprintf("the checkpoint of step %d is kept in %s. Make room ", c.kept, filepath.Join(dir, CheckpointName(c.kept)))
			if readFile(t, dir, CheckpointName(c.kept)) != before {
				t.Errorf("%s: the checkpoint was changed", what)
			}
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "riting "+dir) || !strings.Contains(err.Error(), remedy) {
			t.Errorf("%s: %v, want %q", what, err, remedy)
		}
		noLeftovers(t, dir)
		o = options(dir)
		o.Resume = true
		if r, err := Run(context.Background(), o); err == nil {
			t.Errorf("%s: went on with %+v", what, r)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if r := run1(t, context.Background(), o); r.Resumed != c.kept {
			t.Errorf("%s: resumed at %d, want %d", what, r.Resumed, c.kept)
		}
		same(t, what, results(t, dir), want)
		noLeftovers(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadOnly takes away the right to write.
func TestReadOnly(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "run")
	// protect protects a folder. Permissions do not hold root.
	protect := func(dir string) (undo func()) {
		if os.Geteuid() == 0 {
			undo = mount(t, dir, dir, "", syscall.MS_BIND, "")
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			return undo
		}
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		undo = func() { os.Chmod(dir, 0o755) }
		t.Cleanup(undo)
		return undo
	}
	undo := protect(parent)
	if _, err := Run(context.Background(), options(dir)); err == nil || !strings.Contains(err.Error(), dir+": ") || !strings.Contains(err.Error(), "give another -out") {
		t.Errorf("a folder in it: %v", err)
	}
	if _, err := Run(context.Background(), options(parent)); err == nil || !strings.Contains(err.Error(), filepath.Join(parent, MetricsFile)+": ") || !strings.Contains(err.Error(), "make the folder writable, or give another -out") {
		t.Errorf("a run in it: %v", err)
	}
	undo()

	o := options(dir)
	o.OnStep = func(p *Progress) {
		if p.Step == 6 {
			undo = protect(dir)
		}
	}
	_, err := Run(context.Background(), o)
	kept := filepath.Join(dir, CheckpointName(5))
	if err == nil || !strings.Contains(err.Error(), "writing "+filepath.Join(dir, CheckpointName(8))+": ") || !strings.Contains(err.Error(), kept+". Make room there, or make it writable, and go on with -resume") {
		t.Errorf("while it runs: %v", err)
	}
	o = options(dir)
	o.Resume = true
	if os.Geteuid() == 0 { // others may write to the files that are there
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, MetricsFile)+": ") || !strings.Contains(err.Error(), "make the folder writable") {
			t.Errorf("resumed: %v", err)
		}
	}
	undo()
	noLeftovers(t, dir)
	if r := run1(t, context.Background(), o); r.Resumed != 5 {
		t.Errorf("resumed at %d, want 5", r.Resumed)
	}
	straight := t.TempDir()
	run1(t, context.Background(), options(straight))
	same(t, "read-only", results(t, dir), results(t, straight))
}
