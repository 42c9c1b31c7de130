package data

import (
	"fmt"
	"strings"

	"github.com/gomae/gomae/multimae/images"
)

// Problem is one thing wrong with one file or folder of a dataset, and what to do about it. errors.As
// finds it in the errors that are about the content of a dataset; those of the file system come as
// they are.
type Problem = images.Problem

func problem(file, remedy, format string, args ...any) *Problem {
	return &Problem{File: file, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// problemList is an error of several problems. Its text has the first twenty of them.
type problemList []Problem

func (l problemList) Error() string {
	const shown = 20
	var b strings.Builder
	for i := range l {
		if i == shown {
			fmt.Fprintf(&b, "\n… and %d more", len(l)-shown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(l[i].Error())
	}
	return b.String()
}

// Unwrap gives errors.As each *Problem.
func (l problemList) Unwrap() []error {
	errs := make([]error, len(l))
	for i := range l {
		errs[i] = &l[i]
	}
	return errs
}
