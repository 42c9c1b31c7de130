package heads

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/multimae"
)

// TargetInputs returns the modalities of a dataset that the outputs are compared with, in the form
// that a batch of package data has: maps of ids or pixels at the size of the image, and for Linear
// one id a sample.
func (c *Config) TargetInputs() []multimae.Input {
	var targets []multimae.Input
	for i := range c.Outputs {
		if in := c.targetInput(&c.Outputs[i]); !slices.ContainsFunc(targets, func(t multimae.Input) bool { return t.Name == in.Name }) {
			targets = append(targets, in)
		}
	}
	return targets
}

func (c *Config) targetInput(o *Output) multimae.Input {
	in := multimae.Input{Name: o.TargetName(), Stride: 1}
	switch {
	case o.Head == Linear:
		in.Stride = c.ImageSize
		fallthrough
	case o.Loss == LossCrossEntropy:
		in.Kind, in.NumClasses, in.Invalid = multimae.KindClasses, o.NumClasses, o.Invalid
	default:
		in.Kind, in.Channels, in.Normalize, in.Invalid = multimae.KindImage, o.NumClasses, multimae.NormalizeNone, o.Invalid
		in.HasUnit = o.Unit > 0
		if o.Relative() {
			in.Normalize = multimae.NormalizeStandardize
		}
	}
	return in
}

// Relative reports whether the output is a regression of one channel without a Unit, such as relative
// depth, whose truth is standardised image by image.
func (o *Output) Relative() bool {
	return o.Loss != LossCrossEntropy && o.NumClasses == 1 && o.Unit == 0
}

// TargetName returns Target, or where that is empty ClassTarget for Linear and Name for others.
func (o *Output) TargetName() string {
	switch {
	case o.Target != "":
		return o.Target
	case o.Head == Linear:
		return ClassTarget
	}
	return o.Name
}

// stored is the number of values of the 16 bits in which a regression's truth is stored. Pixels of
// a batch are shares of it.
const stored = 1 << 16

// Split divides a batch that has both the model's inputs and TargetInputs. The parts share its
// memory, but for the values of regressions with a Unit.
func (c *Config) Split(b *multimae.Batch) (inputs *multimae.Batch, targets *Targets) {
	inputs = &multimae.Batch{Size: b.Size, H: b.H, W: b.W, Images: map[string][]float32{}, Classes: map[string][]int32{}, Valid: map[string][]bool{}}
	for _, name := range c.Inputs.Names() {
		if x, ok := b.Images[name]; ok {
			inputs.Images[name] = x
		}
		if x, ok := b.Classes[name]; ok {
			inputs.Classes[name] = x
		}
		if valid, ok := b.Valid[name]; ok {
			inputs.Valid[name] = valid
		}
	}
	targets = &Targets{Classes: map[string][]int32{}, Values: map[string][]float32{}, Valid: map[string][]bool{}}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		name := o.TargetName()
		if ids, ok := b.Classes[name]; ok && o.Loss == LossCrossEntropy {
			targets.Classes[o.Name] = ids
		}
		values, ok := b.Images[name]
		if !ok || o.Loss == LossCrossEntropy {
			continue
		}
		if o.Unit > 0 {
			values = slices.Clone(values)
			for k := range values {
				values[k] *= float32(o.Unit * stored)
			}
		}
		targets.Values[o.Name] = values
		if valid, ok := b.Valid[name]; ok {
			targets.Valid[o.Name] = valid
		}
	}
	return inputs, targets
}

// checkTarget checks what says where an output's truth is.
func (c *Config) checkTarget(o *Output) error {
	name := o.TargetName()
	if in := c.Input(name); in != nil && c.Train.Steps > 0 {
		return fmt.Errorf("target: %q is also an input, so there is nothing to learn; put the truth into another folder, or leave the input out", name)
	}
	for i := range c.Outputs { // a target is read once, for all outputs that are compared with it
		other := &c.Outputs[i]
		if other.TargetName() != name {
			continue
		}
		a, b := c.targetInput(o), c.targetInput(other)
		for _, x := range []struct {
			key       string
			same      bool
			got, have any
		}{
			{"head", a.Stride == b.Stride, o.Head, other.Head},
			{"loss", a.Kind == b.Kind, o.Loss, other.Loss},
			// The class of an image is read as it is, whatever the number of classes.
			{"num_classes", o.Head == Linear || a.NumClasses == b.NumClasses && a.Channels == b.Channels, o.NumClasses, other.NumClasses},
			{"unit", a.Normalize == b.Normalize, o.Unit, other.Unit},
			{"invalid", slices.Equal(a.Invalid, b.Invalid), o.Invalid, other.Invalid},
		} {
			if !x.same {
				return fmt.Errorf("target: %q is also the truth of output %s, which reads it with %s %v, not %v; give both the same %s, or put a copy of the truth into another folder",
					name, other.Name, x.key, x.have, x.got, x.key)
			}
		}
	}
	if n := len(o.Classes); n != 0 && n != o.NumClasses {
		return fmt.Errorf("classes: got %d names, want num_classes %d", n, o.NumClasses)
	}
	if !(o.Unit >= 0 && o.Unit < 1e6) || o.Unit > 0 && o.Loss == LossCrossEntropy {
		return fmt.Errorf("unit: got %g, want what a stored value of a regression stands for, such as 0.001", o.Unit)
	}
	if o.Unit > 0 && o.NumClasses != 1 {
		return fmt.Errorf("unit: got %g with num_classes %d, but only a regression of one channel has a unit; leave it out", o.Unit, o.NumClasses)
	}
	if len(o.Invalid) > 0 && (o.Head == Linear || o.Loss != LossCrossEntropy && o.NumClasses != 1) {
		return fmt.Errorf("invalid: got %v, but only maps of classes and regressions of one channel have values without truth", o.Invalid)
	}
	if !(o.LabelSmoothing >= 0 && o.LabelSmoothing < 1) || o.LabelSmoothing > 0 && o.Loss != LossCrossEntropy {
		return fmt.Errorf("label_smoothing: got %g, want 0 or more and below 1, for loss %q", o.LabelSmoothing, LossCrossEntropy)
	}
	if w := o.LossWeight; w != 0 && !(float32(w) > 0 && w < 1e6) {
		return fmt.Errorf("loss_weight: got %g, want more than 0 as a float32 and below 1e6, or 0 for 1", w)
	}
	return nil
}

// checkTrain checks how the model is trained, where the configuration says that.
func (c *Config) checkTrain() error {
	t := &c.Train
	if t.Steps == 0 {
		return nil
	}
	if err := t.Recipe.Check(&c.Optim); err != nil {
		return err
	}
	for _, x := range []struct {
		key         string
		v, lo, hi   float64
		description string
	}{
		{"layer_decay", t.LayerDecay, 0, 1, "from 0 to 1"}, {"ema", t.EMA, 0, 0.999999, "0 or more and below 1"},
		{"color_jitter", t.ColorJitter, 0, 1, "from 0 to 1"}, {"mixup", t.Mixup, 0, 100, "0 or more"}, {"cutmix", t.CutMix, 0, 100, "0 or more"},
		{"samples", float64(t.Samples), 0, 1 << 40, "0 or more"},
	} {
		if !(x.v >= x.lo && x.v <= x.hi) {
			return fmt.Errorf("train.%s: got %g, want %s", x.key, x.v, x.description)
		}
	}
	if s := t.Scale; len(s) != 0 && (len(s) != 2 || !(s[0] > 0 && s[0] <= s[1] && s[1] <= 16)) {
		return fmt.Errorf("train.scale: got %v, want two ascending factors, such as [0.5, 2]", s)
	}
	if len(t.Scale) > 0 && len(t.CropScale) > 0 {
		return fmt.Errorf("train.scale, train.crop_scale: got both; keep one of them")
	}
	if t.Mixup > 0 && t.CutMix == 0 {
		for i := range c.Inputs {
			if in := &c.Inputs[i]; in.Kind == multimae.KindClasses {
				return fmt.Errorf("train.mixup: got %g, but the input %s has class maps, which cannot be added; leave it out, or set train.cutmix", t.Mixup, in.Name)
			}
		}
	}
	if t.Mixup+t.CutMix > 0 {
		for i := range c.Outputs {
			if o := &c.Outputs[i]; o.Head != Linear {
				return fmt.Errorf("train.mixup, train.cutmix: output %s has the head %q; they blend classes of whole images, so leave them out", o.Name, o.Head)
			}
		}
	}
	return nil
}
