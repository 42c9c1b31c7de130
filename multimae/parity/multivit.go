package parity

import (
	"fmt"
	"io/fs"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// openMultiViT reads a dump of fine-tuning.
func openMultiViT(fsys fs.FS, c *caseJSON, inputs weights.File) (*subject, error) {
	m, err := modelfolder.Load(fsys, heads.LoadConfig, heads.LoadFrom)
	if err != nil {
		return nil, err
	}
	if err := m.Config.CheckImageSize(c.ImageSize[0], c.ImageSize[1]); err != nil {
		return nil, fmt.Errorf("case.%w", err)
	}
	b, _, err := readPresent(m.Config.Inputs, c, inputs)
	if err != nil {
		return nil, err
	}
	if err := m.Check(b); err != nil {
		return nil, err
	}
	targets, err := readTargets(m.Config, inputs)
	if err != nil {
		return nil, err
	}
	nh, nw := m.Config.Grid(b.H, b.W)
	s := &subject{params: m.Params, optim: m.Config.Optim, samples: c.Batch, tokens: c.Batch * (len(m.Present(b))*nh*nw + m.Config.NumGlobalTokens)}
	for _, o := range m.Config.Outputs {
		s.values += float64(c.Batch) * float64(b.H) * float64(b.W) * float64(o.NumClasses+o.FeatureDim+5*o.EmbedDim)
	}
	for _, o := range m.Config.Outputs {
		s.outputs = append(s.outputs, o.Name)
	}
	s.predict = func(t *tensor.Tape) (tokens *tensor.Tensor, preds []*tensor.Tensor, err error) {
		if tokens, err = m.Encode(t, b, nil, nil); err != nil {
			return nil, nil, err
		}
		preds, err = m.Forward(t, b, nil)
		return tokens, preds, err
	}
	s.losses = func(t *tensor.Tape) ([]*tensor.Tensor, error) {
		preds, err := m.Forward(t, b, nil)
		if err != nil {
			return nil, err
		}
		return m.Losses(t, preds, targets)
	}
	s.image = func(_ int, pred *tensor.Tensor) []float32 { return heads.ChannelsFirst(pred) }
	return s, nil
}

// readTargets reads the target.OUTPUT and valid.OUTPUT that a dump has.
func readTargets(c *heads.Config, f weights.File) (*heads.Targets, error) {
	t := &heads.Targets{Classes: map[string][]int32{}, Values: map[string][]float32{}, Valid: map[string][]bool{}}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		key := "target." + o.Name
		if _, ok := f.Shape(key); !ok {
			continue
		}
		var err error
		if o.Loss == heads.LossCrossEntropy {
			t.Classes[o.Name], err = ids(f, key)
		} else {
			t.Values[o.Name], err = f.Float32(key)
		}
		if err != nil {
			return nil, err
		}
		key = "valid." + o.Name
		if _, ok := f.Shape(key); !ok {
			continue
		}
		valid, err := f.Int64(key)
		if err != nil {
			return nil, err
		}
		for _, v := range valid {
			t.Valid[o.Name] = append(t.Valid[o.Name], v != 0)
		}
	}
	return t, nil
}
