package data

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/text/unicode/norm"

	"github.com/gomae/gomae/internal/parallel"
	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae"
)

// listing is what lies below the folder of a modality. Names are relative, without extension and in
// NFC: some systems store accents as letters of their own.
type listing struct {
	files  map[string]string   // name → path with extension, as it is stored
	unread map[string][]string // extension → paths of files of a type that is not read
	known  map[string]bool     // names of those
	others map[string]int      // further extensions
}

// index lists the samples of which every modality has a file, the samples of which any modality has
// one, and what is wrong with the latter.
func index(dir string, inputs []multimae.Input) (complete, some *folder, problems []Problem, err error) {
	if len(inputs) == 0 {
		return nil, nil, nil, errors.New("data: no input modality given")
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, nil, nil, err
	}
	given := len(inputs)
	inputs = withMask(dir, inputs)
	masked := len(inputs) > given
	lists := make([]*listing, len(inputs))
	for k, m := range inputs {
		root := filepath.Join(dir, m.Name)
		lists[k] = newListing()
		if !isDir(root) {
			problems = append(problems, *noFolder(dir, m.Name))
			continue
		}
		bad, err := walk(root, lists[k])
		if err != nil {
			return nil, nil, nil, err
		}
		problems = append(problems, bad...)
		for _, ext := range slices.Sorted(maps.Keys(lists[k].unread)) {
			problems = append(problems, *unreadProblem(root, ext, lists[k].unread[ext]))
		}
		if len(lists[k].files)+len(lists[k].unread) == 0 {
			message := "no PNG or JPEG file, nor one of another type that is read"
			if len(lists[k].others) > 0 {
				message += "; there are files of type " + strings.Join(slices.Sorted(maps.Keys(lists[k].others)), ", ")
			}
			problems = append(problems, *problem(root, "put files at "+filepath.Join(root, "CLASS", "NAME.png"), "%s", message))
		}
	}
	problems = append(problems, unpaired(dir, inputs, lists)...)

	complete = &folder{dir: dir, inputs: inputs, masked: masked, files: make([][]string, len(inputs))}
	some = &folder{dir: dir, inputs: inputs, masked: masked, files: make([][]string, len(inputs))}
	for _, name := range names(lists) {
		for _, f := range []*folder{some, complete} {
			if f == complete && slices.ContainsFunc(lists, func(l *listing) bool { return l.files[name] == "" }) {
				continue
			}
			f.names = append(f.names, name)
			for k := range inputs {
				f.files[k] = append(f.files[k], lists[k].files[name])
			}
		}
	}
	return complete, some, problems, nil
}

func newListing() *listing {
	return &listing{files: map[string]string{}, unread: map[string][]string{}, known: map[string]bool{}, others: map[string]int{}}
}

// names returns the names that are in any list, sorted.
func names(lists []*listing) []string {
	union := map[string]bool{}
	for _, l := range lists {
		for name := range l.files {
			union[name] = true
		}
	}
	return slices.Sorted(maps.Keys(union))
}

// maxDepth bounds the depth of folders below a modality.
const maxDepth = 8

// walk lists the files below root. Real folders come first; then each link to a folder that has not
// been walked, so that a circle of links ends.
func walk(root string, l *listing) ([]Problem, error) {
	real, err := regular.Real(root)
	if err != nil {
		return nil, err
	}
	w := walker{root: root, listing: l, walked: map[string]bool{}}
	w.links = []link{{"", real}}
	for len(w.links) > 0 {
		next := w.links[0]
		w.links = w.links[1:]
		if !w.walked[next.real] {
			if err := w.walk(next.rel, next.real, 0); err != nil {
				return nil, err
			}
		}
	}
	return w.problems, nil
}

type walker struct {
	*listing
	root     string
	walked   map[string]bool // folders by their path without links
	links    []link          // to folders, that are to be walked
	problems []Problem
}

type link struct{ rel, real string } // a folder by its name below root, and by its path without links

// systemFolders hold what file servers and systems keep for themselves, such as previews.
var systemFolders = []string{"@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}

func (w *walker) walk(rel, real string, depth int) error {
	here := filepath.Join(w.root, filepath.FromSlash(rel))
	if depth > maxDepth {
		w.problems = append(w.problems, *problem(here, "move the files up", "more than %d folders deep", maxDepth))
		return nil
	}
	w.walked[real] = true
	entries, err := os.ReadDir(here)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return strings.HasPrefix(e.Name(), ".") || slices.Contains(systemFolders, e.Name())
	})
	to := targets(here, entries)
	for i, e := range entries {
		name, file := path.Join(rel, e.Name()), filepath.Join(here, e.Name())
		if e.IsDir() {
			if below := filepath.Join(real, e.Name()); !w.walked[below] {
				if err := w.walk(name, below, depth+1); err != nil {
					return err
				}
			}
			continue
		}
		if err := w.add(name, file, e.Type(), to[i]); err != nil {
			return err
		}
	}
	return nil
}

// target is what a link leads to, or why that cannot be told.
type target struct {
	info fs.FileInfo
	err  error
}

// targets returns the targets of the links among entries of dir. A dataset may have a million links.
func targets(dir string, entries []fs.DirEntry) []target {
	found := make([]target, len(entries))
	var links []int
	for i, e := range entries {
		if isLink(e.Type()) {
			links = append(links, i)
		}
	}
	parallel.Do(context.Background(), parallel.Files, len(links), func(k int) {
		to := &found[links[k]]
		to.info, to.err = os.Stat(filepath.Join(dir, entries[links[k]].Name()))
	})
	return found
}

func isLink(mode fs.FileMode) bool { return mode&(fs.ModeSymlink|fs.ModeIrregular) != 0 }

// add lists a file, or notes a link to a folder. mode is that of a link itself, and to its target.
func (w *walker) add(name, file string, mode fs.FileMode, to target) error {
	if isLink(mode) {
		info := to.info
		switch {
		case to.err != nil:
			w.problems = append(w.problems, *problem(file, "remove it, or restore its target", "a link to nothing"))
			return nil
		case info.IsDir() && mode&fs.ModeIrregular != 0:
			w.problems = append(w.problems, *problem(file, "make it a symbolic link (mklink /D)", "a junction, which is not followed"))
			return nil
		case info.IsDir():
			target, err := filepath.EvalSymlinks(file)
			if errors.Is(err, syscall.ENOTDIR) { // who cannot tell where a link leads might walk in a circle
				w.problems = append(w.problems, *problem(file, "make the junction a symbolic link (mklink /D)", "a link below a junction, or to a folder below one, which is not followed"))
				return nil
			}
			if err != nil {
				return err
			}
			w.links = append(w.links, link{name, target})
			return nil
		}
		mode = info.Mode()
	}
	ext := path.Ext(name)
	stem := norm.NFC.String(strings.TrimSuffix(name, ext))
	kind := strings.ToLower(ext)
	if _, ok := unreadTypes[kind]; ok {
		w.unread[kind] = append(w.unread[kind], name)
		w.known[stem] = true
		return nil
	}
	if !readTypes[kind] {
		if ext != "" && mode.IsRegular() {
			w.others[kind]++
		}
		return nil
	}
	if p := checkFile(file, mode); p != nil {
		w.problems = append(w.problems, *p)
		return nil
	}
	if other, ok := w.files[stem]; ok {
		w.problems = append(w.problems, *problem(file, "remove or rename one of them", "same name as %s", path.Base(other)))
		return nil
	}
	w.files[stem] = name
	return nil
}
