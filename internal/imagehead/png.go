package imagehead

import "encoding/binary"

// PNGChunk returns the body of the first chunk of a PNG file that has a name.
func PNGChunk(b []byte, name string) (body []byte, ok bool) {
	// Length, name, body and checksum of each chunk.
	for b = b[min(8, len(b)):]; len(b) >= 12; {
		n := uint64(binary.BigEndian.Uint32(b))
		if n+12 > uint64(len(b)) {
			break
		}
		if string(b[4:8]) == name {
			return b[8:][:n], true
		}
		b = b[n+12:]
	}
	return nil, false
}
