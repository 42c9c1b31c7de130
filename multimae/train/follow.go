package train

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/gomae/gomae/internal/regular"
)

// Follow reads the metrics of the run in dir as they are written, by this process or another. It
// calls f with the complete lines that have come since the last call, first with all that there are,
// about a megabyte at a time. again says that the file was cut, as a run that resumes does, and that
// lines begins anew. A cut is not noticed if the file is as long again at the next look: to be sure,
// follow a run of this process from OnStart on, when the file has been cut. Follow looks every
// interval, also for a file that is not there yet, and returns nil when ctx has ended and f has got
// the last lines, or the error of f or of reading.
func Follow(ctx context.Context, dir string, interval time.Duration, f func(lines [][]byte, again bool) error) error {
	var at int64 // bytes passed on
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		ended := ctx.Err() != nil
		for left := true; left; {
			lines, next, again, err := linesFrom(filepath.Join(dir, MetricsFile), at)
			if err != nil {
				return err
			}
			if again || len(lines) > 0 {
				if err := f(lines, again); err != nil {
					return err
				}
			}
			left, at = next != at, next
		}
		if ended {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// linesFrom returns the complete lines from byte at on, without line breaks and without those that
// are too long, and the byte after them. It reads at most maxLine bytes of lines, so that a long file
// takes several calls: nothing is left when next is at. If the file is shorter than at it begins again.
func linesFrom(path string, at int64) (lines [][]byte, next int64, again bool, err error) {
	f, err := regular.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, at > 0, nil
	}
	if err != nil {
		return nil, at, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, at, false, err
	}
	if info.Size() < at {
		at, again = 0, true
	}
	block := make([]byte, min(info.Size()-at, maxLine))
	n, err := f.ReadAt(block, at)
	if err != nil && err != io.EOF { // it was cut after Stat
		return nil, at, again, err
	}
	if end := bytes.LastIndexByte(block[:n], '\n'); end >= 0 {
		lines = bytes.Split(block[:end], []byte{'\n'})
		for i, line := range lines {
			lines[i] = bytes.TrimSpace(line)
		}
		return lines, at + int64(end) + 1, again, nil
	}
	if n < maxLine {
		return nil, at, again, nil
	}
	next = at + maxLine // in a line that is too long
	r := bufio.NewReaderSize(io.NewSectionReader(f, next, info.Size()-next), 1<<16)
	for {
		part, err := r.ReadSlice('\n')
		next += int64(len(part))
		switch err {
		case nil:
			return nil, next, again, nil
		case io.EOF:
			return nil, at, again, nil
		case bufio.ErrBufferFull:
		default:
			return nil, at, again, err
		}
	}
}
