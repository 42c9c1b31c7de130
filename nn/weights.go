package nn

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/gomae/gomae/tensor"
)

// Tensors returns the parameters as WriteSafetensors takes them, sharing their
// data.
func (ps *Params) Tensors() []NamedTensor {
	list := make([]NamedTensor, len(ps.list))
	for i, p := range ps.list {
		list[i] = NamedTensor{p.Name, p.Shape, p.Data}
	}
	for _, a := range ps.aliases {
		p := ps.index[a.of]
		list = append(list, NamedTensor{a.name, p.Shape, p.Data})
	}
	return list
}

// Load reads every parameter from f by its name. Keys and shapes must be
// exactly those of the parameters: the error lists all that are missing,
// unexpected, of another shape or no floats, up to 20, and then nothing has
// been read.
func (ps *Params) Load(f *SafeFile) error {
	ps.mustChange("Load")
	var problems []string
	for _, p := range ps.list {
		switch shape, ok := f.Shape(p.Name); {
		case !ok:
			problems = append(problems, fmt.Sprintf("missing %s %v", p.Name, p.Shape))
		case !slices.Equal(shape, p.Shape):
			problems = append(problems, fmt.Sprintf("%s has shape %v, the model wants %v", p.Name, shape, p.Shape))
		case !slices.Contains(floatDTypes, f.DType(p.Name)):
			problems = append(problems, fmt.Sprintf("%s has dtype %s, the model wants one of %v", p.Name, f.DType(p.Name), floatDTypes))
		}
	}
	for _, name := range f.names {
		if ps.index[name] == nil && !slices.ContainsFunc(ps.aliases, func(a alias) bool { return a.name == name }) {
			problems = append(problems, fmt.Sprintf("unexpected %s %v", clip(name), f.entries[name].shape))
		}
	}
	if n := len(problems); n > 0 {
		const most = 20
		rest := ""
		if n > most {
			rest = fmt.Sprintf("\n  … and %d more", n-most)
			problems = problems[:most]
		}
		return fmt.Errorf("%s: %d of its tensors and the model's do not match; use the config.json that belongs to the file:\n  %s%s",
			f.label, n, strings.Join(problems, "\n  "), rest)
	}
	for _, p := range ps.list {
		if p.Data == nil { // of DeferredParams
			p.Data = tensor.New(p.Shape...).Data
		}
		if err := f.ReadFloat32(p.Name, p.Data); err != nil {
			return err
		}
	}
	return nil
}

// OpenSafetensorsFS is OpenSafetensorsFile for a file of fsys. A file that
// cannot be read at random is read into memory.
func OpenSafetensorsFS(fsys fs.FS, name string) (*SafeFile, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	r, ok := file.(io.ReaderAt)
	if !ok {
		b, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r, file = bytes.NewReader(b), nil
	}
	f, err := openSafetensors(r, info.Size(), "safetensors: "+name)
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	if file != nil {
		f.closer = file
	}
	return f, nil
}
