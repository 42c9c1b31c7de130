package images

import (
	"bytes"
	"image"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// TestIgnoredIDs wants ids among Invalid to be read as ignored, also those of classes, and the image
// to stay as it is.
func TestIgnoredIDs(t *testing.T) {
	in := multimae.Input{Name: "semseg", Kind: multimae.KindClasses, NumClasses: 11, Stride: 1, ClassEmbDim: 1}
	img := &image.Gray{Pix: []uint8{0, 11, 3, 255}, Stride: 2, Rect: image.Rect(0, 0, 2, 2)}
	if _, err := From(img, &in); err == nil {
		t.Error("id 11 of 11 classes was read")
	}
	in.Invalid = []float64{11, 3}
	m, err := From(img, &in)
	if err != nil {
		t.Fatal(err)
	}
	if want := []uint8{0, 255, 255, 255}; !bytes.Equal(m.IDs, want) || img.Pix[1] != 11 {
		t.Errorf("got %v, want %v; the image has %v", m.IDs, want, img.Pix)
	}
}
