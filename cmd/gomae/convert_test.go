package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn/weights"
)

// ok runs the command and requires success.
func ok(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := gomae(args...)
	if code != 0 {
		t.Fatalf("%v: exit %d, %s", args, code, stderr)
	}
	return stdout, stderr
}

func tensorsOf(t *testing.T, path string) []weights.Tensor {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := weights.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestConvertFormats converts a folder to every format and back, and wants the same tensors and
// bytes.
func TestConvertFormats(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	ok(t, "convert", tinyDump, at("a.pth"))
	ok(t, "convert", at("a.pth"), at("b.safetensors"))
	ok(t, "convert", at("b.safetensors"), at("c.bin"))
	ok(t, "convert", "-heads", "2", "-decoder-heads", "2", at("c.bin"), at("derived"))
	ok(t, "convert", "-config", tinyDump+"/config.json", at("c.bin"), at("given"))
	ok(t, "convert", tinyDump, at("copied"))
	want := tensorsOf(t, tinyDump+"/model.safetensors")
	for _, name := range []string{"a.pth", "b.safetensors", "c.bin", "derived/model.safetensors", "given/model.safetensors", "copied/model.safetensors"} {
		if !reflect.DeepEqual(tensorsOf(t, at(name)), want) {
			t.Errorf("%s holds other tensors", name)
		}
	}
	a, _ := os.ReadFile(at("a.pth"))
	c, _ := os.ReadFile(at("c.bin"))
	if !bytes.Equal(a, c) || !bytes.HasPrefix(a, []byte("PK")) {
		t.Error("the same tensors gave other files")
	}
	// The configuration that is inferred is the one of the dump.
	source, err := multimae.LoadConfig(os.DirFS(tinyDump), multimae.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	source.Case, source.Optim = nil, multimae.Optim{}
	for _, name := range []string{"derived", "given", "copied"} {
		m, err := multimae.LoadDir(at(name))
		if err != nil {
			t.Fatal(err)
		}
		m.Config.Case, m.Config.Optim = nil, multimae.Optim{}
		if !bytes.Equal(m.Config.JSON(), source.JSON()) {
			t.Errorf("%s: configuration\n%s\nwant\n%s", name, m.Config.JSON(), source.JSON())
		}
	}
	// The folder is ready for use.
	ok(t, "reconstruct", "-model", at("given"), "-rgb", "../../testdata/hue.png", "-out", at("grid.png"))
}

func TestConvertList(t *testing.T) {
	stdout, stderr := ok(t, "convert", "-list", "../../nn/weights/testdata/torch1.13_legacy.pth")
	for _, want := range []string{"half_view               F16   [2, 2]\n21 tensors of 254 values\noptimizer: dict, 2 entries\n", "\nepoch: 1599\nargs: Namespace, 12 entries\n  lr=0.0001\n"} {
		if !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("the list lacks %q:\n%s%s", want, stdout, stderr)
		}
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = weights.WriteSafetensors(file, []weights.Tensor{{Name: "\x1b[2J", Shape: []int{1}, Data: []int64{3}}}, map[string]string{"format": "pt"})
	if err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	if stdout, _ := ok(t, "convert", "-list", path); stdout != "\"\\x1b[2J\"  I64  [1]\n1 tensor of 1 value\nformat: pt\n" {
		t.Errorf("list %q", stdout)
	}
	if stdout, _ := ok(t, "convert", tinyDump, "-list"); !strings.Contains(stdout, "global_tokens ") || !strings.Contains(stdout, "183 tensors") {
		t.Errorf("list of a folder %q", stdout)
	}
}

// TestConvertBFloat16 rounds floating-point values of both widths and no others.
func TestConvertBFloat16(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.safetensors"), filepath.Join(dir, "out.safetensors")
	list := []weights.Tensor{
		{Name: "single", Shape: []int{2}, Data: []float32{1.003, 1.005}},
		{Name: "double", Shape: []int{2}, Data: []float64{1.003, 1.005}},
		{Name: "whole", Shape: []int{1}, Data: []int64{257}},
	}
	if err := atomicfile.Write(in, func(w io.Writer) error { return weights.WriteSafetensors(w, list, nil) }); err != nil {
		t.Fatal(err)
	}
	ok(t, "convert", "-bfloat16", in, out)
	if stdout, _ := ok(t, "convert", "-list", out); strings.Count(stdout, "BF16") != 2 || !strings.Contains(stdout, "I64") {
		t.Errorf("list %q", stdout)
	}
	rounded := []float32{1, 1.0078125}
	for _, x := range tensorsOf(t, out) {
		if x.Name != "whole" && !reflect.DeepEqual(x.Data, rounded) {
			t.Errorf("%s: %v, want %v", x.Name, x.Data, rounded)
		}
	}
}

func TestConvertTimm(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	_, stderr := ok(t, "convert", "-to", "timm", tinyDump, at("vit.pth"))
	for _, want := range []string{"input_adapters.depth.*, input_adapters.semseg.*, output_adapters.rgb.*, ", "added norm.weight", "wrote 30 tensors"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("it says %q, want %q", stderr, want)
		}
	}
	_, stderr = ok(t, "convert", "-to", "multimae", at("vit.pth"), at("back.safetensors"))
	if !strings.Contains(stderr, ": norm.weight, norm.bias\n") {
		t.Errorf("it says %q", stderr)
	}
	want := map[string]weights.Tensor{}
	for _, x := range tensorsOf(t, tinyDump+"/model.safetensors") {
		want[x.Name] = x
	}
	back := tensorsOf(t, at("back.safetensors"))
	for _, x := range back {
		if !reflect.DeepEqual(x, want[x.Name]) {
			t.Errorf("%s changed", x.Name)
		}
	}
	if len(back) != 28 {
		t.Errorf("%d tensors", len(back))
	}
}

func TestConvertErrors(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	ok(t, "convert", tinyDump, at("a.pth"))
	ok(t, "convert", tinyDump, at("model"))
	ok(t, "convert", "-to", "timm", tinyDump, at("vit.pth"))
	os.WriteFile(at("file"), nil, 0o666)
	os.MkdirAll(at("folder.pth"), 0o777)
	os.MkdirAll(at("empty"), 0o777)
	os.WriteFile(at("text.pth"), []byte("<!DOCTYPE html>\n"), 0o666)
	before, _ := os.ReadFile(at("a.pth"))
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{2, "argument missing: SRC", nil},
		{2, "argument missing: DST", []string{at("a.pth")}},
		{2, `unexpected argument "c"`, []string{"a", "b", "c"}},
		{2, "argument missing: SRC", []string{"-list"}},
		{2, "-to clip…timm…multimae", []string{"-to", "clip", "a", "b"}},
		{2, "-heads -1: want 0 to", []string{"-heads", "-1", "a", "b"}},
		{2, "-decoder-heads 0: want 1 to", []string{"-decoder-heads", "0", "a", "b"}},
		{1, at("none.pth"), []string{at("none.pth"), at("b.pth")}},
		{1, at("text.pth") + "…web page", []string{at("text.pth"), at("b.pth")}},
		{1, `call_system.pth…"posix.system"`, []string{"../../nn/weights/testdata/call_system.pth", at("b.pth")}},
		{1, at("empty") + "…model.safetensors", []string{at("empty"), at("b.pth")}},
		{1, at("a.pth") + "…-force", []string{tinyDump, at("a.pth")}},
		{1, at("model") + "…-force", []string{at("a.pth"), at("model")}},
		{2, at("file") + " is a file…folder", []string{at("a.pth"), at("file")}},
		{2, at("folder.pth") + " is a folder….pth", []string{at("model"), at("folder.pth")}},
		{2, "SRC and DST…" + at("model"), []string{at("model"), at("model"), "-force"}},
		{2, "-to timm…DST", []string{"-to", "timm", at("model"), at("new")}},
		{1, at("a.pth") + "…keys…timm", []string{"-to", "multimae", at("a.pth"), at("b.pth")}},
		{1, at("vit.pth") + "…keys…MultiMAE", []string{"-to", "timm", at("vit.pth"), at("b.pth")}},
		{1, "encoder of a ViT…pretrain -from…-to multimae", []string{at("vit.pth"), at("new")}},
		{2, "x.onnx…safetensors", []string{at("a.pth"), at("x.onnx")}},
		{1, "none.json", []string{"-config", at("none.json"), at("a.pth"), at("new")}},
		{1, "none.json", []string{"-to", "multimae", "-config", at("none.json"), at("vit.pth"), at("b.pth")}},
		{1, at("text.pth") + "…JSON", []string{"-to", "multimae", "-config", at("text.pth"), at("vit.pth"), at("b.pth")}},
		{2, "-heads…-to", []string{"-to", "multimae", "-heads", "2", at("vit.pth"), at("b.pth")}},
		{1, "heads: got 5…32", []string{"-heads", "5", at("a.pth"), at("new")}},
		{1, at("a.pth"), []string{"-config", "../../testdata/parity/pretrain_small/config.json", at("a.pth"), at("new")}},
	} {
		t.Run(strings.ReplaceAll(strings.Join(c.args, " "), dir, ""), func(t *testing.T) {
			refuses(t, c.code, c.want, append([]string{"convert"}, c.args...)...)
		})
	}
	if after, _ := os.ReadFile(at("a.pth")); !bytes.Equal(after, before) {
		t.Error("a.pth changed")
	}
	for _, name := range []string{"new", "b.pth"} {
		if _, err := os.Stat(at(name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	ok(t, "convert", "-force", at("vit.pth"), at("a.pth"))
	os.WriteFile(at("bom.json"), []byte("\xef\xbb\xbf{}"), 0o666)
	ok(t, "convert", "-to", "multimae", "-config", at("bom.json"), at("vit.pth"), at("encoder.safetensors"))
	ok(t, "convert", "-force", tinyDump, at("model"))
}

// TestConvertKeepsConfiguration takes a model through every format and wants the same configuration
// and the same values.
func TestConvertKeepsConfiguration(t *testing.T) {
	for name, dump := range map[string]string{"pre-trained": tinyDump, "fine-tuned": "../../testdata/parity/vit_linear"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			ok(t, "convert", dump, at("first"))
			from := "first"
			for _, to := range []string{"a.pth", "b.safetensors", "folder", "c.bin", "last"} {
				ok(t, "convert", at(from), at(to))
				from = to
			}
			for _, name := range []string{"config.json", "model.safetensors"} {
				first, err := os.ReadFile(filepath.Join(at("first"), name))
				if err != nil {
					t.Fatal(err)
				}
				last, err := os.ReadFile(filepath.Join(at("last"), name))
				if err != nil || !bytes.Equal(first, last) {
					t.Errorf("%s differs, %v", name, err)
				}
			}
		})
	}
	t.Run("beside the file", func(t *testing.T) {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		f, err := weights.Open(tinyDump + "/model.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		list, err := weights.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		write := func(path string) {
			if err := atomicfile.Write(path, func(w io.Writer) error { return weights.WritePth(w, list, nil) }); err != nil {
				t.Fatal(err)
			}
		}
		write(at("m.pth"))
		_, stderr := ok(t, "convert", at("m.pth"), at("inferred"))
		if !strings.Contains(stderr, "Assumed: ") || !strings.Contains(stderr, "-heads") || !strings.Contains(stderr, "-decoder-heads") {
			t.Errorf("does not say what it assumes: %s", stderr)
		}
		b, err := os.ReadFile(tinyDump + "/config.json")
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(at("config.json"), b, 0o666)
		_, stderr = ok(t, "convert", at("m.pth"), at("m"))
		if strings.Contains(stderr, "Assumed") {
			t.Errorf("assumes what is beside it: %s", stderr)
		}
		want, err := multimae.ParseConfig(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(at("m/config.json")); err != nil || !bytes.Equal(got, want.JSON()) {
			t.Errorf("got %s, %v", got, err)
		}
		_, _ = ok(t, "convert", "-heads", "2", at("m.pth"), at("two"))
		got, err := multimae.LoadConfig(os.DirFS(at("two")), "config.json")
		if err != nil || got.Encoder.Heads != 2 || got.Outputs[0].Heads != want.Outputs[0].Heads {
			t.Errorf("with -heads 2: %+v, %v", got, err)
		}
	})
}
