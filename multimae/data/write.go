package data

import (
	"context"
	"fmt"
	"image/png"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/gomae/gomae/internal/atomicfile"
)

// WriteFolder writes every map of every sample as DIR/<modality>/<name>.png: colour with 8 bits a
// channel, one channel as 16-bit grey (v·65536, rounded, at most 65535), ids as 8-bit grey. DIR must
// be empty or new. A file appears under its name only when it is complete. When ctx ends, every
// sample begun has all of its files; after an error, the samples being written may lack some.
//
// What the files cannot hold is an error: values of one channel outside 0..1, such as those of an .npy
// file in metres, and pixels that are not Map.Valid.
//
// progress, which may be nil, gets the number of samples written, from one goroutine at a time.
func WriteFolder(ctx context.Context, dir string, ds Dataset, progress func(done int)) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil {
		return err
	} else if len(entries) > 0 {
		return problem(dir, "give a new folder, or empty this one", "the folder is not empty")
	}
	var (
		mu    sync.Mutex // guards next, done and first
		next  int
		done  int
		first error
		wg    sync.WaitGroup
	)
	for range min(runtime.GOMAXPROCS(0), 8) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				mu.Lock()
				if first == nil {
					first = ctx.Err()
				}
				i := next
				if first != nil || i >= ds.Len() {
					mu.Unlock()
					return
				}
				next++
				mu.Unlock()
				s, err := ds.Sample(i)
				if err == nil {
					err = writeSample(dir, s)
				}
				mu.Lock()
				if err != nil && first == nil {
					first = err
				}
				if err == nil {
					done++
					if progress != nil {
						progress(done)
					}
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return first
}

// writeSample writes the files of one sample.
func writeSample(dir string, s *Sample) error {
	name := filepath.FromSlash(s.Name)
	if !filepath.IsLocal(name) {
		return fmt.Errorf("data: the name of sample %q leads out of the folder", s.Name)
	}
	for _, modality := range slices.Sorted(maps.Keys(s.Maps)) {
		if err := WriteImage(filepath.Join(dir, modality, name+".png"), s.Maps[modality]); err != nil {
			return fmt.Errorf("data: sample %s: %s: %w", s.Name, modality, err)
		}
	}
	return nil
}

// WriteImage writes a map as a PNG file, in the form and with the errors that WriteFolder describes, and
// makes the folders above it. The file appears under its name only when it is complete.
func WriteImage(path string, m *Map) error {
	img, err := m.Image()
	if err != nil {
		return err
	}
	if i := slices.Index(m.Valid, false); i >= 0 {
		return problem(path, "give such pixels a value that Input.Invalid names, and set Valid to nil", "pixel (%d,%d) is not valid, which the file does not say", i%m.W, i/m.W)
	}
	if m.C == 1 {
		for i, v := range m.Pix {
			if !(v >= 0 && v <= 1) { // true for NaN, too
				return problem(path, "divide the values by their range", "pixel (%d,%d) is %g, outside 0..1, which 16 bits hold", i%m.W, i/m.W, v)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return atomicfile.WriteNoSync(path, func(w io.Writer) error { return pngEncoder.Encode(w, img) })
}

// pngEncoder prefers speed to size: rendered scenes are small and are written by the thousand.
var pngEncoder = png.Encoder{CompressionLevel: png.BestSpeed, BufferPool: new(pngBuffers)}

type pngBuffers struct{ p sync.Pool }

func (b *pngBuffers) Get() *png.EncoderBuffer  { e, _ := b.p.Get().(*png.EncoderBuffer); return e }
func (b *pngBuffers) Put(e *png.EncoderBuffer) { b.p.Put(e) }
