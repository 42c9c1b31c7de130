package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/sysmem"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/tensor"
)

// Features are the mean tokens of images.
type Features struct {
	Names []string // of the images, such as "cat/0001"
	Dim   int
	// X is [len(Names), Dim]. The mean is over patches alone, whereas the mean pooling of a fine-tuned
	// linear head takes in the global tokens.
	X []float32
}

// Row returns the features of image i.
func (f *Features) Row(i int) []float32 { return f.X[i*f.Dim : (i+1)*f.Dim] }

// Labels returns for each image of a dataset the index of its class in classes, which are sorted.
func Labels(ds data.Listed, classes []string) ([]int32, error) {
	labels := make([]int32, ds.Len())
	for i := range labels {
		class, _, _ := strings.Cut(ds.Name(i), "/")
		k, ok := slices.BinarySearch(classes, class)
		if !ok {
			return nil, fmt.Errorf("%s: there are no training images of the class %q; the classes are %s", ds.Files(i)[0], class, some(classes))
		}
		labels[i] = int32(k)
	}
	return labels, nil
}

// some lists up to eight names.
func some(names []string) string {
	const shown = 8
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// Extractor computes the features of images.
type Extractor struct {
	Model  *multimae.Backbone
	Inputs []multimae.Input // those of the model to show it
	Pool   *tensor.Pool
	// Cache is the folder in which features are kept, "" for none. See Features.
	Cache string
	// Progress is called after each batch of a dataset with the number of images done and of all of
	// them; nil for nobody. It is not called for features that were kept.
	Progress func(done, all int)
	// Warn hears why features could not be kept; nil for nobody.
	Warn func(error)
}

// batchSize is the number of images that the encoder sees at a time.
const batchSize = 32

// Features returns the features of a dataset. With a Cache it keeps them in a file there, whose name
// is a checksum of all that they depend on: the model's weights and configuration, the modalities
// shown, the SIMD level, and name, size and time of each file. If the file is there and whole, the
// images are not read. When ctx ends, Features returns its error.
func (e *Extractor) Features(ctx context.Context, ds data.Listed) (*Features, error) {
	if ds.Len() == 0 {
		return nil, fmt.Errorf("the dataset has no images")
	}
	dim := e.Model.BackboneConfig().Encoder.Dim
	if err := sysmem.Check(4 * float64(ds.Len()) * float64(dim)); err != nil {
		return nil, fmt.Errorf("%d features of each of %d images: %w", dim, ds.Len(), err)
	}
	f := &Features{Names: make([]string, ds.Len()), Dim: dim}
	for i := range f.Names {
		f.Names[i] = ds.Name(i)
	}
	if e.Cache == "" {
		return f, e.compute(ctx, ds, f)
	}
	path, err := e.path(ds)
	if err != nil {
		return nil, err
	}
	if f.X = readCache(path, len(f.Names), dim); f.X != nil {
		return f, nil
	}
	if err := e.compute(ctx, ds, f); err != nil {
		return nil, err
	}
	if err := writeCache(path, f); err != nil && e.Warn != nil {
		e.Warn(fmt.Errorf("the features are not kept: %w", err))
	}
	return f, nil
}

// compute fills f.X.
func (e *Extractor) compute(ctx context.Context, ds data.Dataset, f *Features) error {
	loader := data.NewLoader(ctx, ds, data.LoaderConfig{
		Inputs: e.Inputs, Size: e.Model.BackboneConfig().ImageSize, Batch: min(batchSize, ds.Len()), Workers: e.Pool.Workers(),
	})
	defer loader.Close()
	f.X = make([]float32, 0, ds.Len()*f.Dim)
	for range loader.BatchesPerEpoch() {
		b, err := loader.Next()
		if err != nil {
			return err
		}
		tokens, err := e.Model.Features(ctx, b, &multimae.FeatureOptions{Pool: e.Pool})
		if err != nil {
			return err
		}
		loader.Release(b)
		mean := tokens.Mean(0)
		if i := tensor.FirstNotFinite(mean); i >= 0 {
			return fmt.Errorf("the features of image %s are not finite: the model has diverged; give another one", f.Names[(len(f.X)+i)/f.Dim])
		}
		f.X = append(f.X, mean...)
		if e.Progress != nil {
			e.Progress(len(f.X)/f.Dim, ds.Len())
		}
	}
	return nil
}
