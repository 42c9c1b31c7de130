package pseudolabel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Depth is a line of MODALITY.jsonl (MODALITY.shard-I-of-N.jsonl for a part): what the network said
// about a photograph, whose depth map holds it in 16 bits. The value of a pixel that holds k is
// Offset + Scale·k, in the units of Kind. If a name has several lines, the last one counts.
type Depth struct {
	Name   string  `json:"name"` // of the photograph, without extension
	Kind   string  `json:"kind"` // teacher.KindInverseDepth, KindDepth or KindMetres
	Scale  float64 `json:"scale"`
	Offset float64 `json:"offset"`
}

// The values of the nearest and of the farthest pixel. 0 and 65535 mean in many data sets that
// nothing was measured.
const (
	nearest  = 1
	farthest = 65534
)

// standardise stretches depth to the 16 bits of a depth map, which has k/65536 for k in
// nearest..farthest, and returns the scale and offset that undo this. Larger is farther, as in maps of
// measured depth; so inverse depth changes its sign.
func standardise(pix []float32, inverse bool) (scale, offset float64) {
	lo, hi := float64(slices.Min(pix)), float64(slices.Max(pix))
	if inverse {
		lo, hi = hi, lo
	}
	if scale = (hi - lo) / (farthest - nearest); scale == 0 {
		for i := range pix {
			pix[i] = nearest / 65536.0
		}
		return 0, lo
	}
	for i, v := range pix {
		pix[i] = float32(math.Round((float64(v)-lo)/scale)+nearest) / 65536
	}
	return scale, lo - nearest*scale
}

// lines is a file of JSON lines that grows. Each line is written in one piece.
type lines struct {
	mu   sync.Mutex
	f    *os.File
	size int64
}

// openLines opens a file of lines, from which it removes a line that was cut off.
func openLines(file string) (*lines, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	l := &lines{f: f}
	if l.size, err = wholeLines(f); err == nil {
		err = f.Truncate(l.size)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return l, nil
}

// wholeLines returns the number of bytes up to the last end of a line.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	block := make([]byte, 4096)
	for end > 0 {
		n := min(end, int64(len(block)))
		if _, err := f.ReadAt(block[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// add appends a line, or nothing if there is no room for it.
func (l *lines) add(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.f.WriteAt(b, l.size); err != nil {
		l.f.Truncate(l.size) // the next run does it again if this fails
		return err
	}
	l.size += int64(len(b))
	return nil
}

func (l *lines) close() error { return l.f.Close() }

// linesOf returns the file of lines of a modality, which it opens at the first call.
func (r *run) linesOf(part, modality string) (*lines, error) {
	file := filepath.Join(r.o.Out, part, modality+r.o.shard()+".jsonl")
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.lines[file]; l != nil {
		return l, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return nil, err
	}
	l, err := openLines(file)
	if err != nil {
		return nil, err
	}
	if r.lines == nil {
		r.lines = map[string]*lines{}
	}
	r.lines[file] = l
	return l, nil
}
