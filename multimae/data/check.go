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
	// Min, Max and Mean are over the valid values of an image kind, in 0..1 unless they are stored as
	// floating-point numbers; a class map has none.
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
	// Raw describes the stored values of depth that is standardised; nil for others.
	Raw *Raw `json:"raw,omitempty"`
	// InvalidPart is the share of pixels without a measurement, by their stored values and by
	// mask_valid.
	InvalidPart float64 `json:"invalid_part,omitempty"`
	// Classes are the ids in class maps, ascending, with 254 and 255.
	Classes []ClassCount `json:"classes,omitempty"`
}

// Raw describes the values of depth as they are stored. Sensors write 0 or 65535 where they have
// measured nothing.
type Raw struct {
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
	ZeroPart float64 `json:"zero_part"`          // share of pixels that are 0
	FullPart float64 `json:"full_part"`          // share of pixels that are 65535
	NaNPart  float64 `json:"nan_part,omitempty"` // share of pixels that are no numbers
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
	splits, err := trainingSplits(dir, inputs)
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
	total := newTally(len(inputs) + 1) // perhaps a mask
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
	listed := inputs
	var masked, plain []string
	for _, part := range parts {
		if all := withMask(part, inputs); len(all) > len(inputs) {
			listed = all
			masked = append(masked, part)
		} else {
			plain = append(plain, part)
		}
	}
	if len(masked) > 0 && len(plain) > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s has a folder %s and %s has none, so that all its pixels count as measured", masked[0], maskFolder, plain[0]))
	}
	for k, m := range listed {
		r.Modalities = append(r.Modalities, total[k].summary(&m))
		if p := total[k].masks(filepath.Join(parts[0], m.Name)); p != nil {
			r.Problems = append(r.Problems, *p)
		}
		r.Notes = append(r.Notes, total[k].holes(&m)...)
		if t := &total[k]; 10*t.flat > t.files { // single walls are flat in any unit
			r.Notes = append(r.Notes, fmt.Sprintf("%s: in %d of %d files the values differ so little that standardising cannot even them out; store them in a finer unit, so that they spread over 0 to 65535",
				m.Name, t.flat, t.files))
		}
	}
	return r, nil
}

// check reads all files and adds them to total.
func (f *folder) check(ctx context.Context, total []tally) ([]Problem, error) {
	n := len(f.inputs)
	found := make([][]Problem, f.Len())
	sums := make([]float64, f.Len()*n) // of values, kept apart so that they meet in the order of samples
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
			own := newTally(n)
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
				found[i] = f.checkSample(i, own, sums[i*n:][:n])
			}
		}()
	}
	wg.Wait()
	for i, sum := range sums {
		total[i%n].sum += sum
	}
	return slices.Concat(found...), first
}

// checkSample reads the files of a sample. It adds them to own, but puts the sums of their values into
// sums.
func (f *folder) checkSample(i int, own []tally, sums []float64) (problems []Problem) {
	read := make([]*picture, len(f.inputs))
	for k, m := range f.inputs {
		if f.files[k][i] == "" {
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
	}
	if n := len(f.inputs) - 1; f.masked && read[n] != nil {
		hide(read, f.inputs[:n], read[n])
	}
	for k, m := range f.inputs {
		if read[k] != nil {
			sums[k] = own[k].count(read[k], &m)
		}
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
	flat     int     // files whose values hardly differ
	zero     int64   // pixels whose stored value is 0
	full     int64   // or 65535
	nan      int64   // or no number
	least    float64 // stored value
	most     float64
	sizes    map[[2]int]int
	min, max float32
	sum      float64
	values   int64
	pixels   int64
	invalid  int64 // of pixels
	classes  [256]int64
}

func newTally(n int) []tally {
	t := make([]tally, n)
	for i := range t {
		t[i] = tally{sizes: map[[2]int]int{}, min: math.MaxFloat32, max: -math.MaxFloat32, least: math.Inf(1), most: math.Inf(-1)}
	}
	return t
}

// count adds a file, but for the sum of its values, which it returns.
func (t *tally) count(p *picture, in *multimae.Input) (sum float64) {
	m := p.m
	t.files++
	if p.turned {
		t.turned++
	}
	t.sizes[[2]int{p.w, p.h}]++
	for i, v := range m.Pix {
		if m.Valid == nil || m.Valid[i%len(m.Valid)] {
			t.min, t.max = min(t.min, v), max(t.max, v)
			sum += float64(v)
			t.values++
		}
	}
	t.pixels += int64(m.W * m.H)
	for _, v := range m.Valid {
		if !v {
			t.invalid++
		}
	}
	if measured(in) {
		t.measure(p)
	}
	for _, id := range m.IDs {
		t.classes[id]++
	}
	return sum
}

// add adds all of o but the sum.
func (t *tally) add(o *tally) {
	t.files += o.files
	t.turned += o.turned
	t.flat += o.flat
	t.zero += o.zero
	t.full += o.full
	t.nan += o.nan
	t.least, t.most = min(t.least, o.least), max(t.most, o.most)
	for s, n := range o.sizes {
		t.sizes[s] += n
	}
	t.min, t.max = min(t.min, o.min), max(t.max, o.max)
	t.values += o.values
	t.pixels += o.pixels
	t.invalid += o.invalid
	for id, n := range o.classes {
		t.classes[id] += n
	}
}

func (t *tally) summary(m *multimae.Input) Summary {
	s := Summary{Name: m.Name, Kind: m.Kind, Files: t.files, Turned: t.turned, Sizes: []SizeCount{}}
	for _, wh := range slices.SortedFunc(maps.Keys(t.sizes), func(a, b [2]int) int {
		return cmp.Or(t.sizes[b]-t.sizes[a], b[0]-a[0], b[1]-a[1])
	}) {
		s.Sizes = append(s.Sizes, SizeCount{wh[0], wh[1], t.sizes[wh]})
	}
	if t.values > 0 {
		s.Min, s.Max, s.Mean = float64(t.min), float64(t.max), t.sum/float64(t.values)
	}
	part := func(n int64) float64 { return float64(n) / float64(max(1, t.pixels)) }
	s.InvalidPart = part(t.invalid)
	if measured(m) && t.least <= t.most {
		s.Raw = &Raw{Min: t.least, Max: t.most, ZeroPart: part(t.zero), FullPart: part(t.full), NaNPart: part(t.nan)}
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

// measure looks at a depth map as it is stored. It counts the map as flat if its variance without
// holes is below the constant that images.Standardize adds, 1e-6. A map of one value only has none
// to lose.
func (t *tally) measure(p *picture) {
	var n, first, sum, squares float64
	for i, v := range p.m.Pix {
		if v != v || math.IsInf(float64(v), 0) {
			t.nan++
			continue
		}
		stored := float64(v) * p.unit
		t.least, t.most = min(t.least, stored), max(t.most, stored)
		switch stored {
		case 0:
			t.zero++
			continue
		case math.MaxUint16:
			t.full++
			continue
		}
		if p.m.Valid != nil && !p.m.Valid[i] {
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

// holes says which values look as if they marked holes, but count as measurements.
func (t *tally) holes(m *multimae.Input) (notes []string) {
	if !measured(m) {
		return nil
	}
	for _, v := range []struct {
		value float64
		n     int64
	}{{0, t.zero}, {math.MaxUint16, t.full}} {
		if share := float64(v.n) / float64(max(1, t.pixels)); share >= 0.001 && !slices.Contains(m.Invalid, v.value) && t.invalid == 0 {
			notes = append(notes, fmt.Sprintf("%s: %.1f%% of the pixels are %.0f; where that means that nothing was measured, list it among the invalid values of %s, so that nothing is learnt from them",
				m.Name, 100*share, v.value, m.Name))
		}
	}
	return notes
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
