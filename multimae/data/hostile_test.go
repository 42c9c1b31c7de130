package data

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/image/tiff"

	"github.com/gomae/gomae/internal/imagehead"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
)

// flatPNG is a complete PNG of zeros.
func flatPNG(t testing.TB, w, h int, bits, kind byte, interlaced byte) []byte {
	t.Helper()
	samples := map[byte]int{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
	row := int64(1 + (w*int(bits)*samples+7)/8)
	var z bytes.Buffer
	zw := zlib.NewWriter(&z)
	io.CopyN(zw, zeros{}, row*int64(h))
	zw.Close()
	b := []byte("\x89PNG\r\n\x1a\n")
	ihdr := binary.BigEndian.AppendUint32(nil, uint32(w))
	ihdr = binary.BigEndian.AppendUint32(ihdr, uint32(h))
	b = appendChunk(b, "IHDR", append(ihdr, bits, kind, 0, 0, interlaced))
	if kind == 3 {
		b = appendChunk(b, "PLTE", make([]byte, 3*256))
	}
	return appendChunk(appendChunk(b, "IDAT", z.Bytes()), "IEND", nil)
}

// appendChunk appends a chunk to the beginning of a PNG.
func appendChunk(b []byte, name string, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	at := len(b)
	b = append(append(b, name...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[at:]))
}

// transparentPNG is a complete PNG of zeros, grey and transparent, with a text before that looks like
// the beginning of the pixels.
func transparentPNG(t testing.TB, w, h int) []byte {
	b := flatPNG(t, w, h, 8, 0, 0)
	const end = 8 + 25 // of IHDR
	before := appendChunk(appendChunk(bytes.Clone(b[:end]), "tEXt", []byte("a\x00IDAT")), "tRNS", []byte{0, 0})
	return append(before, b[end:]...)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// emptyJPEG is a JPEG that says it has w×h pixels and ends in its first scan.
func emptyJPEG(w, h uint16, sof byte, sampling ...byte) []byte {
	b := []byte{0xff, 0xd8, 0xff, sof, 0, byte(8 + 3*len(sampling)), 8}
	b = binary.BigEndian.AppendUint16(b, h)
	b = binary.BigEndian.AppendUint16(b, w)
	b = append(b, byte(len(sampling)))
	for i, s := range sampling {
		b = append(b, byte(i+1), s, 0)
	}
	b = append(b, 0xff, 0xc4, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, 0xff, 0xda, 0, byte(6+2*len(sampling)), byte(len(sampling)))
	for i := range sampling {
		b = append(b, byte(i+1), 0)
	}
	return append(b, 0, 0, 0, 0, 0xff, 0xd9)
}

// These segments of a JPEG say that three components are RGB and four are YCbCrK, and that the picture
// is to be turned.
const (
	adobeRGB    = "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
	adobeYCbCrK = "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x02"
	turned      = "\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
)

// flatJPEG is a complete progressive JPEG of zeros, with segments before its frame and behind its scan.
func flatJPEG(w, h uint16, before, behind string, sampling ...byte) []byte {
	b := emptyJPEG(w, h, 0xc2, sampling...)
	frame, _ := imagehead.ParseJPEG(b)
	end := len(b) - 2
	return slices.Concat(b[:2], []byte(before), b[2:end], make([]byte, frame.Blocks()/8+1), []byte(behind), b[end:])
}

// bound returns what decoding the file b may allocate, as SECURITY.md promises, with a little for what does
// not grow with the picture, such as tables of codes and errors.
func bound(b []byte) int64 {
	const slack = 500_000
	n := 48_000_000 + 20*int64(len(b))
	if bytes.HasPrefix(b, []byte("\xff\xd8")) || bytes.HasPrefix(b, []byte("RIFF")) { // JPEG and WebP
		n *= 2
	}
	return n + slack
}

// TestMemory meters what hostile files make the decoder allocate, against the bound that ReadImage
// states.
func TestMemory(t *testing.T) {
	raw := multimae.Input{Name: "raw", Kind: multimae.KindImage, Channels: 1, Stride: 1, Normalize: "none"}
	for _, c := range []struct {
		name string
		file func() []byte
		in   multimae.Input
		ok   bool
	}{
		{"flat colour", func() []byte { return flatPNG(t, 8000, 8000, 8, 2, 0) }, rgbIn, false},
		{"smaller flat colour", func() []byte { return flatPNG(t, 5000, 5000, 8, 2, 0) }, rgbIn, false},
		{"one high column", func() []byte { return flatPNG(t, 1, 41_000_000, 1, 0, 0) }, rgbIn, false},
		{"one high column of one channel", func() []byte { return flatPNG(t, 1, 30_000_000, 1, 0, 0) }, raw, false},
		{"one wide row", func() []byte { return flatPNG(t, 60_000_000, 1, 8, 6, 0) }, rgbaIn, false},
		{"interlaced", func() []byte { return flatPNG(t, 3500, 3500, 8, 2, 1) }, rgbIn, false},
		{"interlaced 16-bit alpha", func() []byte { return flatPNG(t, 2600, 2600, 16, 6, 1) }, rgbaIn, false},
		{"grey and transparent", func() []byte { return transparentPNG(t, 6000, 6000) }, rgbIn, false},
		{"palette", func() []byte { return flatPNG(t, 8000, 8000, 8, 3, 0) }, rgbIn, false},
		{"grey of one bit", func() []byte { return flatPNG(t, 8000, 8000, 1, 0, 0) }, raw, false},
		{"ids", func() []byte { return flatPNG(t, 8000, 8000, 8, 0, 0) }, semsegIn, false},
		{"depth", func() []byte { return flatPNG(t, 6000, 6000, 16, 0, 0) }, depthIn, false},
		{"png header", func() []byte { return header(8000, 8000, 8, 2) }, rgbIn, false},
		{"jpeg header", func() []byte { return emptyJPEG(8000, 8000, 0xc0, 0x11, 0x11, 0x11) }, rgbIn, false},
		{"progressive header", func() []byte { return emptyJPEG(8000, 8000, 0xc2, 0x22, 0x11, 0x11) }, rgbIn, false},
		{"wide samples", func() []byte { return emptyJPEG(65535, 1, 0xc2, 0x42, 0x11, 0x11) }, rgbIn, false},
		{"grey progressive header", func() []byte { return emptyJPEG(65535, 900, 0xc2, 0x11) }, raw, false},
		{"black and zeros", func() []byte {
			return append(emptyJPEG(8000, 8000, 0xc2, 0x22, 0x11, 0x11, 0x22), make([]byte, 200_000)...)
		}, rgbIn, false},
		{"progressive and zeros", func() []byte {
			return append(emptyJPEG(8000, 8000, 0xc2, 0x22, 0x11, 0x11), make([]byte, 200_000)...)
		}, rgbIn, false},

		{"jpeg of RGB", func() []byte { return flatJPEG(3400, 3200, adobeRGB, "", 0x22, 0x11, 0x11) }, rgbIn, false},
		{"jpeg of RGB, as its end says", func() []byte { return flatJPEG(3400, 3200, "", adobeRGB, 0x22, 0x11, 0x11) }, rgbIn, false},
		{"jpeg of R, G and B", func() []byte { return named(flatJPEG(3400, 3200, "", "", 0x22, 0x11, 0x11), "RGB") }, rgbIn, false},
		{"jpeg of YCbCr", func() []byte { return flatJPEG(3400, 3200, "", "", 0x22, 0x11, 0x11) }, rgbIn, true},
		{"turned black", func() []byte { return flatJPEG(1380, 1380, adobeYCbCrK+turned, "", 0x22, 0x11, 0x11, 0x22) }, rgbIn, true},

		{"webp of trees", manyTrees, rgbIn, false},
		{"lossless webp header", func() []byte { return riff("VP8L", []byte("\x2f\xff\xff\xff\x0f\x00\x00")) }, rgbIn, false},
		{"lossy webp header", func() []byte {
			return riff("VP8 ", []byte("\x30\x01\x00\x9d\x01\x2a\xff\x1f\xff\x1f"+"0123456789"))
		}, rgbIn, false},
		{"webp of a large chunk", func() []byte {
			return []byte("RIFF\xff\xff\xff\x7fWEBPVP8 \xf0\xff\xff\x7f\x30\x01\x00\x9d\x01\x2a\x10\x00\x10\x00")
		}, rgbIn, false},
		{"webp with large alpha", func() []byte {
			return riff("VP8X", []byte("\x10\x00\x00\x00\x40\x1f\x00\x40\x1f\x00"), "ALPH", []byte("\x00123"), "VP8 ", []byte(webpLossy[20:]))
		}, rgbaIn, false},
		{"flat tiff", func() []byte { return flatTIFF(t, 6000, 6000, 0) }, rgbIn, false},
		{"tiff of one endless strip", func() []byte { return flatTIFF(t, 64, 64, 1<<32-1) }, rgbIn, true},
		{"tiff whose strips are one", func() []byte { return oneStrip(t, 20000) }, rgbIn, false},
		{"tiff of large tags", func() []byte { return largeTags(2_000_000) }, rgbIn, false},
		{"ppm header", func() []byte { return []byte("P6 8000 8000 255\n1234") }, rgbIn, false},
		{"npy header", func() []byte { return npyBytes("<f4", "(8000, 8000)", false, []float32{1}) }, depthIn, false},

		{"a flat screen", func() []byte { return flatPNG(t, 3840, 2160, 8, 2, 0) }, rgbIn, true},
		{"flat square", func() []byte { return flatPNG(t, 2048, 2048, 8, 6, 0) }, rgbaIn, true},
		{"flat depth", func() []byte { return flatPNG(t, 3000, 3000, 16, 0, 0) }, depthIn, true},
		{"flat ids", func() []byte { return flatPNG(t, 4000, 4000, 8, 0, 0) }, semsegIn, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.file()
			path := filepath.Join(t.TempDir(), "x.png")
			if err := os.WriteFile(path, b, 0o666); err != nil {
				t.Fatal(err)
			}
			var err error
			got := int64(testkit.Allocated(func() { _, err = ReadImage(path, c.in) }))
			if want := bound(b); got > want {
				t.Errorf("%d bytes allocate %d, more than %d", len(b), got, want)
			}
			if prob := new(Problem); c.ok != (err == nil) || err != nil && !errors.As(err, &prob) {
				t.Errorf("%v", err)
			}
		})
	}
}

// named changes the names of the components of a JPEG that emptyJPEG began.
func named(b []byte, names string) []byte {
	for i := range names {
		n := byte(i + 1)
		for _, segment := range []struct {
			mark string
			at   int // of the first component
			step int
		}{{"\xff\xc2\x00", 10, 3}, {"\xff\xda\x00", 5, 2}} {
			at := bytes.Index(b, []byte(segment.mark)) + segment.at + i*segment.step
			if b[at] != n {
				panic("another name")
			}
			b[at] = names[i]
		}
	}
	return b
}

// riff is a WebP of these chunks, by name and body.
func riff(chunks ...any) []byte {
	var b []byte
	for i := 0; i < len(chunks); i += 2 {
		body := chunks[i+1].([]byte)
		b = binary.LittleEndian.AppendUint32(append(b, chunks[i].(string)...), uint32(len(body)))
		b = append(b, body...)
		b = append(b, make([]byte, len(body)%2)...)
	}
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(b)+4)), append([]byte("WEBP"), b...)...)
}

// manyTrees is a lossless WebP of 16×16 pixels that asks for 65536 groups of Huffman trees.
func manyTrees() []byte {
	var bits []byte
	n := 0
	put := func(v, width int) {
		for i := range width {
			if n%8 == 0 {
				bits = append(bits, 0)
			}
			bits[n/8] |= byte(v>>i&1) << (n % 8)
			n++
		}
	}
	put(0x2f, 8)
	put(15, 14)
	put(15, 14)
	put(0, 4) // alpha and version
	put(0, 1) // no transform
	put(0, 1) // no cache
	put(1, 1) // groups by an image,
	put(7, 3) // of one pixel:
	put(0, 1)
	for _, symbol := range []int{0xff, 0xff, 0, 0, 0} {
		put(0b101, 3) // a tree of one symbol
		put(symbol, 8)
	}
	put(0, 64)
	return riff("VP8L", bits)
}

// flatTIFF is a deflated TIFF of zeros, in one strip of so many rows if that is not 0.
func flatTIFF(t testing.TB, w, h int, rows uint32) []byte {
	b := tiffBytes(t, image.NewGray(image.Rect(0, 0, w, h)), &tiff.Options{Compression: tiff.Deflate})
	if rows != 0 {
		b = retag(b, tiffRowsPerStrip, rows)
	}
	return b
}

// oneStrip is a TIFF of n rows whose strips are all the same bytes.
func oneStrip(t testing.TB, n int) []byte {
	b := tiffBytes(t, image.NewGray(image.Rect(0, 0, 512, n)), nil)
	offsets, counts := len(b), len(b)+4*n
	for range n {
		b = binary.LittleEndian.AppendUint32(b, 8)
	}
	for range n {
		b = binary.LittleEndian.AppendUint32(b, 1<<20)
	}
	at := binary.LittleEndian.Uint32(b[4:])
	for e := b[at+2:]; len(e) >= 12; e = e[12:] {
		value := 0
		switch binary.LittleEndian.Uint16(e) {
		case tiffStripOffsets:
			value = offsets
		case tiffStripCounts:
			value = counts
		case tiffRowsPerStrip:
			binary.LittleEndian.PutUint32(e[8:], 1)
			continue
		default:
			continue
		}
		binary.LittleEndian.PutUint16(e[2:], 4)
		binary.LittleEndian.PutUint32(e[4:], uint32(n))
		binary.LittleEndian.PutUint32(e[8:], uint32(value))
	}
	return b
}

// largeTags is a TIFF whose tags all have the same n values.
func largeTags(n int) []byte {
	tags := []uint16{256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 292, 293, 317, 322, 323, 324, 325, 338}
	b := binary.LittleEndian.AppendUint16([]byte("II*\x00\x08\x00\x00\x00"), uint16(len(tags)))
	end := len(b) + 12*len(tags)
	for _, tag := range tags {
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, tag), 1)
		b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, uint32(n)), uint32(end))
	}
	return append(b, bytes.Repeat([]byte{1}, n)...)
}

// TestPhotograph reads one of 64 megapixels.
func TestPhotograph(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	img := image.NewYCbCr(image.Rect(0, 0, 9248, 6912), image.YCbCrSubsampleRatio420)
	x := uint32(1)
	for i := range img.Y { // the left half is dark, and all of it has the noise of a sensor
		x = x*1664525 + 1013904223
		img.Y[i] = uint8(x>>27) + 40
		if i%img.YStride >= img.YStride/2 {
			img.Y[i] += 120
		}
	}
	for i := range img.Cb {
		img.Cb[i], img.Cr[i] = 128, 128
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	img = nil
	var p *picture
	var prob *Problem
	got := int64(testkit.Allocated(func() { p, prob = decode(b.Bytes(), &rgbIn) }))
	if prob != nil {
		t.Fatal(prob)
	}
	if want := bound(b.Bytes()); got > want {
		t.Errorf("%d bytes allocate %d, more than %d", b.Len(), got, want)
	}
	if p.w != 9248 || p.h != 6912 || p.m.W != 4624 || p.m.H != 3456 {
		t.Fatalf("%d×%d as %d×%d", p.w, p.h, p.m.W, p.m.H)
	}
	row := p.m.Pix[1000*p.m.W:][:p.m.W]
	for at, want := range map[int]float32{700: 56. / 255, 4000: 176. / 255} {
		if abs(row[at]-want) > 0.1 {
			t.Errorf("column %d is %v, want about %v", at, row[at], want)
		}
	}
}

// plane is one array of an image: of all its channels, or of one.
type plane struct {
	pix            []uint8
	stride, w, h   int
	channels, size int // values of a pixel, and bytes of a value
	first          int // channel
}

func planesOf(t *testing.T, img image.Image) []plane {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	switch img := img.(type) {
	case *image.Gray:
		return []plane{{img.Pix, img.Stride, w, h, 1, 1, 0}}
	case *image.Gray16:
		return []plane{{img.Pix, img.Stride, w, h, 1, 2, 0}}
	case *image.Paletted:
		return []plane{{img.Pix, img.Stride, w, h, 1, 1, 0}}
	case *image.NRGBA:
		return []plane{{img.Pix, img.Stride, w, h, 4, 1, 0}}
	case *image.RGBA:
		return []plane{{img.Pix, img.Stride, w, h, 4, 1, 0}}
	case *image.CMYK:
		return []plane{{img.Pix, img.Stride, w, h, 4, 1, 0}}
	case *image.NRGBA64:
		return []plane{{img.Pix, img.Stride, w, h, 4, 2, 0}}
	case *image.RGBA64:
		return []plane{{img.Pix, img.Stride, w, h, 4, 2, 0}}
	case *image.YCbCr: // samples of colour lie in the corners of their pixels
		cw, ch := img.COffset(w-1, 0)+1, img.COffset(0, h-1)/img.CStride+1
		return []plane{{img.Y, img.YStride, w, h, 1, 1, 0}, {img.Cb, img.CStride, cw, ch, 1, 1, 1}, {img.Cr, img.CStride, cw, ch, 1, 1, 2}}
	}
	t.Fatalf("%T", img)
	return nil
}

// TestReduce reduces images of every type that decoders make. Each value grows evenly with the column
// and the row of its plane, so that its mean over a rectangle is the one in the middle.
func TestReduce(t *testing.T) {
	const w, h, k = 14, 9, 3
	r := image.Rect(0, 0, w, h)
	list := []image.Image{
		image.NewGray(r), image.NewGray16(r), image.NewNRGBA(r), image.NewRGBA(r), image.NewCMYK(r), image.NewNRGBA64(r), image.NewRGBA64(r),
		image.NewPaletted(r, color.Palette{color.Black, color.White}),
	}
	for _, ratio := range []image.YCbCrSubsampleRatio{
		image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420,
		image.YCbCrSubsampleRatio440, image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410,
	} {
		list = append(list, image.NewYCbCr(image.Rect(0, 0, 16, 16), ratio).SubImage(r))
	}
	for _, img := range list {
		name := fmt.Sprintf("%T", img)
		if y, ok := img.(*image.YCbCr); ok {
			name = y.SubsampleRatio.String()
		}
		t.Run(name, func(t *testing.T) {
			planes := planesOf(t, img)
			// each calls f with every value of a plane and where its bytes are.
			each := func(p plane, f func(x, y, channel int, at []uint8)) {
				for y := range p.h {
					for x := range p.w {
						for c := range p.channels {
							f(x, y, p.first+c, p.pix[y*p.stride+(x*p.channels+c)*p.size:][:p.size])
						}
					}
				}
			}
			// value is the pattern in the middle of the columns x0 to x1 and the rows y0 to y1.
			value := func(x0, x1, y0, y1, channel, size int) []uint8 {
				v := 2*(x0+x1) + 3*(y0+y1) + 30*channel
				if size == 1 {
					return []uint8{uint8(v)}
				}
				return binary.BigEndian.AppendUint16(nil, uint16(251*v))
			}
			for _, p := range planes {
				each(p, func(x, y, c int, at []uint8) { copy(at, value(x, x, y, y, c, p.size)) })
			}
			out := reduce(img, k, holes{})
			if reflect.TypeOf(out) != reflect.TypeOf(img) || out.Bounds() != image.Rect(0, 0, w/k, h/k) {
				t.Fatalf("a %T with bounds %v", out, out.Bounds())
			}
			for i, p := range planesOf(t, out) {
				full := planes[i]
				each(p, func(x, y, c int, at []uint8) {
					want := value(x*k, min(x*k+k, full.w)-1, y*k, min(y*k+k, full.h)-1, c, p.size)
					if !bytes.Equal(at, want) {
						t.Errorf("channel %d at (%d,%d) is %d, want %d", c, x, y, at, want)
					}
				})
			}
		})
	}
}

// TestReduceHoles reduces two squares of one channel whose holes are 0 and 9.
func TestReduceHoles(t *testing.T) {
	r := image.Rect(0, 0, 4, 2)
	holed := depthIn
	holed.Invalid = []float64{0, 9}
	mask := depthIn
	mask.Name = maskFolder
	for _, c := range []struct {
		name string
		in   multimae.Input
		pix  [8]uint8
		want [2]uint8
	}{
		{"no holes", depthIn, [8]uint8{0, 0, 0, 9, 0, 40, 0, 9}, [2]uint8{10, 5}},
		{"a mean without them", holed, [8]uint8{0, 0, 20, 9, 0, 40, 30, 41}, [2]uint8{40, 30}},
		{"nothing else", holed, [8]uint8{0, 0, 9, 9, 0, 0, 9, 9}, [2]uint8{0, 9}},
		{"mask", mask, [8]uint8{1, 255, 1, 255, 1, 0, 255, 9}, [2]uint8{0, 130}},
	} {
		t.Run(c.name, func(t *testing.T) {
			grey, grey16 := image.NewGray(r), image.NewGray16(r)
			copy(grey.Pix, c.pix[:])
			for i, v := range c.pix {
				grey16.Pix[2*i+1] = v
			}
			out, out16 := reduce(grey, 2, holesOf(&c.in)).(*image.Gray), reduce(grey16, 2, holesOf(&c.in)).(*image.Gray16)
			for x, want := range c.want {
				if got, got16 := out.GrayAt(x, 0).Y, out16.Gray16At(x, 0).Y; got != want || got16 != uint16(want) {
					t.Errorf("square %d is %d and in 16 bits %d, want %d", x, got, got16, want)
				}
			}
		})
	}
}

// TestScans refuses a JPEG whose scans each take the time of the whole picture, but not one with other
// bytes behind its end or within its segments.
func TestScans(t *testing.T) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 16, 16)), nil); err != nil {
		t.Fatal(err)
	}
	picture := b.Bytes()
	end := len(picture) - 2
	start := bytes.Index(picture, []byte{0xff, 0xda})
	scan := picture[start:end]
	comment := func(body []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{0xff, 0xfe}, uint16(2+len(body))), body...)
	}
	marks := bytes.Repeat([]byte{0xff, 0xda}, maxScans+1)
	for _, c := range []struct {
		name  string
		file  [][]byte
		scans int
		ok    bool
	}{
		{"as it is", [][]byte{picture}, 1, true},
		{"too many", [][]byte{picture[:end], bytes.Repeat(scan, maxScans), picture[end:]}, maxScans + 1, false},
		{"too many behind restarts", [][]byte{picture[:end], bytes.Repeat(append([]byte{0xff, 0, 0xff, 0xd0, 0xff}, scan...), maxScans), picture[end:]}, maxScans + 1, false},
		{"behind the end", [][]byte{picture, marks}, 1, true},
		{"in a comment", [][]byte{picture[:2], comment(marks), picture[2:]}, 1, true},
		{"in a comment behind the scan", [][]byte{picture[:end], comment(marks), picture[end:]}, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := bytes.Join(c.file, nil)
			if n, _ := imagehead.Scans(file); n != c.scans {
				t.Errorf("%d scans, want %d", n, c.scans)
			}
			if _, prob := decode(file, &rgbIn); c.ok != (prob == nil) {
				t.Errorf("problem %v", prob)
			}
		})
	}
}

// TestLinks walks folders that are linked in circles, and what systems leave in folders.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	if err := WriteFolder(context.Background(), dir, patterns(0, 3, 16, 1), nil); err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"rgb", "depth", "semseg"} {
		root := filepath.Join(dir, m)
		for _, name := range []string{"@eaDir/scene/000000.png", "scene/@eaDir/x.jpg", "#recycle/y.png", "__MACOSX/z.png"} {
			path := filepath.Join(root, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(m), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		outside := t.TempDir()
		if err := os.WriteFile(filepath.Join(outside, "far.png"), pngBytes(t, image.NewGray(image.Rect(0, 0, 2, 2))), 0o666); err != nil {
			t.Fatal(err)
		}
		for name, target := range map[string]string{
			"a":          root,
			"scene/back": root,
			"scene/self": filepath.Join(root, "scene"),
			"again":      filepath.Join(root, "scene"),
			"linked":     outside,
		} {
			if err := os.Symlink(target, filepath.Join(root, filepath.FromSlash(name))); err != nil {
				t.Skip(err)
			}
		}
		if err := os.Symlink(root, filepath.Join(outside, "home")); err != nil {
			t.Fatal(err)
		}
	}
	ds, err := OpenFolder(dir, all)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	names = append(names, ds.(*folder).names...)
	if len(names) != 4 || names[0] != "linked/far" || names[3] != "scene/000002" {
		t.Errorf("samples %q", names)
	}
}
