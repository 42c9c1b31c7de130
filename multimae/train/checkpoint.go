package train

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// CheckpointFile holds everything that an exact resume needs, in one file so
// that its parts cannot come from different steps: parameters, optimiser
// moments, loss weights and the number of the step.
const CheckpointFile = "checkpoint.safetensors"

// Save writes a checkpoint. It appears under path only when complete.
func (tr *Trainer) Save(path string) error {
	return nn.WriteFileAtomic(path, func(w io.Writer) error {
		return nn.WriteSafetensors(w, tr.tensors(), map[string]string{
			"gomae_step": strconv.Itoa(tr.step), "gomae_optimizer_steps": strconv.Itoa(tr.opt.Steps),
		})
	})
}

// tensors lists the state under the keys of a checkpoint.
func (tr *Trainer) tensors() []nn.NamedTensor {
	list := tr.Model.Params.Tensors()
	for i := range list {
		list[i].Name = "model." + list[i].Name
	}
	if tr.balancer != nil {
		for _, x := range tr.balancer.Params.Tensors() {
			x.Name = "balancer." + x.Name
			list = append(list, x)
		}
	}
	for i, p := range tr.opt.Params() {
		list = append(list,
			nn.NamedTensor{Name: "optimizer.m." + p.Name, Shape: p.Shape, Data: tr.opt.M[i]},
			nn.NamedTensor{Name: "optimizer.v." + p.Name, Shape: p.Shape, Data: tr.opt.V[i]})
	}
	return list
}

// firstBad describes the first tensor of the state that has a NaN or an
// infinity; "" if none has.
func (tr *Trainer) firstBad() string {
	for _, x := range tr.tensors() {
		if v := x.Data.([]float32); !tensor.Finite(v) {
			i := slices.IndexFunc(v, func(v float32) bool { return v-v != 0 })
			return fmt.Sprintf("%s, shape %v, element %d is %g", x.Name, x.Shape, i, v[i])
		}
	}
	return ""
}

// Restore reads a checkpoint of the same configuration. After an error the
// trainer must not be used.
func (tr *Trainer) Restore(path string) error {
	f, err := nn.OpenSafetensorsFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for key, to := range map[string]*int{"gomae_step": &tr.step, "gomae_optimizer_steps": &tr.opt.Steps} {
		n, err := strconv.Atoi(f.Metadata()[key])
		if err != nil || n < 0 {
			return fmt.Errorf("%s: metadata %s is %q, want a number; this is not a training checkpoint", path, key, f.Metadata()[key])
		}
		*to = n
	}
	want := tr.tensors()
	if n := len(f.Names()); n != len(want) {
		return fmt.Errorf("%s: %d tensors, want %d; it was written under another configuration", path, n, len(want))
	}
	for _, x := range want {
		if shape, _ := f.Shape(x.Name); !slices.Equal(shape, x.Shape) {
			return fmt.Errorf("%s: %s has shape %v, want %v; it was written under another configuration", path, x.Name, shape, x.Shape)
		}
		if err := f.ReadFloat32(x.Name, x.Data.([]float32)); err != nil {
			return err
		}
	}
	if bad := tr.firstBad(); bad != "" {
		return fmt.Errorf("%s: %s", path, bad)
	}
	tr.Model.PositionsChanged()
	return nil
}
