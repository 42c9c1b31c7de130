package data

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"io"
	"strconv"

	"golang.org/x/image/bmp"

	"github.com/gomae/gomae/multimae"
)

// headBMP reads the head of a BMP file. Rows of at least a bit a pixel are stored as they are.
func headBMP(b []byte, m *multimae.Input) (*head, *Problem) {
	c, err := bmp.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, undecodable(b, err)
	}
	h := &head{
		format: "bmp", w: c.Width, h: c.Height, bits: 8, orientation: 1,
		decode: func() (image.Image, error) { return bmp.Decode(bytes.NewReader(b)) },
	}
	if h.w > 0 && h.h > 0 && h.w <= maxPixels/h.h {
		bits := int64(binary.LittleEndian.Uint16(b[28:]))
		pixels, row := int64(h.w)*int64(h.h), (int64(h.w)*bits+31)/32*4
		h.palette = bits <= 8
		h.plan = planPixels(limit(b), h.w, h.h, 1, row*int64(h.h) <= int64(len(b)), 4, 4*pixels+row+1<<12, m)
	}
	return h, nil
}

// pnm is a PGM or PPM file: see https://netpbm.sourceforge.net/doc/pgm.html and ppm.html.
type pnm struct {
	channels int
	text     bool // values are decimal numbers
	shares   bool // they count as shares of the largest
	w, h     int
	largest  int    // value, at most 65535
	values   []byte // what follows the head
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// parsePNM reads the head of a PGM or PPM file.
func parsePNM(b []byte) (*pnm, error) {
	p := &pnm{channels: 1, text: b[1] < '4'}
	if b[1] == '3' || b[1] == '6' {
		p.channels = 3
	}
	rest := b[2:]
	for _, to := range []*int{&p.w, &p.h, &p.largest} {
		for len(rest) > 0 && (isSpace(rest[0]) || rest[0] == '#') {
			if rest[0] == '#' { // a comment ends with its line
				i := bytes.IndexByte(rest, '\n')
				if i < 0 {
					return nil, io.ErrUnexpectedEOF
				}
				rest = rest[i:]
			}
			rest = rest[1:]
		}
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == len(rest) {
			return nil, io.ErrUnexpectedEOF
		}
		v, err := strconv.Atoi(string(rest[:min(n, 12)]))
		if err != nil {
			return nil, fmt.Errorf("its head has %q in place of a number", rest[:min(len(rest), 12)])
		}
		*to, rest = v, rest[n:]
	}
	if !isSpace(rest[0]) || p.largest < 1 || p.largest > 65535 {
		return nil, fmt.Errorf("its largest value is %d, want 1..65535", p.largest)
	}
	p.values = rest[1:]
	return p, nil
}

// headPNM reads the head of a PGM or PPM file. Values of one channel are those of the file, whatever
// their largest; colours, and grey in the place of colour, are shares of it.
func headPNM(b []byte, m *multimae.Input) (*head, *Problem) {
	p, err := parsePNM(b)
	if err != nil {
		return nil, undecodable(b, err)
	}
	p.shares = p.channels == 3 || m.Channels >= 3
	h := &head{format: "pnm", w: p.w, h: p.h, bits: 8, grey: p.channels == 1, orientation: 1, decode: p.decode}
	size := int64(1)
	if p.largest > 255 {
		h.bits, size = 16, 2
	}
	if p.channels == 3 {
		size *= 4
	}
	if h.w > 0 && h.h > 0 && h.w <= maxPixels/h.h {
		pixels := int64(h.w) * int64(h.h)
		each := int64(h.bits / 8)
		if p.text {
			each = 2 // a digit and a space
		}
		h.plan = planPixels(limit(b), h.w, h.h, 1, pixels*int64(p.channels)*each <= int64(len(p.values))+1, size, pixels*size, m)
	}
	return h, nil
}

func (p *pnm) decode() (image.Image, error) {
	wide := p.largest > 255
	r := image.Rect(0, 0, p.w, p.h)
	var pix []byte
	var img image.Image
	size := p.channels
	switch {
	case p.channels == 1 && wide:
		x := image.NewGray16(r)
		pix, img = x.Pix, x
	case p.channels == 1:
		x := image.NewGray(r)
		pix, img = x.Pix, x
	case wide:
		x := image.NewNRGBA64(r)
		pix, img, size = x.Pix, x, 4
	default:
		x := image.NewNRGBA(r)
		pix, img, size = x.Pix, x, 4
	}
	values := p.values
	next := func() (int, error) {
		switch {
		case p.text:
			for len(values) > 0 && isSpace(values[0]) {
				values = values[1:]
			}
			v, n := 0, 0
			for ; n < len(values) && values[n] >= '0' && values[n] <= '9' && v <= 65535; n++ {
				v = 10*v + int(values[n]-'0')
			}
			if n == len(values) && n == 0 {
				return 0, io.ErrUnexpectedEOF
			}
			if n == 0 {
				return 0, fmt.Errorf("it has %q in place of a number", values[:1])
			}
			values = values[n:]
			return v, nil
		case len(values) < 1 || wide && len(values) < 2:
			return 0, io.ErrUnexpectedEOF
		case wide:
			v := int(binary.BigEndian.Uint16(values))
			values = values[2:]
			return v, nil
		}
		v := int(values[0])
		values = values[1:]
		return v, nil
	}
	for i := range p.w * p.h {
		for c := range size {
			v := p.largest // of alpha
			if c < p.channels {
				var err error
				if v, err = next(); err != nil {
					return nil, err
				}
				if v > p.largest {
					return nil, fmt.Errorf("it has the value %d, above the largest that its head names, %d", v, p.largest)
				}
			}
			at := i*size + c
			switch {
			case p.shares && wide:
				v = int(uint32(v) * 65535 / uint32(p.largest)) // int may have 32 bits, one of them the sign
			case p.shares:
				v = v * 255 / p.largest
			}
			if wide {
				pix[2*at], pix[2*at+1] = byte(v>>8), byte(v)
			} else {
				pix[at] = byte(v)
			}
		}
	}
	return img, nil
}
