package train

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// ErrDamaged is wrapped by Restore's error where the bytes of a checkpoint are
// not those that were written.
var ErrDamaged = errors.New("damaged")

// ErrOtherConfig is wrapped by Restore's error where a checkpoint was written under another
// configuration, which would not go on to the same bits.
var ErrOtherConfig = errors.New("it was written under another configuration")

// CheckpointName is the file name of a run's checkpoint of a step, which holds
// everything that an exact resume needs, in one file so that its parts cannot
// come from different steps: parameters, optimiser moments and how often each
// parameter was updated, loss weights and the number of the step.
func CheckpointName(step int) string { return fmt.Sprintf("checkpoint-%06d.safetensors", step) }

// checkpointStep is the reverse of CheckpointName.
func checkpointStep(name string) (step int, ok bool) {
	s, ok1 := strings.CutPrefix(name, "checkpoint-")
	s, ok2 := strings.CutSuffix(s, ".safetensors")
	step, err := strconv.Atoi(s)
	return step, ok1 && ok2 && err == nil && name == CheckpointName(step)
}

// Checkpoints returns the steps of which the run in dir has a checkpoint, in ascending order.
func Checkpoints(dir string) ([]int, error) { return (&folder{dir: dir}).checkpoints() }

// The last tensor of a checkpoint is the CRC-32C, little-endian, of all bytes
// before it, the header's too. CRC-32C costs little beside writing and finds
// every flipped byte.
const (
	checksumName = "checksum.crc32c"
	checksumSize = crc32.Size
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// summing passes bytes on. sum holds, at each moment, the checksum of those so
// far, and can be written as the last of them.
type summing struct {
	w   io.Writer
	crc uint32
	sum []byte
}

func (s *summing) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.crc = crc32.Update(s.crc, castagnoli, b[:n])
	binary.LittleEndian.PutUint32(s.sum, s.crc)
	return n, err
}

// Save writes a checkpoint. It appears under path only when complete, and ends
// with a checksum. It replaces a link or a special file that is there.
func (tr *Trainer) Save(path string) error {
	return atomicfile.Replace(path, func(w io.Writer) error {
		s := &summing{w: w, sum: make([]byte, checksumSize)}
		list := append(tr.tensors(), weights.Tensor{Name: checksumName, Shape: []int{checksumSize}, Data: s.sum})
		about := map[string]string{
			metaStep: strconv.Itoa(tr.step), metaOptimizerSteps: strconv.Itoa(tr.opt.Steps),
			metaUpdates: strings.Trim(fmt.Sprint(tr.opt.Updates), "[]"),
			metaConfig:  string(tr.Objective.JSON()),
		}
		if tr.Data != "" {
			about[metaData] = tr.Data
		}
		return weights.WriteSafetensors(s, list, about)
	})
}

// The metadata of a checkpoint beside metaStep.
const (
	metaOptimizerSteps = "gomae_optimizer_steps"
	metaUpdates        = "gomae_optimizer_updates" // of each trained parameter, in order
	metaConfig         = modelfolder.MetaConfig    // the config.json
	metaData           = "gomae_data"              // Trainer.Data
)

// tensors lists the state under the keys of a checkpoint.
func (tr *Trainer) tensors() []weights.Tensor {
	list := tr.Objective.Backbone().Params.Tensors()
	for i := range list {
		list[i].Name = "model." + list[i].Name
	}
	if extra := tr.Objective.Extra(); extra != nil {
		for _, x := range extra.Tensors() {
			x.Name = "balancer." + x.Name
			list = append(list, x)
		}
	}
	list = append(list, tr.average.tensors()...)
	for i, p := range tr.opt.Params() {
		list = append(list,
			weights.Tensor{Name: "optimizer.m." + p.Name, Shape: p.Shape, Data: tr.opt.M[i]},
			weights.Tensor{Name: "optimizer.v." + p.Name, Shape: p.Shape, Data: tr.opt.V[i]})
	}
	return list
}

// firstBad describes the first tensor of the state that has a NaN or an
// infinity; "" if none has.
func (tr *Trainer) firstBad() string {
	for _, x := range tr.tensors() {
		v := x.Data.([]float32)
		if i := tensor.FirstNotFinite(v); i >= 0 {
			return fmt.Sprintf("%s, shape %v, element %d is %g", x.Name, x.Shape, i, v[i])
		}
	}
	return ""
}

// Restore reads a checkpoint of the same configuration. All of it is compared
// with its checksum first: a file that was cut off, changed or cannot be read
// to its end is ErrDamaged. After an error the trainer must not be used, but
// another checkpoint can be restored.
func (tr *Trainer) Restore(path string) error {
	if err := verify(path); err != nil {
		return err
	}
	f, err := weights.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for key, to := range map[string]*int{metaStep: &tr.step, metaOptimizerSteps: &tr.opt.Steps} {
		n, err := strconv.Atoi(f.Metadata()[key])
		if err != nil || n < 0 {
			return fmt.Errorf("%s: metadata %s is %q, want a number; this is not a training checkpoint", path, key, f.Metadata()[key])
		}
		*to = n
	}
	if err := tr.sameConfig(f.Metadata()[metaConfig]); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	want := tr.tensors()
	if n := len(f.Names()) - 1; n != len(want) { // one is the checksum
		return fmt.Errorf("%s: %d tensors, want %d; %w", path, n, len(want), ErrOtherConfig)
	}
	for _, x := range want {
		if shape, _ := f.Shape(x.Name); !slices.Equal(shape, x.Shape) {
			return fmt.Errorf("%s: %s has shape %v, want %v; %w", path, x.Name, shape, x.Shape, ErrOtherConfig)
		}
		if err := f.ReadFloat32(x.Name, x.Data.([]float32)); err != nil {
			return err
		}
	}
	updates := strings.Fields(f.Metadata()[metaUpdates])
	if len(updates) != len(tr.opt.Updates) {
		return fmt.Errorf("%s: metadata %s has %d numbers, want %d; it was written by an older version, whose runs this one cannot resume",
			path, metaUpdates, len(updates), len(tr.opt.Updates))
	}
	for i, s := range updates {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > tr.opt.Steps {
			return fmt.Errorf("%s: metadata %s holds %q, want numbers up to %d", path, metaUpdates, s, tr.opt.Steps)
		}
		tr.opt.Updates[i] = n
	}
	if bad := tr.firstBad(); bad != "" {
		return fmt.Errorf("%s: %s", path, bad)
	}
	tr.Objective.Backbone().PositionsChanged()
	tr.restored = f.Metadata()[metaData]
	return nil
}

// LoadCheckpoint returns the model of a run's checkpoint, frozen, for looking at: c is the
// configuration of the run. The checksum is compared, as by Trainer.Restore.
func LoadCheckpoint(c *multimae.Config, path string) (*multimae.Model, error) {
	if err := verify(path); err != nil {
		return nil, err
	}
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := multimae.NewModel(c)
	if err != nil {
		return nil, err
	}
	for _, p := range m.Params.All() {
		name := "model." + p.Name
		if shape, ok := f.Shape(name); !ok || !slices.Equal(shape, p.Shape) {
			return nil, fmt.Errorf("%s: %s has shape %v, want %v; %w", path, name, shape, p.Shape, ErrOtherConfig)
		}
		if err := f.ReadFloat32(name, p.Data); err != nil {
			return nil, err
		}
	}
	m.PositionsChanged()
	m.Params.Freeze()
	return m, nil
}

// free are the keys of a configuration that may change between two calls of a run.
var free = []string{"train.steps", "train.data", "train.from", "train.val_every", "train.save_every", "train.log_every"}

// withoutFree returns a configuration without the free keys, and without what only dumps have.
func withoutFree(config []byte) ([]byte, error) {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	delete(c, "case")
	for _, key := range free {
		section, name, _ := strings.Cut(key, ".")
		var keys map[string]json.RawMessage
		if json.Unmarshal(c[section], &keys) != nil {
			continue
		}
		delete(keys, name)
		c[section], _ = json.Marshal(keys)
	}
	return json.Marshal(c)
}

// sameConfig returns an error unless the configuration of the objective is the one in the metadata
// of a checkpoint, but for the free keys. Earlier versions wrote none.
func (tr *Trainer) sameConfig(config string) error {
	if config == "" {
		return nil
	}
	was, err := withoutFree([]byte(config))
	if err != nil {
		return fmt.Errorf("metadata %s: %w; the checkpoint is of another version of gomae", metaConfig, err)
	}
	is, err := withoutFree(tr.Objective.JSON())
	if err != nil {
		return err
	}
	key, old, now := strictjson.Difference(was, is)
	if key == "" {
		return nil
	}
	return fmt.Errorf("%w: %s was %s and is now %s; put it back, or start another run. Only %s may change",
		ErrOtherConfig, key, old, now, strings.Join(free, ", "))
}

// checksum returns the CRC-32C of bytes.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// checksum returns that of the state, which all ranks must have the same of.
func (tr *Trainer) checksum() (sum uint32) {
	b := make([]byte, 0, 1<<16)
	for _, x := range tr.tensors() {
		v := x.Data.([]float32)
		for len(v) > 0 {
			b = b[:0]
			n := min(len(v), cap(b)/4)
			for _, f := range v[:n] {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
			}
			sum = crc32.Update(sum, castagnoli, b)
			v = v[n:]
		}
	}
	return sum
}

// broadcast gives all ranks the state of rank 0.
func (tr *Trainer) broadcast() error {
	g := tr.group
	numbers := []*int{&tr.step, &tr.opt.Steps}
	for i := range tr.opt.Updates {
		numbers = append(numbers, &tr.opt.Updates[i])
	}
	if err := g.broadcastInts(numbers...); err != nil || g == nil {
		return err
	}
	for _, x := range tr.tensors() {
		if err := g.broadcast(x.Data.([]float32)); err != nil {
			return err
		}
	}
	tr.Objective.Backbone().PositionsChanged()
	return nil
}

// verify compares the bytes of a checkpoint with its checksum.
func verify(path string) error {
	damaged := func(format string, args ...any) error {
		return fmt.Errorf("%s is %w: "+format, append([]any{path, ErrDamaged}, args...)...)
	}
	f, err := regular.Open(path)
	if err != nil {
		if errors.Is(err, regular.ErrNotRegular) || badLink(path) {
			return damaged("%w", err)
		}
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	n := st.Size() - checksumSize
	if n < 0 {
		return damaged("it has only %d bytes", st.Size())
	}
	var sum [checksumSize]byte
	hash := crc32.New(castagnoli)
	if _, err = io.CopyBuffer(hash, io.LimitReader(f, n), make([]byte, 1<<20)); err == nil {
		_, err = io.ReadFull(f, sum[:])
	}
	if err != nil {
		return damaged("%w", err)
	}
	if got, want := hash.Sum32(), binary.LittleEndian.Uint32(sum[:]); got != want {
		return damaged("its %d bytes have checksum %08x and not %08x, so it was cut off or changed", n, got, want)
	}
	return nil
}

// badLink reports whether there is a link at path that leads to nothing or in a circle.
func badLink(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	_, err = os.Stat(path)
	return err != nil && !errors.Is(err, fs.ErrPermission)
}
