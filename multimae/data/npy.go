package data

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

const (
	npyMagic = "\x93NUMPY"
	maxHead  = 1 << 16 // bytes of an array's head; that of a map has about a hundred
)

// npy is an array as numpy.save writes it: see numpy.lib.format.
type npy struct {
	kind    byte // 'f', 'u', 'i' or 'b'
	size    int  // bytes of a value
	order   binary.ByteOrder
	columns bool // Fortran's order
	w, h    int
	values  []byte
}

var (
	npyDescr   = regexp.MustCompile(`'descr': *'([<>|=])([a-z])([0-9]{1,2})'`)
	npyFortran = regexp.MustCompile(`'fortran_order': *True`)
	npyShape   = regexp.MustCompile(`'shape': *\(([0-9, L]*)\)`)
)

// parseNPY reads the head of an array of two dimensions, beside which others may be 1.
func parseNPY(b []byte) (*npy, *Problem) {
	damaged := func(what string) (*npy, *Problem) {
		return nil, problem("", "write the file again", "damaged .npy file (%s)", what)
	}
	if len(b) < 12 {
		return damaged("it is too short")
	}
	from, n := 10, int(binary.LittleEndian.Uint16(b[8:]))
	if b[6] > 1 {
		from = 12
		long := binary.LittleEndian.Uint32(b[8:])
		if long > maxHead {
			return nil, problem("", "save the array again with numpy.save, by itself", "an .npy file with a head of %d bytes, at most %d are read", long, maxHead)
		}
		n = int(long)
	}
	if n > len(b)-from {
		return damaged("it is too short")
	}
	text := string(b[from:][:n])
	descr, shape := npyDescr.FindStringSubmatch(text), npyShape.FindStringSubmatch(text)
	if shape == nil {
		return damaged("its head names no shape")
	}
	if descr == nil {
		return nil, problem("", "save it as float32 or as a whole number", "values of a type that is not read")
	}
	a := &npy{kind: descr[2][0], order: binary.LittleEndian, columns: npyFortran.MatchString(text), values: b[from+n:]}
	a.size, _ = strconv.Atoi(descr[3])
	if descr[1] == ">" {
		a.order = binary.BigEndian
	}
	var sides []int
	for word := range strings.SplitSeq(shape[1], ",") {
		v, err := strconv.Atoi(strings.Trim(word, " L"))
		if err == nil && v != 1 {
			sides = append(sides, v)
		}
	}
	if len(sides) != 2 {
		return nil, problem("", "save an array of the shape (height, width)", "an array of the shape (%s), which is no map of one channel", shape[1])
	}
	a.h, a.w = sides[0], sides[1]
	if a.w < 1 || a.h < 1 || a.w > maxPixels/a.h {
		return nil, problem("", "store a smaller array", "%d×%d values, outside 1..%d million", a.w, a.h, maxPixels/1_000_000)
	}
	if a.size < 1 || a.size > 8 || a.size&(a.size-1) != 0 || !strings.ContainsRune("fuib", rune(a.kind)) || a.kind == 'f' && a.size < 4 || a.kind == 'b' && a.size > 1 {
		return nil, problem("", "save it as float32 or as a whole number", "values of type %s%s, which is not read", descr[2], descr[3])
	}
	if a.w*a.h > len(a.values)/a.size {
		return nil, problem("", "write the file again", "truncated .npy file (%d bytes cannot hold %d×%d values)", len(b), a.w, a.h)
	}
	return a, nil
}

// at returns the value in a row and a column.
func (a *npy) at(x, y int) float64 {
	i := y*a.w + x
	if a.columns {
		i = x*a.h + y
	}
	v := a.values[i*a.size:]
	var u uint64
	switch a.size {
	case 1:
		u = uint64(v[0])
	case 2:
		u = uint64(a.order.Uint16(v))
	case 4:
		u = uint64(a.order.Uint32(v))
	case 8:
		u = a.order.Uint64(v)
	}
	switch {
	case a.kind == 'f' && a.size == 4:
		return float64(math.Float32frombits(uint32(u)))
	case a.kind == 'f':
		return math.Float64frombits(u)
	case a.kind == 'i':
		shift := 64 - 8*a.size
		return float64(int64(u<<shift) >> shift)
	}
	return float64(u)
}

// decodeNPY reads an array: depth as it is measured, in float32 or float64 of any unit or in uint16,
// and ids in any whole number. Values that are no finite numbers are not valid.
//
// Like all depth, values are divided by 65536, but not floating-point numbers that are standardised:
// of metres, that would leave less than the constant which images.Standardize adds to the variance.
func decodeNPY(b []byte, m *multimae.Input) (*picture, *Problem) {
	a, prob := parseNPY(b)
	if prob != nil {
		return nil, prob
	}
	if m.Kind == multimae.KindClasses {
		out := &Map{H: a.h, W: a.w, IDs: make([]uint8, a.w*a.h)}
		if a.kind == 'f' {
			return nil, problem("", "save it as uint8", "class ids as floating-point numbers")
		}
		for i := range out.IDs {
			v := a.at(i%a.w, i/a.w)
			if v < 0 || v > math.MaxUint8 {
				return nil, problem("", fmt.Sprintf("map it to a class, or to %d to ignore it", multimae.IDIgnored), "pixel (%d,%d) has class id %.0f, outside 0..255", i%a.w, i/a.w, v)
			}
			out.IDs[i] = uint8(v)
		}
		if prob := images.CheckIDs(out, m); prob != nil {
			return nil, prob
		}
		return &picture{m: out, w: a.w, h: a.h}, nil
	}
	p := &picture{w: a.w, h: a.h, unit: 65536}
	switch {
	case m.Channels != 1:
		return nil, problem("", "store it as PNG", "an array of numbers, expected an image of %d channels", m.Channels)
	case a.kind == 'u' && a.size == 2:
	case a.kind == 'f' && m.Normalization() == multimae.NormalizeStandardize:
		p.unit = 1
	case a.kind != 'f':
		return nil, problem("", "save it as float32 or uint16", "values of type %c%d, expected floating-point numbers or uint16", a.kind, a.size)
	}
	p.m = &Map{C: 1, H: a.h, W: a.w, Pix: make([]float32, a.w*a.h)}
	hidden := func(v float64) bool {
		if math.IsNaN(v) || math.IsInf(v, 0) || math.Abs(v) > math.MaxFloat32 {
			return true
		}
		for _, x := range m.Invalid {
			if v == x || a.kind == 'f' && a.size == 4 && float32(v) == float32(x) { // 1e20 is no float32
				return true
			}
		}
		return false
	}
	p.m.Hide(func(i int) bool {
		v := a.at(i%a.w, i/a.w)
		p.m.Pix[i] = float32(v / p.unit)
		return hidden(v)
	})
	return p, nil
}
