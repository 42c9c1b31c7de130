package weights

import (
	"archive/zip"
	"bytes"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/atomicfile"
)

func TestWritePth(t *testing.T) {
	testWriter(t, func(w io.Writer, tensors []Tensor) error { return WritePth(w, tensors, nil) })

	t.Run("round trip", func(t *testing.T) {
		want := roundTensors()
		var pth, again, safe, back bytes.Buffer
		for _, w := range []io.Writer{&pth, &again} {
			if err := WritePth(w, want, nil); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(pth.Bytes(), again.Bytes()) {
			t.Error("the same tensors gave other bytes")
		}
		got := mustReadAll(t, mustOpenBytes(t, pth.Bytes()))
		sameTensors(t, got, want)
		if err := WriteSafetensors(&safe, got, nil); err != nil {
			t.Fatal(err)
		}
		if err := WritePth(&back, mustReadAll(t, mustOpenBytes(t, safe.Bytes())), nil); err != nil || !bytes.Equal(back.Bytes(), pth.Bytes()) {
			t.Errorf("pth → safetensors → pth gave other bytes (%v)", err)
		}
	})

	t.Run("archive", func(t *testing.T) {
		var pth bytes.Buffer
		if err := WritePth(&pth, roundTensors(), nil); err != nil {
			t.Fatal(err)
		}
		z, err := zip.NewReader(bytes.NewReader(pth.Bytes()), int64(pth.Len()))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range z.File {
			const descriptor = 8 // sizes behind the data, where a reader that maps the file cannot use them
			if off, err := e.DataOffset(); err != nil || off%64 != 0 || e.Method != zip.Store || e.Flags&descriptor != 0 {
				t.Errorf("%s lies at %d, method %d, flags %#x, %v", e.Name, off, e.Method, e.Flags, err)
			}
			r, err := e.Open()
			if err == nil {
				_, err = io.Copy(io.Discard, r) // compares the checksum
			}
			if err != nil {
				t.Errorf("%s: %v", e.Name, err)
			}
		}
	})

	t.Run("no tensors", func(t *testing.T) {
		var pth bytes.Buffer
		if err := WritePth(&pth, nil, nil); err != nil {
			t.Fatal(err)
		}
		if names := mustOpenBytes(t, pth.Bytes()).Names(); len(names) != 0 {
			t.Errorf("names %q", names)
		}
	})
}

// TestWritePthMetadata writes strings beside the tensors, and reads them.
func TestWritePthMetadata(t *testing.T) {
	metadata := map[string]string{"config": `{"a": "ü"}`, "b": ""}
	var out bytes.Buffer
	if err := WritePth(&out, roundTensors(), metadata); err != nil {
		t.Fatal(err)
	}
	f := mustOpenBytes(t, out.Bytes())
	if got := f.Metadata(); !maps.Equal(got, metadata) {
		t.Errorf("got %q", got)
	}
	sameTensors(t, mustReadAll(t, f), roundTensors())
	for _, bad := range []map[string]string{{"model": "x"}, {"x": "\xff"}, {"\xff": "x"}} {
		if err := WritePth(io.Discard, nil, bad); err == nil {
			t.Errorf("%q was written", bad)
		}
	}
}

// TestWritePthTorch has PyTorch load what WritePth writes.
func TestWritePthTorch(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	if out, err := exec.Command("python3", "-c", "import torch").CombinedOutput(); err != nil {
		t.Skipf("no PyTorch for python3 (%v); install it with: pip install torch, or apt install python3-torch\n%s", err, out)
	}
	path := filepath.Join(t.TempDir(), "w.pth")
	if err := atomicfile.Write(path, func(w io.Writer) error { return WritePth(w, roundTensors(), nil) }); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", "-c", `
import sys, torch
d = torch.load(sys.argv[1], weights_only=True)
for k, v in d["model"].items():
    print(ascii(k), v.dtype, list(v.shape), v.is_contiguous(), v.numpy().tobytes()[-4:].hex())
`, path).CombinedOutput()
	want := `'encoder.weight' torch.float32 [98309] True c46667af
'a' torch.uint8 [2, 3] True ff070903
'na\xefve "quoted" \'name\' <&>\n\U0001f600' torch.float64 [2, 1, 2] True 3ce4377e
'ids' torch.int64 [4, 1] True ffffff7f
'bn.num_batches_tracked' torch.int64 [] True 00000000
'empty' torch.float32 [0, 7] True 
'last' torch.float32 [1] True 00004040
`
	if err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(want) {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}
