package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
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

const (
	pthMagic   = "119547037146038801333356" // 0x1950a86a20f9469cfc6c
	pthVersion = 1001

	// pthExpansion is how many times the size of the file its tensors or its inflated entries may
	// have, beside pthAllowance: tensors may share a storage or repeat a value by a stride of 0,
	// which would let a few bytes ask for any memory.
	pthExpansion = 16
	pthAllowance = 1 << 20
)

// isPth reports whether a file that begins with head is a checkpoint, or was meant to be one.
func isPth(head []byte) bool {
	return bytes.HasPrefix(head, []byte("PK")) || // zip
		len(head) > 1 && head[0] == opProto && head[1] <= maxProtocol || // a pickle
		bytes.HasPrefix(head, []byte("L"+pthMagic[:14])) // one of protocol 0
}

// readPth parses a checkpoint of either format and reads no tensor values.
//
// Nothing in the file is ever executed. Whatever is neither a tensor nor a plain value (containers,
// numbers, strings, argparse.Namespace, numpy scalars, paths, torch devices and dtypes) is refused by
// its name. So are files that are cut off, views that leave their storage and counts that the file
// cannot hold.
func readPth(r io.ReaderAt, size int64, label string) (*file, error) {
	p := &pthReader{r: r, size: size, storages: map[string]*storage{}}
	f, err := p.read()
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
	storages map[string]*storage // those that the pickle names, by key
}

func (p *pthReader) read() (*file, error) {
	var head, last [2]byte
	if p.size < int64(len(head)) {
		return nil, fmt.Errorf("%d bytes is too short for a PyTorch checkpoint; it may be empty or cut off: fetch or write it again", p.size)
	}
	if err := readFullAt(p.r, head[:], 0); err != nil {
		return nil, err
	}
	// A wrong size must not make later reads allocate for bytes that are not there.
	if err := readFullAt(p.r, last[:1], p.size-1); err != nil {
		return nil, err
	}
	var top any
	var err error
	if string(head[:]) == "PK" {
		top, err = p.zip()
	} else {
		top, err = p.legacy()
	}
	if err != nil {
		return nil, err
	}
	f, err := stateDict(top)
	if err != nil {
		return nil, err
	}
	limit := p.limit()
	for _, name := range f.names {
		v := f.views[name]
		if v.count > 0 && v.storage.at == nil && v.storage.packed == nil {
			return nil, fmt.Errorf("tensor %s: its storage %s is not in the file; it is cut off or damaged: fetch it again", Quote(name), Quote(v.storage.key))
		}
		if limit -= int64(v.count) * int64(elementSizes[v.dtype]); limit < 0 {
			return nil, fmt.Errorf("tensor %s: with shape %v the tensors are more than %d times as large as the file; save them as .contiguous()", Quote(name), v.shape, pthExpansion)
		}
	}
	return f, nil
}

// limit is the most bytes that the tensors of the file, or its inflated entries, may have.
func (p *pthReader) limit() int64 { return p.size*pthExpansion + pthAllowance }

// zip reads the pickle of a zip archive and finds its storages.
func (p *pthReader) zip() (top any, err error) {
	z, err := zip.NewReader(p.r, p.size)
	if err != nil {
		return nil, fmt.Errorf("%w; the file is cut off or damaged: fetch it again", err)
	}
	var pickle *zip.File
	entries := make(map[string]*zip.File, len(z.File))
	for _, e := range z.File {
		entries[e.Name] = e
		if _, name, ok := strings.Cut(e.Name, "/"); ok && name == "data.pkl" {
			if pickle != nil {
				return nil, fmt.Errorf("both %s and %s are in the archive; a PyTorch checkpoint has one data.pkl", Quote(pickle.Name), Quote(e.Name))
			}
			pickle = e
		}
	}
	if pickle == nil {
		return nil, errors.New("a zip archive without NAME/data.pkl; it is not a PyTorch checkpoint")
	}
	prefix := strings.TrimSuffix(pickle.Name, "data.pkl")
	if entries[prefix+"constants.pkl"] != nil {
		return nil, errors.New("a TorchScript program, not a checkpoint; load it in Python with torch.jit.load and save its state_dict()")
	}
	if e := entries[prefix+"byteorder"]; e != nil {
		b, err := p.entry(e, 16)
		if err != nil {
			return nil, err
		}
		if string(b) != "little" {
			return nil, fmt.Errorf("byte order %s; save it again on a little-endian machine", Quote(string(b)))
		}
	}
	b, err := p.entry(pickle, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	u := newUnpickler(bytes.NewReader(b), int64(len(b)))
	u.names, u.persistent, u.extern = pthNames, p.persistent, rebuild
	top, err = u.next()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Quote(pickle.Name), err)
	}
	inflated := p.limit()
	for _, s := range p.storages {
		e := entries[prefix+"data/"+s.key]
		if e == nil {
			continue // an error only if the state dict needs it
		}
		if want := s.count * int64(elementSizes[s.dtype]); e.UncompressedSize64 < uint64(want) {
			return nil, fmt.Errorf("entry %s has %d bytes, but the checkpoint says %d of %s; it is damaged", Quote(e.Name), e.UncompressedSize64, s.count, s.dtype)
		}
		if e.Method == zip.Store {
			if s.at, err = p.section(e); err != nil {
				return nil, err
			}
			continue
		}
		if e.UncompressedSize64 > uint64(inflated) {
			return nil, fmt.Errorf("entry %s: %d bytes in a file of %d; pack it again without compression", Quote(e.Name), e.UncompressedSize64, p.size)
		}
		inflated -= int64(e.UncompressedSize64)
		s.packed = e
	}
	return top, nil
}

// section returns the bytes of an entry that is not compressed.
func (p *pthReader) section(e *zip.File) (*io.SectionReader, error) {
	off, err := e.DataOffset()
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w; the file is damaged", Quote(e.Name), err)
	}
	if n := e.UncompressedSize64; off > p.size || n > uint64(p.size-off) || n != e.CompressedSize64 {
		return nil, fmt.Errorf("entry %s: %d bytes at %d, but the file has %d; it is cut off or damaged: fetch it again", Quote(e.Name), n, off, p.size)
	}
	return io.NewSectionReader(p.r, off, int64(e.UncompressedSize64)), nil
}

// entry returns the content of an entry of at most limit bytes.
func (p *pthReader) entry(e *zip.File, limit uint64) ([]byte, error) {
	n := e.UncompressedSize64
	if n > limit || n > uint64(p.limit()) {
		return nil, fmt.Errorf("entry %s: %d bytes in a file of %d; it is damaged, or pack it again without compression", Quote(e.Name), n, p.size)
	}
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
			return nil, fmt.Errorf("entry %s: %w", Quote(e.Name), err)
		}
		defer rc.Close()
		from = rc
	}
	b, err := readExactly(from, n)
	if err == nil && crc32.ChecksumIEEE(b) != e.CRC32 && e.CRC32 != 0 {
		err = zip.ErrChecksum
	}
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w; the file is damaged: fetch it again", Quote(e.Name), err)
	}
	return b, nil
}

// legacy reads the pickles of the format before PyTorch 1.6 and finds the storages behind them.
func (p *pthReader) legacy() (top any, err error) {
	u := newUnpickler(io.NewSectionReader(p.r, 0, p.size), p.size)
	magic, err := u.next()
	if err != nil {
		return nil, err
	}
	if m, ok := magic.(*big.Int); !ok || m.String() != pthMagic {
		return nil, errors.New("a pickle, but not one of torch.save; load it in Python and save it with torch.save")
	}
	version, err := u.next()
	if err != nil {
		return nil, err
	}
	if version != any(int64(pthVersion)) {
		return nil, fmt.Errorf("protocol version %s, want %d; save it again with a newer PyTorch", pickleText(version), pthVersion)
	}
	machine, err := u.next()
	if err != nil {
		return nil, err
	}
	if d, ok := machine.(*pyDict); ok {
		if little, ok := d.get("little_endian"); ok && little != any(true) {
			return nil, errors.New("big-endian; save it again on a little-endian machine")
		}
	}
	u.names, u.persistent, u.extern = pthNames, p.persistent, rebuild
	top, err = u.next()
	if err != nil {
		return nil, err
	}
	u.names, u.persistent, u.extern = nil, nil, nil
	keys, err := u.next()
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*pyList)
	if !ok {
		return nil, fmt.Errorf("got %s, want the list of storages; the file is damaged", pickleText(keys))
	}
	at := u.pos
	for _, k := range list.items {
		if at, err = p.legacyStorage(k, at); err != nil {
			return nil, err
		}
	}
	return top, nil
}

// legacyStorage finds the storage of a key, which begins at a byte of the file, and returns where it
// ends.
func (p *pthReader) legacyStorage(k any, at int64) (int64, error) {
	key, _ := k.(string)
	s := p.storages[key]
	switch {
	case s == nil:
		return 0, fmt.Errorf("storage %s belongs to no tensor; the file is damaged", pickleText(k))
	case s.at != nil:
		return 0, fmt.Errorf("storage %s is listed twice; the file is damaged", Quote(key))
	}
	var b [8]byte
	if p.size-at < 8 {
		return 0, fmt.Errorf("storage %s: the file ends before it; fetch it again", Quote(key))
	}
	if err := readFullAt(p.r, b[:], at); err != nil {
		return 0, err
	}
	at += 8
	width := int64(elementSizes[s.dtype])
	n := int64(binary.LittleEndian.Uint64(b[:]))
	switch {
	case n < 0 || n > (p.size-at)/width:
		return 0, fmt.Errorf("storage %s: %d values of %s, but only %d bytes follow; the file is cut off: fetch it again", Quote(key), n, s.dtype, p.size-at)
	case n != s.count:
		return 0, fmt.Errorf("storage %s: %d values, but the checkpoint says %d; the file is damaged", Quote(key), n, s.count)
	}
	s.at = io.NewSectionReader(p.r, at, n*width)
	return at + n*width, nil
}
