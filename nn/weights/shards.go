package weights

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gomae/gomae/internal/regular"
)

// The weights of a large model are often stored in several files, with an index beside them: a JSON
// object whose "weight_map" says in which of them each tensor is. Hugging Face's libraries write
// model.safetensors.index.json and pytorch_model.bin.index.json.

const (
	maxIndex  = 64 << 20 // bytes
	maxShards = 500      // files, all of which are open at once
)

// isIndex reports whether a file begins as an index does. A safetensors file begins with a length.
func isIndex(r io.ReaderAt, size int64) bool {
	var head [64]byte
	start := head[:min(max(size, 0), int64(len(head)))]
	if readFullAt(r, start, 0) != nil {
		return false
	}
	text := bytes.TrimLeft(start, " \t\r\n")
	rest, ok := bytes.CutPrefix(text, []byte("{"))
	return ok && !isSmallLength(start) && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(`"`))
}

// isSmallLength reports whether a file begins with the length of a header of safetensors.
func isSmallLength(start []byte) bool {
	return len(start) >= 8 && !slices.ContainsFunc(start[4:8], func(c byte) bool { return c != 0 })
}

// IndexFiles returns the names of the files beside an index that it names, in alphabetical order.
func IndexFiles(fsys fs.FS, index string) ([]string, error) {
	b, err := regular.ReadFileFS(fsys, index, maxIndex)
	if err != nil {
		return nil, err
	}
	files, _, err := readIndex(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", index, err)
	}
	slices.Sort(files)
	return files, nil
}

// readIndex returns the names of the files, in their order, and for each tensor which of them has
// it.
func readIndex(r io.ReaderAt, size int64) (files []string, of map[string]int, err error) {
	if size > maxIndex {
		return nil, nil, fmt.Errorf("an index of %d bytes is %w", size, ErrUnsupported)
	}
	b := make([]byte, size)
	if err := readFullAt(r, b, 0); err != nil {
		return nil, nil, err
	}
	if !utf8.Valid(b) {
		return nil, nil, damaged("not valid UTF-8")
	}
	s := &headerScanner{b: b}
	numbers := map[string]int{}
	err = s.object("index", func(key string) error {
		if key != "weight_map" {
			return s.skip(Quote(key), 0)
		}
		if of != nil {
			return damaged("%s is listed twice", key)
		}
		of = map[string]int{}
		return s.object(key, func(name string) error {
			file, err := s.string(key)
			if err != nil {
				return err
			}
			if !fs.ValidPath(file) || strings.ContainsAny(file, `/\:`) || file == "." {
				return damaged("%s of tensor %s is not the name of a file beside the index", Quote(file), Quote(name))
			}
			n, ok := numbers[file]
			if !ok {
				if n = len(files); n == maxShards {
					return fmt.Errorf("more than %d files are %w", maxShards, ErrUnsupported)
				}
				files, numbers[file] = append(files, file), n
			}
			before := len(of)
			if of[name] = n; len(of) == before {
				return damaged("tensor %s is listed twice", Quote(name))
			}
			return nil
		})
	})
	if err == nil && of == nil {
		err = fmt.Errorf("a JSON document without \"weight_map\", which is %w; give the file of weights", ErrUnsupported)
	}
	return files, of, err
}

// readShards reads the files of an index. Their tensors come in the order of the files, which
// sibling opens.
func readShards(name string, r io.ReaderAt, size int64, sibling func(name string) (fs.File, error)) (_ *file, err error) {
	names, of, err := readIndex(r, size)
	if err != nil {
		return nil, err
	}
	all := &file{label: "shards: " + name}
	defer func() {
		if err != nil {
			all.Close()
		}
	}()
	type shard struct {
		r    io.ReaderAt
		size int64
	}
	shards := make([]shard, len(names))
	total := size
	for i, n := range names {
		f, err := sibling(n)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%s, one of the %d files of the index: %w", Quote(n), len(names), err)
			}
			return nil, err
		}
		all.closers = append(all.closers, f)
		if shards[i].r, shards[i].size, err = randomAccess(n, f); err != nil {
			return nil, err
		}
		total = min(total+shards[i].size, math.MaxInt64/2)
	}
	budget := newBudget(total) // one for all, so that many small files do not get the base each
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(names[a], names[b]) })
	found := 0
	for _, i := range order {
		f, err := read(shards[i].r, shards[i].size, names[i], "", budget)
		if err != nil {
			return nil, err
		}
		for _, note := range f.notes {
			all.notes = append(all.notes, Quote(names[i])+": "+note)
		}
		for _, v := range f.tensors {
			n, listed := of[v.name]
			if listed && n != i {
				continue // the index takes it from another file
			}
			all.tensors = append(all.tensors, v)
			if listed {
				found++
			}
		}
	}
	if found < len(of) {
		has := make(map[string]bool, len(all.tensors))
		for _, v := range all.tensors {
			has[v.name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(of)) {
			if !has[name] {
				return nil, damaged("tensor %s is not in %s, where the index has it", Quote(name), Quote(names[of[name]]))
			}
		}
	}
	return all, nil
}
