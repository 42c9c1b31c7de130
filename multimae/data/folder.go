package data

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
)

// folder is a dataset of files.
type folder struct {
	dir    string
	inputs []multimae.Input
	names  []string   // sorted relative names without extension, with slashes
	exts   [][]string // [input][sample] extensions; "" where the file is missing
}

// OpenFolder indexes DIR/<modality>/CLASS/x.png (or jpg, jpeg), where CLASS
// may be any folder and the files of a sample have the same relative name; the
// extension may differ. Samples are in the order of their names. Symbolic
// links are followed; hidden files and other types of file are left out.
//
// The error lists each file without its partners, up to twenty of them. The
// contents of files are checked when they are read; Check reads them all.
func OpenFolder(dir string, inputs []multimae.Input) (Dataset, error) {
	f, _, problems, err := index(dir, inputs)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, problemList(problems)
	}
	return f, nil
}

// OpenSplit opens a dataset folder for training and validation: DIR/train and
// DIR/val where they exist. Otherwise the samples of DIR (or of DIR/train
// where only that exists) are divided nine to one by a hash of their names, so
// that adding samples moves none of the others.
func OpenSplit(dir string, inputs []multimae.Input) (train, val Dataset, err error) {
	trainDir, valDir := filepath.Join(dir, "train"), filepath.Join(dir, "val")
	if isDir(trainDir) && isDir(valDir) {
		if train, err = OpenFolder(trainDir, inputs); err != nil {
			return nil, nil, err
		}
		if val, err = OpenFolder(valDir, inputs); err != nil {
			return nil, nil, err
		}
		return train, val, nil
	}
	if isDir(trainDir) {
		dir = trainDir
	}
	all, err := OpenFolder(dir, inputs)
	if err != nil {
		return nil, nil, err
	}
	names := all.(*folder).names
	if len(names) < 2 {
		return nil, nil, &Problem{dir, fmt.Sprintf("%d sample, too few to set some apart for validation", len(names)), "add samples, or make train and val folders"}
	}
	var t, v []int
	for i, name := range names {
		if nn.Hash(name)%10 == 0 {
			v = append(v, i)
		} else {
			t = append(t, i)
		}
	}
	byHash := func(a, b int) int { return cmp.Compare(nn.Hash(names[a]), nn.Hash(names[b])) }
	// A handful of samples may all fall on one side: neither may be empty.
	if len(v) == 0 {
		v = []int{slices.MinFunc(t, byHash)}
		t = slices.DeleteFunc(t, func(i int) bool { return i == v[0] })
	} else if len(t) == 0 {
		t = []int{slices.MaxFunc(v, byHash)}
		v = slices.DeleteFunc(v, func(i int) bool { return i == t[0] })
	}
	return Subset(all, t), Subset(all, v), nil
}

func isDir(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

func (f *folder) Len() int { return len(f.names) }

func (f *folder) file(input, i int) string {
	return filepath.Join(f.dir, f.inputs[input].Name, filepath.FromSlash(f.names[i])+f.exts[input][i])
}

// Sample reads the files of sample i. Its error names the file.
func (f *folder) Sample(i int) (*Sample, error) {
	s := &Sample{Name: f.names[i], Maps: make(map[string]*Map, len(f.inputs))}
	for k, m := range f.inputs {
		p, err := ReadImage(f.file(k, i), m)
		if err != nil {
			return nil, err
		}
		s.Maps[m.Name] = p
	}
	if p := f.sizes(i, s); p != nil {
		return nil, p
	}
	return s, nil
}

// sizes returns a problem unless every map is as large as the largest, or
// smaller by its modality's stride.
func (f *folder) sizes(i int, s *Sample) *Problem {
	var full *Map
	var fullAt int
	for k, m := range f.inputs {
		if p := s.Maps[m.Name]; p != nil && (full == nil || p.W*p.H > full.W*full.H) {
			full, fullAt = p, k
		}
	}
	for k, m := range f.inputs {
		p := s.Maps[m.Name]
		if p == nil || p.W == full.W && p.H == full.H {
			continue
		}
		// Writers round an odd size either way.
		down := func(small, big int) bool { return small == big/m.Stride || small == (big+m.Stride-1)/m.Stride }
		if m.Stride > 1 && down(p.W, full.W) && down(p.H, full.H) {
			continue
		}
		allowed := ""
		if m.Stride > 1 {
			allowed = fmt.Sprintf(" or 1/%d of it", m.Stride)
		}
		return &Problem{
			File:    f.file(k, i),
			Message: fmt.Sprintf("%d×%d pixels, but %s has %d×%d", p.W, p.H, f.file(fullAt, i), full.W, full.H),
			Remedy:  "resize it to that size" + allowed,
		}
	}
	return nil
}

// index lists the samples that are complete, those of which there is any file,
// and what is wrong with the latter.
func index(dir string, inputs []multimae.Input) (complete, some *folder, problems []Problem, err error) {
	if len(inputs) == 0 {
		return nil, nil, nil, errors.New("data: no input modality given")
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, nil, nil, err
	}
	complete = &folder{dir: dir, inputs: inputs, exts: make([][]string, len(inputs))}
	some = &folder{dir: dir, inputs: inputs, exts: make([][]string, len(inputs))}
	files := make([]map[string]string, len(inputs)) // relative name → extension
	union := map[string]bool{}
	var missing bool
	for k, m := range inputs {
		root := filepath.Join(dir, m.Name)
		if !isDir(root) {
			missing = true
			problems = append(problems, Problem{root, "no such folder", "create it with the files of modality " + m.Name + ", or leave the modality out of the configuration"})
			continue
		}
		files[k] = map[string]string{}
		bad, err := walk(root, "", 0, files[k])
		if err != nil {
			return nil, nil, nil, err
		}
		problems = append(problems, bad...)
		if len(files[k]) == 0 {
			missing = true
			problems = append(problems, Problem{root, "no PNG or JPEG file", "put files at " + filepath.Join(root, "CLASS", "NAME.png")})
		}
		for name := range files[k] {
			union[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(union)) {
		all := true
		for k, m := range inputs {
			// A folder that is missing as a whole has been reported once.
			if _, ok := files[k][name]; !ok {
				all = false
				if len(files[k]) > 0 {
					have := slices.IndexFunc(files, func(f map[string]string) bool { _, ok := f[name]; return ok })
					partner := filepath.Join(dir, inputs[have].Name, filepath.FromSlash(name)+files[have][name])
					problems = append(problems, Problem{
						File:    partner,
						Message: fmt.Sprintf("has no partner in %s", m.Name),
						Remedy:  fmt.Sprintf("add %s, or remove this file", filepath.Join(dir, m.Name, filepath.FromSlash(name)+".png")),
					})
				}
			}
		}
		for _, f := range []*folder{some, complete} {
			if f == complete && !all {
				continue
			}
			f.names = append(f.names, name)
			for k := range inputs {
				f.exts[k] = append(f.exts[k], files[k][name])
			}
		}
	}
	if len(complete.names) == 0 && !missing && len(problems) == 0 {
		problems = append(problems, Problem{dir, "no samples", "see `gomae render` for the layout of a dataset folder"})
	}
	return complete, some, problems, nil
}

// maxDepth of folders below a modality: a guard against links in a circle.
const maxDepth = 8

// walk collects the images below root/rel.
func walk(root, rel string, depth int, files map[string]string) (problems []Problem, err error) {
	here := filepath.Join(root, filepath.FromSlash(rel))
	if depth > maxDepth {
		return []Problem{{here, fmt.Sprintf("more than %d folders deep", maxDepth), "move the files up, or remove the link that goes round in a circle"}}, nil
	}
	entries, err := os.ReadDir(here)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := path.Join(rel, e.Name())
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			st, err := os.Stat(filepath.Join(here, e.Name()))
			if err != nil {
				problems = append(problems, Problem{filepath.Join(here, e.Name()), "a link to nothing", "remove it or restore its target"})
				continue
			}
			mode = st.Mode()
		}
		if mode.IsDir() {
			more, err := walk(root, name, depth+1, files)
			if err != nil {
				return nil, err
			}
			problems = append(problems, more...)
			continue
		}
		ext := path.Ext(name)
		switch strings.ToLower(ext) {
		case ".png", ".jpg", ".jpeg":
		case ".tif", ".tiff", ".bmp", ".gif", ".webp", ".exr", ".npy", ".npz":
			problems = append(problems, Problem{filepath.Join(here, e.Name()), "a type of file that is not read", "convert it to PNG"})
			continue
		default:
			continue
		}
		stem := strings.TrimSuffix(name, ext)
		if other, ok := files[stem]; ok {
			problems = append(problems, Problem{filepath.Join(here, e.Name()), fmt.Sprintf("same name as %s%s", path.Base(stem), other), "remove or rename one of them"})
			continue
		}
		files[stem] = ext
	}
	return problems, nil
}

// problemList is an error of several problems, the first twenty in full.
type problemList []Problem

func (l problemList) Error() string {
	const most = 20
	var b strings.Builder
	for i := range l {
		if i == most {
			fmt.Fprintf(&b, "\n… and %d more", len(l)-most)
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

// WriteFolder writes every map of every sample as DIR/<modality>/<name>.png:
// colour with 8 bits a channel, one channel as 16-bit grey (v·65536, rounded),
// ids as 8-bit grey. DIR must be empty or new. Each file appears whole or not
// at all, and when ctx ends every sample begun has all of its files; after a
// failed write the samples under way may lack some. progress, which may be nil, gets the number of samples written,
// from one goroutine at a time.
func WriteFolder(ctx context.Context, dir string, ds Dataset, progress func(done int)) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil {
		return err
	} else if len(entries) > 0 {
		return &Problem{dir, "folder is not empty", "give a new folder, or empty this one"}
	}
	var (
		mu    sync.Mutex // guards next, done and first
		next  int
		done  int
		first error
		wg    sync.WaitGroup
	)
	for range min(runtime.GOMAXPROCS(0), 8) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				mu.Lock()
				if first == nil {
					first = ctx.Err()
				}
				i := next
				if first != nil || i >= ds.Len() {
					mu.Unlock()
					return
				}
				next++
				mu.Unlock()
				s, err := ds.Sample(i)
				if err == nil {
					err = writeSample(dir, s)
				}
				mu.Lock()
				if err != nil && first == nil {
					first = err
				}
				if err == nil {
					done++
					if progress != nil {
						progress(done)
					}
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return first
}

func writeSample(dir string, s *Sample) error {
	name := filepath.FromSlash(s.Name)
	if !filepath.IsLocal(name) {
		return fmt.Errorf("data: sample name %q leaves the folder", s.Name)
	}
	for _, modality := range slices.Sorted(maps.Keys(s.Maps)) {
		img, err := s.Maps[modality].Image()
		if err != nil {
			return fmt.Errorf("data: sample %s: %s: %w", s.Name, modality, err)
		}
		if err := writePNG(filepath.Join(dir, modality, name+".png"), img); err != nil {
			return err
		}
	}
	return nil
}

// Rendered scenes are written by the thousand and are small: speed matters
// more than the last per cent of size.
var pngEncoder = png.Encoder{CompressionLevel: png.BestSpeed, BufferPool: new(pngBuffers)}

type pngBuffers struct{ p sync.Pool }

func (b *pngBuffers) Get() *png.EncoderBuffer  { e, _ := b.p.Get().(*png.EncoderBuffer); return e }
func (b *pngBuffers) Put(e *png.EncoderBuffer) { b.p.Put(e) }

// writePNG writes a file that appears under its name only when complete. The
// temporary name is hidden, so that a crash leaves nothing OpenFolder reads.
func writePNG(name string, img image.Image) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+filepath.Base(name)+".tmp")
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(tmp)
		}
	}()
	w := bufio.NewWriter(f)
	if err := pngEncoder.Encode(w, img); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
