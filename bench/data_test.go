package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
)

// BenchmarkScene renders rooms, on one thread.
func BenchmarkScene(b *testing.B) {
	for _, size := range []int{64, 224} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			ds := scenes.New(0, 1<<20, size, 1)
			for i := range b.N {
				if _, err := ds.Sample(i % ds.Len()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkData makes batches of 8 for preset base from a folder of PNG files,
// with random crops and mirroring: read, decoded, resized and normalised.
func BenchmarkData(b *testing.B) {
	c, err := preset("base")
	if err != nil {
		b.Fatal(err)
	}
	const samples, batch = 32, 8
	b.Run(fmt.Sprintf("of=folder/size=%d/batch=%d", c.ImageSize, batch), func(b *testing.B) {
		dir := filepath.Join(b.TempDir(), "scenes")
		if err := data.WriteFolder(context.Background(), dir, scenes.New(0, samples, c.ImageSize, 1), nil); err != nil {
			b.Fatal(err)
		}
		ds, err := data.OpenFolder(dir, c.Inputs)
		if err != nil {
			b.Fatal(err)
		}
		for _, threads := range threadCounts() {
			b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
				l := data.NewLoader(b.Context(), ds, data.LoaderConfig{
					Inputs: c.Inputs, Size: c.ImageSize, Batch: batch, Seed: 1, Shuffle: true,
					Augment: data.Augment{Crop: true, Flip: true}, Workers: threads,
				})
				defer l.Close()
				next := func() {
					x, err := l.Next()
					if err != nil {
						b.Fatal(err)
					}
					if x.Size != batch || x.H != c.ImageSize || len(x.Images["rgb"]) != batch*3*x.H*x.W {
						b.Fatalf("a batch of %d images of height %d with %d numbers of rgb", x.Size, x.H, len(x.Images["rgb"]))
					}
					l.Release(x)
				}
				for range 8 {
					next() // what was prepared ahead of the clock
				}
				measure(b, work{threads: threads, images: batch}, next)
			})
		}
	})
}

// BenchmarkFile writes and reads models on the disk of the folder for temporary
// files: MB/s are those of the file. What was written is still in the system's
// memory when it is read.
func BenchmarkFile(b *testing.B) {
	for _, name := range []string{"small", "base"} {
		b.Run("model="+name, func(b *testing.B) {
			files := func() *modelFiles {
				return keep(b, "files "+name, "files", func() (*modelFiles, error) { return newModelFiles(name) })
			}
			for _, of := range []struct {
				name string
				run  func(f *modelFiles, dir string) (file string, err error)
			}{
				{"save", func(f *modelFiles, dir string) (string, error) {
					return filepath.Join(dir, "model.safetensors"), f.trainer.Model.Save(dir)
				}},
				{"load", func(f *modelFiles, dir string) (string, error) {
					m, err := multimae.LoadDir(dir)
					if err == nil {
						err = f.same(m)
					}
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
						return weights.WritePth(w, f.trainer.Model.Params.Tensors())
					})
				}},
				{"pth-read", func(f *modelFiles, dir string) (string, error) {
					path := filepath.Join(dir, "model.pth")
					file, err := os.Open(path)
					if err != nil {
						return path, err
					}
					defer file.Close()
					info, err := file.Stat()
					if err != nil {
						return path, err
					}
					m, err := multimae.LoadFrom(f.trainer.Model.Config, file, info.Size())
					if err == nil {
						err = f.same(m)
					}
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
				})
			}
		})
	}
}

// modelFiles is a model that was not trained yet, with its optimiser.
type modelFiles struct{ trainer *train.Trainer }

func newModelFiles(name string) (*modelFiles, error) {
	c, err := preset(name)
	if err != nil {
		return nil, err
	}
	m, err := newModel(c)
	if err != nil {
		return nil, err
	}
	tr, err := train.NewTrainer(m, nil)
	return &modelFiles{tr}, err
}

// write makes all files that benchmarks read.
func (f *modelFiles) write(dir string) error {
	m := f.trainer.Model
	if err := m.Save(dir); err != nil {
		return err
	}
	if err := f.trainer.Save(filepath.Join(dir, train.CheckpointName(0))); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, "model.pth"), func(w io.Writer) error { return weights.WritePth(w, m.Params.Tensors()) })
}

// same compares the largest parameter.
func (f *modelFiles) same(m *multimae.Model) error {
	var largest *nn.Param
	for _, p := range f.trainer.Model.Params.All() {
		if largest == nil || len(p.Data) > len(largest.Data) {
			largest = p
		}
	}
	if got := m.Params.Get(largest.Name); !slices.Equal(got.Data, largest.Data) {
		return fmt.Errorf("%s is not what was written", largest.Name)
	}
	return nil
}
