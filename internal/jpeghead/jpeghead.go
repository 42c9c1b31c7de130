// Package jpeghead reads from the head of a JPEG file what image/jpeg keeps to itself: how the
// picture is to be turned, and what its decoding takes.
package jpeghead

import (
	"bytes"
	"encoding/binary"
)

// Head is what stands before the first scan of a JPEG file.
type Head struct {
	Orientation int // of EXIF, 1 to 8; 1 where there is none
	Progressive bool
	W, H        int
	Components  [][2]int // horizontal and vertical sampling factors
}

// Parse reads the head of a JPEG file. It reports false for bytes that have no head with a frame.
func Parse(b []byte) (Head, bool) {
	h := Head{Orientation: 1}
	if !bytes.HasPrefix(b, []byte{0xff, 0xd8}) {
		return h, false
	}
	b = b[2:]
	for {
		// Like image/jpeg, pass over bytes that belong to no segment, and over fill bytes.
		i := bytes.IndexByte(b, 0xff)
		if i < 0 {
			return h, false
		}
		for b = b[i:]; len(b) > 0 && b[0] == 0xff; {
			b = b[1:]
		}
		if len(b) == 0 {
			return h, false
		}
		marker := b[0]
		b = b[1:]
		switch {
		case marker == 0, marker >= 0xd0 && marker <= 0xd7: // a stuffed 0xff, or a restart: no length
			continue
		case marker == 0xd9, len(b) < 2:
			return h, false
		}
		n := int(binary.BigEndian.Uint16(b))
		if n < 2 || n > len(b) {
			return h, false
		}
		body := b[2:n]
		b = b[n:]
		switch marker {
		case 0xe1:
			if exif, ok := bytes.CutPrefix(body, []byte("Exif\x00\x00")); ok && h.Orientation == 1 {
				h.Orientation = orientation(exif)
			}
		case 0xc0, 0xc1, 0xc2:
			h.Progressive = marker == 0xc2
			if !h.frame(body) {
				return h, false
			}
		case 0xda:
			return h, h.Components != nil
		}
	}
}

func (h *Head) frame(body []byte) bool {
	if h.Components != nil || len(body) < 6 || len(body) != 6+3*int(body[5]) {
		return false
	}
	h.H, h.W = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
	for c := body[6:]; len(c) > 0; c = c[3:] {
		across, down := int(c[1]>>4), int(c[1]&15)
		if across < 1 || across > 4 || down < 1 || down > 4 {
			return false
		}
		h.Components = append(h.Components, [2]int{across, down})
	}
	return len(h.Components) > 0
}

// Blocks returns the number of blocks of 8×8 samples of all components.
func (h *Head) Blocks() int64 {
	if len(h.Components) == 1 {
		return int64((h.W+7)/8) * int64((h.H+7)/8)
	}
	across, down, each := 1, 1, 0
	for _, c := range h.Components {
		across, down, each = max(across, c[0]), max(down, c[1]), each+c[0]*c[1]
	}
	ceil := func(n, size int) int64 { return int64((n + size - 1) / size) }
	return ceil(h.W, 8*across) * ceil(h.H, 8*down) * int64(each)
}

// orientation reads the tag of that name from the first directory of a TIFF structure.
func orientation(b []byte) int {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(b, []byte("II*\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(b, []byte("MM\x00*")):
		order = binary.BigEndian
	default:
		return 1
	}
	if len(b) < 8 {
		return 1
	}
	at := int64(order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return 1
	}
	n := int(order.Uint16(b[at:]))
	const tag, short = 0x0112, 3
	for e := b[at+2:]; n > 0 && len(e) >= 12; n, e = n-1, e[12:] {
		if order.Uint16(e) == tag && order.Uint16(e[2:]) == short {
			if v := int(order.Uint16(e[8:])); v >= 1 && v <= 8 {
				return v
			}
		}
	}
	return 1
}
