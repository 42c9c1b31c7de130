package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
)

// BenchmarkFile writes and reads models in the folder for temporary files. MB/s is the rate of file
// bytes. A file that is read is still in the page cache.
func BenchmarkFile(b *testing.B) {
	for _, name := range []string{"small", "base"} {
		b.Run("model="+name, func(b *testing.B) {
			files := func() *modelFiles {
				return once(b, "files "+name, "files", func() (*modelFiles, error) { return newModelFiles(name) })
			}
			for _, of := range []struct {
				name string
				run  func(f *modelFiles, dir string) (file string, err error)
			}{
				{"save", func(f *modelFiles, dir string) (string, error) {
					return filepath.Join(dir, "model.safetensors"), f.trainer.Objective.(*train.Pretraining).Model.Save(dir)
				}},
				{"load", func(f *modelFiles, dir string) (string, error) {
					m, err := multimae.LoadDir(dir)
					f.read = m
					return filepath.Join(dir, "model.safetensors"), err
				}},
				{"checkpoint-save", func(f *modelFiles, dir string) (string, error) {
					path := filepath.Join(dir, train.CheckpointName(f.trainer.Steps()))
					return path, f.trainer.Save(path)
				}},
				{"checkpoint-restore", func(f *modelFiles, dir string) (string, error) {
					path := filepath.Join(dir, train.CheckpointName(0))
					return path, f.trainer.Restore(path)
				}},
				{"pth-write", func(f *modelFiles, dir string) (string, error) {
					path := filepath.Join(dir, "model.pth")
					return path, atomicfile.Write(path, func(w io.Writer) error {
						return weights.WritePth(w, f.trainer.Objective.(*train.Pretraining).Model.Params.Tensors(), nil)
					})
				}},
				{"pth-read", func(f *modelFiles, dir string) (string, error) {
					path := filepath.Join(dir, "model.pth")
					file, err := weights.Open(path)
					if err != nil {
						return path, err
					}
					defer file.Close()
					m, err := multimae.LoadFrom(f.trainer.Objective.(*train.Pretraining).Model.Config, file)
					f.read = m
					return path, err
				}},
			} {
				b.Run("of="+of.name, func(b *testing.B) {
					f := files()
					dir := b.TempDir()
					if err := f.write(dir); err != nil {
						b.Fatal(err)
					}
					measure(b, work{}, func() {
						file, err := of.run(f, dir)
						if err != nil {
							b.Fatal(err)
						}
						info, err := os.Stat(file)
						if err != nil {
							b.Fatal(err)
						}
						b.SetBytes(info.Size())
					})
					if err := f.same(); err != nil {
						b.Fatal(err)
					}
				})
			}
		})
	}
}

// modelFiles is an untrained model with its optimiser.
type modelFiles struct {
	trainer *train.Trainer
	read    *multimae.Model // last; nil: none
}

func newModelFiles(name string) (*modelFiles, error) {
	c, err := models.Preset(name)
	if err != nil {
		return nil, err
	}
	m, err := models.New(c)
	if err != nil {
		return nil, err
	}
	tr, err := train.NewTrainer(train.NewPretraining(m), nil)
	return &modelFiles{trainer: tr}, err
}

// write writes all files that benchmarks read.
func (f *modelFiles) write(dir string) error {
	m := f.trainer.Objective.(*train.Pretraining).Model
	if err := m.Save(dir); err != nil {
		return err
	}
	if err := f.trainer.Save(filepath.Join(dir, train.CheckpointName(0))); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, "model.pth"), func(w io.Writer) error { return weights.WritePth(w, m.Params.Tensors(), nil) })
}

// same returns an error unless the largest parameter of the model that was read is that of the model.
func (f *modelFiles) same() error {
	if f.read == nil {
		return nil
	}
	var largest *nn.Param
	for _, p := range f.trainer.Objective.(*train.Pretraining).Model.Params.All() {
		if largest == nil || len(p.Data) > len(largest.Data) {
			largest = p
		}
	}
	if got := f.read.Params.Get(largest.Name); !slices.Equal(got.Data, largest.Data) {
		return fmt.Errorf("%s differs from what was written", largest.Name)
	}
	return nil
}
