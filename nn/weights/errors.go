package weights

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The kinds of errors about a file, for errors.Is. Errors of the reader below, such as a file that
// is not there, come as they are.
var (
	// ErrDamaged: the file is cut off or contradicts itself.
	ErrDamaged = errors.New("the file is damaged or cut off: fetch or write it again")
	// ErrUnsupported: the file is of another format, or of a variant that cannot be read.
	ErrUnsupported = errors.New("not supported")
	// ErrRefused: a checkpoint would do harm if it were loaded with Python.
	ErrRefused = errors.New("which no checkpoint needs: it would run commands of its author in Python, and nothing in it is executed here; fetch the weights from somebody you trust")
	// ErrKey: a file has no weights under the key that was asked for, or none was and there are
	// several.
	ErrKey = errors.New("choose one by its key")
	// ErrTooLarge: the file asks for much more memory than it has bytes.
	ErrTooLarge = errors.New("takes more memory than a file of this size may")
)

// damaged returns an ErrDamaged with the reason before it.
func damaged(format string, args ...any) error {
	return fmt.Errorf(format+"; %w", append(args, ErrDamaged)...)
}

// Quote returns text that came out of a file, such as the name of a tensor, for an error message:
// quoted and shortened, so that a hostile file cannot flood a terminal.
func Quote(s string) string { return strconv.Quote(shorten(s)) }

// shorten cuts text after about 60 bytes, between characters.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// Groups shortens a list of names of tensors for people: to one entry for each module of the first
// two levels, such as "encoder.0.*", and to the first of them.
func Groups(names []string, most int) []string {
	const longest = 100
	var list []string
	left := 0
	for _, name := range names {
		if parts := strings.SplitN(name, ".", 3); len(parts) == 3 {
			name = parts[0] + "." + parts[1] + ".*"
		}
		if len(name) > longest || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
			name = Quote(name)
		}
		switch {
		case len(list) > 0 && list[len(list)-1] == name:
		case len(list) < most:
			list = append(list, name)
		default:
			left++
		}
	}
	if left > 0 {
		list = append(list, fmt.Sprintf("and %d more", left))
	}
	return list
}
