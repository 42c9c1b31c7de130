package data

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
)

// otherNames are names that folders of modalities have elsewhere.
var otherNames = map[string][]string{
	"rgb":    {"images", "image", "img", "imgs", "photos", "photo", "color", "colour", "jpegimages", "frames", "leftimg8bit"},
	"depth":  {"depths", "depthmaps", "depth_maps", "disparity", "z"},
	"semseg": {"masks", "mask", "labels", "label", "annotations", "annotation", "segmentation", "segmentations", "seg", "semantic", "gt", "gtfine", "segmentationclass"},
}

// noFolder is the problem of a modality without a folder. It names the folder that may be meant.
func noFolder(dir, modality string) *Problem {
	root := filepath.Join(dir, modality)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if (slices.Contains(otherNames[modality], name) || strings.Contains(name, strings.ToLower(modality))) && isDir(filepath.Join(dir, e.Name())) {
			return problem(root, "rename it to "+modality+", if it is that", "no such folder, but there is %s", filepath.Join(dir, e.Name()))
		}
	}
	return problem(root, "create it with the files of modality "+modality+", or leave the modality out of the configuration", "no such folder")
}

// listed is how many samples without a partner are named one by one.
const listed = 10

// unpaired says which names have no partner. Where one cause explains most of the names that two
// folders do not share, it names the cause and not each file.
func unpaired(dir string, inputs []multimae.Input, lists []*listing) (problems []Problem) {
	reference := slices.IndexFunc(lists, func(l *listing) bool { return len(l.files) > 0 })
	if reference < 0 {
		return nil
	}
	explained := make([]bool, len(inputs))
	for k, l := range lists {
		if k == reference || len(l.files) == 0 {
			continue
		}
		a, b := without(lists[reference], l), without(l, lists[reference])
		if p := cause(filepath.Join(dir, inputs[reference].Name), filepath.Join(dir, inputs[k].Name), lists[reference], l, a, b); p != nil {
			problems = append(problems, *p)
			explained[k] = true
		}
	}
	all := names(lists)
	for k, l := range lists {
		if len(l.files) == 0 || explained[k] { // the folder of a modality without files has been reported
			continue
		}
		n := 0
		for _, name := range all {
			have := slices.IndexFunc(lists, func(l *listing) bool { return l.files[name] != "" })
			if l.files[name] != "" || l.known[name] || explained[have] {
				continue
			}
			if n++; n > listed {
				continue
			}
			partner := filepath.Join(dir, inputs[have].Name, filepath.FromSlash(lists[have].files[name]))
			problems = append(problems, *problem(partner,
				fmt.Sprintf("add %s, or remove this file", filepath.Join(dir, inputs[k].Name, filepath.FromSlash(name)+".png")),
				"has no partner in %s", inputs[k].Name))
		}
		if n > listed {
			problems = append(problems, *problem(filepath.Join(dir, inputs[k].Name), "add them, or remove the others", "files for %d more of %d samples are missing", n-listed, len(all)))
		}
	}
	return problems
}

// without returns the names of l that other has not, sorted.
func without(l, other *listing) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		if other.files[name] == "" && !other.known[name] {
			list = append(list, name)
		}
	}
	return list
}

// cause looks for what makes the names a of one folder other than the names b of another: the case of
// letters, something that all names of a folder begin or end with, or the folders that they lie in.
// It returns nil if nothing explains two names and half of them.
func cause(rootA, rootB string, filesA, filesB *listing, a, b []string) *Problem {
	if len(a) < 2 || len(b) < 2 {
		if len(a) == 0 || len(b) == 0 || !strings.EqualFold(a[0], b[0]) {
			return nil
		}
	}
	headA, tailA := common(a)
	headB, tailB := common(b)
	ends := "what they begin or end with"
	if x, y := apart(headA, headB, true), apart(headB, headA, true); x != y {
		ends = fmt.Sprintf("what they begin with, %q against %q", x, y)
	} else if x, y := apart(tailA, tailB, false), apart(tailB, tailA, false); x != y {
		ends = fmt.Sprintf("what they end with, %q against %q", x, y)
	}
	for _, c := range []struct {
		what   string
		keyA   func(name string) string
		keyB   func(name string) string
		remedy string
	}{
		{"the case of letters", strings.ToLower, strings.ToLower, "give the files of a sample the same name"},
		{ends, inner(headA, tailA), inner(headB, tailB), "rename the files, so that those of a sample have the same name in every folder"},
		{"the folders that they lie in", path.Base, path.Base, "put the files of a sample into folders of the same name"},
	} {
		keys := map[string]string{}
		for _, name := range a {
			keys[c.keyA(name)] = name
		}
		matched, example := 0, ""
		for _, name := range b {
			if other, ok := keys[c.keyB(name)]; ok {
				if matched == 0 {
					example = fmt.Sprintf("%s and %s", filepath.Join(rootA, filepath.FromSlash(filesA.files[other])), filepath.Join(rootB, filepath.FromSlash(filesB.files[name])))
				}
				matched++
			}
		}
		if matched > 0 && 2*matched >= min(len(a), len(b)) && (matched > 1 || c.what == "the case of letters") {
			return problem(rootB, c.remedy, "the names of %d files differ from those in %s only by %s, such as %s", matched, rootA, c.what, example)
		}
	}
	return nil
}

// common returns what the last parts of all names begin and end with.
func common(names []string) (head, tail string) {
	for i, name := range names {
		base := path.Base(name)
		if i == 0 {
			head, tail = base, base
		}
		for !strings.HasPrefix(base, head) {
			head = head[:len(head)-1]
		}
		for !strings.HasSuffix(base, tail) {
			tail = tail[1:]
		}
	}
	return head, tail
}

// apart returns a without what it shares with b: the end of a head, or the beginning of a tail.
func apart(a, b string, head bool) string {
	n := 0
	for n < len(a) && n < len(b) && (head && a[len(a)-1-n] == b[len(b)-1-n] || !head && a[n] == b[n]) {
		n++
	}
	if head {
		return a[:len(a)-n]
	}
	return a[n:]
}

// inner returns names without the head and the tail of their last part.
func inner(head, tail string) func(name string) string {
	return func(name string) string {
		base := path.Base(name)
		if len(base) < len(head)+len(tail) {
			return name
		}
		return path.Join(path.Dir(name), "_"+base[len(head):len(base)-len(tail)])
	}
}
