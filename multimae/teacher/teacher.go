package teacher

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae/images"
)

// Teacher makes one modality from photographs: depth by one network, or class ids by one or several.
// Several goroutines may use it at once.
type Teacher struct {
	layers []*layer // from the top down
	names  []string // of the classes; nil for depth
}

// layer is a network with its description.
type layer struct {
	file   string // of the network, which errors name
	sum    string // SHA-256 of the network
	d      *Description
	net    network
	table  *table // nil for depth
	h, w   int    // of the input; 0 for one that follows the photograph
	layout string // of the input
}

// Options says how to open teachers.
type Options struct {
	// Library is the path of ONNX Runtime's shared library, or of its folder. "" looks for it where
	// LibraryVariable says, or else where packages of Python and of the system put it.
	Library string
}

// ErrNotFinite is the reason for which a photograph has no result: the network returned NaN or an
// infinity.
var ErrNotFinite = errors.New("the network returns values that are not finite")

// Open opens the networks of one modality. Each of specs is
//
//	FILE.json          a Description, beside the network that it names
//	FILE.onnx          a network: described by FILE.json if that exists, else by the known description
//	                   that names a model of this file name
//	FOLDER             a fine-tuned model of gomae with one output
//	NETWORK@NAME       a file or folder with the known description NAME
//	NETWORK@FILE.json  or with that of a file, whose key model is not used
//
// Where there are several, each must be of classes. The first has the word wherever it is sure: the
// pixels that it ignores are left to the next. Classes of one name are one class; the ids of the last
// stay as they are, and those that only others have follow.
//
// Open runs each network once, so that one that does not fit its description is found before any
// photograph is read. Errors name the file of the network and the key of the description.
func Open(specs []string, o Options) (t *Teacher, err error) {
	if len(specs) == 0 {
		return nil, errors.New("no teacher given")
	}
	t = new(Teacher)
	defer func() {
		if err != nil {
			t.Close()
			t = nil
		}
	}()
	var tables []*table
	for _, spec := range specs {
		l, err := openLayer(spec, o)
		if err != nil {
			return t, err
		}
		t.layers = append(t.layers, l)
		if l.table != nil {
			tables = append(tables, l.table)
		} else if len(specs) > 1 {
			return t, fmt.Errorf("%s: output.kind: got %q, but only teachers of classes can lie over each other", l.file, l.d.Output.Kind)
		}
	}
	named := slices.IndexFunc(tables, func(x *table) bool { return !x.numbered })
	if i := slices.IndexFunc(tables, func(x *table) bool { return x.numbered }); i >= 0 && named >= 0 {
		return t, fmt.Errorf("%s: classes: have only numbers, but those of %s have names; name them in a description", t.layers[i].file, t.layers[named].file)
	}
	if len(tables) > 0 {
		t.names, err = joinTables(tables)
	}
	return t, err
}

// Close ends the use of the networks.
func (t *Teacher) Close() {
	for _, l := range t.layers {
		l.net.close()
	}
	t.layers = nil
}

// Classes returns the names of the classes by id, nil for depth.
func (t *Teacher) Classes() []string { return t.names }

// Kind returns what the teacher computes: KindIDs, or the Kind of its depth.
func (t *Teacher) Kind() string {
	if t.names != nil {
		return KindIDs
	}
	return t.layers[0].d.Output.Kind
}

// Origin describes a network: what its results depend on.
type Origin struct {
	Network     string       `json:"network"` // the name of its file or folder
	SHA256      string       `json:"sha256"`  // of the network
	Description *Description `json:"description"`
}

// Origins returns what the results of the teacher depend on.
func (t *Teacher) Origins() (list []Origin) {
	for _, l := range t.layers {
		list = append(list, Origin{filepath.Base(l.file), l.sum, l.d})
	}
	return list
}

// openLayer opens one of the specs of Open.
func openLayer(spec string, o Options) (*layer, error) {
	d, file, err := describe(spec)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	l := &layer{file: file, d: d}
	if info.IsDir() {
		err = l.openModel()
	} else {
		err = l.openONNX(o)
	}
	if err == nil {
		err = l.fit()
	}
	if err == nil {
		err = l.try()
	}
	if err != nil {
		if l.net != nil {
			l.net.close()
		}
		if errors.Is(err, ErrNoRuntime) {
			return nil, err // the network is not to blame
		}
		return nil, fmt.Errorf("%s: %w", file, strictjson.Short(err))
	}
	return l, nil
}

// describe returns the description that a spec means and the path of its network. The description of
// a folder is nil.
func describe(spec string) (d *Description, file string, err error) {
	if info, err := os.Stat(spec); err == nil && info.IsDir() {
		return nil, spec, nil
	}
	file, name, named := cutLast(spec, "@")
	if _, err := os.Stat(spec); err == nil {
		named = false
	}
	switch {
	case named && filepath.Ext(name) == ".json":
		d, err = readDescription(name)
		return d, file, err
	case named:
		b, err := KnownDescription(name)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", spec, err)
		}
		d, err = ParseDescription(b)
		return d, file, err
	case filepath.Ext(spec) == ".onnx":
		beside := strings.TrimSuffix(spec, ".onnx") + ".json"
		if d, err = readDescription(beside); err == nil {
			return d, spec, nil // also where it names another file: this one is asked for
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
		for _, name := range Known() {
			b, err := KnownDescription(name)
			if err != nil {
				return nil, "", err
			}
			if d, err = ParseDescription(b); err != nil {
				return nil, "", fmt.Errorf("%s: %w", name, err)
			}
			if d.Model == filepath.Base(spec) {
				return d, spec, nil
			}
		}
		return nil, "", fmt.Errorf("%s: no description of this network; write %s, or choose one by %s@NAME: %s", spec, beside, spec, strings.Join(Known(), ", "))
	case filepath.Ext(spec) != ".json":
		return nil, "", fmt.Errorf("%s: no teacher; give a description (.json), a network (.onnx, or .onnx@NAME), or the folder of a fine-tuned model", spec)
	}
	if d, err = readDescription(spec); err != nil {
		return nil, "", err
	}
	if d.Model == "" {
		return nil, "", fmt.Errorf("%s: model: missing; give the file of the network", spec)
	}
	file = filepath.FromSlash(d.Model)
	if !filepath.IsLocal(file) {
		return nil, "", fmt.Errorf("%s: model: got %q, outside the folder of the description; give MODEL@%s for a network elsewhere", spec, d.Model, filepath.Base(spec))
	}
	return d, filepath.Join(filepath.Dir(spec), file), nil
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i > 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func readDescription(file string) (*Description, error) {
	b, err := regular.ReadFile(file, regular.ConfigLimit)
	if err != nil {
		return nil, err
	}
	d, err := ParseDescription(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

func (l *layer) openONNX(o Options) error {
	s, err := openSession(o.Library, l.file)
	if err != nil {
		return err
	}
	l.net = s
	parts, err := partsONNX(l.file)
	if err == nil {
		l.sum, err = sum(parts...)
	}
	return err
}

// partsONNX returns the files of a network: the .onnx file and, in the order of their names in it,
// those that it keeps weights in. One that is not in the folder of the network or below it is left out.
func partsONNX(file string) ([]string, error) {
	f, err := regular.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// ONNX is a message of protocol buffers. In it a tensor has the name of its file as an entry of
	// strings: field 1 is "location", field 2 the name, each after its length. Bytes that only look
	// like one name no file.
	const entry = "\x08location\x12" // after "\n", which begins field 1
	parts := []string{file}
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		switch _, err := r.ReadSlice('\n'); {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF:
			return parts, nil
		case err != nil:
			return nil, err
		}
		if b, _ := r.Peek(len(entry)); string(b) != entry {
			continue
		}
		r.Discard(len(entry))
		b, _ := r.Peek(binary.MaxVarintLen64)
		n, k := binary.Uvarint(b)
		if k < 1 || n > 4096 {
			continue
		}
		b, _ = r.Peek(k + int(n))
		name := filepath.FromSlash(string(b[min(k, len(b)):]))
		part := filepath.Join(filepath.Dir(file), name)
		if !filepath.IsLocal(name) || slices.Contains(parts, part) {
			continue
		}
		if info, err := os.Stat(part); err == nil && info.Mode().IsRegular() {
			parts = append(parts, part)
		}
	}
}

// sum returns the SHA-256 of files.
func sum(files ...string) (string, error) {
	h := sha256.New()
	for _, file := range files {
		f, err := regular.Open(file)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// fit compares the description with what the network says about itself.
func (l *layer) fit() (err error) {
	in, err := pick("input", l.d.Input.Name, l.net.inputs())
	if err != nil {
		return err
	}
	out, err := pick("output", l.d.Output.Name, l.net.outputs())
	if err != nil {
		return err
	}
	if len(l.net.inputs()) > 1 {
		return fmt.Errorf("input: the network needs %d; a teacher has one", len(l.net.inputs()))
	}
	l.net.choose(in.name, out.name)
	l.layout = l.d.Input.Layout
	if l.layout == "" {
		l.layout = NCHW
	}
	if in.element != elementFloat32 || len(in.shape) != 4 {
		return fmt.Errorf("input: want float32 in four dimensions; the network has %v", in)
	}
	want := l.shape(-1, -1)
	for i, n := range in.shape {
		if n >= 0 && want[i] >= 0 && n != want[i] {
			return fmt.Errorf("input.layout: %s with one photograph and 3 channels does not fit what the network takes, %v", l.layout, in)
		}
	}
	// Where the network leaves no choice, its size may be left out of the description.
	at := slices.Index(want, -1)
	fixed := in.shape[at : at+2]
	given := len(l.d.Input.Size) == 2
	switch {
	case given:
		l.h, l.w = l.d.Input.Size[0], l.d.Input.Size[1]
	case l.d.Input.ShortSide != 0 || l.d.Input.LongSide != 0:
	case fixed[0] > 0 && fixed[1] > 0:
		l.h, l.w = fixed[0], fixed[1]
	default:
		return fmt.Errorf("input: the network takes photographs of any size (%v); give size, short_side or long_side", in)
	}
	if l.h > 0 && (fixed[0] > 0 && fixed[0] != l.h || fixed[1] > 0 && fixed[1] != l.w) || l.h == 0 && (fixed[0] > 0 || fixed[1] > 0) {
		return fmt.Errorf("input.size: the network takes only %v", in)
	}
	if l.d.ofClasses() && l.table == nil {
		l.table, err = l.d.table()
	}
	return err
}

// shape returns the input's shape for a photograph of h×w pixels.
func (l *layer) shape(h, w int) []int {
	if l.layout == NHWC {
		return []int{1, h, w, 3}
	}
	return []int{1, 3, h, w}
}

// try runs the network on a grey picture and looks at what comes out.
func (l *layer) try() error {
	grey := &images.Map{C: 3, H: 48, W: 64, Pix: slices.Repeat([]float32{0.5}, 3*48*64)}
	in, err := l.prepare(grey)
	if err != nil {
		return err
	}
	out, err := l.run(context.Background(), in)
	if err != nil {
		return err
	}
	defer out.release()
	if l.d.ofClasses() && l.table == nil {
		g, err := l.grid(out)
		if err == nil && out.values == nil {
			err = errors.New("classes: missing; ids need names")
		}
		if err != nil {
			return err
		}
		if l.table, err = numbered(g.c); err != nil {
			return err
		}
	}
	return l.read(newMap(grey.W, grey.H, l.table != nil), out)
}

// newMap returns a map of ids, all of them ignored, or one that has no depth yet.
func newMap(w, h int, ofClasses bool) *images.Map {
	m := &images.Map{W: w, H: h}
	if ofClasses {
		m.IDs = slices.Repeat([]uint8{ignored}, w*h)
	}
	return m
}

// run runs the network. The output must be released.
func (l *layer) run(ctx context.Context, in *input) (*output, error) {
	out, err := l.net.run(ctx, in.x, l.shape(in.h, in.w))
	if err != nil {
		return nil, fmt.Errorf("running the network: %w", err)
	}
	return out, nil
}

// Job is one photograph on its way through the teacher: Prepare, Run and Map. A program that does
// these in different goroutines keeps the networks busy.
type Job struct {
	t       *Teacher
	inputs  []*input
	outputs []*output
}

// Prepare makes the inputs of the networks from a photograph: a map of 3 channels. The error says
// which network cannot take it.
func (t *Teacher) Prepare(photo *images.Map) (*Job, error) {
	j := &Job{t: t}
	for _, l := range t.layers {
		in, err := l.prepare(photo)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.file, err)
		}
		j.inputs = append(j.inputs, in)
	}
	return j, nil
}

// Run runs the networks. When ctx has ended, it runs no further one.
func (j *Job) Run(ctx context.Context) error {
	for i, l := range j.t.layers {
		err := ctx.Err()
		var out *output
		if err == nil {
			out, err = l.run(ctx, j.inputs[i])
		}
		if err != nil {
			j.Close()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%s: %w", l.file, err)
		}
		j.outputs = append(j.outputs, out)
		j.inputs[i] = nil
	}
	return nil
}

// Map returns the result at w×h pixels: class ids, or depth in the units of the network, [1, h, w].
// Depth is interpolated linearly, and so are logits, before the largest is taken; ids are those of
// the nearest pixel. It closes the job. Values that are not finite are an error that wraps
// ErrNotFinite.
func (j *Job) Map(w, h int) (*images.Map, error) {
	defer j.Close()
	m := newMap(w, h, j.t.names != nil)
	for i, l := range j.t.layers {
		if err := l.read(m, j.outputs[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", l.file, err)
		}
	}
	return m, nil
}

// Close releases what a job holds that Map will not be called for.
func (j *Job) Close() {
	for _, out := range j.outputs {
		out.release()
	}
}
