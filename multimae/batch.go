package multimae

import (
	"maps"
	"slices"
)

// Batch holds B samples of some modalities, aligned to the pixel. A modality
// that is not there is absent from its map. The same maps serve as inputs and
// as targets.
type Batch struct {
	Size int // samples B
	H, W int // full-resolution height and width in pixels
	// Images: modality → [B, C, H/s, W/s] floats, normalised as the model
	// expects them.
	Images map[string][]float32
	// Classes: modality → [B, H/s, W/s] class ids; 255 marks ignored pixels.
	Classes map[string][]int32
}

func (b *Batch) has(modality string) bool {
	_, image := b.Images[modality]
	_, classes := b.Classes[modality]
	return image || classes
}

// names returns the modalities of the batch, sorted.
func (b *Batch) names() []string {
	names := slices.Collect(maps.Keys(b.Images))
	names = slices.AppendSeq(names, maps.Keys(b.Classes))
	slices.Sort(names)
	return names
}
