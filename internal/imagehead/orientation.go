package imagehead

import (
	"bytes"
	"encoding/binary"
)

// Orientation returns the EXIF orientation of a JPEG, PNG, WebP or TIFF file, 1 to 8, and 1 for bytes
// that have none.
func Orientation(b []byte) int {
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xd8")):
		h, _ := ParseJPEG(b)
		return h.Orientation
	case bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")):
		exif, _ := PNGChunk(b, "eXIf")
		return orientation(exif)
	case bytes.HasPrefix(b, []byte("RIFF")) && len(b) >= 12 && string(b[8:12]) == "WEBP":
		// Name, length and body of each chunk, which has an even length.
		for b = b[12:]; len(b) >= 8; {
			n := uint64(binary.LittleEndian.Uint32(b[4:]))
			if n+8 > uint64(len(b)) {
				return 1
			}
			if string(b[:4]) == "EXIF" {
				return orientation(bytes.TrimPrefix(b[8:][:n], []byte("Exif\x00\x00")))
			}
			b = b[min(n+8+n%2, uint64(len(b))):]
		}
	case bytes.HasPrefix(b, []byte("II*\x00")), bytes.HasPrefix(b, []byte("MM\x00*")):
		return orientation(b)
	}
	return 1
}

// orientation reads the tag of that name from the first directory of a TIFF structure, which is also
// the form of EXIF.
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
