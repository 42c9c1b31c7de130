package data

import (
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomae/gomae/multimae"
)

// Photos lists the pictures in a folder and those below it, as a modality of a dataset has them: their
// names, sorted, without extension and with slashes, and their files below the folder. Hidden files
// are left out; problems are files that cannot be photographs of a dataset. ReadPhoto reads one.
func Photos(dir string) (names, files []string, problems []Problem, err error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, nil, nil, err
	} else if !info.IsDir() {
		return nil, nil, nil, problem(dir, "give a folder of photographs", "a file, not a folder")
	}
	l := newListing()
	if problems, err = walk(dir, l); err != nil {
		return nil, nil, nil, err
	}
	for _, ext := range slices.Sorted(maps.Keys(l.unread)) {
		problems = append(problems, *unreadProblem(dir, ext, l.unread[ext]))
	}
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		names, files = append(names, name), append(files, filepath.FromSlash(l.files[name]))
	}
	return names, files, problems, nil
}

// ReadPhoto reads a photograph in colour, as ReadImage does. w and h are its size, which is a multiple
// of the map's where it was too large to be read in full.
func ReadPhoto(file string) (m *Map, w, h int, err error) {
	p, err := readPicture(file, &multimae.Input{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1})
	if err != nil {
		return nil, 0, 0, err
	}
	return p.m, p.w, p.h, nil
}

// PhotoParts returns the parts of a dataset that have photographs, as folders below dir: "" where there
// is DIR/rgb, and otherwise those of train, val and test with a folder rgb in them. Without any, dir
// is no dataset, and the result is nil.
func PhotoParts(dir string) (parts []string, err error) {
	if isDir(filepath.Join(dir, "rgb")) {
		return []string{""}, nil
	}
	s, _, err := namedSplits(dir, []multimae.Input{{Name: "rgb"}})
	if err != nil {
		return nil, err
	}
	for _, part := range []string{s.Train, s.Val, s.Test} {
		if part != "" && isDir(filepath.Join(part, "rgb")) {
			parts = append(parts, filepath.Base(part))
		}
	}
	return parts, nil
}
