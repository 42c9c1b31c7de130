package data

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae"
)

// Splits are the parts of a dataset folder, "" where there is none.
type Splits struct {
	Train string   // DIR/train
	Val   string   // DIR/val, valid or validation, unless DIR has samples of its own and no Train
	Test  string   // DIR/test, which is left for evaluation: neither OpenSplit nor Check reads it
	Other []string // further folders whose names look like parts; nothing reads them
	// Below are folders below that of a modality whose names look like parts, such as DIR/rgb/train.
	// They are read as CLASS, so that samples of all of them are mixed.
	Below []string
	// Beside is DIR if it has samples of its own beside a Train, which nothing reads.
	Beside string
}

// FindSplits looks for the parts of a dataset in DIR; the case of letters does not matter. The error
// is of type *Problem if two folders could be the same part.
func FindSplits(dir string, inputs []multimae.Input) (Splits, error) {
	s, whole, err := namedSplits(dir, inputs)
	if err != nil {
		return s, err
	}
	if s.Val != "" && s.Train == "" && whole {
		s.Other = append(s.Other, s.Val)
		s.Val = ""
	}
	if s.Train != "" {
		s.Below = nil
		if whole {
			s.Beside = dir
		}
	}
	return s, nil
}

// trainingSplits is FindSplits for training: a part for validation and nothing to train on is a
// *Problem.
func trainingSplits(dir string, inputs []multimae.Input) (Splits, error) {
	s, err := FindSplits(dir, inputs)
	if err == nil && s.Val != "" && s.Train == "" {
		err = problem(dir, "name the folder of the samples for training train", "has %s, but no train", filepath.Base(s.Val))
	}
	return s, err
}

// namedSplits finds parts by their names. whole says that DIR itself has samples.
func namedSplits(dir string, inputs []multimae.Input) (s Splits, whole bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return s, false, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if slices.ContainsFunc(inputs, func(m multimae.Input) bool { return isEntry(dir, e.Name(), m.Name) }) {
			whole = true
			if len(s.Below) == 0 { // one modality shows it
				s.Below = splitsBelow(path)
			}
			continue
		}
		part := &s.Train
		switch name := strings.ToLower(e.Name()); name {
		case "train":
		case "val", "valid", "validation":
			part = &s.Val
		case "test":
			part = &s.Test
		default:
			if looksLikeSplit(name) && isDir(path) {
				s.Other = append(s.Other, path)
			}
			continue
		}
		switch {
		case !isDir(path):
		case *part != "":
			return s, whole, problem(path, "keep one of them, or give another name to the other", "may be the same part of the dataset as %s", *part)
		default:
			*part = path
		}
	}
	return s, whole, nil
}

// isEntry reports whether the file system finds an entry of dir, which ReadDir calls entry, by name: some
// ignore the case of letters.
func isEntry(dir, entry, name string) bool {
	return entry == name || strings.EqualFold(entry, name) && regular.Same(filepath.Join(dir, entry), filepath.Join(dir, name))
}

// splitsBelow returns the folders in the folder of a modality that look like parts, if there are two:
// a single one may be a class of trains.
func splitsBelow(dir string) (list []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); looksLikeSplit(strings.ToLower(e.Name())) && isDir(path) {
			list = append(list, path)
		}
	}
	if len(list) < 2 {
		return nil
	}
	return list
}

// looksLikeSplit reports whether a name in small letters is that of a part, or starts with one:
// training, dev, train2017, val_unseen.
func looksLikeSplit(name string) bool {
	word := name
	if i := strings.IndexFunc(name, func(r rune) bool { return !unicode.IsLetter(r) }); i >= 0 {
		word = name[:i]
	}
	return slices.Contains([]string{"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval", "evaluation", "holdout"}, word)
}

// Notes says in a sentence each which folders are not read.
func (s *Splits) Notes() (notes []string) {
	if s.Test != "" {
		notes = append(notes, s.Test+" is left for evaluation and is not read")
	}
	for _, path := range s.Other {
		notes = append(notes, fmt.Sprintf("%s looks like a part of the dataset, but is not read; parts are train, val (or valid, validation) and test", path))
	}
	if len(s.Below) > 0 {
		notes = append(notes, fmt.Sprintf("%s look like parts of the dataset, but lie below a modality and are mixed; make folders train and val that have the modalities inside", strings.Join(s.Below, " and ")))
	}
	if s.Beside != "" {
		notes = append(notes, fmt.Sprintf("%s has samples of its own beside %s, which are not read", s.Beside, s.Train))
	}
	return notes
}

// OpenPart opens the part of a dataset folder of that name, such as "val" or "test", as FindSplits
// names them. A train without a val, or a DIR without either, is divided as OpenSplit does. "" means
// val if there is a val or a train, and otherwise all of DIR.
func OpenPart(dir, part string, inputs []multimae.Input) (Dataset, error) {
	s, err := FindSplits(dir, inputs)
	if err != nil {
		return nil, err
	}
	switch {
	case (part == "" || part == "val") && s.Val != "":
		return OpenFolder(s.Val, inputs)
	case part == "" && s.Train == "":
		return OpenFolder(dir, inputs)
	}
	switch part {
	case "train", "val", "":
		train, val, err := OpenSplit(dir, inputs)
		if part == "train" {
			return train, err
		}
		return val, err
	case "test":
		if s.Test == "" {
			return nil, problem(dir, "name another part", "has no folder test")
		}
		return OpenFolder(s.Test, inputs)
	}
	return nil, problem(dir, "give train, val or test", "is not divided into %q", part)
}
