package data

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/nn"
)

// Named is a Dataset that knows the names of its samples without reading them.
type Named interface {
	Dataset
	Name(i int) string // as Sample.Name; 0 ≤ i < Len()
}

// Name returns the name of sample i.
func (f *folder) Name(i int) string { return f.names[i] }

// Name returns the name of sample i, or "" where the dataset does not know it.
func (s *subset) Name(i int) string {
	if n, ok := s.ds.(Named); ok {
		return n.Name(s.indices[i])
	}
	return ""
}

// Name returns the name of sample i, or "" where the dataset does not know it.
func (l *labelled) Name(i int) string {
	if n, ok := l.Dataset.(Named); ok {
		return n.Name(i)
	}
	return ""
}

// Fingerprint tells datasets apart from others. One that has a method Fingerprint, such as rendered
// scenes, says itself what it is, also below Subset and Labelled; any other is told by the number of
// its samples and a hash of their names, such as "350 samples with names 5b1c92f3". It is "" unless
// all can be told: samples without a name cannot.
func Fingerprint(sets ...Dataset) string {
	var parts []string
	for _, ds := range sets {
		part := ownFingerprint(ds)
		if part == "" {
			named, ok := ds.(Named)
			if !ok {
				return ""
			}
			hash := uint64(0)
			for i := range ds.Len() {
				name := named.Name(i)
				if name == "" {
					return ""
				}
				hash = nn.Mix64(hash + nn.Hash(name))
			}
			part = fmt.Sprintf("%d samples with names %08x", ds.Len(), uint32(hash))
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// ownFingerprint returns what the method Fingerprint of a dataset, or of that below Subset and
// Labelled, says; "" if there is none.
func ownFingerprint(ds Dataset) string {
	switch ds := ds.(type) {
	case interface{ Fingerprint() string }:
		return ds.Fingerprint()
	case *labelled:
		return ownFingerprint(ds.Dataset)
	case *subset:
		whole := ownFingerprint(ds.ds)
		if whole == "" {
			return ""
		}
		hash := uint64(0)
		for _, i := range ds.indices {
			hash = nn.Mix64(hash + uint64(i))
		}
		return fmt.Sprintf("%d samples with numbers %08x of %s", len(ds.indices), uint32(hash), whole)
	}
	return ""
}

// class returns the first folder of a sample's name, "" if it lies in none.
func class(name string) string {
	first, _, below := strings.Cut(name, "/")
	if !below {
		return ""
	}
	return first
}

// Classes returns the folders CLASS of a dataset in order: those directly below each modality.
func Classes(ds Named) ([]string, error) {
	var classes []string
	for i := range ds.Len() {
		c := class(ds.Name(i))
		if c == "" {
			return nil, problem("", "give the files the names MODALITY/CLASS/x.png", "sample %s is in no folder CLASS, which is its label", ds.Name(i))
		}
		if at, found := slices.BinarySearch(classes, c); !found {
			classes = slices.Insert(classes, at, c)
		}
	}
	return classes, nil
}

// CountClasses returns the number of classes of a modality of class maps in what OpenSplit opens of
// a dataset folder: one more than the largest id that is no padding and not ignored, as those of
// invalid are. With skip, which is for OpenSplit, maps that cannot be read are left out.
func CountClasses(dir, modality string, invalid []float64, skip ...Skip) (int, error) {
	in := multimae.Input{Name: modality, Kind: multimae.KindClasses, NumClasses: multimae.IDPadding, Stride: 1, Invalid: invalid}
	train, val, err := OpenSplit(dir, []multimae.Input{in}, skip...)
	if err != nil {
		return 0, err
	}
	n, bad, cores := 0, error(nil), runtime.GOMAXPROCS(0)
	for _, part := range []Dataset{train, val} {
		for indices := range slices.Chunk(Spread(part.Len(), part.Len()), 4*cores) { // that many maps are in memory at a time
			samples, errs := Read(context.Background(), part, indices, cores)
			for k, err := range errs {
				if err != nil && (len(skip) == 0 || Interrupted(err)) {
					return 0, err
				} else if err != nil {
					bad = err
					continue
				}
				for _, id := range samples[k].Maps[modality].IDs {
					if int(id) >= n && id < multimae.IDPadding {
						n = int(id) + 1
					}
				}
			}
		}
	}
	if n == 0 && bad != nil {
		return 0, bad
	}
	if n < 2 {
		return 0, problem(filepath.Join(dir, modality), "give maps of two classes or more, which segmentation needs", "the maps have %d class", n)
	}
	return n, nil
}

// Labelled returns a dataset whose samples have the number of their folder CLASS among classes as a
// map of one class, under the name target. A sample of another class is an error.
func Labelled(ds Dataset, target string, classes []string) Dataset {
	return &labelled{ds, target, classes}
}

type labelled struct {
	Dataset
	target  string
	classes []string
}

func (l *labelled) Sample(i int) (*Sample, error) {
	s, err := l.Dataset.Sample(i)
	if err != nil {
		return nil, err
	}
	id := slices.Index(l.classes, class(s.Name))
	if id < 0 {
		return nil, problem("", "remove it, or train a model that knows the class", "sample %s is of class %q, which is none of the model's %d: %s",
			s.Name, class(s.Name), len(l.classes), list(l.classes))
	}
	out := &Sample{Name: s.Name, Maps: map[string]*Map{l.target: images.Label(id)}}
	for name, m := range s.Maps {
		out.Maps[name] = m
	}
	return out, nil
}

// list returns the first names of a list.
func list(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
