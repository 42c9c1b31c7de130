package train

import (
	"context"
	"image"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Objective is what a run minimises, and all that the loop knows of what it trains: what a batch
// is, the losses of it, and how the model is validated. There are two: [Pretraining] and
// [Finetuning].
type Objective interface {
	// Backbone is the model, whose Params are trained.
	Backbone() *multimae.Backbone
	// Extra are parameters that are trained beside those of the model, such as the weights of
	// losses; nil if there are none.
	Extra() *nn.Params
	// Plan says how the model is trained.
	Plan() Plan
	// JSON returns the content of the model's config.json.
	JSON() []byte
	// CheckMemory returns an error if training with so many workers needs more memory than this
	// process may use.
	CheckMemory(workers int) error

	// join makes the batches of Begin parts of those of a group, whose ranks call Begin together.
	join(g *group) error
	// Begin takes a batch for step number step, counted from 0, and draws what is random about it.
	Begin(b *multimae.Batch, step int) error
	// Losses goes forward with the samples from..to of that batch. It returns the number to
	// minimise, and the loss of each of Plan.Outputs, nil where there is no target for it. What it
	// returns for parts of a batch adds up to that of the whole. Without lanes, ranks call it together.
	Losses(t *tensor.Tape, from, to int) (total *tensor.Tensor, losses []*tensor.Tensor, err error)
	// Replica returns an objective with the same batch and the same values of the parameters, and
	// with gradients of its own. Replicas go forward and back at the same time.
	Replica() Objective

	// Evaluate validates the model on samples held out.
	Evaluate(ctx context.Context, train, val data.Dataset, skipBad bool, pool *tensor.Pool) (*Evaluation, error)
	// Picture draws what the model makes of samples held out.
	Picture(samples []*data.Sample, pool *tensor.Pool) (image.Image, error)
}

// Plan is how an objective is trained.
type Plan struct {
	Recipe  *multimae.Recipe
	Optim   *multimae.Optim
	Inputs  []multimae.Input // modalities of a batch, with those of targets
	Size    int              // side of the batch's images in pixels
	Augment data.Augment
	Outputs []string // names of the losses
	// Lanes is among how many lanes a step is shared out by samples, and LaneSamples how many
	// samples a lane takes at a time; 0 where each operation is shared out instead.
	Lanes, LaneSamples int
	// Scales returns what a parameter has of the learning rate and of the weight decay; nil means
	// all of both.
	Scales func(p *nn.Param) (lr, decay float64)
	// EMA is what a running average of the model's parameters keeps of itself in a step; 0 means
	// that there is none. Early steps keep less: see average.
	EMA float64
}

// crops returns the augmentation of a recipe.
func crops(r *multimae.Recipe) data.Augment {
	a := data.Augment{Flip: r.Flip}
	if len(r.CropScale) == 2 {
		a.Crop, a.CropScale = true, [2]float64(r.CropScale)
	}
	if len(r.CropRatio) == 2 {
		a.CropRatio = [2]float64(r.CropRatio)
	}
	return a
}
