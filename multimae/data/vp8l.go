package data

import "io"

// bitReader reads the bits of a lossless WebP, the lowest of a byte first. After an error it reads
// zeros.
type bitReader struct {
	b   []byte
	at  int // bits read
	err error
}

func (r *bitReader) bit() int {
	i := r.at >> 3
	if i >= len(r.b) || r.err != nil {
		if r.err == nil {
			r.err = io.ErrUnexpectedEOF
		}
		return 0
	}
	v := int(r.b[i]>>(r.at&7)) & 1
	r.at++
	return v
}

// bits reads a number of n bits.
func (r *bitReader) bits(n int) (v int) {
	for i := range n {
		v |= r.bit() << i
	}
	return v
}

func (r *bitReader) fail() {
	if r.err == nil {
		r.err = errLossless
	}
}

// prefixCode is a canonical Huffman code.
type prefixCode struct {
	n        int      // symbols that have a code
	alphabet int      // symbols there may be
	count    [16]int  // codes of each length
	symbols  []uint16 // by length, then by value
}

// newPrefixCode returns the code in which each symbol has a length, 0 for none.
func (r *bitReader) newPrefixCode(lengths []uint8) prefixCode {
	c := prefixCode{alphabet: len(lengths)}
	for _, l := range lengths {
		if l > 0 {
			c.n++
			c.count[l]++
		}
	}
	if c.n == 0 {
		r.fail()
	}
	for l := 1; l < len(c.count); l++ {
		if c.count[l] == 0 {
			continue
		}
		for s, x := range lengths {
			if int(x) == l {
				c.symbols = append(c.symbols, uint16(s))
			}
		}
	}
	return c
}

// symbol reads a symbol. The only one of a code takes no bits.
func (r *bitReader) symbol(c *prefixCode) int {
	if c.n == 1 {
		return int(c.symbols[0])
	}
	code, first, index := 0, 0, 0
	for l := 1; l < len(c.count) && r.err == nil; l++ {
		code = code<<1 | r.bit()
		if n := c.count[l]; code < first+n {
			return int(c.symbols[index+code-first])
		} else {
			index, first = index+n, (first+n)<<1
		}
	}
	r.fail()
	return 0
}

// tree reads a code for an alphabet.
func (r *bitReader) tree(alphabet int) prefixCode {
	lengths := make([]uint8, alphabet)
	if r.bits(1) == 1 { // one or two symbols
		two := r.bits(1) == 1
		symbols := []int{r.bits(1 + 7*r.bits(1))}
		if two {
			symbols = append(symbols, r.bits(8))
		}
		c := prefixCode{n: len(symbols), alphabet: alphabet}
		for _, s := range symbols {
			if s >= alphabet {
				r.fail()
			}
			c.symbols = append(c.symbols, uint16(s))
		}
		c.count[1] = len(symbols)
		return c
	}
	order := [19]int{17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	of := make([]uint8, len(order))
	for _, s := range order[:min(4+r.bits(4), len(order))] {
		of[s] = uint8(r.bits(3))
	}
	code := r.newPrefixCode(of)
	most := alphabet
	if r.err == nil && r.bits(1) == 1 {
		most = 2 + r.bits(2+2*r.bits(3))
	}
	if most > alphabet {
		r.fail()
	}
	previous := uint8(8)
	for s := 0; s < alphabet && most > 0 && r.err == nil; most-- {
		l := r.symbol(&code)
		if l < 16 {
			lengths[s] = uint8(l)
			s++
			if l > 0 {
				previous = uint8(l)
			}
			continue
		}
		value, repeat := uint8(0), 0
		switch l {
		case 16:
			value, repeat = previous, 3+r.bits(2)
		case 17:
			repeat = 3 + r.bits(3)
		default:
			repeat = 11 + r.bits(7)
		}
		if s+repeat > alphabet {
			r.fail()
			break
		}
		for range repeat {
			lengths[s] = value
			s++
		}
	}
	if r.err != nil {
		return prefixCode{n: 1, symbols: []uint16{0}}
	}
	return r.newPrefixCode(lengths)
}

// cache reads the size of the colour cache, 0 for none.
func (r *bitReader) cache() int {
	if r.bits(1) == 0 {
		return 0
	}
	bits := r.bits(4)
	if bits < 1 || bits > 11 {
		r.fail()
		return 0
	}
	return 1 << bits
}

// trees reads the codes of green with lengths and cache, of red, blue, alpha and distance.
func (r *bitReader) trees(cache int) (t [5]prefixCode) {
	for i, alphabet := range [5]int{256 + 24 + cache, 256, 256, 256, 40} {
		t[i] = r.tree(alphabet)
	}
	return t
}

// image reads an image within the head, in 0xAARRGGBB. It is nil after an error.
func (r *bitReader) image(w, h int) []uint32 {
	size := r.cache()
	t := r.trees(size)
	if r.err != nil {
		return nil
	}
	var cache [2048]uint32
	shift := 32
	for n := size; n > 1; n >>= 1 {
		shift--
	}
	pix := make([]uint32, 0, w*h)
	cached := 0
	for len(pix) < cap(pix) {
		green := r.symbol(&t[0])
		switch {
		case r.err != nil:
			return nil
		case green < 256:
			red, blue, alpha := r.symbol(&t[1]), r.symbol(&t[2]), r.symbol(&t[3])
			pix = append(pix, uint32(alpha)<<24|uint32(red)<<16|uint32(green)<<8|uint32(blue))
		case green < 256+24:
			n := r.extra(green - 256)
			distance := r.extra(r.symbol(&t[4]))
			if distance > 120 {
				distance -= 120
			} else {
				distance = nearDistance(distance, w)
			}
			if distance > len(pix) || n > cap(pix)-len(pix) || r.err != nil {
				r.fail()
				return nil
			}
			for range n {
				pix = append(pix, pix[len(pix)-distance])
			}
		default:
			for ; cached < len(pix); cached++ {
				cache[pix[cached]*0x1e35a7bd>>shift] = pix[cached]
			}
			if green-256-24 >= size {
				r.fail()
				return nil
			}
			pix = append(pix, cache[green-256-24])
		}
	}
	if r.err != nil {
		return nil
	}
	return pix
}

// extra reads the rest of a length or a distance.
func (r *bitReader) extra(symbol int) int {
	if symbol < 4 {
		return symbol + 1
	}
	bits := (symbol - 2) >> 1
	return (2+symbol&1)<<bits + r.bits(bits) + 1
}

// nearDistance returns how far back a distance code of 1 to 120 leads: codes are ordered by how far
// away a pixel is on the grid, up to 7 rows up and 8 columns to either side.
func nearDistance(code, w int) int {
	const places = "\x18\x07\x17\x19\x28\x06\x27\x29\x16\x1a\x26\x2a\x38\x05\x37\x39\x15\x1b\x36\x3a" +
		"\x25\x2b\x48\x04\x47\x49\x14\x1c\x35\x3b\x46\x4a\x24\x2c\x58\x45\x4b\x34\x3c\x03" +
		"\x57\x59\x13\x1d\x56\x5a\x23\x2d\x44\x4c\x55\x5b\x33\x3d\x68\x02\x67\x69\x12\x1e" +
		"\x66\x6a\x22\x2e\x54\x5c\x43\x4d\x65\x6b\x32\x3e\x78\x01\x77\x79\x53\x5d\x11\x1f" +
		"\x64\x6c\x42\x4e\x76\x7a\x21\x2f\x75\x7b\x31\x3f\x63\x6d\x52\x5e\x00\x74\x7c\x41" +
		"\x4f\x10\x20\x62\x6e\x30\x73\x7d\x51\x5f\x40\x72\x7e\x61\x6f\x50\x71\x7f\x60\x70"
	p := int(places[code-1])
	return max(1, p>>4*w+8-p&15)
}
