package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/gomae/gomae/multimae"
)

// Report is what Check finds.
type Report struct {
	Samples    int       `json:"samples"` // that have a file of every modality
	Problems   []Problem `json:"problems"`
	Modalities []Summary `json:"modalities"`
	// Notes are what is worth a look and stops nothing, such as folders that are not read.
	Notes []string `json:"notes,omitempty"`
}

// Summary describes the good files of one modality.
type Summary struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Files int    `json:"files"`
	// Turned is the number of photographs that are turned as their EXIF orientation says.
	Turned int         `json:"turned,omitempty"`
	Sizes  []SizeCount `json:"sizes"` // the most frequent first
	// Min, Max and Mean are over all values of an image kind, in 0..1; a class map has none.
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
	// Raw describes the stored values of depth that is standardised; nil for others.
	Raw *Raw `json:"raw,omitempty"`
	// Classes are the ids in class maps, ascending, with 254 and 255.
	Classes []ClassCount `json:"classes,omitempty"`
}

// Raw describes the values of 16-bit files as they are stored. Sensors write 0 or 65535 where they
// have measured nothing.
type Raw struct {
	Min      int     `json:"min"`
	Max      int     `json:"max"`
	ZeroPart float64 `json:"zero_part"` // share of pixels that are 0
	FullPart float64 `json:"full_part"` // share of pixels that are 65535
}

// SizeCount is a size in pixels and the number of files that have it.
type SizeCount struct {
	W     int `json:"w"`
	H     int `json:"h"`
	Files int `json:"files"`
}

// ClassCount is a class id and the number of pixels that have it.
type ClassCount struct {
	ID     int   `json:"id"`
	Pixels int64 `json:"pixels"`
}

// Check reads every file of a dataset folder, or of those of its parts that OpenSplit reads. It
// reports every problem, for each folder in the order of names: missing partners and folders, files
// that cannot be read, wrong bit depths, class ids out of range, sizes that do not fit together. The
// error is one of reading the folder itself, or that of ctx.
func Check(ctx context.Context, dir string, inputs []multimae.Input) (*Report, error) {
	r := &Report{Problems: []Problem{}}
	splits, err := FindSplits(dir, inputs)
	if p := new(Problem); errors.As(err, &p) {
		r.Problems = append(r.Problems, *p)
	} else if err != nil {
		return nil, err
	}
	r.Notes = splits.Notes()
	parts := slices.DeleteFunc([]string{splits.Train, splits.Val}, func(part string) bool { return part == "" })
	if len(parts) == 0 {
		parts = []string{dir}
	}
	total := newTally(len(inputs))
	for _, part := range parts {
		complete, some, problems, err := index(part, inputs)
		if err != nil {
			return nil, err
		}
		r.Samples += complete.Len()
		r.Problems = append(r.Problems, problems...)
		problems, err = some.check(ctx, total)
		if err != nil {
			return nil, err
		}
		r.Problems = append(r.Problems, problems...)
	}
	for k, m := range inputs {
		r.Modalities = append(r.Modalities, total[k].summary(&m))
		if p := total[k].masks(filepath.Join(parts[0], m.Name)); p != nil {
			r.Problems = append(r.Problems, *p)
		}
		if t := &total[k]; 10*t.flat > t.files { // single walls are flat in any unit
			r.Notes = append(r.Notes, fmt.Sprintf("%s: in %d of %d files the values differ so little that standardising cannot even them out; store them in a finer unit, so that they spread over 0 to 65535",
				m.Name, t.flat, t.files))
		}
	}
	return r, nil
}

// check reads all files and adds them to total.
func (f *folder) check(ctx context.Context, total []tally) ([]Problem, error) {
	found := make([][]Problem, f.Len())
	var (
		mu    sync.Mutex // guards next, total and first
		next  int
		first error
		wg    sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			own := newTally(len(f.inputs))
			for {
				mu.Lock()
				if first == nil {
					first = ctx.Err()
				}
				i := next
				next++
				if first != nil || i >= f.Len() {
					for k := range own {
						total[k].add(&own[k])
					}
					mu.Unlock()
					return
				}
				mu.Unlock()
				found[i] = f.checkSample(i, own)
			}
		}()
	}
	wg.Wait()
	return slices.Concat(found...), first
}

func (f *folder) checkSample(i int, own []tally) (problems []Problem) {
	read := make([]*picture, len(f.inputs))
	for k, m := range f.inputs {
		if f.exts[k][i] == "" {
			continue // reported by index
		}
		p, err := readPicture(f.file(k, i), &m)
		if err != nil {
			prob := new(Problem)
			if !errors.As(err, &prob) {
				prob = problem(f.file(k, i), "make the file readable", "%v", err)
			}
			problems = append(problems, *prob)
			continue
		}
		read[k] = p
		own[k].count(p, &m)
	}
	if p := f.sizes(i, read); p != nil {
		problems = append(problems, *p)
	}
	return problems
}

// tally collects a Summary.
type tally struct {
	files    int
	turned   int
	flat     int   // files whose values hardly differ
	zero     int64 // pixels of the least value that 16 bits hold
	full     int64 // and of the greatest
	sizes    map[[2]int]int
	min, max float32
	sum      float64
	values   int64
	classes  [256]int64
}

func newTally(n int) []tally {
	t := make([]tally, n)
	for i := range t {
		t[i] = tally{sizes: map[[2]int]int{}, min: math.MaxFloat32, max: -math.MaxFloat32}
	}
	return t
}

func (t *tally) count(p *picture, in *multimae.Input) {
	m := p.m
	t.files++
	if p.turned {
		t.turned++
	}
	t.sizes[[2]int{p.w, p.h}]++
	for _, v := range m.Pix {
		t.min, t.max = min(t.min, v), max(t.max, v)
		t.sum += float64(v)
	}
	t.values += int64(len(m.Pix))
	if measured(in) {
		t.measure(m.Pix)
	}
	for _, id := range m.IDs {
		t.classes[id]++
	}
}

func (t *tally) add(o *tally) {
	t.files += o.files
	t.turned += o.turned
	t.flat += o.flat
	t.zero += o.zero
	t.full += o.full
	for s, n := range o.sizes {
		t.sizes[s] += n
	}
	t.min, t.max = min(t.min, o.min), max(t.max, o.max)
	t.sum += o.sum
	t.values += o.values
	for id, n := range o.classes {
		t.classes[id] += n
	}
}

func (t *tally) summary(m *multimae.Input) Summary {
	s := Summary{Name: m.Name, Kind: m.Kind, Files: t.files, Turned: t.turned}
	for _, wh := range slices.SortedFunc(maps.Keys(t.sizes), func(a, b [2]int) int {
		return cmp.Or(t.sizes[b]-t.sizes[a], b[0]-a[0], b[1]-a[1])
	}) {
		s.Sizes = append(s.Sizes, SizeCount{wh[0], wh[1], t.sizes[wh]})
	}
	if t.values > 0 {
		s.Min, s.Max, s.Mean = float64(t.min), float64(t.max), t.sum/float64(t.values)
	}
	if measured(m) && t.values > 0 {
		s.Raw = &Raw{
			Min: int(t.min * 65536), Max: int(t.max * 65536),
			ZeroPart: float64(t.zero) / float64(t.values), FullPart: float64(t.full) / float64(t.values),
		}
	}
	for id, n := range t.classes {
		if n > 0 {
			s.Classes = append(s.Classes, ClassCount{id, n})
		}
	}
	return s
}

// measured reports whether files of a modality hold 16-bit values that are standardised.
func measured(m *multimae.Input) bool {
	return m.Kind == multimae.KindImage && m.Channels == 1 && m.Normalization() == "standardize"
}

// measure counts the holes of a depth map, and the map as flat if its variance without them is below
// the constant that images.Standardize adds, 1e-6. A map of one value only has none to lose.
func (t *tally) measure(pix []float32) {
	var n, first, sum, squares float64
	for _, v := range pix {
		switch v {
		case 0:
			t.zero++
			continue
		case 65535. / 65536:
			t.full++
			continue
		}
		if n == 0 {
			first = float64(v)
		}
		d := float64(v) - first // keeps the squares free of cancellation
		n++
		sum += d
		squares += d * d
	}
	if variance := (squares - sum*sum/n) / n; n > 0 && variance > 0 && variance < 1e-6 {
		t.flat++
	}
}

// masks returns a problem if class maps, which lie in dir, hold nothing but 0 and 255.
func (t *tally) masks(dir string) *Problem {
	for id, n := range t.classes {
		if n == 0 == (id == 0 || id == 255) {
			return nil
		}
	}
	return problem(dir, "write class 1 in place of 255, which means that a pixel is ignored",
		"the class maps have only 0 and 255, as masks do")
}
