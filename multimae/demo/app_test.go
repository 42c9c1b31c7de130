package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
)

// newApp returns an App of an untrained model of 16 patches, each of 8×8 pixels.
func newApp(t testing.TB) *App {
	t.Helper()
	c := tiny.Config()
	c.ImageSize, c.Train.NumEncodedTokens, c.Train.Data = 32, 8, "scenes"
	c.Outputs = append(c.Outputs, tiny.Output("norm_rgb", "rgb", multimae.LossNormMSE, 3, 1))
	m := tiny.Model(t, c, 3)
	m.Params.Freeze()
	return New(m, Options{Name: "test"})
}

// ask calls a method and decodes its answer.
func ask[A any](t testing.TB, a *App, name, request string) *A {
	t.Helper()
	b, err := a.Call(context.Background(), name, []byte(request))
	if err != nil {
		t.Fatalf("%s %.200s: %v", name, request, err)
	}
	answer := new(A)
	if err := json.Unmarshal(b, answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

const on, off = "1111111111111111", "0000000000000000"

func TestInfo(t *testing.T) {
	i := ask[Info](t, newApp(t), "info", "{}")
	if i.Model != "test" || i.Grid != 4 || i.ImageSize != 32 || i.Tokens != 8 || i.Scenes != scenes.HeldOutLen || len(i.Modality) != 3 {
		t.Errorf("%+v", i)
	}
	if d := i.Modality[2]; d.Name != "semseg" || !d.Predicted || d.Side != 16 || len(d.Classes) != len(scenes.Classes) || d.Classes[0].Name != "floor" || len(d.Classes[0].Color) != 7 {
		t.Errorf("%+v", d)
	}
}

// TestScene compares the pictures of a room with those of the renderer.
func TestScene(t *testing.T) {
	a := newApp(t)
	answer := ask[SceneAnswer](t, a, "scene", `{"scene":{"number":7}}`)
	s, err := scenes.Unseen(32, 0).Sample(7)
	if err != nil {
		t.Fatal(err)
	}
	want := images.RGB(s.Maps["rgb"].Pix, 32, 32)
	got := answer.Pictures["rgb"]
	if got.Width != 32 || got.Height != 32 || len(got.RGBA) != len(want.Pix) {
		t.Fatalf("%d×%d, %d bytes", got.Width, got.Height, len(got.RGBA))
	}
	for i, v := range got.RGBA {
		if d := int(v) - int(want.Pix[i]); d < -1 || d > 1 { // normalised and back
			t.Fatalf("byte %d is %d, want %d", i, v, want.Pix[i])
		}
	}
	if answer.Scene.Number == nil || *answer.Scene.Number != 7 || answer.Pictures["semseg"].Width != 16 {
		t.Errorf("%+v", answer.Scene)
	}
	for n := range maxKept + 3 { // more than are kept
		ask[SceneAnswer](t, a, "scene", fmt.Sprintf(`{"scene":{"number":%d}}`, n))
	}
	if len(a.kept) > maxKept {
		t.Errorf("%d scenes are kept", len(a.kept))
	}
}

// TestOptions wants an App that was stored and opened again to offer the same scenes under the same
// names, and to name the same classes.
func TestOptions(t *testing.T) {
	var list data.Samples
	for i := range maxStatic + 2 {
		s, err := scenes.Unseen(48, 0).Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		maps := s.Maps
		if i == 1 {
			maps = map[string]*data.Map{"rgb": s.Maps["rgb"]}
		}
		list = append(list, &data.Sample{Name: fmt.Sprint("x/", i), Maps: maps})
	}
	for _, c := range []struct {
		name    string
		options Options
		scenes  int
	}{
		{"rooms", Options{Name: "a"}, scenes.HeldOutLen},
		{"few", Options{Name: "b", Scenes: list[:2], Classes: map[string][]string{"semseg": {"sky", "tree"}}}, 2},
		{"many", Options{Name: "c", Scenes: list}, maxStatic},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := New(newApp(t).Model(), c.options)
			b, err := was.MarshalOptions()
			if err != nil {
				t.Fatal(err)
			}
			is, err := Open(was.Model(), b)
			if err != nil {
				t.Fatal(err)
			}
			want, got := ask[Info](t, was, "info", "{}"), ask[Info](t, is, "info", "{}")
			if want.Scenes = c.scenes; !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			for n := range 2 {
				request := fmt.Sprintf(`{"scene":{"number":%d}}`, n)
				want, got := ask[SceneAnswer](t, was, "scene", request), ask[SceneAnswer](t, is, "scene", request)
				if got.Name != want.Name || len(got.Pictures) != len(want.Pictures) {
					t.Errorf("%q with %d pictures, want %q with %d", got.Name, len(got.Pictures), want.Name, len(want.Pictures))
				}
				for name, p := range want.Pictures {
					for k, v := range got.Pictures[name].RGBA {
						if d := int(v) - int(p.RGBA[k]); d < -1 || d > 1 { // rounded to 8 bits twice
							t.Fatalf("scene %d, %s, byte %d is %d, want %d", n, name, k, v, p.RGBA[k])
						}
					}
				}
			}
			if _, err := is.Call(context.Background(), "scene", fmt.Appendf(nil, `{"scene":{"number":%d}}`, c.scenes)); !errors.As(err, new(*RequestError)) {
				t.Errorf("a scene too many: %v", err)
			}
		})
	}
	for _, broken := range []string{"", `{"scenes":[{"name":"x","images":{"rgb":"AAAA"}}]}`, `{"scenes":[{"name":"x","images":{"lidar":"AAAA"}}]}`} {
		if _, err := Open(newApp(t).Model(), []byte(broken)); err == nil {
			t.Errorf("%q: no error", broken)
		}
	}
}

// upload returns a request's scene of the files of a rendered room of another size.
func upload(t *testing.T, names ...string) string {
	t.Helper()
	s, err := scenes.Unseen(80, 0).Sample(3)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		img, err := s.Maps[name].Image()
		if err != nil {
			t.Fatal(err)
		}
		files[name] = encoded(t, img)
	}
	b, err := json.Marshal(Scene{Images: files})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestUpload wants the scene that comes back to look the same when it is sent again, and to be as
// small as the model's images.
func TestUpload(t *testing.T) {
	a := newApp(t)
	for _, names := range [][]string{{"rgb"}, {"depth"}, {"semseg"}, {"rgb", "depth", "semseg"}} {
		t.Run(strings.Join(names, "+"), func(t *testing.T) {
			first := ask[SceneAnswer](t, a, "scene", `{"scene":`+upload(t, names...)+`}`)
			if len(first.Pictures) != len(names) || len(first.Scene.Images) != len(names) {
				t.Fatalf("%d pictures, %d images", len(first.Pictures), len(first.Scene.Images))
			}
			scene, err := json.Marshal(first.Scene)
			if err != nil {
				t.Fatal(err)
			}
			again := ask[SceneAnswer](t, a, "scene", `{"scene":`+string(scene)+`}`)
			for _, name := range names {
				img, err := png.Decode(bytes.NewReader(first.Scene.Images[name]))
				side := 32
				if name == "semseg" {
					side = 16
				}
				if err != nil || img.Bounds() != image.Rect(0, 0, side, side) {
					t.Fatalf("%s: %v, %v", name, img.Bounds(), err)
				}
				for i, v := range first.Pictures[name].RGBA {
					if d := int(v) - int(again.Pictures[name].RGBA[i]); d < -2 || d > 2 {
						t.Fatalf("%s: byte %d was %d and is %d", name, i, v, again.Pictures[name].RGBA[i])
					}
				}
			}
		})
	}
}

// TestFlatDepth wants depth of any variance to have the same values when its scene comes back, up to
// the rounding to 16 bits.
func TestFlatDepth(t *testing.T) {
	a := newApp(t)
	for _, c := range []struct{ slope, outlier int }{{0, 0}, {0, 2000}, {1, 0}, {4, 0}, {4, 2000}, {40, 0}, {1000, 0}, {1, 60000}} {
		t.Run(fmt.Sprintf("slope %d, outlier %d", c.slope, c.outlier), func(t *testing.T) {
			img := image.NewGray16(image.Rect(0, 0, 48, 48))
			for i := range 48 * 48 {
				img.SetGray16(i%48, i/48, color.Gray16{Y: uint16(3000 + c.slope*(i%48) + i/48%2)})
			}
			img.SetGray16(24, 24, color.Gray16{Y: uint16(3000 + c.outlier)})
			scene := Scene{Images: map[string][]byte{"depth": encoded(t, img)}}
			comesBack(t, a, scene)
		})
	}
}

// comesBack wants a scene that comes back from the page to have the same depth and holes as when it was
// sent, up to the rounding to 16 bits. It returns the answer that has it, and its batch.
func comesBack(t *testing.T, a *App, scene Scene) (*SceneAnswer, *multimae.Batch) {
	t.Helper()
	want, err := a.batch(&scene)
	if err != nil {
		t.Fatal(err)
	}
	answer := ask[SceneAnswer](t, a, "scene", jsonOf(t, SceneRequest{scene}))
	got, err := a.batch(&answer.Scene)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Valid["depth"], want.Valid["depth"]) {
		t.Error("the scene that came back has other holes")
	}
	for i, v := range got.Images["depth"] {
		if math.Abs(float64(v-want.Images["depth"][i])) > 1e-2 {
			t.Fatalf("value %d of the scene that came back is %v, want %v", i, v, want.Images["depth"][i])
		}
	}
	return answer, got
}

// TestUnlabelled wants pixels without a class to be black in the map of errors, and neither right nor wrong.
func TestUnlabelled(t *testing.T) {
	ids := image.NewGray(image.Rect(0, 0, 80, 80))
	for i := range ids.Pix {
		ids.Pix[i] = 255
	}
	scene, err := json.Marshal(Scene{Images: map[string][]byte{"semseg": encoded(t, ids)}})
	if err != nil {
		t.Fatal(err)
	}
	p := ask[Prediction](t, newApp(t), "predict", `{"scene":`+string(scene)+`,"visible":{"semseg":"1000000000000000"}}`)
	v := p.Views["semseg"]
	if v.Score != nil {
		t.Errorf("the score is %+v", v.Score)
	}
	for i, c := range v.Error.RGBA {
		if want := byte(255 * (i % 4 / 3)); c != want { // opaque black
			t.Fatalf("byte %d is %d, want %d", i, c, want)
		}
	}
}

// TestPredict compares pictures and scores with the model's own prediction.
func TestPredict(t *testing.T) {
	a := newApp(t)
	p := ask[Prediction](t, a, "predict", `{"scene":{"number":7},"visible":{"rgb":"1000000000000000","depth":"`+on+`"}}`)
	room := uint64(7)
	b, err := a.batch(&Scene{Number: &room})
	if err != nil {
		t.Fatal(err)
	}
	keep := []int32{0}
	for i := range 16 {
		keep = append(keep, int32(16+i))
	}
	masks, err := multimae.NewMasks(1, []string{"rgb", "depth", "semseg"}, 16, keep)
	if err != nil {
		t.Fatal(err)
	}
	pred, err := a.model.Predict(context.Background(), b, &multimae.PredictOptions{Masks: masks})
	if err != nil {
		t.Fatal(err)
	}
	rgb := pred.Output("rgb")
	if want := images.Pixels(rgb.Pix, 32, 32, rgb.Normalization, rgb.Pix); !bytes.Equal(p.Views["rgb"].Prediction.RGBA, want.Pix) {
		t.Error("another picture of colour")
	}
	// The score of colour, by hand: the PSNR over all patches but the first.
	got, want := slices.Clone(rgb.Pix), slices.Clone(b.Images["rgb"])
	images.DenormalizeRGB(got)
	images.DenormalizeRGB(want)
	sum, n := 0.0, 0
	for i := range got {
		if y, x := i%1024/32, i%32; y >= 8 || x >= 8 {
			sum += math.Pow(float64(got[i]-want[i]), 2)
			n++
		}
	}
	if s, psnr := p.Views["rgb"].Score, -10*math.Log10(sum/float64(n)); s.Figure != "PSNR" || math.Abs(s.Value-psnr) > 1e-6 {
		t.Errorf("%+v, want %v dB", s, psnr)
	}
	right := 0
	for i, id := range pred.Output("semseg").IDs(0) {
		if id == b.Classes["semseg"][i] {
			right++
		}
	}
	if s, accuracy := p.Views["semseg"].Score, float64(right)/256*100; s.Figure != "accuracy" || math.Abs(s.Value-accuracy) > 1e-9 {
		t.Errorf("%+v, want %v %%", s, accuracy)
	}
	if v := p.Views["depth"]; v.Score != nil || v.Error == nil || v.Before != nil {
		t.Errorf("depth, all of which is shown: %+v", v.Score)
	}
	if len(p.Views) != 3 {
		t.Errorf("%d views", len(p.Views))
	}
	// The error map is dark where the class is right and bright where it is wrong.
	if e := p.Views["semseg"].Error; right < 256 && right > 0 {
		dark, bright := images.Depth([]float32{0, 1}, 1, 2, 0, 1).Pix[:4], images.Depth([]float32{0, 1}, 1, 2, 0, 1).Pix[4:]
		for i, id := range pred.Output("semseg").IDs(0) {
			want := bright
			if id == b.Classes["semseg"][i] {
				want = dark
			}
			if !bytes.Equal(e.RGBA[4*i:][:4], want) {
				t.Fatalf("pixel %d of the error map", i)
			}
		}
	}
}

// TestHue turns the hue of patches and wants that of nothing else to change.
func TestHue(t *testing.T) {
	a := newApp(t)
	request := func(degrees int, patches string) string {
		return fmt.Sprintf(`{"scene":{"number":7},"visible":{"rgb":"%s"},"hue":{"modality":"rgb","patches":"%s","degrees":%d}}`, on, patches, degrees)
	}
	plain := ask[Prediction](t, a, "predict", `{"scene":{"number":7},"visible":{"rgb":"`+on+`"}}`)
	p := ask[Prediction](t, a, "predict", request(120, "0100000000000000"))
	truth := ask[SceneAnswer](t, a, "scene", `{"scene":{"number":7}}`).Pictures["rgb"]
	changed := 0
	for i := range 1024 {
		y, x := i/32, i%32
		same := bytes.Equal(truth.RGBA[4*i:][:4], p.Views["rgb"].Input.RGBA[4*i:][:4])
		if in := y < 8 && x >= 8 && x < 16; !in && !same {
			t.Fatalf("pixel %d,%d has changed outside the patch", x, y)
		} else if in && !same {
			changed++
		}
	}
	if changed == 0 {
		t.Error("the patch is as it was")
	}
	for name, v := range p.Views {
		if !bytes.Equal(v.Before.RGBA, plain.Views[name].Prediction.RGBA) {
			t.Errorf("%s: what was predicted before is another picture than without a hue", name)
		}
	}
	if bytes.Equal(p.Views["rgb"].Prediction.RGBA, p.Views["rgb"].Before.RGBA) {
		t.Error("the prediction does not depend on the hue")
	}
	none := ask[Prediction](t, a, "predict", request(120, off))
	if !bytes.Equal(none.Views["rgb"].Prediction.RGBA, plain.Views["rgb"].Prediction.RGBA) {
		t.Error("a hue without patches changes the prediction")
	}
}

// TestMask wants as many patches as asked for, the same for the same seed, and shares that follow α.
func TestMask(t *testing.T) {
	a, scene := newApp(t), upload(t, "depth", "rgb")
	count := func(m *MaskAnswer) (n int) {
		for _, patches := range m.Visible {
			n += strings.Count(patches, "1")
		}
		return n
	}
	get := func(seed int, alphas string) *MaskAnswer {
		return ask[MaskAnswer](t, a, "mask", fmt.Sprintf(`{"scene":%s,"tokens":12,"seed":%d,"alphas":%s}`, scene, seed, alphas))
	}
	one, other := get(1, "{}"), get(2, "{}")
	if count(one) != 12 || len(one.Visible) != 2 || len(one.Visible["rgb"]) != 16 || fmt.Sprint(one) != fmt.Sprint(get(1, "{}")) || fmt.Sprint(one) == fmt.Sprint(other) {
		t.Errorf("%v, %v", one, other)
	}
	rgb := 0
	for seed := range 20 {
		rgb += strings.Count(get(seed, `{"rgb":1000,"depth":0.01}`).Visible["rgb"], "1")
	}
	if rgb < 20*11 {
		t.Errorf("with a large α, colour has %d of %d patches", rgb, 20*12)
	}
}

// TestAttention compares with the model's attention map.
func TestAttention(t *testing.T) {
	a := newApp(t)
	got := ask[AttentionAnswer](t, a, "attention", `{"scene":{"number":7},"visible":{"rgb":"0110000000000000","depth":"`+on+`"},"modality":"depth","patch":5,"block":0}`)
	sum := float64(got.Global)
	for _, w := range got.Weights {
		for _, v := range w {
			sum += float64(v)
		}
	}
	if math.Abs(sum-1) > 1e-5 || got.Global <= 0 {
		t.Errorf("weights sum to %v", sum)
	}
	if w := got.Weights["rgb"]; w[0] != 0 || w[1] <= 0 || w[2] <= 0 || len(w) != 16 {
		t.Errorf("colour: %v", w)
	}
	if got.Weights["semseg"] == nil || slices.Max(got.Weights["semseg"]) != 0 {
		t.Error("a modality that is hidden gets attention")
	}
}

// TestRefused wants errors of the visitor that name what is wrong.
func TestRefused(t *testing.T) {
	a := newApp(t)
	state := func(more string) string { return `{"scene":{"number":7},"visible":{"rgb":"` + on + `"}` + more + `}` }
	bad := func(name string) string {
		b, err := json.Marshal(Scene{Images: map[string][]byte{name: []byte("no image")}})
		if err != nil {
			t.Fatal(err)
		}
		return `{"scene":` + string(b) + `}`
	}
	for _, c := range []struct{ method, request, want string }{
		{"nothing", "{}", "nothing"},
		{"predict", "", "request"},
		{"predict", "[]", "request"},
		{"predict", `{"scenes":1}`, "scenes"},
		{"predict", "{}{}", "single"},
		{"scene", "{}", "empty"},
		{"scene", `{"scene":{"number":-1}}`, "number"},
		{"scene", `{"scene":{"number":100000000}}`, "100000000"},
		{"scene", `{"scene":{"number":1,"images":{"rgb":"AAAA"}}}`, "both"},
		{"scene", `{"scene":{"images":{"rgb":"!"}}}`, "request"},
		{"scene", bad("rgb"), "rgb"},
		{"scene", bad("dept"), "depth"},
		{"predict", `{"scene":{"number":7},"visible":{}}`, "at least one patch"},
		{"predict", `{"scene":{"number":7},"visible":{"rgb":"` + off + `"}}`, "at least one patch"},
		{"predict", `{"scene":{"number":7},"visible":{"rgb":"111"}}`, "visible.rgb"},
		{"predict", `{"scene":{"number":7},"visible":{"rgb":"` + strings.Repeat("2", 16) + `"}}`, "visible.rgb"},
		{"predict", `{"scene":{"number":7},"visible":{"rbg":"` + on + `"}}`, "rgb"},
		{"predict", `{"scene":` + upload(t, "rgb") + `,"visible":{"depth":"` + on + `"}}`, "visible.depth"},
		{"predict", state(`,"hue":{"modality":"depth","patches":"` + on + `","degrees":9}`), "hue.modality"},
		{"predict", state(`,"hue":{"modality":"rgb","patches":"1","degrees":9}`), "hue.patches"},
		{"predict", state(`,"hue":{"modality":"rgb","patches":"` + on + `","degrees":1e9}`), "hue.degrees"},
		{"attention", state(`,"modality":"rgb","patch":0,"block":1`), "block"},
		{"attention", state(`,"modality":"rgb","patch":16,"block":0`), "patch 16"},
		{"attention", state(`,"modality":"rgb","patch":-1,"block":0`), "patch -1"},
		{"attention", state(`,"modality":"depth","patch":0,"block":0`), "depth"},
		{"mask", `{"tokens":5}`, "empty"},
		{"mask", `{"scene":{"number":7},"tokens":0}`, "num_encoded_tokens"},
		{"mask", `{"scene":{"number":7},"tokens":49}`, "num_encoded_tokens"},
		{"mask", `{"scene":{"number":7},"tokens":5,"alphas":{"rgb":-1}}`, "alphas"},
		{"mask", `{"scene":{"images":{"lidar":"AAAA"}},"tokens":5}`, "lidar"},
		{"scene", holed(t, "rgb", 80, "depth"), "valid.depth"},
		{"scene", holed(t, "semseg", 80, "semseg"), "valid.semseg"},
		{"scene", holed(t, "depth", 79, "depth"), "79"},
	} {
		t.Run(c.method+" "+c.want, func(t *testing.T) {
			_, err := a.Call(context.Background(), c.method, []byte(c.request))
			if !errors.As(err, new(*RequestError)) {
				t.Fatalf("%v is not an error of the request", err)
			}
			testkit.ErrorNames(t, err, c.want)
		})
	}
	t.Run("no rooms", func(t *testing.T) {
		c := tiny.Config()
		c.Inputs[1].Name, c.Outputs[1].Task = "lidar", "lidar"
		a := New(tiny.Model(t, c, 1), Options{Name: "other"})
		if ask[Info](t, a, "info", "{}").Scenes != 0 {
			t.Error("it says that it has rooms")
		}
		_, err := a.Call(context.Background(), "scene", []byte(`{"scene":{"number":1}}`))
		testkit.ErrorNames(t, err, "lidar")
	})
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := a.Call(ctx, "predict", []byte(state(""))); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// FuzzCall wants an answer or an error to any request, and no panic.
func FuzzCall(f *testing.F) {
	a := newApp(f)
	for _, name := range Methods() {
		f.Add(name, []byte(`{"scene":{"number":7},"visible":{"rgb":"`+on+`"},"modality":"rgb","patch":1,"tokens":4}`))
		f.Add(name, []byte(`{"scene":{"images":{"rgb":"iVBORw0KGgo="},"valid":{"rgb":"iVBORw0KGgo="}},"tokens":4,"alphas":{"rgb":1e-300}}`))
	}
	f.Fuzz(func(t *testing.T, name string, request []byte) {
		if b, err := a.Call(context.Background(), name, request); (b == nil) == (err == nil) {
			t.Errorf("%q, %v", b, err)
		}
	})
}
