package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// mount mounts a file system for the time of a test, which is skipped if it may not mount.
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

// TestDiskFull fills a disk at several moments of a run. What was saved must stay, and when there
// is room again the run must go on to the same bits.
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
	want := straightRun(t)
	dir := filepath.Join(disk, "run")
	fill()
	if _, err := pretrain(context.Background(), options(dir)); !errors.As(err, new(*FolderError)) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")+": ") {
		t.Errorf("at the beginning: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a folder without a run is left")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at, kept int // the step after which the disk is filled, and that of the checkpoint that is kept
	}{{1, -1}, {4, -1}, {6, 5}, {9, 8}, {12, 10}} {
		t.Run(fmt.Sprintf("full after step %d", c.at), func(t *testing.T) {
			o := options(dir)
			before := ""
			o.OnStep = func(p *Progress) {
				if p.Step == c.at {
					fill()
					if c.kept >= 0 {
						before = readFile(t, dir, CheckpointName(c.kept))
					}
				}
			}
			err := stopped(t, o, c.kept)
			if !errors.As(err, new(*FolderError)) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
				t.Error(err)
			}
			if c.kept >= 0 && readFile(t, dir, CheckpointName(c.kept)) != before {
				t.Error("the checkpoint was changed")
			}
			noLeftovers(t, dir)
			o = options(dir)
			o.Resume = true
			if r, err := pretrain(context.Background(), o); err == nil {
				t.Errorf("went on with %+v", r)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			if r := finish(t, context.Background(), o); r.Resumed != max(c.kept, 0) {
				t.Errorf("resumed at %d, want %d", r.Resumed, max(c.kept, 0))
			}
			same(t, "gone on", results(t, dir), want)
			noLeftovers(t, dir)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// protect makes a folder read-only. Permissions do not stop root.
func protect(t *testing.T, dir string) (undo func()) {
	t.Helper()
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

// TestReadOnly takes away the right to write.
func TestReadOnly(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "run")
	undo := protect(t, parent)
	if _, err := pretrain(context.Background(), options(dir)); !errors.As(err, new(*FolderError)) || !strings.Contains(err.Error(), dir+": ") {
		t.Errorf("a folder in it: %v", err)
	}
	if _, err := pretrain(context.Background(), options(parent)); !errors.As(err, new(*FolderError)) || !strings.Contains(err.Error(), filepath.Join(parent, MetricsFile)+": ") {
		t.Errorf("a run in it: %v", err)
	}
	undo()

	o := options(dir)
	o.OnStep = func(p *Progress) {
		if p.Step == 6 {
			undo = protect(t, dir)
		}
	}
	if err := stopped(t, o, 5); !errors.As(err, new(*FolderError)) || !strings.Contains(err.Error(), filepath.Join(dir, CheckpointName(8))+": ") {
		t.Errorf("while it runs: %v", err)
	}
	o = options(dir)
	o.Resume = true
	if os.Geteuid() == 0 { // others may write to the files that are there
		if _, err := pretrain(context.Background(), o); !errors.As(err, new(*FolderError)) || !strings.Contains(err.Error(), filepath.Join(dir, MetricsFile)+": ") {
			t.Errorf("resumed: %v", err)
		}
	}
	undo()
	noLeftovers(t, dir)
	if r := finish(t, context.Background(), o); r.Resumed != 5 {
		t.Errorf("resumed at %d, want 5", r.Resumed)
	}
	same(t, "read-only", results(t, dir), straightRun(t))
}

// TestNotRemoved wants a damaged checkpoint that cannot be removed when the next one is saved to take
// the place of no good one later, and to go when it can.
func TestNotRemoved(t *testing.T) {
	f := &folder{dir: filepath.Join(t.TempDir(), "run"), keep: 2}
	if err := f.claim(); err != nil {
		t.Fatal(err)
	}
	defer f.release(false)
	write := func(path string) error { return os.WriteFile(path, nil, 0o666) }
	for _, step := range []int{3, 5, 9} {
		if err := write(f.path(CheckpointName(step))); err != nil {
			t.Fatal(err)
		}
	}
	f.damaged = []string{f.path(CheckpointName(9))}
	undo := func() {}
	for _, c := range []struct {
		step  int
		write func(path string) error
		want  []int
	}{
		{6, func(path string) error {
			err := write(path)
			undo = protect(t, f.dir)
			return err
		}, []int{3, 5, 6, 9}},
		{7, write, []int{6, 7}},
	} {
		err := f.save(c.step, c.write)
		undo()
		if got := saved(t, f.dir); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("after step %d the checkpoints are %v, want %v; error %v", c.step, got, c.want, err)
		}
	}
}
