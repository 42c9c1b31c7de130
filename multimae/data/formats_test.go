package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"github.com/gomae/gomae/multimae"
)

// WebP files of 4×3 pixels.
const (
	webpLossy = "\x52\x49\x46\x46\x42\x00\x00\x00\x57\x45\x42\x50\x56\x50\x38\x20\x36\x00\x00\x00\x50\x02\x00\x9d" +
		"\x01\x2a\x04\x00\x03\x00\x00\x00\x00\x25\xa0\x02\x74\xba\x01\xf8\x01\xfa\x01\xfc\x00\x07\x90\x00" +
		"\xfe\xed\xce\xdf\xff\x92\x0f\x5e\x4f\x3f\x3f\xf2\x42\x3f\xfe\xd4\x9f\xaf\x30\x72\xbf\xfb\x4c\x80" +
		"\x00\x00" // (200, 100, 50) everywhere
	webpLossless = "\x52\x49\x46\x46\x3c\x00\x00\x00\x57\x45\x42\x50\x56\x50\x38\x4c\x2f\x00\x00\x00\x2f\x03\x80\x00" +
		"\x00\x1f\xa0\xa6\x6d\x03\x16\xa7\xeb\xae\x82\xb4\x0d\x98\x7d\xff\x8e\x27\x24\x20\x34\x17\xfc\x3f" +
		"\x6a\xfe\x03\x90\x6b\xdd\x17\x08\x04\x12\x81\xa0\xe6\x9d\x38\xa2\xff\xe1\x00\x00" // (4, 5, 6) in the second row
	webpAlpha = "\x52\x49\x46\x46\x6a\x00\x00\x00\x57\x45\x42\x50\x56\x50\x38\x58\x0a\x00\x00\x00\x10\x00\x00\x00" +
		"\x03\x00\x00\x02\x00\x00\x41\x4c\x50\x48\x0d\x00\x00\x00\x00\x00\x14\x28\x3c\x50\x64\x78\x8c\xa0" +
		"\xb4\xc8\xdc\x00\x56\x50\x38\x20\x36\x00\x00\x00\x50\x02\x00\x9d\x01\x2a\x04\x00\x03\x00\x00\x00" +
		"\x00\x25\xa0\x02\x74\xba\x01\xf8\x01\xfa\x01\xfc\x00\x07\x90\x00\xfe\xed\xce\xdf\xff\x92\x0f\x5e" +
		"\x4f\x3f\x3f\xf2\x42\x3f\xfe\xd4\x9f\xaf\x30\x72\xbf\xfb\x4c\x80\x00\x00" // as webpLossy, alpha grows by 20
	webpTurned = "\x52\x49\x46\x46\x70\x00\x00\x00\x57\x45\x42\x50\x56\x50\x38\x58\x0a\x00\x00\x00\x08\x00\x00\x00" +
		"\x03\x00\x00\x02\x00\x00\x56\x50\x38\x4c\x2f\x00\x00\x00\x2f\x03\x80\x00\x00\x1f\xa0\xa6\x6d\x03" +
		"\x16\xa7\xeb\xae\x82\xb4\x0d\x98\x7d\xff\x8e\x27\x24\x20\x34\x17\xfc\x3f\x6a\xfe\x03\x90\x6b\xdd" +
		"\x17\x08\x04\x12\x81\xa0\xe6\x9d\x38\xa2\xff\xe1\x00\x00\x45\x58\x49\x46\x1a\x00\x00\x00\x4d\x4d" +
		"\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00" // as webpLossless, with the EXIF orientation 6
)

// webpCanvas is a lossy WebP of 512×512 pixels of (200, 100, 50), whose alpha is losslessly compressed and
// a quarter of x + y, modulo 256.
func webpCanvas() []byte {
	const alpha = "\x01\x01\x33\x6d\xdb\xb4\x1d\x7f\xe8\xbb\x1d\xd1\xff\x09\xb8\xef\xcb\x7f\xfc\xc7\x7f\x04\x07\x85" +
		"\x6d\xdb\x36\xca\xff\xd7\x77\x32\x62\x02\x14\xa6\x6d\xc3\x74\x57\xa7\x34\xc9\x58\x78\xdf\x00\x39" +
		"\x4e\x7f\x2f\xfd\xc1\x7f\xe6\x3f\xf3\x9f\xf9\xcf\xfc\x67\xfe\x33\xff\x99\xff\xcc\x7f\xe6\x3f\xf3" +
		"\x9f\xf9\xcf\xfc\x67\xfe\x33\xff\x99\xff\xcc\x7f\xe6\x3f\xf3\x9f\xf9\xcf\xfc\x67\xfe\x33\xff\x99" +
		"\xff\xcc\x7f\xe6\x3f\xf3\x9f\xf9\xcf\xfc\x67\xfe\x33\xff\x99\xff\xcc\x7f\xe6\x3f\xf3\x9f\xf9\xcf" +
		"\xfc\x67\xfe\x33\xff\x99\xff\xcc\x7f\xe6\x3f\xf3\x9f\xf9\xcf\xfc\x67\xfe\x33\xff\x99\xff\xcc\x7f" +
		"\xe6\x3f\xf3\x9f\xf9\xcf\xfc\x67\xfe\x33\xff\x99\xff\xcc\x7f\xe6\x3f\xf3\x9f\xf9\xcf\xfc\xe7\x47" +
		"\x84\xf9\xcf\xfc\xe7\x00"
	const begin, period, end = "\x50\x3a\x00\x9d\x01\x2a\x00\x02\x00\x02\x3f\xcd\xe6\xf1\x73\xbf\xb8\x33\xac\xa0\x08\x03\xf0\x39" +
		"\x89\x69\x6e\xe1\x77\x61\x1b\x40\x09\xec\x03",
		"\xdf\x6c\x9c\x87\xbe\xd9\x39\x0f\x7d\xb2\x72\x1e\xfb\x64\xe4\x3d\xf6\xc9\xc8\x7b\xed\x93\x90\xf7\xdb\x27\x21\xef\xb6\x4e\x43",
		"\xdf\x6c\x9c\x87\xac\x00\x00\xfe\xca\x7e\x86\x8b\xd5\x3f\xea\xd2\x69\x12\x00\xf2\xcc\x08"
	return riff("VP8X", []byte("\x10\x00\x00\x00\xff\x01\x00\xff\x01\x00"), "ALPH", []byte(alpha),
		"VP8 ", []byte(begin+strings.Repeat(period, 14)+end+strings.Repeat("\x00", 27)))
}

// npyBytes is what numpy.save writes for an array of 3×4 values.
func npyBytes(descr, shape string, fortran bool, values any) []byte {
	order := binary.ByteOrder(binary.LittleEndian)
	if descr[0] == '>' {
		order = binary.BigEndian
	}
	word := "False"
	if fortran {
		word = "True"
	}
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", descr, word, shape)
	b := append([]byte(npyMagic), 1, 0)
	b = append(binary.LittleEndian.AppendUint16(b, uint16(len(head))), head...)
	var w bytes.Buffer
	if err := binary.Write(&w, order, values); err != nil {
		panic(err)
	}
	return append(b, w.Bytes()...)
}

func tiffBytes(t testing.TB, img image.Image, o *tiff.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tiff.Encode(&b, img, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func bmpBytes(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := bmp.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// retag changes the value of a tag in a TIFF file that tiff.Encode wrote.
func retag(b []byte, tag uint16, value uint32) []byte {
	b = bytes.Clone(b)
	at := binary.LittleEndian.Uint32(b[4:])
	for e := b[at+2:]; len(e) >= 12; e = e[12:] {
		if binary.LittleEndian.Uint16(e) == tag {
			binary.LittleEndian.PutUint32(e[8:], value)
			return b
		}
	}
	panic("no such tag")
}

// tiledTIFF is a grey TIFF of w×3 pixels, w up to 16, in a tile of 16×16, whose values are those of formats: i for 8
// bits, 5000·i for 16.
func tiledTIFF(w, bits int) []byte {
	const tags = 10
	size := 256 * bits / 8
	b := binary.LittleEndian.AppendUint32([]byte("II*\x00"), 8)
	b = binary.LittleEndian.AppendUint16(b, tags)
	pixels := len(b) + 12*tags + 4
	for _, v := range [tags][2]int{{256, w}, {257, 3}, {258, bits}, {259, 1}, {262, 1}, {277, 1}, {322, 16}, {323, 16}, {324, pixels}, {325, size}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v[0]))
		b = binary.LittleEndian.AppendUint16(b, 4) // a number of 32 bits
		b = binary.LittleEndian.AppendUint32(b, 1)
		b = binary.LittleEndian.AppendUint32(b, uint32(v[1]))
	}
	b = append(b, make([]byte, 4+size)...)
	for i := range 3 * w {
		at := i/w*16 + i%w
		if bits == 8 {
			b[pixels+at] = uint8(i)
		} else {
			binary.LittleEndian.PutUint16(b[pixels+2*at:], uint16(5000*i))
		}
	}
	return b
}

// formats are files of 4×3 pixels and the value of the second pixel of the first row, or of the first
// of the second row.
func formats(t testing.TB) []formatCase {
	r := image.Rect(0, 0, 4, 3)
	grey8, grey16, rgb := image.NewGray(r), image.NewGray16(r), image.NewNRGBA(r)
	palette := image.NewPaletted(r, color.Palette{color.Black, color.White, color.NRGBA{0, 51, 0, 255}})
	var u8 [12]uint8
	var i64 [12]int64
	var u16 [12]uint16
	var f32 [12]float32
	var f64 [12]float64
	for i := range 12 {
		grey8.Pix[i], u8[i], i64[i] = uint8(i), uint8(i), int64(i)
		grey16.SetGray16(i%4, i/4, color.Gray16{Y: uint16(5000 * i)})
		u16[i], f32[i], f64[i] = uint16(5000*i), float32(i)/4, float64(i)/4
		rgb.SetNRGBA(i%4, i/4, color.NRGBA{uint8(i), 51, 200, 255})
		palette.Pix[i] = 2
	}
	turned := u16
	for i := range turned { // in columns
		turned[i] = uint16(5000 * (i%3*4 + i/3))
	}
	negative := i64
	negative[5] = -1
	nan := f32
	nan[0], nan[3] = float32(math.NaN()), float32(math.Inf(1))
	p16 := []byte("P5 4 3 65535\n")
	for _, v := range u16 {
		p16 = binary.BigEndian.AppendUint16(p16, v)
	}
	raw := depthIn
	raw.Normalize = multimae.NormalizeNone
	metres := raw
	metres.HasUnit = true
	mask := withEXIF(t, image.NewGray(r), 1)
	grey := multimae.Input{Name: "grey", Kind: multimae.KindImage, Channels: 1, Stride: 1, Normalize: multimae.NormalizeNone}
	maskIn, holed := grey, grey
	maskIn.Name, holed.Invalid = maskFolder, []float64{0}
	longHead := append([]byte(npyMagic), 2, 0, 1, 0, 1, 0)
	longHead = append(append(longHead, npyBytes("<u2", "(3, 4)", false, u16[:])[10:]...), make([]byte, 1<<16)...)
	deflate := &tiff.Options{Compression: tiff.Deflate, Predictor: true}
	webp := func(s string) []byte { return []byte(s) }
	// One pixel of alpha for all of the picture.
	smallCanvas := strings.Replace(strings.Replace(webpAlpha, "\x03\x00\x00\x02", "\x00\x00\x00\x00", 1),
		"\x0d\x00\x00\x00\x00\x00\x14\x28\x3c\x50\x64\x78\x8c\xa0\xb4\xc8\xdc\x00", "\x02\x00\x00\x00\x00\x14", 1)
	smallCanvas = string(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(smallCanvas)-8))) + smallCanvas[8:]
	return []formatCase{
		{"lossy WebP", webp(webpLossy), rgbIn, "", 12 + 4, 100. / 255},
		{"lossless WebP", webp(webpLossless), rgbIn, "", 12 + 4, 5. / 255},
		{"WebP with alpha", webp(webpAlpha), rgbIn, "", 12 + 4, 100. / 255},
		{"alpha of WebP", webp(webpAlpha), rgbaIn, "", 36 + 4, 80. / 255},
		{"TIFF", tiffBytes(t, rgb, nil), rgbIn, "", 12 + 4, 51. / 255},
		{"deflated TIFF", tiffBytes(t, rgb, deflate), rgbIn, "", 12 + 4, 51. / 255},
		{"TIFF of a palette", tiffBytes(t, palette, nil), rgbIn, "", 12 + 4, 51. / 255},
		{"depth in TIFF", tiffBytes(t, grey16, nil), depthIn, "", 4, 20000. / 65536},
		{"depth in deflated TIFF", tiffBytes(t, grey16, deflate), depthIn, "", 4, 20000. / 65536},
		{"depth in tiles", tiledTIFF(4, 16), depthIn, "", 4, 20000. / 65536},
		{"ids in TIFF", tiffBytes(t, grey8, nil), semsegIn, "", 4, 4},
		{"ids in TIFF of a palette", tiffBytes(t, palette, nil), semsegIn, "", 4, 2},
		{"BMP", bmpBytes(t, rgb), rgbIn, "", 12 + 4, 51. / 255},
		{"BMP of a palette", bmpBytes(t, palette), rgbIn, "", 12 + 4, 51. / 255},
		{"PPM", append([]byte("P6\n# by hand\n4 3 100\n"), bytes.Repeat([]byte{10, 20, 30}, 12)...), rgbIn, "", 12 + 4, 51. / 255},
		{"PPM in text", []byte("P3 4 3 5 " + strings.Repeat("0 1\n5 ", 12)), rgbIn, "", 12 + 4, 51. / 255},
		{"grey PGM", []byte("P2 4 3 5 " + strings.Repeat("1 ", 12)), rgbIn, "", 12 + 4, 51. / 255},
		{"wide grey PGM", []byte("P2 4 3 1000 " + strings.Repeat("200 ", 12)), rgbIn, "", 12 + 4, 51. / 255},
		{"white wide PPM in text", []byte("P3 4 3 65535 " + strings.Repeat("65535 ", 3*12)), rgbIn, "", 12 + 4, 1},
		{"depth in PGM", p16, depthIn, "", 4, 20000. / 65536},
		{"depth in PGM, in text", []byte("P2 4 3 60000 " + strings.Repeat("20000 ", 12)), depthIn, "", 4, 20000. / 65536},
		{"ids in PGM", append([]byte("P5 4 3 255 "), u8[:]...), semsegIn, "", 4, 4},
		{"float32", npyBytes("<f4", "(3, 4)", false, f32[:]), depthIn, "", 4, 1},
		{"float64 of another order", npyBytes(">f8", "(3, 4)", false, f64[:]), depthIn, "", 4, 1},
		{"float32 that is not standardised", npyBytes("<f4", "(3, 4)", false, f32[:]), raw, "", 4, 1. / 65536},
		{"NaN", npyBytes("<f4", "(3, 4)", false, nan[:]), depthIn, "", 4, 1},
		{"uint16", npyBytes("<u2", "(3, 4)", false, u16[:]), depthIn, "", 4, 20000. / 65536},
		{"uint16 in columns", npyBytes("<u2", "(3, 4)", true, turned[:]), depthIn, "", 4, 20000. / 65536},
		{"one more dimension", npyBytes("<u2", "(1, 3, 4)", false, u16[:]), depthIn, "", 4, 20000. / 65536},
		{"ids in uint8", npyBytes("|u1", "(3, 4)", false, u8[:]), semsegIn, "", 4, 4},
		{"ids in int64", npyBytes("<i8", "(3, 4)", false, i64[:]), semsegIn, "", 4, 4},

		{"ids in WebP", webp(webpLossless), semsegIn, "webp", 0, 0},
		{"depth in WebP", webp(webpLossless), depthIn, "webp", 0, 0},
		{"depth in a unit in WebP", webp(webpLossless), metres, "webp", 0, 0},
		{"depth in a unit in float32", npyBytes("<f4", "(3, 4)", false, f32[:]), metres, "", 4, 1. / 65536},
		{"ids in tiles that reach beyond the picture", tiledTIFF(4, 8), semsegIn, "tiles", 0, 0},
		{"8-bit depth in TIFF", tiffBytes(t, grey8, nil), depthIn, "8-bit", 0, 0},
		{"16-bit ids in TIFF", tiffBytes(t, grey16, nil), semsegIn, "16 bits", 0, 0},
		{"8-bit depth in PGM", append([]byte("P5 4 3 255 "), u8[:]...), depthIn, "8-bit", 0, 0},
		{"negative id", npyBytes("<i8", "(3, 4)", false, negative[:]), semsegIn, "-1", 0, 0},
		{"ids in float32", npyBytes("<f4", "(3, 4)", false, f32[:]), semsegIn, "floating", 0, 0},
		{"int64 depth", npyBytes("<i8", "(3, 4)", false, i64[:]), depthIn, "i8", 0, 0},
		{"colour in .npy", npyBytes("<u2", "(3, 4)", false, u16[:]), rgbIn, "3 channels", 0, 0},
		{"three dimensions", npyBytes("<u2", "(3, 2, 2)", false, u16[:]), depthIn, "shape", 0, 0},
		{"records", npyBytes("|V8", "(3, 4)", false, i64[:]), depthIn, "", 0, -1},
		{"short array", npyBytes("<f8", "(3, 4)", false, f64[:11]), depthIn, "truncated", 0, 0},
		{"large array", npyBytes("<u2", "(999999999, 999999999)", false, u16[:]), depthIn, "million", 0, 0},
		{"array of a long head", longHead, depthIn, "65537", 0, 0},
		{"mask in JPEG", mask, maskIn, "jpeg", 0, 0},
		{"mask in WebP", webp(webpLossy), maskIn, "webp", 0, 0},
		{"mask in PNG", pngBytes(t, grey8), maskIn, "", 4, 4. / 255},
		{"values that mark holes, in JPEG", mask, holed, "jpeg", 0, 0},
		{"values without holes, in JPEG", mask, grey, "", 0, 0},
		{"WebP with little alpha", webp(smallCanvas), rgbaIn, "alpha", 0, 0},
		{"WebP with little alpha, in colour", webp(smallCanvas), rgbIn, "alpha", 0, 0},
		{"short WebP", webp(webpLossy[:40]), rgbIn, "truncated", 0, 0},
		{"WebP of no size", []byte("RIFF\x01\x00\x00\x00WEBP0"), rgbIn, "truncated", 0, 0},
		{"short PPM", []byte("P6 4 3 255\n123456789"), rgbIn, "truncated", 0, 0},
		{"short head of PPM", []byte("P6 4 # 3"), rgbIn, "truncated", 0, 0},
		{"short TIFF", tiffBytes(t, rgb, nil)[:60], rgbIn, "truncated", 0, 0},
		{"value above the largest", []byte("P2 2 1 9 3 12 "), semsegIn, "12", 0, 0},
		{"strip beyond the end", retag(tiffBytes(t, rgb, nil), tiffStripOffsets, 1<<30), rgbIn, "truncated", 0, 0},
		{"TIFF of JPEG", retag(tiffBytes(t, rgb, nil), tiffCompression, 7), rgbIn, "not read", 0, 0},
		{"TIFF of reversed bits", retag(addTag(tiffBytes(t, grey16, nil), tiffFillOrder), tiffFillOrder, 2), depthIn, "lowest bit", 0, 0},
		{"animation", []byte("RIFF\x14\x00\x00\x00WEBPANIM\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), rgbIn, "animation", 0, 0},

		{"JPEG with arithmetic coding", emptyJPEG(16, 16, 0xc9, 0x11), rgbIn, "arithmetic", 0, 0},
		{"lossless JPEG", emptyJPEG(16, 16, 0xc3, 0x11), rgbIn, "lossless", 0, 0},
		{"JPEG of an uncommon sampling", emptyJPEG(16, 16, 0xc0, 0x31, 0x11, 0x11), rgbIn, "though it may be sound", 0, 0},
		{"JPEG with its end cut off", withEXIF(t, rgb, 1)[:100], rgbIn, "truncated", 0, 0},

		{"GIF", []byte("GIF89a and more"), rgbIn, "GIF", 0, 0},
		{"JPEG 2000", []byte("\x00\x00\x00\x0cjP  \r\n\x87\n"), depthIn, "JPEG 2000", 0, 0},
		{"HEIC", []byte("\x00\x00\x00\x18ftypheic"), rgbIn, "HEIC", 0, 0},
		{"AVIF", []byte("\x00\x00\x00\x18ftypavif"), rgbIn, "AVIF", 0, 0},
		{"HDF5", []byte("\x89HDF\r\n\x1a\n more"), depthIn, "HDF5", 0, 0},
		{"page", []byte("\n<!DOCTYPE html><html>"), rgbIn, "HTML", 0, 0},
		{"pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0"), rgbIn, "Git LFS", 0, 0},
		{"message", []byte(`{"error": "not found"}`), rgbIn, "JSON", 0, 0},
		{"zeros", make([]byte, 100), rgbIn, "zeros", 0, 0},
	}
}

type formatCase struct {
	name string
	file []byte
	in   multimae.Input
	want string // part of the problem; empty for none
	at   int
	val  float32 // −1 for any problem
}

func TestFormats(t *testing.T) {
	for _, c := range formats(t) {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.jpg")
			if err := os.WriteFile(path, c.file, 0o666); err != nil {
				t.Fatal(err)
			}
			m, err := ReadImage(path, c.in)
			if c.want != "" || c.val < 0 {
				prob := new(Problem)
				if !errors.As(err, &prob) || prob.File != path || prob.Remedy == "" || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want a problem with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.W != 4 || m.H != 3 {
				t.Fatalf("%d×%d", m.W, m.H)
			}
			got := float32(0)
			if c.in.Kind == multimae.KindClasses {
				got = float32(m.IDs[c.at])
			} else {
				got = m.Pix[c.at]
			}
			if abs(got-c.val) > 1./255+1e-6 || c.in.Channels == 1 && got != c.val {
				t.Errorf("[%d] = %v, want %v", c.at, got, c.val)
			}
			if holes := m.Valid != nil; holes != (c.name == "NaN") {
				t.Errorf("valid %v", m.Valid)
			}
		})
	}
}

// TestWideAlpha reads alpha whose width and height have more than a byte.
func TestWideAlpha(t *testing.T) {
	m, err := DecodeImage(webpCanvas(), rgbaIn)
	if err != nil {
		t.Fatal(err)
	}
	for y := range m.H {
		for x := range m.W {
			if got, want := m.Pix[3*m.W*m.H+y*m.W+x]*255, float32((x+y)/4%256); m.W != 512 || m.H != 512 || abs(got-want) > 1e-3 {
				t.Fatalf("alpha (%d,%d) of %d×%d is %v, want %v", x, y, m.W, m.H, got, want)
			}
		}
	}
}

// TestOrientations turns pictures of every format that has an orientation.
func TestOrientations(t *testing.T) {
	rgb := image.NewNRGBA(image.Rect(0, 0, 4, 3))
	exif := []byte("MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00")
	png := pngBytes(t, rgb)
	chunk := appendChunk(nil, "eXIf", exif)
	for _, c := range []struct {
		name string
		file []byte
	}{
		{"JPEG", withEXIF(t, rgb, 6)},
		{"PNG", bytes.Join([][]byte{png[:33], chunk, png[33:]}, nil)},
		{"WebP", []byte(webpTurned)},
		{"TIFF", retag(addTag(tiffBytes(t, rgb, nil), 274), 274, 6)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, prob := decode(c.file, &rgbIn)
			if prob != nil {
				t.Fatal(prob)
			}
			if !p.turned || p.m.W != 3 || p.m.H != 4 {
				t.Errorf("%d×%d", p.m.W, p.m.H)
			}
		})
	}
}

// addTag puts a tag of one SHORT in the place of the resolution unit of a TIFF file, where its order
// is right.
func addTag(b []byte, tag uint16) []byte {
	b = bytes.Clone(b)
	at := binary.LittleEndian.Uint32(b[4:])
	n := int(binary.LittleEndian.Uint16(b[at:]))
	entries := b[at+2:][:12*n]
	var kept [][]byte
	for e := entries; len(e) > 0; e = e[12:] {
		if t := binary.LittleEndian.Uint16(e); t != 296 {
			if t > tag && (len(kept) == 0 || binary.LittleEndian.Uint16(kept[len(kept)-1]) < tag) {
				kept = append(kept, []byte{byte(tag), byte(tag >> 8), 3, 0, 1, 0, 0, 0, 1, 0, 0, 0})
			}
			kept = append(kept, bytes.Clone(e[:12]))
		}
	}
	copy(entries, bytes.Join(kept, nil))
	return b
}

// TestUnread lists files of types that are not read once for each folder.
func TestUnread(t *testing.T) {
	dir := t.TempDir()
	grey := pngBytes(t, image.NewGray16(image.Rect(0, 0, 4, 4)))
	for i := range 30 {
		write(t, filepath.Join(dir, fmt.Sprintf("rgb/c/%d.png", i)), grey)
		write(t, filepath.Join(dir, fmt.Sprintf("depth/c/%d.jpx", i)), []byte("x"))
	}
	for _, more := range []bool{false, true} {
		if more {
			write(t, filepath.Join(dir, "depth/c/30.png"), grey)
		}
		r, err := Check(context.Background(), dir, []multimae.Input{rgbIn, depthIn})
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		if more { // 30.png has no partner
			want = 2
		}
		if len(r.Problems) != want || r.Problems[0].File != filepath.Join(dir, "depth") || !strings.Contains(r.Problems[0].Message, "30 files of type JPEG 2000") || !strings.Contains(r.Problems[0].Remedy, "*.jpx") {
			t.Errorf("more %v: %v", more, problemList(r.Problems))
		}
	}
}

// TestCheckNumbers looks at a depth map whose sky is infinitely far: it has no number there.
func TestCheckNumbers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "depth"), 0o777); err != nil {
		t.Fatal(err)
	}
	values := []float32{1, 2, 3, float32(math.Inf(1)), 5, float32(math.Inf(-1)), 7, float32(math.NaN())}
	if err := os.WriteFile(filepath.Join(dir, "depth", "x.npy"), npyBytes("<f4", "(2, 4)", false, values), 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := Check(context.Background(), dir, []multimae.Input{depthIn})
	if err != nil {
		t.Fatal(err)
	}
	if raw := r.Modalities[0].Raw; raw == nil || raw.Min != 1 || raw.Max != 7 || raw.NaNPart != 3./8 {
		t.Errorf("stored values %+v, want 1 to 7 and 3 of 8 no numbers", raw)
	}
}

// TestCheckMean wants the values of a file to be added up before those of files meet, so that the mean
// does not depend on who reads which file. On one core no other order is possible.
func TestCheckMean(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "depth"), 0o777); err != nil {
		t.Fatal(err)
	}
	const large = 1 << 53 // to which 1 adds nothing
	for i, values := range [][]float32{{large, 0, 0, 0}, {1, 1, 1, 1}, {1, 1, 1, 1}} {
		path := filepath.Join(dir, "depth", fmt.Sprintf("%d.npy", i))
		if err := os.WriteFile(path, npyBytes("<f4", "(2, 2)", false, values), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Check(context.Background(), dir, []multimae.Input{depthIn})
	if err != nil || len(r.Problems) > 0 {
		t.Fatal(r, err)
	}
	if got, want := r.Modalities[0].Mean, (large+8.)/12; got != want {
		t.Errorf("mean %v, want %v", got, want)
	}
}

// TestInvalidFloat leaves out a value that float32 rounds, as the user writes it.
func TestInvalidFloat(t *testing.T) {
	depth := [12]float32{3: 1e20, 7: 2.5, 9: 0.1}
	in := depthIn
	in.Invalid = []float64{1e20, 0.1}
	p, prob := decode(npyBytes("<f4", "(3, 4)", false, depth[:]), &in)
	if prob != nil {
		t.Fatal(prob)
	}
	for i, valid := range p.m.Valid {
		if want := i != 3 && i != 9; valid != want {
			t.Errorf("value %d, %v: valid %v, want %v", i, depth[i], valid, want)
		}
	}
	if p.m.Valid == nil {
		t.Error("all are valid")
	}
}
