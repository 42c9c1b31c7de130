package demo

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
)

// newHoledApp returns newApp for depth of a camera that stores 0 or 65535 where it measures nothing,
// normalised so.
func newHoledApp(t *testing.T, normalize string) *App {
	t.Helper()
	c := tiny.Config()
	c.ImageSize, c.Train.NumEncodedTokens = 32, 8
	c.Input("depth").Invalid, c.Input("depth").Normalize = []float64{0, 65535}, normalize
	m := tiny.Model(t, c, 3)
	m.Params.Freeze()
	return New(m, Options{})
}

// isHole says where the depth of these tests has no measurement: in the whole of the second patch,
// and in some pixels of others.
func isHole(x, y int) bool { return x >= 8 && x < 16 && y < 8 || (x*7+y*3)%11 == 0 }

// camera returns a request's scene of 32×32 pixels of depth with holes, of both values.
func camera(t *testing.T) Scene {
	t.Helper()
	img := image.NewGray16(image.Rect(0, 0, 32, 32))
	for i := range 32 * 32 {
		x, y := i%32, i/32
		v := uint16(500 + 60*x + 9*y*y)
		if isHole(x, y) {
			v = uint16(65535 * (x & 1))
		}
		img.SetGray16(x, y, color.Gray16{Y: v})
	}
	return Scene{Images: map[string][]byte{"depth": encoded(t, img)}}
}

func encoded(t *testing.T, img image.Image) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := png.Encode(&file, img); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// holed returns a request for a scene of a rendered room whose Valid has a picture of that side.
func holed(t *testing.T, name string, side int, valid string) string {
	t.Helper()
	var s Scene
	if err := json.Unmarshal([]byte(upload(t, name)), &s); err != nil {
		t.Fatal(err)
	}
	s.Valid = map[string][]byte{valid: encoded(t, image.NewGray(image.Rect(0, 0, side, side)))}
	return jsonOf(t, SceneRequest{s})
}

// TestHoles wants pixels without a measurement to be black in pictures, to be without a measurement
// still when the scene comes back from the page, and to count in no score.
func TestHoles(t *testing.T) {
	for _, normalize := range []string{multimae.NormalizeStandardize, multimae.NormalizeNone} {
		t.Run(normalize, func(t *testing.T) {
			a := newHoledApp(t, normalize)
			answer, got := comesBack(t, a, camera(t))
			p := ask[Prediction](t, a, "predict", jsonOf(t, State{Scene: answer.Scene, Visible: map[string]string{"depth": "0" + on[1:]}}))
			keep := make([]int32, 15)
			for i := range keep {
				keep[i] = int32(i + 1)
			}
			masks, err := multimae.NewMasks(1, []string{"depth"}, 16, keep)
			if err != nil {
				t.Fatal(err)
			}
			pred, err := a.model.Predict(t.Context(), got, &multimae.PredictOptions{Masks: masks})
			if err != nil {
				t.Fatal(err)
			}
			var truth []float32
			for i, v := range got.Images["depth"] {
				if !isHole(i%32, i/32) {
					truth = append(truth, v)
				}
			}
			lo, hi := images.Range(truth, 0.01)
			sum, n := 0.0, 0
			black := []byte{0, 0, 0, 255}
			for i, v := range pred.Output("depth").Pix {
				x, y := i%32, i/32
				for what, picture := range map[string]*Picture{"truth": answer.Pictures["depth"], "error": p.Views["depth"].Error} {
					if got := bytes.Equal(picture.RGBA[4*i:][:4], black); got != isHole(x, y) {
						t.Fatalf("%s: pixel %d,%d is black: %v", what, x, y, got)
					}
				}
				if x < 8 && y < 8 && !isHole(x, y) {
					sum += math.Abs(float64(v-got.Images["depth"][i])) / float64(hi-lo)
					n++
				}
			}
			if s := p.Views["depth"].Score; s == nil || math.Abs(s.Value-100*sum/float64(n)) > 1e-3*s.Value {
				t.Errorf("%+v, want %v", s, 100*sum/float64(n))
			}
		})
	}
	t.Run("masks", func(t *testing.T) {
		a, scene := newHoledApp(t, ""), camera(t)
		for seed := range uint64(20) {
			m := ask[MaskAnswer](t, a, "mask", jsonOf(t, MaskRequest{Scene: scene, Tokens: 15, Seed: seed}))
			if got := m.Visible["depth"]; got != "10"+on[2:] {
				t.Fatalf("seed %d: %s is shown", seed, got)
			}
		}
	})
	t.Run("nothing measured", func(t *testing.T) {
		a := newHoledApp(t, "")
		scene := Scene{Images: map[string][]byte{"depth": encoded(t, image.NewGray16(image.Rect(0, 0, 32, 32)))}}
		scene = ask[SceneAnswer](t, a, "scene", jsonOf(t, SceneRequest{scene})).Scene
		p := ask[Prediction](t, a, "predict", jsonOf(t, State{Scene: scene, Visible: map[string]string{"depth": "0" + on[1:]}}))
		if s := p.Views["depth"].Score; s != nil {
			t.Errorf("the score of what was not measured is %+v", s)
		}
	})
}

// TestOpenHoles wants a static page to keep holes that no value marks, such as those of mask_valid.
func TestOpenHoles(t *testing.T) {
	m := &data.Map{C: 1, H: 32, W: 32, Pix: make([]float32, 32*32)}
	for i := range m.Pix {
		m.Pix[i] = float32(i)
	}
	m.Hide(func(i int) bool { return isHole(i%32, i/32) })
	a := New(newApp(t).Model(), Options{Scenes: data.Samples{{Name: "x", Maps: map[string]*data.Map{"depth": m}}}})
	b, err := a.MarshalOptions()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(a.Model(), b)
	if err != nil {
		t.Fatal(err)
	}
	first := uint64(0)
	got, err := again.batch(&Scene{Number: &first})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Valid["depth"], m.Valid) {
		t.Error("the scene of the static page has other holes")
	}
	if strings.Contains(string(b), `"number"`) {
		t.Errorf("the scene is stored as %.300s", b)
	}
}
