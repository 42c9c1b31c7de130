package teacher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/internal/strictjson"
)

// What a network computes: Output.Kind.
const (
	KindInverseDepth  = "inverse_depth" // relative, larger is nearer: up to an unknown scale and shift
	KindDepth         = "depth"         // relative, larger is farther
	KindMetres        = "metres"        // depth in metres
	KindLogits        = "logits"        // of classes
	KindProbabilities = "probabilities" // of classes, or other scores that are not negative
	KindIDs           = "ids"           // the number of a class for each pixel
)

// The orders of dimensions.
const (
	NCHW = "NCHW"
	NHWC = "NHWC"
)

// Description says how a network is fed and what its output means: a JSON file beside the network.
// Known returns those that come with the package, as examples.
type Description struct {
	About    string `json:"about,omitempty"`    // which network this is and where it is from
	Untested bool   `json:"untested,omitempty"` // written from documentation, and never run

	// Model is the .onnx file, or the folder of a fine-tuned model of gomae, in the folder of the
	// description or below it.
	Model  string     `json:"model,omitempty"`
	Input  InputSpec  `json:"input,omitzero"`
	Output OutputSpec `json:"output,omitzero"`

	// Classes are the names of the network's classes in the order of its numbers. "@ade20k" among
	// them stands for the classes of ADE20K; so do the other names of ClassLists.
	Classes []string `json:"classes,omitempty"`
	// Labels is an object whose keys are the classes of the result, in the order of their ids; each
	// lists the classes of the network that become it, by name or number. Without it, every class
	// stays what it is.
	Labels json.RawMessage `json:"labels,omitempty"`
	// Rest is what becomes of classes that Labels does not mention: "ignore", or "keep" for labels
	// of their own, after those of Labels. Without it Labels must mention every class.
	Rest string `json:"rest,omitempty"`
	// Confidence is the probability of a label below which a pixel is ignored.
	Confidence float64 `json:"confidence,omitempty"`
}

// InputSpec describes the input of a network. Values are colour in Range, minus Mean, over Std.
//
// The photograph is stretched to Size, or to the size that the network says is its only one, unless
// ShortSide or LongSide is given: then it keeps the ratio of its sides up to the rounding to
// Multiple.
type InputSpec struct {
	Name      string    `json:"name,omitempty"`       // may be left out if the network has one input
	Layout    string    `json:"layout,omitempty"`     // NCHW, which is the default, or NHWC
	Size      []int     `json:"size,omitempty"`       // height and width
	ShortSide int       `json:"short_side,omitempty"` // pixels
	LongSide  int       `json:"long_side,omitempty"`
	Multiple  int       `json:"multiple,omitempty"`
	Channels  string    `json:"channels,omitempty"` // RGB, which is the default, or BGR
	Range     []float64 `json:"range,omitempty"`    // of black and white, 0 and 1 by default
	Mean      []float64 `json:"mean,omitempty"`     // of each channel in the order of Channels, 0 by default
	Std       []float64 `json:"std,omitempty"`      // 1 by default
}

// OutputSpec describes the output of a network.
type OutputSpec struct {
	Name   string `json:"name,omitempty"`   // may be left out if the network has one output
	Kind   string `json:"kind"`             // a Kind constant
	Layout string `json:"layout,omitempty"` // of logits and probabilities: NCHW, which is the default, or NHWC
}

const (
	maxSide    = 1 << 14
	maxClasses = 1 << 12 // of a network; of labels there are at most maxLabels
	maxLabels  = 254     // ids 0..253: 254 is padding and 255 is ignored
)

// ParseDescription reads a description. Its errors name the key.
func ParseDescription(b []byte) (*Description, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("is empty; want a JSON object that describes a network")
	}
	d := new(Description)
	err := strictjson.UnmarshalObject(b, d)
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return nil, strictjson.Short(err)
	}
	return d, nil
}

// check returns an error that names the first key whose value cannot be used.
func (d *Description) check() error {
	in := &d.Input
	ways := 0
	for _, set := range []bool{len(in.Size) > 0, in.ShortSide != 0, in.LongSide != 0} {
		if set {
			ways++
		}
	}
	switch {
	case !oneOf(in.Layout, "", NCHW, NHWC):
		return fmt.Errorf("input.layout: got %q, want %q or %q", in.Layout, NCHW, NHWC)
	case !oneOf(in.Channels, "", "RGB", "BGR"):
		return fmt.Errorf(`input.channels: got %q, want "RGB" or "BGR"`, in.Channels)
	case ways > 1:
		return errors.New("input: size, short_side and long_side exclude each other")
	case in.Multiple != 0 && len(in.Size) > 0:
		return errors.New("input.multiple: not used with size; remove one of them")
	case len(in.Size) != 0 && (len(in.Size) != 2 || !inside(in.Size[0], 1, maxSide) || !inside(in.Size[1], 1, maxSide)):
		return fmt.Errorf("input.size: got %v, want height and width, 1..%d", in.Size, maxSide)
	case !inside(in.ShortSide, 0, maxSide), !inside(in.LongSide, 0, maxSide), !inside(in.Multiple, 0, maxSide):
		return fmt.Errorf("input.short_side, long_side or multiple: got %d, %d and %d, want 1..%d", in.ShortSide, in.LongSide, in.Multiple, maxSide)
	case len(in.Range) != 0 && (len(in.Range) != 2 || !finite(in.Range) || in.Range[0] == in.Range[1]):
		return fmt.Errorf("input.range: got %v, want the values of black and of white", in.Range)
	case len(in.Mean) != 0 && (len(in.Mean) != 3 || !finite(in.Mean)):
		return fmt.Errorf("input.mean: got %v, want three numbers", in.Mean)
	case len(in.Std) != 0 && (len(in.Std) != 3 || !finite(in.Std) || slices.Contains(in.Std, 0)):
		return fmt.Errorf("input.std: got %v, want three numbers other than 0", in.Std)
	}
	out := &d.Output
	switch {
	case !oneOf(out.Kind, KindInverseDepth, KindDepth, KindMetres, KindLogits, KindProbabilities, KindIDs):
		return fmt.Errorf("output.kind: got %q, want %q, %q, %q, %q, %q or %q", out.Kind, KindInverseDepth, KindDepth, KindMetres, KindLogits, KindProbabilities, KindIDs)
	case !oneOf(out.Layout, "", NCHW, NHWC):
		return fmt.Errorf("output.layout: got %q, want %q or %q", out.Layout, NCHW, NHWC)
	case !(d.Confidence >= 0 && d.Confidence <= 1):
		return fmt.Errorf("confidence: got %v, want 0..1", d.Confidence)
	case d.Confidence > 0 && !oneOf(out.Kind, KindLogits, KindProbabilities):
		return fmt.Errorf("confidence: not used with the output %q; remove it", out.Kind)
	}
	if !d.ofClasses() {
		if len(d.Classes) > 0 || len(d.Labels) > 0 || d.Rest != "" {
			return fmt.Errorf("classes, labels, rest: not used with the output %q; remove them", out.Kind)
		}
		return nil
	}
	_, err := d.table()
	return err
}

// ofClasses reports whether the output is of classes, and not of depth.
func (d *Description) ofClasses() bool {
	return oneOf(d.Output.Kind, KindLogits, KindProbabilities, KindIDs)
}

func oneOf(s string, list ...string) bool { return slices.Contains(list, s) }

func inside(n, lo, hi int) bool { return n >= lo && n <= hi }

func finite(list []float64) bool {
	return !slices.ContainsFunc(list, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}
