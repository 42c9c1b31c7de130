package parity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

const dumps = "../../testdata/parity/"

// TestDumps runs every committed dump at each SIMD level and with several numbers of workers, which
// must not change a bit of any tensor.
func TestDumps(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3)) // no pool is larger
	dirs, err := filepath.Glob(dumps + "*")
	if err != nil || len(dirs) < 13 {
		t.Fatalf("%d dumps under %s: %v", len(dirs), dumps, err)
	}
	for _, dir := range dirs {
		model, groups := "multimae", "[encoder out loss grad step0 step1 step2 param]"
		if strings.HasPrefix(filepath.Base(dir), "vit_") {
			model = "multivit"
		}
		if slices.Contains([]string{"vit_linear", "vit_convnext", "vit_segmenter", "vit_dpt"}, filepath.Base(dir)) {
			groups = "[out loss grad step0 step1 step2 param]" // the published implementation's have no tokens
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			testkit.EachLevel(t, func(t *testing.T) {
				var first []result
				for _, workers := range []int{1, 2, 3} {
					pool := tensor.NewPool(workers)
					defer pool.Close()
					j, err := judgeDump(os.DirFS(dir), pool) // as Run does
					if err != nil {
						t.Fatal(err)
					}
					if first == nil {
						first = j.results
					} else if !reflect.DeepEqual(j.results, first) {
						t.Errorf("%d workers give other bits than one", workers)
					}
					if workers > 1 {
						continue
					}
					got, err := j.groups()
					if err != nil {
						t.Fatal(err)
					}
					var names []string
					for _, g := range got {
						t.Logf("%-8s %3d tensors, error %.2g, PyTorch's %.2g, ratio %.2f: %s", g.Name, g.Count, g.Error, g.Torch, g.Ratio, g.Worst)
						if !g.Pass || g.First != "" || g.Ratio > Limit {
							t.Errorf("%+v", g)
						}
						names = append(names, g.Name)
					}
					if fmt.Sprint(names) != groups || j.model != model {
						t.Errorf("a %s with groups %v, want a %s with %v", j.model, names, model, groups)
					}
				}
			})
		})
	}
}

// dump is a copy of a committed dump in memory, to be damaged.
type dump struct {
	t testing.TB
	fstest.MapFS
}

func tiny(t testing.TB) dump { return dumpOf(t, "pretrain_tiny") }

func dumpOf(t testing.TB, folder string) dump {
	t.Helper()
	d := dump{t, fstest.MapFS{}}
	for _, name := range []string{"config.json", "model.safetensors", "inputs.safetensors", "expected.safetensors"} {
		b, err := os.ReadFile(dumps + folder + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		d.MapFS[name] = &fstest.MapFile{Data: b}
	}
	return d
}

// edit replaces the tensors of a file by what f makes of them.
func (d dump) edit(file string, f func(map[string]*weights.Tensor)) {
	d.t.Helper()
	s, err := weights.OpenFS(d, file)
	if err != nil {
		d.t.Fatal(err)
	}
	tensors := map[string]*weights.Tensor{}
	for _, name := range s.Names() {
		var data any
		switch s.DType(name) {
		case "F32":
			data, err = s.Float32(name)
		case "F64":
			data, err = s.Float64(name)
		default:
			data, err = s.Int64(name)
		}
		if err != nil {
			d.t.Fatal(err)
		}
		shape, _ := s.Shape(name)
		tensors[name] = &weights.Tensor{Name: name, Shape: shape, Data: data}
	}
	f(tensors)
	var list []weights.Tensor
	for _, v := range tensors {
		list = append(list, *v)
	}
	slices.SortFunc(list, func(a, b weights.Tensor) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	if err := weights.WriteSafetensors(&b, list, nil); err != nil {
		d.t.Fatal(err)
	}
	d.MapFS[file].Data = b.Bytes()
}

func (d dump) replace(file, old, new string) {
	d.t.Helper()
	b := d.MapFS[file].Data
	if bytes.Count(b, []byte(old)) != 1 {
		d.t.Fatalf("%s has %q %d times", file, old, bytes.Count(b, []byte(old)))
	}
	d.MapFS[file].Data = bytes.Replace(b, []byte(old), []byte(new), 1)
}

func (d dump) run() (*Report, error) {
	return Run(d, "x", nil)
}

// TestRun checks what Run adds to the comparison.
func TestRun(t *testing.T) {
	for folder, model := range map[string]string{"pretrain_tiny": "multimae", "vit_linear_token": "multivit"} {
		r, err := Run(os.DirFS(dumps+folder), "a/b", nil)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Pass() || r.Dir != "a/b" || r.Model != model || len(r.Groups) != 8 {
			t.Errorf("%s: %+v", folder, r)
		}
	}
}

// FuzzRun puts any bytes in the place of the configuration and the inputs of a dump, which is refused or
// judged.
func FuzzRun(f *testing.F) {
	honest := tiny(f)
	config, inputs := honest.MapFS["config.json"].Data, honest.MapFS["inputs.safetensors"].Data
	f.Add(config, inputs)
	f.Add(config, inputs[:len(inputs)/2])
	for _, batch := range []string{"-1", "1", "1000000000000", "null"} {
		f.Add(bytes.Replace(config, []byte(`"batch": 2`), []byte(`"batch": `+batch), 1), inputs)
	}
	f.Add([]byte(`{"model": "multimae", "case": {}}`), inputs)
	f.Fuzz(func(t *testing.T, config, inputs []byte) {
		d := dump{t, maps.Clone(honest.MapFS)}
		d.MapFS["config.json"], d.MapFS["inputs.safetensors"] = &fstest.MapFile{Data: config}, &fstest.MapFile{Data: inputs}
		r, err := d.run()
		if err != nil {
			testkit.ErrorNames(t, err, "dump x: ")
		} else if len(r.Groups) == 0 {
			t.Error("nothing is compared")
		}
	})
}

// TestUndamaged checks the tools of the tests below: a dump that fails must fail because of its
// damage.
func TestUndamaged(t *testing.T) {
	for _, folder := range []string{"pretrain_tiny", "vit_convnext_depth", "vit_segmenter_multi"} {
		d := dumpOf(t, folder)
		for name := range d.MapFS {
			if name != "config.json" {
				d.edit(name, func(map[string]*weights.Tensor) {})
			}
		}
		if r, err := d.run(); err != nil || !r.Pass() {
			t.Errorf("%s: %+v %v", folder, r, err)
		}
	}
}

// set returns an edit that changes an element of a tensor, or all of them if element is negative.
func set(name string, element int, f func(v float64) float64) func(m map[string]*weights.Tensor) {
	return func(m map[string]*weights.Tensor) {
		switch x := m[name].Data.(type) {
		case []float32:
			for i, v := range x {
				if element < 0 || i == element {
					x[i] = float32(f(float64(v)))
				}
			}
		case []float64:
			for i, v := range x {
				if element < 0 || i == element {
					x[i] = f(v)
				}
			}
		}
	}
}

func add(by float64) func(float64) float64   { return func(v float64) float64 { return v + by } }
func times(by float64) func(float64) float64 { return func(v float64) float64 { return v * by } }
func to(v float64) func(float64) float64     { return func(float64) float64 { return v } }

// TestFails changes one number and wants the groups that depend on it to fail, and the first tensor
// and element to be named.
func TestFails(t *testing.T) {
	const all = -1
	for _, c := range []struct {
		what, file string
		damage     func(m map[string]*weights.Tensor)
		fail       string // groups: at least these, or exactly where only the expectation is wrong
		first      string // of the first group
	}{
		{"an encoder weight", "model.safetensors", set("encoder.1.mlp.fc2.weight", 77, add(1e-3)), "encoder out loss grad step0 param", "encoder: element "},
		{"a decoder weight", "model.safetensors", set("output_adapters.depth.out_proj.weight", 5, add(1e-3)), "out loss grad param", "out.depth: element "},
		{"a position", "model.safetensors", set("output_adapters.semseg.pos_emb", 5, times(1.01)), "out loss grad param", "out.semseg: element "},
		{"a NaN weight", "model.safetensors", set("encoder.0.norm1.weight", 0, to(math.NaN())),
			"encoder out loss grad step0 step1 step2 param", "encoder: element 0 is NaN, want "},
		{"an input", "inputs.safetensors", func(m map[string]*weights.Tensor) {
			for _, name := range []string{"in.rgb", "target.rgb", "target.norm_rgb"} {
				set(name, all, times(1.0001))(m)
			}
		}, "encoder out loss grad", "encoder: element "},
		{"a class", "inputs.safetensors", func(m map[string]*weights.Tensor) {
			for _, name := range []string{"in.semseg", "target.semseg"} {
				v := m[name].Data.([]int64)
				v[7] = (v[7] + 1) % 5
			}
		}, "loss grad step0", ""},
		{"an expected output", "expected.safetensors", set("out.norm_rgb", 1234, add(0.01)), "out", "out.norm_rgb: element 1234 is "},
		{"an expected loss", "expected.safetensors", set("loss.depth", 0, times(1.000001)), "loss", "loss.depth: element 0 is "},
		{"an expected gradient", "expected.safetensors", set("grad.encoder.0.norm1.bias", 3, times(1.01)), "grad", "grad.encoder.0.norm1.bias: element 3 is "},
		{"the sign of a gradient", "expected.safetensors", set("grad.input_adapters.semseg.class_emb.weight", all, times(-1)),
			"grad", "grad.input_adapters.semseg.class_emb.weight: element "},
		{"a gradient of rounding only", "expected.safetensors", func(m map[string]*weights.Tensor) {
			for i := range 16 { // the biases of the keys
				set("grad.output_adapters.rgb.decoder.kv.bias", i, add(1e-4))(m)
			}
		}, "grad", "grad.output_adapters.rgb.decoder.kv.bias: element "},
		{"the loss of a step", "expected.safetensors", set("step2.loss", 0, times(1.000001)), "step2", "step2.loss: element 0 is "},
		{"a parameter at the end", "expected.safetensors", set("param.global_tokens", 2, add(1e-3)), "param", "param.global_tokens: element 2 is "},
		{"a gradient of rounding that AdamW cannot make into such a step", "expected.safetensors", set("param.output_adapters.rgb.decoder.kv.bias", 3, add(0.0061)),
			"param", "param.output_adapters.rgb.decoder.kv.bias: element 3 is "},
		{"a NaN instead of such a step", "expected.safetensors", set("param.output_adapters.rgb.decoder.kv.bias", 3, to(math.NaN())),
			"param", "param.output_adapters.rgb.decoder.kv.bias: element 3 is "},
		{"a bias of a value, which has a gradient", "expected.safetensors", set("param.output_adapters.rgb.decoder.kv.bias", 19, add(0.001)),
			"param", "param.output_adapters.rgb.decoder.kv.bias: element 19 is "},
		{"two tensors", "expected.safetensors", func(m map[string]*weights.Tensor) { // the earlier is named, the worse counts
			set("out.rgb", 7, add(0.1))(m)
			set("out.semseg", 0, add(10))(m)
		}, "out", "out.rgb: element 7 is "},
		{"NaN expected", "expected.safetensors", set("encoder", 9, to(math.NaN())), "encoder", "encoder: element 9 is "},
		{"infinity expected", "expected.safetensors", set("encoder", 9, to(math.Inf(1))), "encoder", "encoder: element 9 is "},
		{"zeros expected", "expected.safetensors", set("out.depth", all, to(0)), "out", "out.depth: element "},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := tiny(t)
			d.edit(c.file, c.damage)
			r, err := d.run()
			if err != nil {
				t.Errorf("%v", err)
				return
			}
			var failed []string
			first := ""
			for _, g := range r.Groups {
				if g.Pass != (g.First == "") || g.Pass != (g.Ratio <= Limit) {
					t.Errorf("group %+v contradicts itself", g)
				}
				if !g.Pass {
					failed = append(failed, g.Name)
					if first == "" {
						first = g.First
					}
				}
			}
			if r.Pass() {
				t.Error("passes")
			}
			for _, g := range strings.Fields(c.fail) {
				if !slices.Contains(failed, g) {
					t.Errorf("group %s passes", g)
				}
			}
			if c.file == "expected.safetensors" && strings.Join(failed, " ") != c.fail {
				t.Errorf("groups %v fail, want %v only", failed, c.fail)
			}
			if !strings.HasPrefix(first, c.first) {
				t.Errorf("first difference %q, want %q", first, c.first)
			}
			if c.what == "two tensors" && r.Groups[1].Worst != "out.semseg" {
				t.Errorf("worst is %s", r.Groups[1].Worst)
			}
			if _, err := json.Marshal(r); err != nil {
				t.Errorf("the report cannot be written: %v", err)
			}
		})
	}
}

// TestErrors runs dumps that cannot be compared. The error must name the file and what is wrong
// with it.
func TestErrors(t *testing.T) {
	edit := func(file string, f func(m map[string]*weights.Tensor)) func(d dump) {
		return func(d dump) { d.edit(file, f) }
	}
	for _, c := range []struct {
		what   string
		damage func(d dump)
		want   string
	}{
		{"no folder", func(d dump) { clear(d.MapFS) }, "config.json"},
		{"no inputs", func(d dump) { delete(d.MapFS, "inputs.safetensors") }, "inputs.safetensors"},
		{"no expectations", func(d dump) { delete(d.MapFS, "expected.safetensors") }, "expected.safetensors"},
		{"truncated model", func(d dump) {
			d.MapFS["model.safetensors"].Data = d.MapFS["model.safetensors"].Data[:1000]
		}, "model.safetensors"},
		{"truncated inputs", func(d dump) {
			f := d.MapFS["inputs.safetensors"]
			f.Data = f.Data[:len(f.Data)-1]
		}, "inputs.safetensors"},
		{"truncated expectations", func(d dump) {
			f := d.MapFS["expected.safetensors"]
			f.Data = f.Data[:len(f.Data)/2]
		}, "expected.safetensors"},
		{"empty expectations", edit("expected.safetensors", func(m map[string]*weights.Tensor) { clear(m) }), "expected.safetensors"},
		{"a model folder", func(d dump) {
			var c map[string]any
			json.Unmarshal(d.MapFS["config.json"].Data, &c)
			delete(c, "case")
			m, err := multimae.ParseConfig(d.MapFS["config.json"].Data) // keeps the order of modalities
			if err != nil {
				d.t.Fatal(err)
			}
			m.Case = nil
			d.MapFS["config.json"].Data = m.JSON()
		}, `config.json…"case"`},
		{"a case of another type", func(d dump) { d.replace("config.json", `"batch": 2`, `"batch": "two"`) }, "config.json: case"},
		{"an image size between patches", func(d dump) { d.replace("config.json", "   32,\n   32\n", "   32,\n   36\n") }, "case.image_size: 32×36"},
		{"another image size", func(d dump) { d.replace("config.json", "   32,\n   32\n", "   32,\n   64\n") }, `"rgb"…6144…2×3×32×64`},
		{"no image size", func(d dump) { d.replace("config.json", `"image_size": [`, `"image": [`) }, "case.image_size: 0×0"},
		{"another batch", func(d dump) { d.replace("config.json", `"batch": 2`, `"batch": 3`) }, `"rgb"…6144…3×3×32×32`},
		{"no batch", func(d dump) { d.replace("config.json", `"batch": 2`, `"batch": -2`) }, "batch…-2"},
		{"an image size that wraps around", func(d dump) {
			d.replace("config.json", "   32,\n   32\n", "   1099511627776,\n   8388616\n")
		}, "case"},
		{"an image size beyond", func(d dump) { d.replace("config.json", "   32,\n   32\n", "   32,\n   16392\n") }, "case.image_size: …32×16392"},
		{"a batch that wraps around", func(d dump) {
			d.replace("config.json", `"batch": 2`, `"batch": 2147483647`)
		}, "batch: …2147483647"},
		{"another number of tokens", func(d dump) {
			d.replace("config.json", `"num_encoded_tokens": 8`, `"num_encoded_tokens": 1000000000`)
		}, "case.num_encoded_tokens: …1000000000…8"},
		{"another number of steps", func(d dump) { d.replace("config.json", `"steps": 3`, `"steps": 1000000000`) }, "case.steps: …1000000000…3"},
		{"a negative number of steps", func(d dump) { d.replace("config.json", `"steps": 3`, `"steps": -3`) }, "case.steps: …-3…3"},
		{"an unknown key", func(d dump) { d.replace("config.json", `"mlp_ratio"`, `"mlp_ration"`) }, `mlp_ration…"mlp_ratio"`},
		{"a weight missing", edit("model.safetensors", func(m map[string]*weights.Tensor) { delete(m, "encoder.0.attn.proj.bias") }), "encoder.0.attn.proj.bias"},
		{"no ids_keep", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { delete(m, "ids_keep") }), `inputs.safetensors…"ids_keep"`},
		{"no ids_restore", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { delete(m, "ids_restore") }), `inputs.safetensors…"ids_restore"`},
		{"no mask", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { delete(m, "mask.depth") }), `inputs.safetensors…"mask.depth"`},
		{"no modality", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			for _, name := range []string{"in.rgb", "in.depth", "in.semseg"} {
				delete(m, name)
			}
		}), "inputs: "},
		{"fewer modalities than ids", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { delete(m, "in.semseg") }), "ids_keep: sample 0 has token 33"},
		{"a mask that disagrees", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			v := m["mask.semseg"].Data.([]int64)
			v[17] = 1 - v[17]
		}), "mask.semseg: …17…ids_keep"},
		{"a short mask", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			m["mask.rgb"] = &weights.Tensor{Name: "mask.rgb", Shape: []int{2, 4}, Data: make([]int64, 8)}
		}), "mask.rgb…8…2×16"},
		{"ids that disagree", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			v, seen := m["ids_restore"].Data.([]int64), m["ids_keep"].Data.([]int64)[0]
			v[seen], v[(seen+1)%48] = v[(seen+1)%48], v[seen]
		}), "ids_restore: sample 0"},
		{"a token kept twice", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			v := m["ids_keep"].Data.([]int64)
			v[9] = v[8]
		}), "ids_keep: sample 1"},
		{"an id that is no token", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["ids_keep"].Data.([]int64)[3] = 48 }), "ids_keep: sample 0…48…0..47"},
		{"a negative id", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["ids_keep"].Data.([]int64)[3] = -1 }), "ids_keep: …-1…3"},
		{"an id beyond 32 bits", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["ids_restore"].Data.([]int64)[5] = 1 << 40 }), "ids_restore: …1099511627776…5"},
		{"a class beyond", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			m["in.semseg"].Data.([]int64)[4], m["target.semseg"].Data.([]int64)[4] = 5, 5
		}), `modality "semseg": id 5 at index 4, want 0..4`},
		{"a class far beyond", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			m["in.semseg"].Data.([]int64)[4], m["target.semseg"].Data.([]int64)[4] = 1<<32, 1<<32
		}), `modality "semseg": id `},
		{"a target that is not the input", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["target.depth"].Data.([]float32)[0]++ }), `target.depth…"depth"`},
		{"classes as floats", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			m["in.semseg"].Data = make([]float32, 128)
		}), `"in.semseg"…F32`},
		{"an image as integers", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			m["in.depth"].Data = make([]int64, 2048)
		}), `"in.depth"…I64`},
		{"an unknown expectation", edit("expected.safetensors", func(m map[string]*weights.Tensor) {
			m["grad.encoder.2.norm1.bias"] = &weights.Tensor{Name: "grad.encoder.2.norm1.bias", Shape: []int{1}, Data: []float32{0}}
		}), `expected.safetensors…"grad.encoder.2.norm1.bias"`},
		{"a step left out", edit("expected.safetensors", func(m map[string]*weights.Tensor) { delete(m, "step1.loss") }), `expected.safetensors…"step2.loss"`},
		{"an expectation of another size", edit("expected.safetensors", func(m map[string]*weights.Tensor) {
			m["out.depth"] = &weights.Tensor{Name: "out.depth", Shape: []int{3}, Data: make([]float32, 3)}
		}), "expected.safetensors: out.depth…3…2048"},
		{"integers expected", edit("expected.safetensors", func(m map[string]*weights.Tensor) {
			m["loss.rgb"].Data = []int64{1}
		}), `expected.safetensors…"loss.rgb"…I64`},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := tiny(t)
			c.damage(d)
			r, err := d.run()
			if r != nil || err == nil || !testkit.Mentions(err.Error(), "dump x: …"+c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestCost has a dump whose few bytes ask for hours, another whose steps do, and an honest one.
func TestCost(t *testing.T) {
	params := func(dim int) *nn.Params {
		ps := nn.DeferredParams() // which take no memory
		nn.NewLinear(ps, "proj", dim, dim, true)
		return ps
	}
	for _, c := range []struct {
		what        string
		dim, tokens int
		values      float64
		steps       int
		size        int64
		refused     bool
	}{
		{what: "small", dim: 64, tokens: 1000, steps: 3, size: 1 << 20},
		{what: "MultiMAE-B", dim: 10_000, tokens: 6000, steps: 3, size: 1 << 30},
		{what: "a byte for each token", dim: 1 << 10, tokens: 1 << 20, steps: 1, size: 6 << 20, refused: true},
		{what: "a wide token", dim: 1 << 13, tokens: 1 << 20, steps: 1, size: 256 << 20, refused: true},
		{what: "large maps", dim: 64, tokens: 1000, values: 1e12, steps: 1, size: 1 << 20, refused: true},
		{what: "many steps", dim: 64, tokens: 1000, steps: 100_000, size: 8 << 20, refused: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := &subject{params: params(c.dim), tokens: c.tokens, samples: 2, values: c.values}
			if err := s.checkCost(c.steps, c.size); c.refused {
				testkit.ErrorNames(t, err, "config.json: case: ", fmt.Sprint(c.tokens))
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestErrorsMultiViT runs dumps of fine-tuning that cannot be compared.
func TestErrorsMultiViT(t *testing.T) {
	edit := func(file string, f func(m map[string]*weights.Tensor)) func(d dump) {
		return func(d dump) { d.edit(file, f) }
	}
	for _, c := range []struct {
		what, folder string
		damage       func(d dump)
		want         string
	}{
		{"another model's configuration", "vit_linear", func(d dump) { d.MapFS["config.json"] = tiny(t).MapFS["config.json"] }, "model.safetensors"},
		{"said to be pre-training", "vit_linear", func(d dump) { d.replace("config.json", `"multivit"`, `"multimae"`) }, "config.json: outputs.cls."},
		{"pre-training said not to be", "pretrain_tiny", func(d dump) { d.replace("config.json", `"multimae"`, `"multivit"`) }, "config.json: outputs.rgb.channels: "},
		{"an unknown model", "vit_linear", func(d dump) { d.replace("config.json", `"multivit"`, `"vit"`) }, `config.json: model: …"vit"…"multimae"…"multivit"`},
		{"no case", "vit_linear", func(d dump) { d.replace("config.json", `"case"`, `"Case"`) }, `config.json: Case: …"case"`},
		{"an unknown head", "vit_segmenter_multi", func(d dump) { d.replace("config.json", `"segmenter"`, `"segmentor"`) }, `config.json: outputs.semseg.head: …"segmentor"`},
		{"another head's key", "vit_segmenter_multi", func(d dump) { d.replace("config.json", `"embed_dim"`, `"feature_dim"`) }, `config.json: outputs.semseg.feature_dim: …"segmenter"`},
		{"another image", "vit_segmenter_multi", func(d dump) { d.replace("config.json", `"image_size": [`, `"image": [`) }, "case.image_size: 0×0"},
		{"another batch", "vit_segmenter_multi", func(d dump) { d.replace("config.json", `"batch": 2`, `"batch": 3`) }, `"rgb"…5760…3×3×24×40`},
		{"a weight missing", "vit_convnext_depth", edit("model.safetensors", func(m map[string]*weights.Tensor) { delete(m, "output_adapters.depth.blocks.1.dwconv.bias") }),
			"output_adapters.depth.blocks.1.dwconv.bias"},
		{"a main task missing", "vit_segmenter_multi", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { delete(m, "in.depth") }), `"depth"…semseg`},
		{"a negative id", "vit_segmenter_multi", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["target.semseg"].Data.([]int64)[5] = -1 }), "target.semseg: …-1…5"},
		{"ids as floats", "vit_segmenter_multi", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["target.semseg"].Data = make([]float32, 2*24*40) }), `"target.semseg"…F32`},
		{"a short target", "vit_segmenter_multi", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			m["target.semseg"] = &weights.Tensor{Name: "target.semseg", Shape: []int{3}, Data: make([]int64, 3)}
		}), "semseg: …3…1920"},
		{"values as ids", "vit_convnext_depth", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["target.depth"].Data = make([]int64, 2*40*24) }), `"target.depth"…I64`},
		{"one channel for three", "vit_convnext_depth", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			x := *m["target.depth"]
			x.Name = "target.normals"
			m["target.normals"] = &x
		}), "normals: …1920…5760"},
		{"valid for each channel", "vit_convnext_depth", edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
			m["valid.normals"] = &weights.Tensor{Name: "valid.normals", Shape: []int{2, 3, 40, 24}, Data: make([]int64, 5760)}
		}), "normals: …5760…1920"},
		{"valid as floats", "vit_convnext_depth", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["valid.depth"].Data = make([]float32, 1920) }), `"valid.depth"…F32`},
		{"no target", "vit_convnext_depth", edit("inputs.safetensors", func(m map[string]*weights.Tensor) { delete(m, "target.depth") }), `expected.safetensors…"loss.depth"`},
		{"an expectation of another size", "vit_convnext_depth", edit("expected.safetensors", func(m map[string]*weights.Tensor) {
			m["out.depth"] = &weights.Tensor{Name: "out.depth", Shape: []int{3}, Data: make([]float32, 3)}
		}), "expected.safetensors: out.depth…3…1920"},
		{"a second name expected", "vit_dpt_semseg", edit("expected.safetensors", func(m map[string]*weights.Tensor) {
			const name = "grad.output_adapters.semseg.scratch.layer_rn.0.weight"
			m[name] = &weights.Tensor{Name: name, Shape: []int{1}, Data: []float32{0}}
		}), `expected.safetensors…"grad.output_adapters.semseg.scratch.layer_rn.0.weight"`},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := dumpOf(t, c.folder)
			c.damage(d)
			r, err := d.run()
			if r != nil || err == nil || !testkit.Mentions(err.Error(), "dump x: …"+c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestFailsMultiViT changes what only a MultiViT has and wants the groups that depend on it to
// fail.
func TestFailsMultiViT(t *testing.T) {
	flip := func(name string, i int) func(m map[string]*weights.Tensor) {
		return func(m map[string]*weights.Tensor) {
			v := m[name].Data.([]int64)
			v[i] = 1 - v[i]
		}
	}
	for _, c := range []struct {
		what, folder, file string
		damage             func(m map[string]*weights.Tensor)
		fail               string
	}{
		{"a class", "vit_segmenter_multi", "inputs.safetensors", func(m map[string]*weights.Tensor) {
			v := m["target.semseg"].Data.([]int64)
			v[100] = (v[100] + 1) % 6
		}, "loss grad step0"},
		{"an ignored pixel", "vit_segmenter_multi", "inputs.safetensors", func(m map[string]*weights.Tensor) {
			v := m["target.semseg"].Data.([]int64)
			v[slices.IndexFunc(v, func(id int64) bool { return id == 255 })] = 0
		}, "loss grad step0"},
		{"a valid pixel", "vit_convnext_depth", "inputs.safetensors", flip("valid.normals", 7), "loss grad step0"},
		{"a weight of a head", "vit_dpt_semseg", "model.safetensors", func(m map[string]*weights.Tensor) {
			m["output_adapters.semseg.head.4.weight"].Data.([]float32)[0] += 0.1
		}, "out loss grad step0"},
		{"a unit that nothing uses", "vit_dpt_semseg", "model.safetensors", func(m map[string]*weights.Tensor) {
			m["output_adapters.semseg.scratch.refinenet4.resConfUnit1.conv1.bias"].Data.([]float32)[0]++
		}, "param"},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := dumpOf(t, c.folder)
			d.edit(c.file, c.damage)
			r, err := d.run()
			if err != nil {
				t.Errorf("%v", err)
				return
			}
			var failed []string
			for _, g := range r.Groups {
				if !g.Pass {
					failed = append(failed, g.Name)
				}
			}
			for _, g := range strings.Fields(c.fail) {
				if !slices.Contains(failed, g) {
					t.Errorf("group %s passes", g)
				}
			}
			if c.fail == "param" && len(failed) != 1 {
				t.Errorf("groups %v fail", failed)
			}
		})
	}
}

// TestAbsent runs a dump with targets of modalities that are no input, and with few expected
// tensors.
func TestAbsent(t *testing.T) {
	d := tiny(t)
	keep, restore := make([]int64, 0, 16), make([]int64, 0, 32)
	for range 2 { // only depth, of which the encoder sees patches 0..7
		for i := range int64(16) {
			restore = append(restore, i)
			if i < 8 {
				keep = append(keep, i)
			}
		}
	}
	d.edit("inputs.safetensors", func(m map[string]*weights.Tensor) {
		for _, name := range []string{"in.rgb", "in.semseg", "mask.rgb", "mask.semseg"} {
			delete(m, name)
		}
		m["ids_keep"] = &weights.Tensor{Name: "ids_keep", Shape: []int{2, 8}, Data: keep}
		m["ids_restore"] = &weights.Tensor{Name: "ids_restore", Shape: []int{2, 16}, Data: restore}
		mask := m["mask.depth"].Data.([]int64)
		for i := range mask {
			mask[i] = int64(i / 8 % 2)
		}
	})
	d.edit("expected.safetensors", func(m map[string]*weights.Tensor) {
		for name := range m {
			if name != "loss.rgb" && name != "loss.norm_rgb" && name != "loss.depth" {
				delete(m, name)
			}
		}
	})
	r, err := d.run()
	if err != nil || len(r.Groups) != 1 || r.Groups[0].Count != 3 || r.Pass() { // of other masks
		t.Fatalf("%+v %v", r, err)
	}
	d.edit("inputs.safetensors", func(m map[string]*weights.Tensor) { m["target.norm_rgb"].Data.([]float32)[5]++ })
	if _, err := d.run(); err == nil || !testkit.Mentions(err.Error(), `target.norm_rgb…"rgb"`) {
		t.Errorf("two targets of one task: %v", err)
	}
}

// TestChance moves biases of keys, whose gradient is rounding, as far as AdamW can move them by
// chance. The dump must pass with the error that it had.
func TestChance(t *testing.T) {
	param := func(d dump) Group {
		t.Helper()
		r, err := d.run()
		if err != nil || !r.Pass() {
			t.Fatalf("%+v %v", r, err)
		}
		return r.Groups[len(r.Groups)-1]
	}
	d := tiny(t)
	before := param(d)
	d.edit("expected.safetensors", func(m map[string]*weights.Tensor) {
		for name, from := range map[string]int{"output_adapters.rgb.decoder.kv.bias": 0, "encoder.1.attn.qkv.bias": 32} {
			for i := range 16 {
				set("param."+name, from+i, add([]float64{0.003, -0.003, 0.0059, -0.001}[i%4]))(m) // up to 2·steps·lr
			}
		}
	})
	if after := param(d); after != before {
		t.Errorf("got %+v, want %+v", after, before)
	}

	// A gradient of zeros leaves nothing to chance: AdamW only decays the parameter.
	d = tiny(t)
	d.edit("expected.safetensors", func(m map[string]*weights.Tensor) {
		name := "output_adapters.rgb.decoder.kv.bias"
		set("grad."+name, -1, to(0))(m)
		set("param."+name, 3, add(0.001))(m)
	})
	if r, err := d.run(); err != nil || r.Groups[len(r.Groups)-1].Pass {
		t.Errorf("a gradient of zeros: %+v %v", r, err)
	}
}

// TestMeetsAim checks that the aim is the larger of PyTorch's own error and the floor.
func TestMeetsAim(t *testing.T) {
	for _, c := range []struct {
		err, torch float64
		want       bool
	}{{4e-7, 1e-8, true}, {5e-7, 0, true}, {6e-7, 4e-7, false}, {6e-7, 6e-7, true}, {7e-6, 6e-6, false}, {beyond, 1, false}} {
		if g := (Group{Error: c.err, Torch: c.torch}); g.MeetsAim() != c.want {
			t.Errorf("%+v: %v", g, !c.want)
		}
	}
}

// TestNoise checks that a gradient of rounding is judged by the largest gradient, and no other
// tensor is.
func TestNoise(t *testing.T) {
	empty := []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}")
	f, err := weights.NewReader(bytes.NewReader(empty), int64(len(empty)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		last result
		want float64 // error
	}{
		{"noise", result{group: "grad", name: "key", diff: 8e-6, norm: 9e-8}, 2e-6},
		{"more than noise", result{group: "grad", name: "key", diff: 9e-6, norm: 9e-8}, 9e-6 / 4},
		{"zeros", result{group: "grad", name: "key", diff: 1e-6}, 1e-6 / 4},
		{"a small gradient", result{group: "grad", name: "small", diff: 8e-7, norm: 5e-7}, 1.6},
		{"a small parameter", result{group: "param", name: "bias", diff: 8e-7, norm: 9e-8}, 80. / 9},
		{"a loss of zero", result{group: "loss", name: "loss.rgb"}, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			j := &judge{f: f, largest: 4, torch: map[string]float64{"grad": 1e-6, "param": 1e-6}, results: []result{
				{group: "grad", name: "large", diff: 1e-12, norm: 4}, c.last,
			}}
			groups, err := j.groups()
			if err != nil {
				t.Fatal(err)
			}
			g := groups[len(groups)-1]
			if math.Abs(g.Error-c.want) > 1e-9*c.want || g.Pass != (c.want <= 2e-6) {
				t.Errorf("%+v, want the error %g", g, c.want)
			}
		})
	}
}
