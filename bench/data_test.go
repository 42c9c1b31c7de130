package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

// BenchmarkScene renders scenes on one thread.
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

// BenchmarkData makes batches of 8 for preset base from a folder of PNG files. It reads, decodes,
// crops and mirrors at random, resizes and normalises them.
func BenchmarkData(b *testing.B) {
	c, err := models.Preset("base")
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
						b.Fatalf("got %d images of height %d with %d values of rgb, want %d of height %d", x.Size, x.H, len(x.Images["rgb"]), batch, c.ImageSize)
					}
					l.Release(x)
				}
				for range 8 {
					next() // takes the batches that the loader made ahead of time
				}
				measure(b, work{threads: threads, images: batch}, next)
			})
		}
	})
}
