package scenes

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/nn"
)

// The classes of rendered scenes.
const (
	classFloor = iota
	classWall
	classCeiling
	classRug
	classPicture
	classWindow
	classDoor
	classTable
	classChair
	classLamp
	classBox
	classBall
	classCylinder
	classCone
	classPyramid
	classRing
)

// Classes are the names of the class ids of rendered scenes: the index is the id. A class is a
// shape; colour, texture, size and place say nothing about it.
var Classes = []string{
	"floor", "wall", "ceiling", "rug", "picture", "window", "door", "table",
	"chair", "lamp", "box", "ball", "cylinder", "cone", "pyramid", "ring",
}

// ClassNames returns Classes by modality, as dataset folders name theirs: see data.ClassNames.
func ClassNames() map[string][]string { return map[string][]string{"semseg": Classes} }

// Check returns an error for the first modality that rendered scenes do not have. It begins with the
// name of the modality.
func Check(inputs []multimae.Input) error {
	for _, in := range inputs {
		switch {
		case in.Name == "rgb" && in.Kind == multimae.KindImage && in.Channels == 3:
		case in.Name == "depth" && in.Kind == multimae.KindImage && in.Channels == 1:
		case in.Name == "semseg" && in.Kind == multimae.KindClasses:
			if in.NumClasses < len(Classes) {
				return fmt.Errorf("%s.num_classes: got %d, but rendered scenes have %d classes", in.Name, in.NumClasses, len(Classes))
			}
		default:
			return fmt.Errorf("%s: rendered scenes have rgb of 3 channels, depth of 1, and class maps semseg only; use a dataset folder", in.Name)
		}
	}
	return nil
}

// CheckModel is Check for looking at rendered scenes with a model. It also returns an error if the ids of
// the model's class maps do not stand for Classes. The names of its classes by modality are given, those of
// the folder that it was trained on; where neither names nor folder are known, their number decides.
func CheckModel(c *multimae.Config, names map[string][]string) error {
	if err := Check(c.Inputs); err != nil {
		return err
	}
	in, from := c.Input("semseg"), c.Train.Data
	if in == nil || from == "scenes" || slices.Equal(names["semseg"], Classes) {
		return nil
	}
	if from == "" {
		if names["semseg"] == nil && in.NumClasses == len(Classes) {
			return nil
		}
		from = fmt.Sprintf("the data with %d classes", in.NumClasses)
	}
	return fmt.Errorf("semseg: rendered scenes have other classes than %s, which the model was trained on; use pictures or a dataset folder like that", from)
}

// DepthUnit is what a stored depth of 1 stands for, in metres.
const DepthUnit = 16. / 65536

// New returns a dataset of n ray-traced rooms of size×size pixels with the modalities rgb, depth
// and semseg, aligned to the pixel. Sample i is scene number first+i, is named "scene/%06d" after
// it, and depends on that number, size and seed only. The size changes the sampling, not the room.
//
// Colour is in steps of 1/255. Depth is the distance along the camera's axis divided by 16 m, in
// steps of 2^−16. Semantic maps hold indices of Classes. Scenes are the same on every run; machines
// whose compilers fuse multiplication and addition may differ in a few pixels.
func New(first, n, size int, seed uint64) data.Dataset {
	return &scenes{first, max(n, 0), size, seed}
}

// HeldOut is the number of the first of HeldOutLen scenes that no run of gomae trains on. Scenes
// before them are for pre-training, and fine-tuning has its own after them: see package train.
const (
	HeldOut    = 1_000_000_000
	HeldOutLen = 100_000_000
)

// Unseen returns the scenes that no run of gomae trains on. size and seed are those of New.
func Unseen(size int, seed uint64) data.Dataset { return New(HeldOut, HeldOutLen, size, seed) }

// maxSize bounds the time and memory that a scene takes: 64 megapixels.
const maxSize = 8000

type scenes struct {
	first, n, size int
	seed           uint64
}

func (d *scenes) Len() int { return d.n }

// Fingerprint tells the scenes apart from other data: see data.Fingerprint.
func (d *scenes) Fingerprint() string {
	return fmt.Sprintf("rendered scenes %d to %d of seed %d", d.first, d.first+d.n-1, d.seed)
}

func (d *scenes) Sample(i int) (*data.Sample, error) {
	if i < 0 || i >= d.n {
		return nil, fmt.Errorf("scenes: got scene %d, want 0..%d", i, d.n-1)
	}
	if d.size < 1 || d.size > maxSize {
		return nil, fmt.Errorf("scenes: got a size of %d pixels, want 1..%d", d.size, maxSize)
	}
	s := scenePool.Get().(*scene)
	defer scenePool.Put(s)
	s.compose(nn.NewRNG(d.seed, uint64(d.first+i)))
	out := s.render(d.size)
	out.Name = fmt.Sprintf("scene/%06d", d.first+i)
	return out, nil
}
