// Package results reads benchmark results in Go's format for the tools below bench.
package results

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// Own is the name of this module where results name who was measured.
const Own = "gomae"

// Read returns the results of a file in Go's benchmark format. Lines of any other kind, such as
// PASS, are skipped. Malformed benchmark lines are returned in broken, each with its line number;
// err reports a failure to read. The name is that of the file, for errors.
func Read(r io.Reader, name string) (good []*benchfmt.Result, broken []error, err error) {
	reader := benchfmt.NewReader(r, name)
	for reader.Scan() {
		switch rec := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			broken = append(broken, rec)
		case *benchfmt.Result:
			good = append(good, rec.Clone())
		}
	}
	return good, broken, reader.Err()
}

// Median returns the middle value of x, or the mean of the two middle values. It panics if x is
// empty.
func Median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// ErrNoCheckout reports that the working folder is outside of a checkout of this repository.
var ErrNoCheckout = errors.New("the working folder is not in a clone of the repository: change to one")

// Root returns the top folder of the checkout that the working folder is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/gomae/gomae\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", ErrNoCheckout
		}
		dir = parent
	}
}
