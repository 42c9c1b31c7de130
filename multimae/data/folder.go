package data

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
)

// maskFolder is the name of the folder, beside those of the modalities, whose pictures are 0 where
// nothing was measured.
const maskFolder = "mask_valid"

// withMask returns the modalities and, if DIR has a maskFolder that is none of them, that as one
// more.
func withMask(dir string, inputs []multimae.Input) []multimae.Input {
	if slices.ContainsFunc(inputs, func(m multimae.Input) bool { return m.Name == maskFolder }) || !isDir(filepath.Join(dir, maskFolder)) {
		return inputs
	}
	return append(slices.Clip(inputs), multimae.Input{Name: maskFolder, Kind: multimae.KindImage, Channels: 1, Stride: 1, Normalize: multimae.NormalizeNone})
}

// hide leaves the pixels over which mask is 0 anywhere out of the maps of measurements: of images that
// are not photographs. There is a picture for each modality, nil for what could not be read.
func hide(read []*picture, inputs []multimae.Input, mask *picture) {
	for k, in := range inputs {
		p := read[k]
		if p == nil || in.Kind != multimae.KindImage || in.Normalization() == multimae.NormalizeImageNet {
			continue
		}
		p.m.Hide(func(i int) bool {
			x0, x1 := under(i%p.m.W, p.w, p.m.W, mask.w, mask.m.W)
			y0, y1 := under(i/p.m.W, p.h, p.m.H, mask.h, mask.m.H)
			for y := y0; y < y1; y++ {
				if slices.Contains(mask.m.Pix[y*mask.m.W+x0:y*mask.m.W+x1], 0) {
					return true
				}
			}
			return false
		})
	}
}

// under returns the first pixel of a row of the mask that lies under pixel i of a row of a map, and the
// end of those. Both are given by their length and that of their map, since each may have been reduced.
func under(i, full, reduced, maskFull, maskReduced int) (first, end int) {
	k, maskK := full/reduced, maskFull/maskReduced
	at := func(n int) int64 { return int64(n) * int64(k) * int64(maskFull) } // products are beyond 32 bits
	first = int(at(i) / int64(full) / int64(maskK))
	last := int((at(i+1) - 1) / int64(full) / int64(maskK))
	return min(first, maskReduced-1), min(last+1, maskReduced)
}

// folder is a dataset of image files.
type folder struct {
	dir    string
	inputs []multimae.Input // with that of the maskFolder, if there is one
	masked bool             // the last of inputs is the maskFolder
	names  []string         // sorted relative names without extension, with slashes, in NFC
	files  [][]string       // [input][sample] relative paths, with slashes; "" where the file is missing
}

// OpenFolder opens the dataset DIR/<modality>/CLASS/x.png, or of another type that ReadImage reads,
// where CLASS may be any folder and the files of a sample have the same relative name; their
// extensions and the way in which accents are stored may differ. Samples are in the order of their
// names. Symbolic links are followed; hidden files and files of other types are left out.
//
// Where there is a folder DIR/mask_valid, it has a picture for each sample, no JPEG or WebP, that is 0
// where nothing was measured. Such pixels of depth, and of all other images but photographs, are not Map.Valid.
//
// The error lists what is wrong with the folder: files that lack a partner, a folder that is missing.
// With skip, samples that lack a file are left out instead, unless none is left. The contents of
// files are checked when they are read; Check reads them all.
func OpenFolder(dir string, inputs []multimae.Input, skip ...Skip) (Dataset, error) {
	f, some, problems, err := index(dir, inputs)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		if len(skip) == 0 || f.Len() == 0 {
			return nil, problemList(problems)
		}
		for _, s := range skip {
			s(some.Len()-f.Len(), problems)
		}
	}
	return f, nil
}

// Skip is called where incomplete samples are left out, with their number and what is wrong.
type Skip func(samples int, problems []Problem)

// OpenSplit opens a dataset folder for training and validation: its parts, as FindSplits names them,
// if there are both. Otherwise the samples of DIR, or of its training part if only that exists, are
// divided nine to one by a hash of their names, so that adding samples moves none of the others.
func OpenSplit(dir string, inputs []multimae.Input, skip ...Skip) (train, val Dataset, err error) {
	parts, err := trainingSplits(dir, inputs)
	if err != nil {
		return nil, nil, err
	}
	if parts.Train != "" && parts.Val != "" {
		if train, err = OpenFolder(parts.Train, inputs, skip...); err != nil {
			return nil, nil, err
		}
		if val, err = OpenFolder(parts.Val, inputs, skip...); err != nil {
			return nil, nil, err
		}
		return train, val, nil
	}
	if parts.Train != "" {
		dir = parts.Train
	}
	all, err := OpenFolder(dir, inputs, skip...)
	if err != nil {
		return nil, nil, err
	}
	names := all.(*folder).names
	if len(names) < 2 {
		return nil, nil, problem(dir, "add samples, or make a train and a val folder", "%d sample, too few to set some apart for validation", len(names))
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
	// All of a few samples may fall into one part, and neither may be empty.
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
	return filepath.Join(f.dir, f.inputs[input].Name, filepath.FromSlash(f.files[input][i]))
}

// Sample reads the files of sample i. Its error names the file.
func (f *folder) Sample(i int) (*Sample, error) {
	s := &Sample{Name: f.names[i], Maps: make(map[string]*Map, len(f.inputs))}
	read := make([]*picture, len(f.inputs))
	for k, m := range f.inputs {
		p, err := readPicture(f.file(k, i), &m)
		if err != nil {
			return nil, err
		}
		read[k], s.Maps[m.Name] = p, p.m
	}
	if p := f.sizes(i, read); p != nil {
		return nil, p
	}
	if n := len(f.inputs) - 1; f.masked {
		hide(read, f.inputs[:n], read[n])
		delete(s.Maps, maskFolder)
	}
	return s, nil
}

// sizes returns a problem unless every picture is as large as the largest, or smaller by the stride
// of its modality. There is one for each modality, nil for what could not be read.
func (f *folder) sizes(i int, read []*picture) *Problem {
	var full *picture
	var fullAt int
	for k, p := range read {
		if p != nil && (full == nil || p.w*p.h > full.w*full.h) {
			full, fullAt = p, k
		}
	}
	for k, m := range f.inputs {
		p := read[k]
		if p == nil || p.w == full.w && p.h == full.h {
			continue
		}
		// Writers round an odd size up or down.
		down := func(small, big int) bool { return small == big/m.Stride || small == (big+m.Stride-1)/m.Stride }
		if m.Stride > 1 && down(p.w, full.w) && down(p.h, full.h) {
			continue
		}
		remedy := "resize it to that size"
		if m.Stride > 1 {
			remedy += fmt.Sprintf(" or 1/%d of it", m.Stride)
		}
		if p.w == full.h && p.h == full.w && (p.turned || full.turned) {
			remedy = "turn it as the photograph is seen (its EXIF orientation counts), or store the photograph without that orientation"
		}
		return problem(f.file(k, i), remedy, "%d×%d pixels, but %s has %d×%d", p.w, p.h, f.file(fullAt, i), full.w, full.h)
	}
	return nil
}
