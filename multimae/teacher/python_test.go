package teacher

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
)

// The environment of these tests: where it requires ONNX, they must run, and where it names a folder of
// networks with descriptions (NAME.onnx, known or with NAME.json), those are compared, too, on the
// first photographs of another folder.
const (
	requireVariable  = "GOMAE_REQUIRE_ONNX"
	teachersVariable = "GOMAE_TEACHERS"
	photosVariable   = "GOMAE_PHOTOS"
)

var networks struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if networks.dir != "" {
		os.RemoveAll(networks.dir)
	}
	os.Exit(code)
}

// python runs testdata/reference.py.
func python(args ...string) error {
	name := "python3"
	if runtime.GOOS == "windows" {
		name = "python"
	}
	var out bytes.Buffer
	cmd := exec.Command(name, append([]string{"testdata/reference.py"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, &out)
	}
	return nil
}

// built returns a folder with the networks of reference.py. The test is skipped where it must be short,
// and where Python or its packages are missing.
func built(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Python")
	}
	networks.once.Do(func() {
		if networks.dir, networks.err = os.MkdirTemp("", "networks"); networks.err == nil {
			networks.err = python("build", networks.dir)
		}
	})
	if networks.err != nil {
		if os.Getenv(requireVariable) != "" {
			t.Fatal(networks.err)
		}
		t.Skipf("needs python3 with onnx, onnxruntime and pillow: %v", networks.err)
	}
	return networks.dir
}

// write writes a description beside the networks and returns its path.
func write(t *testing.T, name, description string) string {
	t.Helper()
	file := filepath.Join(built(t), name+".json")
	if err := os.WriteFile(file, []byte(description), 0o666); err != nil {
		t.Fatal(err)
	}
	return file
}

var rgb = &multimae.Input{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1}

// picture draws w×h pixels of soft and hard edges.
func picture(w, h int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	noise := testkit.Normal(fmt.Sprint(w, h), w*h)
	for y := range h {
		for x := range w {
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			c := color.NRGBA{uint8(255 * u), uint8(128 + 120*math.Sin(9*u+14*v)), uint8(200 * v), 255}
			if (u-0.6)*(u-0.6)+(v-0.4)*(v-0.4) < 0.04 {
				c.R, c.B = 230, 20
			}
			c.G = uint8(min(max(float64(c.G)+8*float64(noise[y*w+x]), 0), 255))
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

// photo returns a picture as a map and as a file.
func photo(t *testing.T, w, h int) (*images.Map, string) {
	t.Helper()
	m, err := images.From(picture(w, h), rgb)
	if err != nil {
		t.Fatal(err)
	}
	return m, asPNG(t, m)
}

// asPNG writes a picture to a file: decoders of JPEG differ by more than the tests allow.
func asPNG(t *testing.T, m *images.Map) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "photo.png")
	if err := data.WriteImage(file, m); err != nil {
		t.Fatal(err)
	}
	return file
}

// photos returns the photographs for a network: pictures that are larger and smaller than what the
// small networks see or, for others, the first ones of the folder in the environment.
func photos(t *testing.T, small bool) (maps []*images.Map, files []string) {
	t.Helper()
	dir := os.Getenv(photosVariable)
	if small || dir == "" {
		for _, size := range [][2]int{{120, 90}, {61, 100}} {
			m, file := photo(t, size[0], size[1])
			maps, files = append(maps, m), append(files, file)
		}
		return maps, files
	}
	_, found, _, err := data.Photos(dir)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: no photographs: %v", dir, err)
	}
	for _, file := range found[:min(len(found), 3)] {
		m, _, _, err := data.ReadPhoto(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		maps, files = append(maps, m), append(files, asPNG(t, m))
	}
	return maps, files
}

// label runs a teacher on a photograph.
func label(t *testing.T, teach *Teacher, m *images.Map, w, h int) (*images.Map, error) {
	t.Helper()
	j, err := teach.Prepare(m)
	if err != nil {
		return nil, err
	}
	if err := j.Run(context.Background()); err != nil {
		return nil, err
	}
	return j.Map(w, h)
}

var sixClasses = `"classes": ["sky", "wall", "tree", "road", "car", "hat"]`

// TestPython compares results with those of ONNX Runtime in Python: depth within a thousandth of its
// range, and ids at 99.9 % of the pixels.
func TestPython(t *testing.T) {
	specs := map[string]string{
		"stretched": write(t, "stretched", `{"model": "depth.onnx", "input": {"size": [60, 100], "range": [0, 255], "mean": [120, 110, 100], "std": [60, 50, 40]}, "output": {"kind": "inverse_depth"}}`),
		"ratio":     write(t, "ratio", `{"model": "depth.onnx", "input": {"short_side": 70, "multiple": 14, "channels": "BGR"}, "output": {"kind": "metres"}}`),
		"long side": write(t, "long", `{"model": "depth.onnx", "input": {"long_side": 96, "multiple": 32, "range": [-1, 1]}, "output": {"name": "y", "kind": "depth"}}`),
		"logits":    write(t, "logits", `{"model": "logits.onnx", "output": {"kind": "logits"}, `+sixClasses+`}`),
		"NHWC": write(t, "nhwc", `{"model": "nhwc.onnx", "input": {"layout": "NHWC", "range": [-1, 1]}, "output": {"kind": "logits", "layout": "NHWC"}, `+
			sixClasses+`, "labels": {"ground": ["road", 0], "thing": ["car", "hat"]}, "rest": "ignore", "confidence": 0.5}`),
		"probabilities": write(t, "probabilities", `{"model": "probabilities.onnx", "input": {"long_side": 64}, "output": {"kind": "probabilities"}, `+
			sixClasses+`, "labels": {"ground": ["road", "sky"]}, "rest": "keep", "confidence": 0.4}`),
		"ids": write(t, "ids", `{"model": "ids.onnx", "input": {"size": [50, 50]}, "output": {"kind": "ids"}, `+sixClasses+`}`),
	}
	if dir := os.Getenv(teachersVariable); dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no networks: %v", dir, err)
		}
		for _, file := range files {
			specs[filepath.Base(file)] = file
		}
	}
	type job struct {
		Description *Description `json:"description"`
		Model       string       `json:"model"`
		Photo       string       `json:"photo"`
		Out         string       `json:"out"`
		Table       []int        `json:"table"`
	}
	type result struct {
		name string
		got  *images.Map
	}
	var jobs []job
	var results []result
	dir := t.TempDir()
	for name, spec := range specs {
		teach, err := Open([]string{spec}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer teach.Close()
		l := teach.layers[0]
		var table []int
		if l.table != nil {
			for _, id := range l.table.ids {
				table = append(table, int(id))
			}
		}
		maps, files := photos(t, filepath.Ext(spec) == ".json")
		for k, m := range maps {
			got, err := label(t, teach, m, m.W, m.H)
			if err != nil {
				t.Fatal(err)
			}
			jobs = append(jobs, job{l.d, l.file, files[k], filepath.Join(dir, fmt.Sprint(len(jobs))), table})
			results = append(results, result{fmt.Sprintf("%s, photo %d of %d×%d", name, k, m.W, m.H), got})
		}
	}
	b, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "jobs.json")
	if err := os.WriteFile(list, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := python("run", list); err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		t.Run(r.name, func(t *testing.T) {
			want, err := os.ReadFile(jobs[i].Out)
			if err != nil {
				t.Fatal(err)
			}
			if r.got.IDs != nil {
				sameIDs(t, r.got.IDs, want)
				return
			}
			values := make([]float32, len(want)/4)
			for k := range values {
				values[k] = math.Float32frombits(binary.LittleEndian.Uint32(want[4*k:]))
			}
			sameDepth(t, r.got.Pix, values)
		})
	}
}

func sameIDs(t *testing.T, got, want []uint8) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d ids, want %d", len(got), len(want))
	}
	other, kinds := 0, map[uint8]bool{}
	for i, id := range got {
		kinds[id] = true
		if id != want[i] {
			other++
		}
	}
	if 1000*other > len(got) {
		t.Errorf("%d of %d ids differ", other, len(got))
	}
	t.Logf("%d of %d ids differ; %d classes", other, len(got), len(kinds))
}

func sameDepth(t *testing.T, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	span := slices.Max(want) - slices.Min(want)
	worst := float32(0)
	for i, v := range got {
		worst = max(worst, max(v-want[i], want[i]-v))
	}
	if !(worst <= 1e-3*span) || span == 0 {
		t.Errorf("differs by up to %g, the range is %g", worst, span)
	}
	t.Logf("differs by up to %.1g of the range", worst/span)
}

// TestOverlay lays one network over another: the first has the word where it is sure.
func TestOverlay(t *testing.T) {
	top := write(t, "top", `{"model": "nhwc.onnx", "input": {"layout": "NHWC"}, "output": {"kind": "logits", "layout": "NHWC"}, `+
		sixClasses+`, "labels": {"car": ["car"], "new": ["hat", "sky"]}, "rest": "ignore", "confidence": 0.4}`)
	base := write(t, "base", `{"model": "logits.onnx", "output": {"kind": "logits"}, `+sixClasses+`}`)
	m, _ := photo(t, 90, 70)
	var maps []*images.Map
	var names [][]string
	for _, specs := range [][]string{{top}, {base}, {top, base}} {
		teach, err := Open(specs, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer teach.Close()
		got, err := label(t, teach, m, 90, 70)
		if err != nil {
			t.Fatal(err)
		}
		maps, names = append(maps, got), append(names, teach.Classes())
	}
	if want := []string{"sky", "wall", "tree", "road", "car", "hat", "new"}; !slices.Equal(names[2], want) {
		t.Errorf("classes %v, want %v", names[2], want)
	}
	from := map[string]int{}
	for i, id := range maps[2].IDs {
		want, source := maps[1].IDs[i], "base"
		if above := maps[0].IDs[i]; above != ignored {
			want, source = uint8(slices.Index(names[2], names[0][above])), "top"
		}
		from[source]++
		if id != want {
			t.Fatalf("pixel %d has id %d, want %d", i, id, want)
		}
	}
	if from["base"] == 0 || from["top"] == 0 {
		t.Errorf("pixels by network: %v, want some of both", from)
	}
}

// TestMisfits opens networks with descriptions that do not fit them: the error names the network and
// lists what it has.
func TestMisfits(t *testing.T) {
	for name, c := range map[string]struct {
		description string
		want        []string
	}{
		"input name":     {`{"model": "depth.onnx", "input": {"name": "z", "size": [32, 32]}, "output": {"kind": "depth"}}`, []string{"depth.onnx", "input.name", `"x" float32 [1,3,?,?]`}},
		"output name":    {`{"model": "depth.onnx", "input": {"size": [32, 32]}, "output": {"name": "z", "kind": "depth"}}`, []string{"output.name", `"y" float32`}},
		"two inputs":     {`{"model": "two.onnx", "input": {"size": [32, 32]}, "output": {"kind": "depth"}}`, []string{"input.name", `"left"`, `"right"`}},
		"second input":   {`{"model": "two.onnx", "input": {"name": "left", "size": [32, 32]}, "output": {"name": "sum", "kind": "depth"}}`, []string{"input", "2"}},
		"layout":         {`{"model": "logits.onnx", "input": {"layout": "NHWC"}, "output": {"kind": "logits"}, ` + sixClasses + `}`, []string{"input.layout", "[1,3,64,96]"}},
		"size":           {`{"model": "logits.onnx", "input": {"size": [32, 32]}, "output": {"kind": "logits"}, ` + sixClasses + `}`, []string{"input.size", "[1,3,64,96]"}},
		"ratio":          {`{"model": "logits.onnx", "input": {"short_side": 64}, "output": {"kind": "logits"}, ` + sixClasses + `}`, []string{"input.size"}},
		"no size":        {`{"model": "depth.onnx", "output": {"kind": "depth"}}`, []string{"input", "short_side"}},
		"too few names":  {`{"model": "logits.onnx", "output": {"kind": "logits"}, "classes": ["a", "b"]}`, []string{"classes", "6"}},
		"output layout":  {`{"model": "logits.onnx", "output": {"kind": "logits", "layout": "NHWC"}, ` + sixClasses + `}`, []string{"output.layout"}},
		"ids of logits":  {`{"model": "logits.onnx", "output": {"kind": "ids"}, ` + sixClasses + `}`, []string{"output.kind", "logits"}},
		"logits of ids":  {`{"model": "ids.onnx", "input": {"size": [32, 32]}, "output": {"kind": "logits"}, ` + sixClasses + `}`, []string{"output.kind", "ids"}},
		"depth of ids":   {`{"model": "ids.onnx", "input": {"size": [32, 32]}, "output": {"kind": "depth"}}`, []string{"output.kind"}},
		"depth of many":  {`{"model": "logits.onnx", "output": {"kind": "depth"}}`, []string{"output", "[1 6 32 48]"}},
		"unknown ids":    {`{"model": "ids.onnx", "input": {"size": [32, 32]}, "output": {"kind": "ids"}, "classes": ["a"]}`, []string{"id", "0..0"}},
		"ids, no names":  {`{"model": "ids.onnx", "input": {"size": [32, 32]}, "output": {"kind": "ids"}}`, []string{"classes"}},
		"no ONNX":        {`{"model": "broken.onnx", "input": {"size": [32, 32]}, "output": {"kind": "depth"}}`, []string{"broken.onnx"}},
		"missing":        {`{"model": "absent.onnx", "output": {"kind": "depth"}}`, []string{"absent.onnx"}},
		"elsewhere":      {`{"model": "../depth.onnx", "output": {"kind": "depth"}}`, []string{"model", "../depth.onnx"}},
		"no model":       {`{"output": {"kind": "depth"}}`, []string{"model"}},
		"depth and more": {`{"model": "depth.onnx", "input": {"size": [32, 32]}, "output": {"kind": "depth"}}`, []string{"output.kind", "depth.onnx"}},
	} {
		t.Run(name, func(t *testing.T) {
			specs := []string{write(t, "misfit", c.description)}
			if name == "depth and more" {
				specs = append(specs, write(t, "base", `{"model": "logits.onnx", "output": {"kind": "logits"}, `+sixClasses+`}`))
			}
			teach, err := Open(specs, Options{})
			if err == nil {
				teach.Close()
			}
			testkit.ErrorNames(t, err, c.want...)
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

// TestNotFinite judges NaN that a network returns for one picture and not for another.
func TestNotFinite(t *testing.T) {
	for kind, description := range map[string]string{
		KindDepth:  `{"model": "nan.onnx", "input": {"size": [16, 16]}, "output": {"kind": "depth"}}`,
		KindLogits: `{"model": "nan.onnx", "input": {"size": [16, 16]}, "output": {"kind": "logits"}}`,
	} {
		t.Run(kind, func(t *testing.T) {
			teach, err := Open([]string{write(t, "nan", description)}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer teach.Close()
			m, _ := photo(t, 30, 20)
			_, err = label(t, teach, m, 30, 20)
			if testkit.ErrorNames(t, err, "nan.onnx"); !errors.Is(err, ErrNotFinite) {
				t.Errorf("error %v, want %v", err, ErrNotFinite)
			}
		})
	}
}
