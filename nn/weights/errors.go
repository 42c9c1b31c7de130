package weights

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The kinds of errors about a file, for errors.Is. Errors of the reader below, such as a file that
// is not there, come as they are.
var (
	// ErrDamaged: the file is cut off or contradicts itself.
	ErrDamaged = errors.New("the file is damaged or cut off: fetch or write it again")
	// ErrUnsupported: the file is of another format, or of a variant that cannot be read.
	ErrUnsupported = errors.New("not supported")
	// ErrRefused: a checkpoint names what is neither a tensor nor a plain value.
	ErrRefused = errors.New("a checkpoint may hold tensors and plain values, and nothing in it is ever executed; if you trust it, load it in Python and save its state_dict alone")
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
