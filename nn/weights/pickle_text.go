package weights

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pickleText is a short description of a value, on one line: scalars and short lists of them as Python writes them,
// anything else by its type and size.
func pickleText(v any) string {
	const most = 60
	short := func(s string) string {
		if len(s) > most {
			s = s[:most] + "…"
		}
		return s
	}
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		if !utf8.ValidString(v) {
			return fmt.Sprintf("str, %d bytes", len(v))
		}
		q := strconv.Quote(short(v))
		return "'" + strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + "'"
	case []byte:
		return fmt.Sprintf("bytes, %d", len(v))
	case *big.Int:
		if v.BitLen() > 256 {
			return fmt.Sprintf("int, %d bits", v.BitLen())
		}
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case pyName:
		return strings.TrimPrefix(string(v), "builtins.")
	case *pyTuple:
		return sequenceText("tuple", "(", v.items, ")")
	case *pyList:
		return sequenceText("list", "[", v.items, "]")
	case *pyDict:
		return fmt.Sprintf("dict, %d entries", len(v.keys))
	case *pyObject:
		switch {
		case strings.HasPrefix(v.class, "pathlib."):
			parts := make([]string, 0, len(v.args))
			for _, a := range v.args[:min(len(v.args), most)] {
				s, _ := a.(string)
				parts = append(parts, s)
			}
			return pickleText(strings.ReplaceAll(strings.Join(parts, "/"), "//", "/"))
		case v.class == "torch.device":
			parts := make([]string, 0, 2)
			for _, a := range v.args[:min(len(v.args), 2)] {
				switch a := a.(type) {
				case string:
					parts = append(parts, short(a))
				case int64:
					parts = append(parts, strconv.FormatInt(a, 10))
				}
			}
			return strings.Join(parts, ":")
		}
		name := v.class[strings.LastIndexByte(v.class, '.')+1:]
		if d, ok := v.state.(*pyDict); ok {
			return fmt.Sprintf("%s, %d entries", name, len(d.keys))
		}
		return name
	case *view:
		return fmt.Sprintf("tensor, %s %v", v.dtype, v.shape)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return "value"
}

func sequenceText(kind, left string, items []any, right string) string {
	const most = 12
	if len(items) > most {
		return fmt.Sprintf("%s, %d entries", kind, len(items))
	}
	parts := make([]string, len(items))
	for i, item := range items {
		switch item.(type) {
		case *pyTuple, *pyList:
			return fmt.Sprintf("%s, %d entries", kind, len(items)) // a value may contain itself
		}
		parts[i] = pickleText(item)
	}
	return left + strings.Join(parts, ", ") + right
}
