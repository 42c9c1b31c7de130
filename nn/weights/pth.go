package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/big"
	"strings"
)

// A PyTorch checkpoint is a pickle whose tensors refer to storages, typed vectors of numbers, by a
// key, with a shape, strides and an offset into the storage; several tensors may share one. Since
// PyTorch 1.6 it is a zip archive of NAME/data.pkl and the storages NAME/data/KEY, which are not
// compressed. Before that it was a row of pickles (a magic number, a version, the machine, the
// checkpoint, the keys of the storages) and then, for each key, a count of eight bytes and the
// numbers.

const pthVersion = 1001

var pthMagic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

// isPth reports whether a file that begins with head is a checkpoint, or was meant to be one.
func isPth(head []byte) bool {
	return bytes.HasPrefix(head, []byte("PK")) || // zip
		len(head) > 1 && head[0] == opProto && head[1] <= maxProtocol || // a pickle
		bytes.HasPrefix(head, []byte("L11954703714603")) // pthMagic in protocol 0
}

// readPth parses a checkpoint of either format and reads no tensor values.
//
// Nothing in the file is ever executed: an object of any class stays a record of what its pickle
// says. Refused are names that only an attack has, files that are cut off, views that leave their
// storage and counts that the file cannot hold.
func readPth(r io.ReaderAt, size int64, label, key string, b *budget) (*file, error) {
	// A wrong size must not make later reads allocate for bytes that are not there.
	var last [1]byte
	if err := readFullAt(r, last[:], size-1); err != nil {
		return nil, fmt.Errorf("%s: reading the last of %d bytes: %w", label, size, err)
	}
	p := &pthReader{r: r, size: size, budget: b, storages: map[string]*storage{}}
	var top any
	var err error
	var head [2]byte
	if err = readFullAt(r, head[:], 0); err == nil {
		if string(head[:]) == "PK" {
			top, err = p.zip()
		} else {
			top, err = p.legacy()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	f, err := p.file(top, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	f.label = label
	return f, nil
}

// pthReader is a checkpoint while it is being opened.
type pthReader struct {
	r        io.ReaderAt
	size     int64
	budget   *budget
	storages map[string]*storage // those that the pickle names, by key
}

// pay checks that the storages of the tensors are there, and pays for reading them all.
func (p *pthReader) pay(tensors []*view) error {
	paid := map[*storage]bool{}
	for _, v := range tensors {
		if v.count == 0 || readSizes[v.dtype] == 0 {
			continue
		}
		s := v.storage
		if s.at == nil && s.packed == nil {
			return damaged("tensor %s: its storage %s is not in the file", Quote(v.name), Quote(s.key))
		}
		cost := v.cost()
		if s.packed != nil && !paid[s] {
			paid[s] = true
			if err := p.budget.spend(int64(min(s.packed.UncompressedSize64, math.MaxInt64))); err != nil {
				return fmt.Errorf("tensor %s: its storage %s, which inflates to %d bytes, %w; pack the file again without compression",
					Quote(v.name), Quote(s.key), s.packed.UncompressedSize64, err)
			}
		}
		if err := p.budget.spend(cost); err != nil {
			return fmt.Errorf("tensor %s of shape %v %w; save the tensors as .contiguous()", Quote(v.name), v.shape, err)
		}
	}
	return nil
}

// zip reads the pickle of a zip archive and finds its storages.
func (p *pthReader) zip() (top any, err error) {
	z, err := zip.NewReader(p.r, p.size)
	if err != nil {
		return nil, damaged("%w", err)
	}
	for _, e := range z.File {
		const entrySize = 512 // a zip.File and its place in the map below
		if err := p.budget.spend(entrySize + 2*int64(len(e.Name)+len(e.Extra)+len(e.Comment))); err != nil {
			return nil, fmt.Errorf("the archive, of %d entries, %w", len(z.File), err)
		}
	}
	pickle, entries, err := findPickle(z.File)
	if err != nil {
		return nil, err
	}
	if entries["constants.pkl"] != nil {
		return nil, fmt.Errorf("a TorchScript program, which is %w; load it in Python with torch.jit.load and save its state_dict()", ErrUnsupported)
	}
	if e := entries["byteorder"]; e != nil {
		b, err := p.entry(e)
		if err != nil {
			return nil, err
		}
		if string(b) != "little" {
			return nil, fmt.Errorf("byte order %s is %w; save it again on a little-endian machine", Quote(string(b)), ErrUnsupported)
		}
	}
	b, err := p.entry(pickle)
	if err != nil {
		return nil, err
	}
	u := newUnpickler(bytes.NewReader(b), int64(len(b)), p.budget)
	u.persistent, u.extern = p.persistent, p.rebuild
	top, err = u.next()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Quote(pickle.Name), err)
	}
	for _, s := range p.storages {
		e := entries["data/"+s.key]
		if e == nil {
			continue // an error only if the state dict needs it
		}
		if want := s.count * int64(elementSizes[s.dtype]); e.UncompressedSize64 < uint64(want) {
			return nil, damaged("entry %s has %d bytes, but the checkpoint says %d of %s", Quote(e.Name), e.UncompressedSize64, s.count, s.dtype)
		}
		if e.Method != zip.Store {
			s.packed = e
		} else if s.at, err = p.section(e); err != nil {
			return nil, err
		}
	}
	return top, nil
}

// findPickle returns NAME/data.pkl and all entries below NAME/ by the rest of their names.
func findPickle(files []*zip.File) (pickle *zip.File, entries map[string]*zip.File, err error) {
	for _, e := range files {
		if _, name, ok := strings.Cut(e.Name, "/"); ok && name == "data.pkl" {
			if pickle != nil {
				return nil, nil, damaged("both %s and %s are in the archive, want one data.pkl", Quote(pickle.Name), Quote(e.Name))
			}
			pickle = e
		}
	}
	if pickle == nil {
		return nil, nil, fmt.Errorf("a zip archive without NAME/data.pkl is not a PyTorch checkpoint and %w", ErrUnsupported)
	}
	prefix := strings.TrimSuffix(pickle.Name, "data.pkl")
	entries = make(map[string]*zip.File, len(files))
	for _, e := range files {
		if rest, ok := strings.CutPrefix(e.Name, prefix); ok {
			entries[rest] = e
		}
	}
	return pickle, entries, nil
}

// section returns the bytes of an entry that is not compressed.
func (p *pthReader) section(e *zip.File) (*io.SectionReader, error) {
	off, err := e.DataOffset()
	if err != nil {
		return nil, damaged("entry %s: %w", Quote(e.Name), err)
	}
	if n := e.UncompressedSize64; off > p.size || n > uint64(p.size-off) || n != e.CompressedSize64 {
		return nil, damaged("entry %s: %d bytes at %d, but the file has %d", Quote(e.Name), n, off, p.size)
	}
	return io.NewSectionReader(p.r, off, int64(e.UncompressedSize64)), nil
}

// entry returns the content of an entry.
func (p *pthReader) entry(e *zip.File) ([]byte, error) {
	var from io.Reader
	if e.Method == zip.Store {
		s, err := p.section(e)
		if err != nil {
			return nil, err
		}
		from = s
	} else {
		rc, err := e.Open()
		if err != nil {
			return nil, damaged("entry %s: %w", Quote(e.Name), err)
		}
		defer rc.Close()
		from = rc
	}
	n := e.UncompressedSize64
	if err := p.budget.spend(int64(min(n, math.MaxInt64))); err != nil {
		return nil, fmt.Errorf("entry %s, of %d bytes, %w; pack the file again without compression", Quote(e.Name), n, err)
	}
	b, err := readExactly(from, n)
	if err == nil && crc32.ChecksumIEEE(b) != e.CRC32 && e.CRC32 != 0 {
		err = zip.ErrChecksum
	}
	if err != nil {
		return nil, damaged("entry %s: %w", Quote(e.Name), err)
	}
	return b, nil
}

// legacy reads the pickles of the format before PyTorch 1.6 and finds the storages behind them.
func (p *pthReader) legacy() (top any, err error) {
	u := newUnpickler(io.NewSectionReader(p.r, 0, p.size), p.size, p.budget)
	magic, err := u.next()
	if err != nil {
		return nil, err
	}
	// Cmp compares lengths first; a number of megabytes takes String seconds.
	if m, ok := magic.(*big.Int); !ok || m.Cmp(pthMagic) != 0 {
		return nil, fmt.Errorf("a pickle that torch.save did not write is %w; load it in Python and save it with torch.save", ErrUnsupported)
	}
	version, err := u.next()
	if err != nil {
		return nil, err
	}
	if version != any(int64(pthVersion)) {
		return nil, fmt.Errorf("protocol version %s is %w, want %d; save it again with a newer PyTorch", pickleText(version), ErrUnsupported, pthVersion)
	}
	machine, err := u.next()
	if err != nil {
		return nil, err
	}
	if d, ok := machine.(*pyDict); ok {
		if little, ok := d.get("little_endian"); ok && little != any(true) {
			return nil, fmt.Errorf("big-endian byte order is %w; save it again on a little-endian machine", ErrUnsupported)
		}
	}
	u.persistent, u.extern = p.persistent, p.rebuild
	top, err = u.next()
	if err != nil {
		return nil, err
	}
	u.persistent, u.extern = nil, nil
	keys, err := u.next()
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*pyList)
	if !ok {
		return nil, damaged("got %s, want the list of storages", pickleText(keys))
	}
	at := u.pos
	for _, k := range list.items {
		if at, err = p.legacyStorage(k, at); err != nil {
			return nil, err
		}
	}
	return top, nil
}

// legacyStorage finds the storage of a key, which begins at a byte of the file, and returns where
// it ends.
func (p *pthReader) legacyStorage(k any, at int64) (int64, error) {
	key, _ := k.(string)
	s := p.storages[key]
	switch {
	case s == nil:
		return 0, damaged("storage %s belongs to no tensor", pickleText(k))
	case s.at != nil:
		return 0, damaged("storage %s is listed twice", Quote(key))
	case p.size-at < 8:
		return 0, damaged("storage %s: the file ends before it", Quote(key))
	}
	var b [8]byte
	if err := readFullAt(p.r, b[:], at); err != nil {
		return 0, err
	}
	at += 8
	width := int64(elementSizes[s.dtype])
	if width == 0 {
		return 0, fmt.Errorf("storage %s of %s is %w; save it as float32", Quote(key), s.dtype, ErrUnsupported)
	}
	n := int64(binary.LittleEndian.Uint64(b[:]))
	switch {
	case n < 0 || n > (p.size-at)/width:
		return 0, damaged("storage %s: %d values of %s, but only %d bytes follow", Quote(key), n, s.dtype, p.size-at)
	case n != s.count:
		return 0, damaged("storage %s: %d values, but the checkpoint says %d", Quote(key), n, s.count)
	}
	s.at = io.NewSectionReader(p.r, at, n*width)
	return at + n*width, nil
}
