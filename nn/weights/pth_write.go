package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"slices"
)

// WritePth streams tensors to w as a PyTorch checkpoint of the zip format, in the order given.
// torch.load returns {"model": OrderedDict of tensors, KEY: string, …} with the metadata, also with
// weights_only=True. The same tensors give the same bytes. Numbers start at multiples of 64 bytes,
// as torch.save has them. Nothing is written before every name, shape and type has been checked.
func WritePth(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	err := checkTensors(tensors)
	if err == nil {
		err = checkMetadata(metadata)
	}
	if _, ok := metadata[stateDictKeys[0]]; ok {
		err = fmt.Errorf("metadata %q: is where the tensors are", stateDictKeys[0])
	}
	if err != nil {
		return fmt.Errorf("pth: %w", err)
	}
	out := &countingWriter{w: w}
	p := &pthWriter{out: out, zip: zip.NewWriter(out), buf: make([]byte, chunkSize)}
	err = p.write(tensors, metadata)
	if err == nil {
		err = p.zip.Close()
	}
	if err != nil {
		return fmt.Errorf("pth: writing: %w", err)
	}
	return nil
}

// pthWriter writes the entries of an archive.
type pthWriter struct {
	out *countingWriter
	zip *zip.Writer // to out
	buf []byte      // for numbers
}

func (p *pthWriter) write(tensors []Tensor, metadata map[string]string) error {
	if err := p.text("data.pkl", string(statePickle(tensors, metadata))); err != nil {
		return err
	}
	if err := p.text("byteorder", "little"); err != nil {
		return err
	}
	for i, t := range tensors {
		dtype, n := dataType(t.Data)
		write := func(w io.Writer) error { return writeData(w, p.buf, t.Data) }
		if err := p.entry(fmt.Sprintf("data/%d", i), int64(n)*int64(elementSizes[dtype]), write); err != nil {
			return fmt.Errorf("tensor %s: %w", Quote(t.Name), err)
		}
	}
	return p.text("version", "3\n")
}

func (p *pthWriter) text(name, s string) error {
	return p.entry(name, int64(len(s)), func(w io.Writer) error { _, err := io.WriteString(w, s); return err })
}

// entry writes an entry of size bytes that is not compressed. It calls write twice, first for the
// checksum: sizes and checksum come before the bytes, where readers that map a file want them.
func (p *pthWriter) entry(name string, size int64, write func(io.Writer) error) error {
	sum := crc32.NewIEEE()
	if err := write(sum); err != nil {
		return err
	}
	if err := p.zip.Flush(); err != nil {
		return err
	}
	h := &zip.FileHeader{Name: "archive/" + name, Method: zip.Store, CRC32: sum.Sum32(), CompressedSize64: uint64(size), UncompressedSize64: uint64(size)}
	const localHeader, extraHeader, align = 30, 4, 64
	pad := -(p.out.n + localHeader + int64(len(h.Name)) + extraHeader) & (align - 1)
	h.Extra = append([]byte{'F', 'B', byte(pad), 0}, bytes.Repeat([]byte{'Z'}, int(pad))...)
	e, err := p.zip.CreateRaw(h)
	if err != nil {
		return err
	}
	return write(e)
}

// countingWriter knows how many bytes it has written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// statePickle returns the pickle of {"model": OrderedDict([(name, tensor), …]), key: text, …} in
// protocol 2. Tensor i is all of storage i.
func statePickle(tensors []Tensor, metadata map[string]string) pickler {
	const portion = 1000 // tensors on the stack at a time, as Python has them
	p := pickler{opProto, 2, opEmptyDict}
	p.string("model")
	p.name("collections", "OrderedDict")
	p.op(opEmptyTuple, opReduce, opMark)
	for i, t := range tensors {
		if i > 0 && i%portion == 0 {
			p.op(opSetItems, opMark)
		}
		p.string(t.Name)
		p.tensor(i, t)
	}
	p.op(opSetItems, opSetItem)
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		p.string(key)
		p.string(metadata[key])
		p.op(opSetItem)
	}
	p.op(opStop)
	return p
}

// pickler is the beginning of a pickle.
type pickler []byte

func (p *pickler) op(ops ...byte) { *p = append(*p, ops...) }

func (p *pickler) string(s string) {
	*p = binary.LittleEndian.AppendUint32(append(*p, opBinUnicode), uint32(len(s)))
	*p = append(*p, s...)
}

func (p *pickler) int(n int) {
	if n <= math.MaxInt32 {
		*p = binary.LittleEndian.AppendUint32(append(*p, opBinInt), uint32(n))
		return
	}
	*p = binary.LittleEndian.AppendUint64(append(*p, opLong1, 8), uint64(n))
}

func (p *pickler) name(module, name string) {
	*p = append(*p, opGlobal)
	*p = append(*p, module+"\n"+name+"\n"...)
}

// tensor pickles a tensor that is all of a storage: a call of torch._utils._rebuild_tensor_v2.
func (p *pickler) tensor(storage int, t Tensor) {
	classes := map[string]string{"F32": "FloatStorage", "BF16": "BFloat16Storage", "F64": "DoubleStorage", "I64": "LongStorage", "U8": "ByteStorage"}
	dtype, n := dataType(t.Data)
	p.name("torch._utils", "_rebuild_tensor_v2")
	p.op(opMark, opMark)
	p.string("storage")
	p.name("torch", classes[dtype])
	p.string(fmt.Sprint(storage))
	p.string("cpu")
	p.int(n)
	p.op(opTuple, opBinPersID)
	p.int(0) // offset
	p.op(opMark)
	for _, d := range t.Shape {
		p.int(d)
	}
	p.op(opTuple, opMark)
	for k := range t.Shape {
		stride := 1
		for _, d := range t.Shape[k+1:] {
			stride *= max(d, 1)
		}
		p.int(stride)
	}
	p.op(opTuple, opNewFalse) // needs no gradient
	p.name("collections", "OrderedDict")
	p.op(opEmptyTuple, opReduce) // has no hooks
	p.op(opTuple, opReduce)
}
