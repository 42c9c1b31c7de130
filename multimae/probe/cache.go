package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/machine"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/nn/weights"
)

// The tensors of a file of features.
const (
	featuresKey = "features" // [N, D]
	checksumKey = "crc32c"   // [1], of the features' bits
)

// path returns the file that keeps the features of a dataset.
func (e *Extractor) path(ds data.Listed) (string, error) {
	h := sha256.New()
	level, _, _ := machine.SIMD() // the levels differ in the last bits
	c := e.Model.BackboneConfig()
	fmt.Fprintf(h, "features 1\n%s\n%+v\n", level, *c)
	if err := weights.WriteSafetensors(h, e.Model.Params.Tensors(), nil); err != nil {
		return "", err
	}
	for _, in := range e.Inputs {
		fmt.Fprintf(h, "%q\n", in.Name)
	}
	for i := range ds.Len() {
		fmt.Fprintf(h, "%q\n", ds.Name(i))
		for _, file := range ds.Files(i) {
			info, err := os.Stat(file)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%d %d\n", info.Size(), info.ModTime().UnixNano())
		}
	}
	return filepath.Join(e.Cache, hex.EncodeToString(h.Sum(nil)[:16])+".safetensors"), nil
}

// readCache returns the features in a file, or nil if there are none or the file is damaged.
func readCache(path string, n, dim int) []float32 {
	f, err := weights.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if shape, _ := f.Shape(featuresKey); !slices.Equal(shape, []int{n, dim}) || f.DType(featuresKey) != "F32" {
		return nil
	}
	x := make([]float32, n*dim)
	if err := f.ReadFloat32(featuresKey, x); err != nil {
		return nil
	}
	if want, err := f.Int64(checksumKey); err != nil || len(want) != 1 || want[0] != checksum(x) {
		return nil
	}
	return x
}

func writeCache(path string, f *Features) error {
	if err := atomicfile.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return atomicfile.Replace(path, func(w io.Writer) error {
		return weights.WriteSafetensors(w, []weights.Tensor{
			{Name: featuresKey, Shape: []int{len(f.Names), f.Dim}, Data: f.X},
			{Name: checksumKey, Shape: []int{1}, Data: []int64{checksum(f.X)}},
		}, nil)
	})
}

// checksum returns the CRC-32C of the bits of x.
func checksum(x []float32) int64 {
	table, sum := crc32.MakeTable(crc32.Castagnoli), uint32(0)
	var b [4]byte
	for _, v := range x {
		bits := math.Float32bits(v)
		b[0], b[1], b[2], b[3] = byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24)
		sum = crc32.Update(sum, table, b[:])
	}
	return int64(sum)
}
