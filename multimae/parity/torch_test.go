package parity

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/nn/weights"
)

// TestTorch has the official libraries read what this project writes, and PyTorch repeat a
// committed dump.
func TestTorch(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	if out, err := exec.Command("python3", "-c", "import torch, safetensors").CombinedOutput(); err != nil {
		t.Skipf("no PyTorch for python3 (%v); install it with: pip install -r testdata/torch/requirements.txt\n%s", err, out)
	}
	python := func(script string, args ...string) (string, error) {
		out, err := exec.Command("python3", append([]string{"../../testdata/torch/" + script}, args...)...).CombinedOutput()
		return string(out), err
	}

	// A model with tensors that are written twice.
	m, err := heads.LoadDir(dumps + "vit_dpt_semseg")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	pth := filepath.Join(dir, "model.pth")
	if err := atomicfile.Write(pth, func(w io.Writer) error { return weights.WritePth(w, m.Params.Tensors(), nil) }); err != nil {
		t.Fatal(err)
	}
	// Both must equal what PyTorch once wrote.
	out, err := python("files.py", "check", dumps+"vit_dpt_semseg/model.safetensors", filepath.Join(dir, "model.safetensors"), pth)
	if err != nil || strings.Count(out, "; the same as ") != 2 {
		t.Errorf("files.py check: %v\n%s", err, out)
	}
	// That proves something only if a changed bit is noticed.
	b, err := os.ReadFile(pth)
	if err != nil {
		t.Fatal(err)
	}
	weight := m.Params.Get("encoder.0.attn.qkv.weight").Data
	var one bytes.Buffer
	if err := weights.WriteSafetensors(&one, []weights.Tensor{{Name: "x", Shape: []int{len(weight)}, Data: weight}}, nil); err != nil {
		t.Fatal(err)
	}
	raw := one.Bytes()[one.Len()-4*len(weight):]
	at := bytes.Index(b, raw)
	if at < 0 {
		t.Fatal("the weight is not in the file")
	}
	b[at+8] ^= 1
	if err := os.WriteFile(pth, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err = python("files.py", "check", dir); err == nil || !strings.HasSuffix(out, "\nFAIL\n") {
		t.Errorf("a bit changed: %v\n%s", err, out)
	}

	out, err = python("dump.py", "--check", dumps+"vit_linear_token")
	if err != nil {
		t.Errorf("dump.py --check: %v\n%s", err, out)
	}
	t.Log(out)
}
