package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// WritePth streams tensors to w as a PyTorch checkpoint of the zip format, in the order given: torch.load returns
// {"model": OrderedDict of tensors}, also with weights_only=True. The same tensors give the same bytes. Numbers start at
// multiples of 64 bytes, as torch.save has them. Nothing is written before every name, shape and type has been checked.
//
// Use it inside WriteFileAtomic to write a file.
func WritePth(w io.Writer, tensors []Tensor) error {
	if err := checkTensors(tensors); err != nil {
		return fmt.Errorf("pth: %w", err)
	}
	out := &countingWriter{w: w}
	z := zip.NewWriter(out)
	entry := func(name string, size int64, write func(io.Writer) error) error {
		// Sizes and checksum stand before the numbers, where readers that map a file want them.
		sum := crc32.NewIEEE()
		if err := write(sum); err != nil {
			return err
		}
		if err := z.Flush(); err != nil {
			return err
		}
		h := &zip.FileHeader{Name: "archive/" + name, Method: zip.Store, CRC32: sum.Sum32(), CompressedSize64: uint64(size), UncompressedSize64: uint64(size)}
		const localHeader, align = 30, 64
		pad := -(out.n + localHeader + int64(len(h.Name)) + 4) & (align - 1)
		h.Extra = append([]byte{'F', 'B', byte(pad), 0}, bytes.Repeat([]byte{'Z'}, int(pad))...)
		e, err := z.CreateRaw(h)
		if err != nil {
			return err
		}
		return write(e)
	}
	text := func(name string, b []byte) error {
		return entry(name, int64(len(b)), func(w io.Writer) error { _, err := w.Write(b); return err })
	}
	err := text("data.pkl", pthPickle(tensors))
	if err == nil {
		err = text("byteorder", []byte("little"))
	}
	buf := make([]byte, chunkSize)
	for i, t := range tensors {
		if err != nil {
			break
		}
		dtype, n := dataType(t.Data)
		err = entry(fmt.Sprintf("data/%d", i), int64(n)*int64(elementSizes[dtype]), func(w io.Writer) error { return writeData(w, buf, t.Data) })
		if err != nil {
			err = fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	if err == nil {
		err = text("version", []byte("3\n"))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return fmt.Errorf("pth: writing: %w", err)
	}
	return nil
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

// pthPickle is the pickle of {"model": OrderedDict([(name, tensor), …])} in protocol 2. Tensor i is all of storage i.
func pthPickle(tensors []Tensor) []byte {
	b := []byte("\x80\x02}")
	str := func(s string) {
		b = binary.LittleEndian.AppendUint32(append(b, 'X'), uint32(len(s)))
		b = append(b, s...)
	}
	num := func(n int) {
		if n <= math.MaxInt32 {
			b = binary.LittleEndian.AppendUint32(append(b, 'J'), uint32(n))
			return
		}
		b = binary.LittleEndian.AppendUint64(append(b, 0x8a, 8), uint64(n))
	}
	const orderedDict = "ccollections\nOrderedDict\n)R"
	str("model")
	b = append(b, orderedDict+"("...)
	for i, t := range tensors {
		dtype, n := dataType(t.Data)
		class := map[string]string{"F32": "FloatStorage", "F64": "DoubleStorage", "I64": "LongStorage", "U8": "ByteStorage"}[dtype]
		str(t.Name)
		b = append(b, "ctorch._utils\n_rebuild_tensor_v2\n(("...)
		str("storage")
		b = append(b, "ctorch\n"+class+"\n"...)
		str(fmt.Sprint(i))
		str("cpu")
		num(n)
		b = append(b, "tQ"...)
		num(0) // offset
		b = append(b, '(')
		for _, d := range t.Shape {
			num(d)
		}
		b = append(b, "t("...)
		for k := range t.Shape {
			stride := 1
			for _, d := range t.Shape[k+1:] {
				stride *= max(d, 1)
			}
			num(stride)
		}
		b = append(b, "t\x89"+orderedDict+"tR"...) // needs no gradient, has no hooks
	}
	return append(b, "us."...)
}
