package demo

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/nn"
)

// State is what the model is shown: a scene, which patches of it, and with which colours.
type State struct {
	Scene Scene `json:"scene"`
	// Visible has for a modality a digit for each patch, row by row: 1 if it is shown. A modality
	// that is missing is hidden.
	Visible map[string]string `json:"visible"`
	Hue     *Hue              `json:"hue,omitempty"`
}

// Hue turns the hue of patches of a colour image before the model sees them.
type Hue struct {
	Modality string  `json:"modality"`
	Patches  string  `json:"patches"` // a digit for each patch, as in State.Visible
	Degrees  float64 `json:"degrees"`
}

// Prediction is the answer to predict.
type Prediction struct {
	Views        map[string]*View `json:"views"` // by modality
	Milliseconds float64          `json:"ms"`    // that the model took
}

// View is what the model makes of one modality.
type View struct {
	Input      *Picture `json:"input,omitempty"` // only where hues are shifted: as the model gets it
	Prediction *Picture `json:"prediction"`
	Before     *Picture `json:"before,omitempty"` // only where hues are shifted: the prediction without that
	Error      *Picture `json:"error,omitempty"`  // only where the truth is known
	Score      *Score   `json:"score,omitempty"`  // of the hidden patches, where the truth is known
}

// Score says how well hidden patches are predicted.
type Score struct {
	Figure string  `json:"figure"` // "PSNR", "error" or "accuracy"
	Unit   string  `json:"unit"`   // "dB", "%" of pixels, or for an error "%" of the range
	Value  float64 `json:"value"`
}

func (a *App) predict(ctx context.Context, s *State) (*Prediction, error) {
	b, masks, err := a.shown(s)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	before, err := a.run(ctx, b, masks)
	if err != nil {
		return nil, err
	}
	after, changed := before, (*multimae.Batch)(nil)
	if s.Hue != nil {
		if changed, err = a.shift(b, s.Hue); err != nil {
			return nil, err
		}
		if after, err = a.run(ctx, changed, masks); err != nil {
			return nil, err
		}
	}
	p := &Prediction{Views: map[string]*View{}, Milliseconds: float64(time.Since(began).Microseconds()) / 1000}
	unshifted := images.Drawn(before)
	for modality, out := range images.Drawn(after) {
		in := a.model.Config.Input(modality)
		if in == nil {
			continue
		}
		v := &View{Prediction: pictureOf(images.Prediction(out, b))}
		if changed != nil {
			v.Before = pictureOf(images.Prediction(unshifted[modality], b))
			if modality == s.Hue.Modality {
				v.Input = pictureOf(images.Input(in, changed))
			}
		}
		if slices.Contains(a.model.Present(b), in.Name) {
			a.judge(v, in, out, b, masks)
		}
		p.Views[modality] = v
	}
	return p, nil
}

// run predicts on the workers.
func (a *App) run(ctx context.Context, b *multimae.Batch, masks *multimae.Masks) (*multimae.Prediction, error) {
	return a.model.Predict(ctx, b, &multimae.PredictOptions{Masks: masks, Pool: a.Pool})
}

// shown returns the scene of a state as a batch and its visible patches as masks.
func (a *App) shown(s *State) (*multimae.Batch, *multimae.Masks, error) {
	b, err := a.batch(&s.Scene)
	if err != nil {
		return nil, nil, err
	}
	c := a.model.Config
	nh, nw := c.Grid(b.H, b.W)
	present := a.model.Present(b)
	for _, name := range slices.Sorted(maps.Keys(s.Visible)) {
		if _, err := a.modality(name); err != nil {
			return nil, nil, err
		}
		patches, err := digits(s.Visible[name], nh*nw)
		if err != nil {
			return nil, nil, requestf("visible.%s: %w", name, err)
		}
		if slices.Contains(patches, true) && !slices.Contains(present, name) {
			return nil, nil, requestf("visible.%s: the scene has no %s to show", name, name)
		}
	}
	var keep []int32
	for k, name := range present {
		for i, digit := range s.Visible[name] {
			if digit == '1' {
				keep = append(keep, int32(k*nh*nw+i))
			}
		}
	}
	if len(keep) == 0 {
		return nil, nil, requestf("nothing is visible; show the model at least one patch")
	}
	masks, err := multimae.NewMasks(1, present, nh*nw, keep)
	return b, masks, err
}

// digits reads a digit for each of n patches.
func digits(s string, n int) ([]bool, error) {
	if len(s) != n || strings.Trim(s, "01") != "" {
		return nil, requestf("want %d digits, 0 or 1", n)
	}
	on := make([]bool, n)
	for i := range on {
		on[i] = s[i] == '1'
	}
	return on, nil
}

// shift returns the batch with other hues.
func (a *App) shift(b *multimae.Batch, h *Hue) (*multimae.Batch, error) {
	in, err := a.modality(h.Modality)
	if err != nil {
		return nil, err
	}
	if in.Normalization() != multimae.NormalizeImageNet || b.Images[in.Name] == nil {
		return nil, requestf("hue.modality: %s has no colours whose hue could be shifted", in.Name)
	}
	if !(math.Abs(h.Degrees) <= 360) {
		return nil, requestf("hue.degrees: got %g, want -360 to 360", h.Degrees)
	}
	nh, nw := a.model.Config.Grid(b.H, b.W)
	on, err := digits(h.Patches, nh*nw)
	if err != nil {
		return nil, requestf("hue.patches: %w", err)
	}
	height, width := b.H/in.Stride, b.W/in.Stride
	return images.TurnHue(b, in, h.Degrees, func(i int) bool { return on[i/width*nh/height*nw+i%width*nw/width] }), nil
}

// judge adds the error map and the score of hidden patches.
func (a *App) judge(v *View, in *multimae.Input, out *multimae.Predicted, b *multimae.Batch, masks *multimae.Masks) {
	h, w := out.H, out.W
	off := make([]float32, h*w) // error of each pixel, 1 being as wrong as the map shows
	score := Score{Figure: "accuracy", Unit: "%"}
	sum, n := 0.0, 0
	hidden, valid := masks.Task(0, in.Name), b.Valid[in.Name]
	nh, nw := a.model.Config.Grid(b.H, b.W)
	add := func(i int, e float64) {
		if hidden[i/w*nh/h*nw+i%w*nw/w] {
			sum += e
			n++
		}
	}
	var value func(mean float64) float64
	if out.Kind == multimae.KindClasses {
		valid = make([]bool, h*w) // without a class nothing is right or wrong
		for i, id := range out.IDs(0) {
			want := b.Classes[in.Name][i]
			if valid[i] = want >= 0 && int(want) < in.NumClasses; !valid[i] {
				continue
			}
			right := 1.0
			if id != want {
				off[i], right = 1, 0
			}
			add(i, right)
		}
		value = func(mean float64) float64 { return 100 * mean }
	} else {
		got, want := slices.Clone(out.Pix), slices.Clone(b.Images[in.Name])
		full := 1.0
		if colours := out.Normalization == multimae.NormalizeImageNet; colours {
			images.DenormalizeRGB(got)
			images.DenormalizeRGB(want)
			score = Score{Figure: "PSNR", Unit: "dB"}
			value = func(mean float64) float64 { return -10 * math.Log10(max(mean, 1e-10)) }
		} else {
			lo, hi := images.Range(images.Measured(want, valid), 0.01)
			full = max(float64(hi-lo), 1e-6)
			score = Score{Figure: "error", Unit: "%"}
			value = func(mean float64) float64 { return 100 * mean }
		}
		for i := range off {
			if valid != nil && !valid[i] {
				continue
			}
			square, distance := 0.0, 0.0
			for c := range out.Channels {
				d := math.Abs(float64(got[c*h*w+i]-want[c*h*w+i])) / full
				square += d * d / float64(out.Channels)
				distance += d / float64(out.Channels)
			}
			const worst = 0.4 // of the range; what is as wrong or worse is drawn the same
			off[i] = float32(distance / worst)
			if score.Figure == "PSNR" {
				add(i, square)
			} else {
				add(i, distance)
			}
		}
	}
	v.Error = pictureOf(images.Blacken(images.Depth(off, h, w, 0, 1), valid))
	if n > 0 {
		score.Value = value(sum / float64(n))
		v.Score = &score
	}
}

// MaskRequest asks for visible patches of a scene, drawn as in training.
type MaskRequest struct {
	Scene  Scene              `json:"scene"`
	Tokens int                `json:"tokens"` // visible patches of all modalities together
	Alphas map[string]float64 `json:"alphas"` // Dirichlet concentration of each modality; 1 if missing
	Seed   uint64             `json:"seed"`
}

// MaskAnswer has the patches as State has them.
type MaskAnswer struct {
	Visible map[string]string `json:"visible"`
}

func (a *App) mask(_ context.Context, r *MaskRequest) (*MaskAnswer, error) {
	b, err := a.batch(&r.Scene)
	if err != nil {
		return nil, err
	}
	if r.Tokens < 1 { // which would be as many as in training
		return nil, &RequestError{fmt.Errorf("num_encoded_tokens: got %d encoded tokens, want at least 1", r.Tokens)}
	}
	present := a.model.Present(b)
	var alphas []float64
	for _, name := range present {
		alpha, ok := r.Alphas[name]
		if !ok {
			alpha = 1
		}
		alphas = append(alphas, alpha)
	}
	rng, masks := nn.NewRNG(r.Seed, nn.Hash("demo")), new(multimae.Masks)
	if err := a.model.DrawMasks(masks, &rng, b, multimae.MaskOptions{Visible: r.Tokens, Alphas: alphas}); err != nil {
		return nil, &RequestError{err}
	}
	answer := &MaskAnswer{Visible: map[string]string{}}
	for _, name := range present {
		patches := []byte(strings.Repeat("0", masks.Patches))
		for i, hidden := range masks.Task(0, name) {
			if !hidden {
				patches[i] = '1'
			}
		}
		answer.Visible[name] = string(patches)
	}
	return answer, nil
}

// AttentionRequest asks where a visible patch looks.
type AttentionRequest struct {
	State
	Modality string `json:"modality"`
	Patch    int    `json:"patch"`
	Block    int    `json:"block"` // counted from 0
}

// AttentionAnswer has for each modality how much the patch takes of each of its patches, row by
// row: the mean over the heads, 0 for hidden ones. With Global, what it takes of the tokens that
// are no patch, all weights sum to 1.
type AttentionAnswer struct {
	Weights map[string][]float32 `json:"weights"`
	Global  float32              `json:"global"`
}

func (a *App) attention(ctx context.Context, r *AttentionRequest) (*AttentionAnswer, error) {
	b, masks, err := a.shown(&r.State)
	if err != nil {
		return nil, err
	}
	if r.Hue != nil {
		if b, err = a.shift(b, r.Hue); err != nil {
			return nil, err
		}
	}
	if n := a.model.Config.Encoder.Depth; r.Block < 0 || r.Block >= n {
		return nil, requestf("block: got %d, want 0 to %d", r.Block, n-1)
	}
	k := masks.Index(r.Modality)
	if k < 0 || r.Patch < 0 || r.Patch >= masks.Patches || masks.Masked[k*masks.Patches+r.Patch] {
		return nil, requestf("patch %d of %q is not visible; choose one that the model sees", r.Patch, r.Modality)
	}
	m, err := a.model.Attention(ctx, b, masks, r.Block, a.Pool)
	if err != nil {
		return nil, err
	}
	row := m.Weights[slices.Index(masks.Keep, int32(k*masks.Patches+r.Patch))*m.Tokens:][:m.Tokens]
	answer := &AttentionAnswer{Weights: map[string][]float32{}}
	for _, name := range masks.Inputs {
		answer.Weights[name] = make([]float32, masks.Patches)
	}
	for i, w := range row {
		if i >= masks.Visible {
			answer.Global += w
			continue
		}
		token := int(masks.Keep[i])
		answer.Weights[masks.Inputs[token/masks.Patches]][token%masks.Patches] = w
	}
	return answer, nil
}
