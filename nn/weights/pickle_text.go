package weights

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pickleText describes a value on one line of at most some hundred bytes: scalars and short lists
// of them as Python writes them, anything else by its type and size. A string may be of megabytes
// and described many times, so it is cut before anything else is done with it.
func pickleText(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case *big.Int:
		if v.BitLen() > 256 {
			return fmt.Sprintf("int, %d bits", v.BitLen())
		}
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case string:
		short := shorten(v)
		if !utf8.ValidString(short) {
			return fmt.Sprintf("str, %d bytes", len(v))
		}
		return "'" + strings.ReplaceAll(escape(short), `\"`, `"`) + "'"
	case []byte:
		return fmt.Sprintf("bytes, %d", len(v))
	case pyName:
		return shorten(strings.TrimPrefix(string(v), "builtins."))
	case *pyTuple:
		return sequenceText("tuple", "(", v.items, ")")
	case *pyList:
		return sequenceText("list", "[", v.items, "]")
	case *pyDict:
		return fmt.Sprintf("dict, %d entries", len(v.keys))
	case *pyObject:
		return objectText(v)
	case *view:
		return fmt.Sprintf("tensor, %s %v", v.dtype, v.shape)
	}
	return "value"
}

// keyText describes the key of a dictionary, a string without quotes.
func keyText(k any) string {
	if s, ok := k.(string); ok {
		return shorten(s)
	}
	return pickleText(k)
}

// escape is strconv.Quote without the quotes.
func escape(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

func objectText(v *pyObject) string {
	switch {
	case strings.HasPrefix(v.class, "pathlib."):
		var path string
		for i, a := range v.args {
			s, _ := a.(string)
			if i > 0 && path != "/" {
				path += "/"
			}
			if path += shorten(s); shorten(path) != path {
				break
			}
		}
		return pickleText(path)
	case v.class == "torch.device": // type and index
		parts := make([]string, 0, 2)
		for _, a := range v.args[:min(len(v.args), 2)] {
			switch a := a.(type) {
			case string:
				parts = append(parts, escape(shorten(a)))
			case int64:
				parts = append(parts, strconv.FormatInt(a, 10))
			}
		}
		return strings.Join(parts, ":")
	}
	name := v.class[strings.LastIndexByte(v.class, '.')+1:]
	name = shorten(name)
	switch state, _ := v.state.(*pyDict); {
	case v.dict != nil:
		return fmt.Sprintf("%s, %d entries", name, len(v.dict.keys))
	case state != nil:
		return fmt.Sprintf("%s, %d entries", name, len(state.keys))
	case v.list != nil:
		return fmt.Sprintf("%s, %d entries", name, len(v.list.items))
	}
	return name
}

func sequenceText(kind, left string, items []any, right string) string {
	const mostItems, mostBytes = 12, 200
	size := fmt.Sprintf("%s, %d entries", kind, len(items))
	if len(items) > mostItems {
		return size
	}
	text := left
	for i, item := range items {
		switch item.(type) {
		case *pyTuple, *pyList:
			return size // a value may contain itself
		}
		if i > 0 {
			text += ", "
		}
		if text += pickleText(item); len(text) > mostBytes {
			return size
		}
	}
	return text + right
}
