package pseudolabel

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/lockfile"
	"github.com/gomae/gomae/internal/parallel"
	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/teacher"
)

// RecordFile names the networks of each modality. Beside it is data.ClassesFile.
const RecordFile = "pseudolabel.json"

// prepare looks at the folders, and lists what is to be done.
func (r *run) prepare(ctx context.Context) error {
	o := &r.o
	if err := o.check(); err != nil {
		return err
	}
	parts, err := data.PhotoParts(o.Data)
	if err != nil {
		return err
	}
	dataset := parts != nil
	if !dataset {
		parts = []string{""}
	}
	if o.Out == "" && dataset {
		o.Out = o.Data
	}
	if o.Out == "" {
		return &data.Problem{File: o.Data, Message: "a folder of photographs without rgb, not a dataset", Remedy: "give another folder for the dataset"}
	}
	if r.root, err = real(o.Out); err != nil {
		return err
	}
	from, err := real(o.Data)
	if err != nil {
		return err
	}
	if r.inPlace = dataset && regular.Same(r.root, from); !r.inPlace {
		if err := apart(from, r.root, parts, dataset); err != nil {
			return err
		}
	} else if o.Size > 0 {
		return &data.Problem{File: o.Data, Message: "the photographs stay where they are, and so keep their size", Remedy: "give another folder for the dataset"}
	}
	r.own = r.inPlace || regular.Same(from, filepath.Join(r.root, "rgb"))
	if err := r.claim(); err != nil {
		return err
	}
	if _, err := r.record(parts); err != nil {
		return err
	}
	for _, part := range parts {
		dir := filepath.Join(o.Data, part)
		if dataset {
			dir = filepath.Join(dir, "rgb")
		}
		if o.Size > 0 {
			from, err := real(dir)
			if err != nil {
				return err
			}
			to, err := real(filepath.Join(r.root, part, "rgb"))
			if err != nil {
				return err
			}
			if regular.Same(to, from) {
				return &data.Problem{File: dir, Message: "the photographs are those of the dataset, and so keep their size", Remedy: "give another folder for the dataset"}
			}
		}
		if err := r.list(ctx, part, dir); err != nil {
			return err
		}
	}
	if r.report.Photos == 0 && r.report.Skipped == 0 && o.Shards <= 1 {
		return &data.Problem{File: o.Data, Message: "no photographs", Remedy: "give a folder that has some, such as PNG or JPEG files"}
	}
	if len(r.todo) == 0 {
		return nil
	}
	if err := r.describe(parts); err != nil {
		return err
	}
	return r.clean()
}

// claim creates the folder of the dataset and keeps other runs out of it, but for other shards.
func (r *run) claim() error {
	for dir := r.root; !isThere(dir) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		r.created = append(r.created, dir)
	}
	if err := atomicfile.MkdirAll(r.root); err != nil {
		return err
	}
	lock, busy, err := lockfile.Open(filepath.Join(r.root, ".pseudolabel"+r.o.shard()+".lock"))
	if busy {
		return &data.Problem{File: r.o.Out, Message: "another process writes pseudo-labels there", Remedy: "start this run again when that one has ended, or give another folder for the dataset"}
	}
	r.lock = lock
	return err
}

// isThere reports whether there is anything at path, even a link to nothing.
func isThere(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// release lets other runs have the folder. One that was created for nothing is removed.
func (r *run) release() {
	if r.lock != nil {
		lockfile.Remove(r.lock)
	}
	for _, dir := range r.created {
		os.Remove(dir) // if it is empty
	}
}

// real returns an absolute path without links, as far as it exists.
func real(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	to, err := regular.Real(abs)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(abs) != abs {
		parent, err := real(filepath.Dir(abs))
		return filepath.Join(parent, filepath.Base(abs)), err
	}
	return to, err
}

// apart returns an error if the dataset would be among the photographs that it is made from: a second
// run would take its maps for photographs.
func apart(from, to string, parts []string, dataset bool) error {
	for _, part := range parts {
		dir := filepath.Join(from, part)
		if dataset {
			dir = filepath.Join(dir, "rgb")
		}
		if within(to, dir) {
			return &data.Problem{File: to, Message: "is among the photographs in " + dir, Remedy: "give a folder outside of them"}
		}
	}
	return nil
}

// ignoresCase reports whether the disk finds a file, whose name has small letters, by capitals too, as
// those of Windows and macOS do. Tests replace it.
var ignoresCase = func(file string) bool {
	return regular.Same(file, filepath.Join(filepath.Dir(file), strings.ToUpper(filepath.Base(file))))
}

// within reports whether a folder, which need not exist yet, is another one or below it.
func within(to, dir string) bool {
	for !regular.Same(to, dir) {
		above := filepath.Dir(to)
		if above == to {
			return false
		}
		to = above
	}
	return true
}

// list adds the photographs below dir that lack something.
func (r *run) list(ctx context.Context, part, dir string) error {
	names, files, problems, err := data.Photos(dir)
	if err != nil {
		return err
	}
	for i := range problems {
		if r.o.inShard(path.Join(part, problems[i].File)) {
			r.report.Unfit++
			r.skipLocked(&problems[i])
		}
	}
	ignores := ignoresCase(r.lock.Name())
	first := map[string]string{} // files by their names in small letters
	var photos []*photo
	for i, name := range names {
		other, taken := first[strings.ToLower(name)]
		if taken = taken && ignores; !taken {
			first[strings.ToLower(name)] = files[i]
		}
		if !r.o.inShard(path.Join(part, name)) {
			continue
		}
		if taken {
			r.report.Unfit++
			r.skipLocked(&data.Problem{
				File:    filepath.Join(dir, files[i]),
				Message: fmt.Sprintf("differs from %s only in the case of letters, which %s ignores: both would have the same maps", other, r.root),
				Remedy:  "rename one of them",
			})
			continue
		}
		photos = append(photos, &photo{part: part, name: name, rel: files[i], file: filepath.Join(dir, files[i])})
	}
	complete, errs := make([]bool, len(photos)), make([]error, len(photos))
	parallel.Do(ctx, parallel.Files, len(photos), func(i int) { complete[i], errs[i] = r.look(photos[i]) })
	if err := cmp.Or(ctx.Err(), cmp.Or(errs...)); err != nil {
		return err
	}
	var shrunk []*photo // that are complete
	for i, p := range photos {
		switch {
		case !complete[i]:
			r.todo = append(r.todo, p)
		case r.o.Size > 0:
			shrunk = append(shrunk, p)
		}
	}
	r.report.Photos += len(photos)
	r.report.Before = r.report.Photos - len(r.todo)
	// A few do: if the dataset was made from another folder, none is the same.
	for _, i := range data.Spread(comparedShrunk, len(shrunk)) {
		if m, _, _, err := data.ReadPhoto(shrunk[i].file); err == nil {
			if m, err = shrink(m, r.o.Size); err == nil && !sameShrunk(r.photoFile(shrunk[i]), m) {
				return another(r.photoFile(shrunk[i]), shrunk[i].file)
			}
		}
	}
	return nil
}

// look notes which maps a photograph lacks, and reports whether it is complete. The error says that
// the dataset has another photograph of its name.
func (r *run) look(p *photo) (complete bool, err error) {
	for k, m := range r.o.Modalities {
		if !there(r.mapFile(p, m.Name)) {
			p.lacks = append(p.lacks, k)
		}
	}
	placed := r.inPlace
	if to := r.photoFile(p); !placed && there(to) {
		if r.o.Size == 0 && !sameFile(to, p.file) {
			return false, another(to, p.file)
		}
		placed = true
	}
	return len(p.lacks) == 0 && placed, nil
}

// comparedShrunk is how many complete photographs of a part are compared with the shrunk ones of the
// dataset. To compare all of them, a run that has nothing to do would have to decode them all.
const comparedShrunk = 8

// there reports whether a file exists and has content: after a power cut it may have none.
func there(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Size() > 0
}

// sameFile reports whether a photograph of the dataset is a link to a file, or perhaps a copy of it.
func sameFile(to, file string) bool {
	is, err := os.Stat(to)
	if err != nil {
		return true // as is what cannot be looked at: using it says why
	}
	want, err := os.Stat(file)
	if err != nil || os.SameFile(is, want) {
		return true
	}
	info, err := os.Lstat(to)
	return err != nil || info.Mode().IsRegular() && is.Size() == want.Size()
}

// sameShrunk reports whether a photograph of the dataset looks like one that was shrunk, up to the
// rounding of processors.
func sameShrunk(to string, shrunk *images.Map) bool {
	is, w, h, err := data.ReadPhoto(to)
	if err != nil || is.W != w || is.H != h {
		return true // it cannot be compared
	}
	if w != shrunk.W || h != shrunk.H {
		return false
	}
	for i, v := range is.Pix {
		if d := v - shrunk.Pix[i]; max(d, -d) > 2./255 {
			return false
		}
	}
	return true
}

// another is the problem of two photographs with one name: maps of one would lie beside the other.
func another(to, file string) error {
	return &data.Problem{File: to, Message: "is another photograph than " + file, Remedy: "rename one of them, or give another folder for the dataset"}
}

func (r *run) mapFile(p *photo, modality string) string {
	return filepath.Join(r.o.Out, p.part, modality, filepath.FromSlash(p.name)+".png")
}

func (r *run) photoFile(p *photo) string {
	if r.o.Size > 0 {
		return filepath.Join(r.o.Out, p.part, "rgb", filepath.FromSlash(p.name)+".png")
	}
	return filepath.Join(r.o.Out, p.part, "rgb", p.rel)
}

// record returns what RecordFile says, with the modalities of this run. The error says which modality
// has files that other networks made, or nobody knows who, or photographs of another size: those would
// have other names.
func (r *run) record(parts []string) (map[string]json.RawMessage, error) {
	file := filepath.Join(r.o.Out, RecordFile)
	known, err := readObject(file)
	if err != nil {
		return nil, err
	}
	size := r.o.Size
	for _, name := range slices.Sorted(maps.Keys(known)) {
		var made record
		if json.Unmarshal(known[name], &made) != nil || made.Size == size {
			continue
		}
		if r.own { // the size that they were given before
			size = max(size, made.Size)
		} else {
			return nil, &data.Problem{
				File:    filepath.Join(r.o.Out, name),
				Message: fmt.Sprintf("its photographs have another size: %s says size %d, now it is %d (0 is as they are)", RecordFile, made.Size, r.o.Size),
				Remedy:  "give the same size, or another folder for the dataset",
			}
		}
	}
	for _, m := range r.o.Modalities {
		now, err := json.Marshal(record{m.Teacher.Origins(), size})
		if err != nil {
			return nil, err
		}
		before, ok := known[m.Name]
		if ok {
			if key, was, is := difference(before, now); key != "" {
				return nil, &data.Problem{
					File:    filepath.Join(r.o.Out, m.Name),
					Message: fmt.Sprintf("made in another way: %s says %s %s, now it is %s", RecordFile, key, was, is),
					Remedy:  "give the same, another name for the modality, or another folder",
				}
			}
		} else {
			for _, part := range parts {
				dir := filepath.Join(r.o.Out, part, m.Name)
				if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
					return nil, &data.Problem{File: dir, Message: "has files that are no pseudo-labels", Remedy: "give another name for the modality, or another folder for the results"}
				}
			}
		}
		known[m.Name] = now
	}
	return known, nil
}

// record is what RecordFile says of a modality.
type record struct {
	Networks []teacher.Origin `json:"networks"`
	Size     int              `json:"size,omitempty"` // Options.Size
}

// difference compares two records as strictjson.Difference does. A network may have another name.
func difference(before, now json.RawMessage) (key, was, is string) {
	var a, b record
	json.Unmarshal(before, &a) // what cannot be read differs
	json.Unmarshal(now, &b)
	for i := range min(len(a.Networks), len(b.Networks)) {
		if a.Networks[i].SHA256 == b.Networks[i].SHA256 {
			a.Networks[i].Network = b.Networks[i].Network
		}
	}
	return strictjson.Difference(flat(a), flat(b))
}

// flat turns a record into an object in which a difference has a name. What no result depends on is
// left out.
func flat(r record) []byte {
	object := map[string]any{"size": r.Size}
	for i, n := range r.Networks {
		if n.Description != nil {
			d := *n.Description
			d.About, d.Untested, d.Model = "", false, ""
			n.Description = &d
		}
		object[fmt.Sprintf("network %d", i+1)] = n
	}
	b, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	return b
}

// readObject reads a JSON object; a file that is not there is an empty one.
func readObject(file string) (map[string]json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	b, err := regular.ReadFile(file, 16*regular.ConfigLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return object, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(b, &object); err != nil {
		return nil, fmt.Errorf("%s: %w; remove it if the pseudo-labels are to be made again", file, err)
	}
	if object == nil { // null
		object = map[string]json.RawMessage{}
	}
	return object, nil
}

// describe writes RecordFile and data.ClassesFile.
func (r *run) describe(parts []string) error {
	known, err := r.record(parts) // again: other shards may have written to it
	if err != nil {
		return err
	}
	if err := atomicfile.ReplaceJSON(filepath.Join(r.o.Out, RecordFile), known); err != nil {
		return err
	}
	file := filepath.Join(r.o.Out, data.ClassesFile)
	classes, err := readObject(file)
	if err != nil {
		return err
	}
	for _, m := range r.o.Modalities {
		if names := m.Teacher.Classes(); names != nil {
			if classes[m.Name], err = json.Marshal(names); err != nil {
				return err
			}
		}
	}
	if len(classes) == 0 {
		return nil
	}
	return atomicfile.ReplaceJSON(file, classes)
}

// clean removes what a killed run left of the files that this one will write.
func (r *run) clean() error {
	mine := map[string]bool{}
	dirs := map[string]bool{}
	for _, p := range r.todo {
		files := []string{r.photoFile(p)}
		for _, k := range p.lacks {
			files = append(files, r.mapFile(p, r.o.Modalities[k].Name))
		}
		for _, file := range files {
			dir, base := filepath.Dir(file), filepath.Base(file)
			mine[filepath.Join(dir, atomicfile.Shortened(base))], dirs[dir] = true, true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if name, ok := atomicfile.Temporary(e.Name()); ok && mine[filepath.Join(dir, name)] {
				os.Remove(filepath.Join(dir, e.Name())) // one that stays is hidden, and does no harm
			}
		}
	}
	return nil
}

// place links or copies a photograph to the dataset.
func (r *run) place(p *photo) error {
	to := r.photoFile(p)
	if there(to) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	os.Remove(to) // a link to nothing, which writing would follow
	if p.shrunk != nil {
		return data.WriteImage(to, p.shrunk)
	}
	if r.o.Copy {
		return copyFile(to, p.file)
	}
	target, err := regular.Real(p.file)
	if err == nil {
		target, err = filepath.Abs(target)
	}
	if err != nil {
		return err
	}
	dir, err := real(filepath.Dir(to))
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(dir, target); err == nil {
		target = rel // stays valid when both folders move
	}
	if symlink(target, to) != nil { // Windows allows few users links, and memory cards have none
		return copyFile(to, p.file)
	}
	return nil
}

var symlink = os.Symlink // tests replace it

func copyFile(to, file string) error {
	f, err := regular.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return atomicfile.WriteNoSync(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}

// writeMap writes a map; of depth a line of JSON first.
func (r *run) writeMap(p *photo, mod Modality, m *images.Map) error {
	if m.IDs == nil {
		scale, offset := standardise(m.Pix, mod.Teacher.Kind() == teacher.KindInverseDepth)
		l, err := r.linesOf(p.part, mod.Name)
		if err == nil {
			err = l.add(Depth{Name: p.name, Kind: mod.Teacher.Kind(), Scale: scale, Offset: offset})
		}
		if err != nil {
			return err
		}
	}
	return data.WriteImage(r.mapFile(p, mod.Name), m)
}
