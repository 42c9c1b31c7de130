package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/tensor"
)

// App answers requests about one model. Its methods may be called from any number of goroutines.
type App struct {
	model *multimae.Model
	Options
	offers data.Dataset // Options.Scenes or what stands for it; may be nil

	mu   sync.Mutex
	kept map[uint64]*data.Sample // recent scenes, at most maxKept
}

// Options say what an App has beside its model.
type Options struct {
	// Name is what the page calls the model.
	Name string
	// Scenes are offered to look at. Nil stands for rendered rooms that no model was trained on, if
	// this one reads what they have and knows their classes, and otherwise for none: the page asks
	// for pictures.
	Scenes data.Dataset
	// Classes names the classes by modality. Nil stands for those of rendered rooms, if the model
	// was trained on them, and otherwise for numbers.
	Classes map[string][]string
	// Pool may be nil; requests that come while it is busy are computed on their own goroutine.
	Pool *tensor.Pool
}

// maxKept bounds the scenes that are kept.
const maxKept = 16

// New returns an App for a model, which must be frozen.
func New(m *multimae.Model, o Options) *App {
	c := m.Config
	if o.Classes == nil && c.Train.Data == "scenes" {
		o.Classes = scenes.ClassNames()
	}
	offers := o.Scenes
	if offers == nil && scenes.CheckModel(c, o.Classes) == nil {
		offers = scenes.Unseen(c.ImageSize, c.Train.Seed)
	}
	return &App{model: m, Options: o, offers: offers, kept: map[uint64]*data.Sample{}}
}

// Model returns the model.
func (a *App) Model() *multimae.Model { return a.model }

// RequestError is an error of the request, and not of the App: its text is for the visitor.
type RequestError struct{ Err error }

func (e *RequestError) Error() string { return e.Err.Error() }
func (e *RequestError) Unwrap() error { return e.Err }

func requestf(format string, args ...any) error {
	return &RequestError{fmt.Errorf(format, args...)}
}

// methods are what Call knows: each takes a JSON object and returns what is sent back as one.
var methods = map[string]func(a *App, ctx context.Context, request []byte) (any, error){
	"info":      method((*App).info),
	"scene":     method((*App).scene),
	"mask":      method((*App).mask),
	"predict":   method((*App).predict),
	"attention": method((*App).attention),
}

// Methods returns the names that Call knows.
func Methods() []string {
	var names []string
	for name := range methods {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Call answers a request, a JSON object, with another one. Errors of the request are of type
// *RequestError; when ctx ends, Call soon returns its error.
func (a *App) Call(ctx context.Context, name string, request []byte) ([]byte, error) {
	f := methods[name]
	if f == nil {
		return nil, requestf("there is no method %q; there are %s", name, strings.Join(Methods(), ", "))
	}
	answer, err := f(a, ctx, request)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// method makes a function of requests R one of bytes.
func method[R, A any](f func(*App, context.Context, *R) (*A, error)) func(*App, context.Context, []byte) (any, error) {
	return func(a *App, ctx context.Context, b []byte) (any, error) {
		r := new(R)
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(r); err != nil {
			return nil, requestf("the request is not what this version understands: %v", err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, requestf("the request is not a single JSON object")
		}
		answer, err := f(a, ctx, r)
		if err != nil {
			return nil, err
		}
		return answer, nil
	}
}

// Info says what the page has to know about the model.
type Info struct {
	Model      string   `json:"model"`
	Parameters int      `json:"parameters"`
	Modality   []Detail `json:"modalities"`
	ImageSize  int      `json:"size"` // pixels
	Grid       int      `json:"grid"` // patches along a side
	Tokens     int      `json:"tokens"`
	Blocks     int      `json:"blocks"`
	Scenes     int      `json:"scenes"` // that are offered
}

// Detail is one modality of the model.
type Detail struct {
	Name      string  `json:"name"`
	Kind      string  `json:"kind"`
	Channels  int     `json:"channels"`
	Colour    bool    `json:"colour"` // it is read as colour, and has a hue
	Predicted bool    `json:"predicted"`
	Side      int     `json:"side"`  // pixels along a side of its pictures
	Alpha     float64 `json:"alpha"` // of training
	Classes   []Class `json:"classes,omitempty"`
}

// Class is an entry of the legend.
type Class struct {
	Name  string `json:"name"`
	Color string `json:"color"` // #rrggbb
}

func (a *App) info(context.Context, *struct{}) (*Info, error) {
	c := a.model.Config
	o := c.MaskOptions(c.Inputs.Names())
	i := &Info{
		Model: a.Name, Parameters: a.model.Params.Count(), ImageSize: c.ImageSize, Grid: c.ImageSize / c.PatchSize,
		Tokens: c.VisibleTokens(), Blocks: c.Encoder.Depth,
	}
	if a.offers != nil {
		i.Scenes = a.offers.Len()
	}
	for k := range c.Inputs {
		in := &c.Inputs[k]
		d := Detail{Name: in.Name, Kind: in.Kind, Channels: in.Channels, Colour: in.Normalization() == multimae.NormalizeImageNet, Side: c.ImageSize / in.Stride, Alpha: o.Alphas[min(k, len(o.Alphas)-1)]}
		for j := range c.Outputs {
			d.Predicted = d.Predicted || shown(c, &c.Outputs[j]) && c.Outputs[j].Task == in.Name
		}
		for id := range in.NumClasses {
			rgb := images.ClassColor(int32(id))
			d.Classes = append(d.Classes, Class{images.ClassName(a.Classes[in.Name], id), fmt.Sprintf("#%02x%02x%02x", rgb.R, rgb.G, rgb.B)})
		}
		i.Modality = append(i.Modality, d)
	}
	return i, nil
}

// shown reports whether an output has a picture of its own.
func shown(c *multimae.Config, o *multimae.Output) bool {
	return o.Loss != multimae.LossNormMSE && c.Input(o.Task) != nil
}

// modality returns the input of that name.
func (a *App) modality(name string) (*multimae.Input, error) {
	in := a.model.Config.Input(name)
	if in == nil {
		names := a.model.Config.Inputs.Names()
		return nil, requestf("the model has no modality %q%s", name, strictjson.Hint(name, names))
	}
	return in, nil
}
