package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn/weights"
)

// The files of a run, in addition to the checkpoints and the files of a model folder.
const (
	MetricsFile  = "metrics.jsonl"
	PicturesFile = "reconstructions.png"
	// BestDir is the model folder of the step with the best validation (see Evaluation.Criterion),
	// inside that of the run.
	BestDir = "best"
)

// oldCheckpoint was the name of the only checkpoint, which had no checksum.
const oldCheckpoint = "checkpoint.safetensors"

// The metadata of weights: the step that they are of and, of the best model, its validation loss.
const (
	metaStep = "gomae_step"
	metaLoss = "gomae_val_loss"
)

// folder is the folder of a run. It keeps house and does not know what is trained: which files
// belong to the run, which process has it, and which checkpoints are there.
type folder struct {
	dir     string
	keep    int         // checkpoints to keep
	metrics *metricsLog // nil until this process has the folder
	created bool        // by this process
	saved   int         // step of the last checkpoint; −1 if there is none
	damaged []string    // paths of later checkpoints that cannot be used
}

func (f *folder) path(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

// refuse returns a FolderError.
func (f *folder) refuse(format string, args ...any) error {
	return &FolderError{f.dir, fmt.Errorf(format, args...)}
}

// vacant returns an error if the folder has files of a run.
func (f *folder) vacant() error {
	names := []string{multimae.ConfigFile, multimae.WeightsFile, MetricsFile, BestDir}
	steps, err := f.checkpoints()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.refuse("looking for another run: %w", err)
	}
	for _, step := range steps {
		names = append(names, CheckpointName(step))
	}
	for _, name := range names {
		st, err := os.Lstat(f.path(name))
		// release leaves an empty file on systems that do not remove open ones.
		if err == nil && (name != MetricsFile || st.Size() > 0) {
			return f.refuse("%s %w (%s)", f.dir, ErrOtherRun, name)
		}
	}
	return nil
}

// inhabited returns an error unless the folder has a run.
func (f *folder) inhabited() error {
	if _, err := os.Stat(f.path(multimae.ConfigFile)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return f.refuse("%s %w: %w", f.dir, ErrNoRun, err)
		}
		return f.refuse("%w", err)
	}
	return nil
}

// claim makes the folder and keeps other processes out of it until release.
func (f *folder) claim() error {
	_, err := os.Stat(f.dir)
	f.created = errors.Is(err, fs.ErrNotExist)
	if err := atomicfile.MkdirAll(f.dir); err != nil {
		return f.refuse("making the folder of the run: %w", err)
	}
	metrics, busy, err := openMetrics(f.path(MetricsFile))
	if busy {
		return f.refuse("%s: %w", f.dir, ErrBusy)
	}
	if err != nil {
		return f.refuse("opening the metrics: %w", err)
	}
	f.metrics = metrics
	return nil
}

// release lets other processes have the folder. With discard it removes the files of a run that has
// only begun, because they would be in the way of the next attempt.
func (f *folder) release(discard bool) {
	if f.metrics == nil {
		return
	}
	if discard {
		f.metrics.Truncate(0) // should it stay, it is in nobody's way
		os.Remove(f.path(multimae.ConfigFile))
		os.Remove(f.path(MetricsFile))
		if f.created {
			os.Remove(f.dir) // if it is empty
		}
	}
	f.metrics.Close()
	if !discard || runtime.GOOS != "windows" {
		return
	}
	// Windows removes no open file: not this one before it is closed, nor that of a process that has
	// claimed the folder since, which elsewhere would lose its lock.
	if info, err := os.Stat(f.path(MetricsFile)); err == nil && info.Size() == 0 {
		os.Remove(f.path(MetricsFile))
	}
	if f.created {
		os.Remove(f.dir) // if it is empty
	}
}

// sweep removes what a process that was killed while it saved has left: the temporary files of
// atomicfile, each as large as the file it was to become.
func (f *folder) sweep() {
	for _, dir := range []string{f.dir, f.path(BestDir)} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name, temporary := atomicfile.Temporary(e.Name())
			_, checkpoint := checkpointStep(name)
			if temporary && (checkpoint || slices.Contains([]string{multimae.ConfigFile, multimae.WeightsFile, PicturesFile}, name)) {
				os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// checkpoints returns the steps of the checkpoints in the folder, ascending.
func (f *folder) checkpoints() (steps []int, err error) {
	entries, err := os.ReadDir(f.dir)
	for _, e := range entries {
		if step, ok := checkpointStep(e.Name()); ok {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, err
}

// prune removes all checkpoints but the last ones. One that cannot be removed now may be the next
// time. Damaged ones and what is not a file do not count. The former stay until save has written a
// better one.
func (f *folder) prune() {
	all, _ := f.checkpoints()
	steps := slices.DeleteFunc(all, func(step int) bool {
		path := f.path(CheckpointName(step))
		info, err := os.Stat(path)
		return slices.Contains(f.damaged, path) || err != nil || !info.Mode().IsRegular()
	})
	for _, step := range steps[:max(0, len(steps)-f.keep)] {
		os.Remove(f.path(CheckpointName(step)))
	}
}

// restore calls read with the path of each checkpoint, the last one first, until one is not
// damaged. It returns the errors of those that are. Afterwards saved is the step of the checkpoint,
// or −1 if the run was stopped before its first one.
func (f *folder) restore(read func(path string) (step int, err error)) (damaged []error, err error) {
	steps, err := f.checkpoints()
	if err != nil {
		return nil, f.refuse("looking for checkpoints: %w", err)
	}
	for _, step := range slices.Backward(steps) {
		path := f.path(CheckpointName(step))
		got, err := read(path)
		if err == nil && got != step {
			err = fmt.Errorf("%s: it is of step %d; give it the name %s", path, got, CheckpointName(got))
		}
		if err == nil {
			f.saved = step
			return damaged, nil
		}
		if !errors.Is(err, ErrDamaged) {
			return nil, fmt.Errorf("the run cannot go on from its last checkpoint: %w", err)
		}
		damaged = append(damaged, err)
		f.damaged = append(f.damaged, path)
	}
	if damaged != nil {
		return nil, fmt.Errorf("%w\nthe run cannot go on, because it has no other checkpoint; restore one of these from a copy, or start another run", errors.Join(damaged...))
	}
	for _, name := range []string{oldCheckpoint, multimae.WeightsFile, filepath.Join(BestDir, multimae.WeightsFile)} {
		if _, err := os.Stat(f.path(name)); err == nil && name == oldCheckpoint {
			return nil, fmt.Errorf("%s is of an earlier version of gomae and has no checksum; finish the run with that version, or start another run", f.path(name))
		} else if err == nil {
			return nil, fmt.Errorf("%s has no checkpoint, and the weights in %s are not enough to go on; restore the last checkpoint from a copy, or start another run", f.dir, name)
		}
	}
	return nil, nil
}

// isFolder reports whether there is a folder at path, and not a link to one.
func isFolder(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// setAside is added to the name of what is in the way of a file of the run and cannot be replaced,
// and to that of lines that can no longer stay in the metrics.
const setAside = ".damaged"

// aside returns a path for what is set aside from path, at which there is nothing yet.
func aside(path string) string {
	for n := 1; ; n++ {
		to := path + setAside + "-" + strconv.Itoa(n)
		if _, err := os.Lstat(to); err != nil {
			return to
		}
	}
}

// save calls write with the path of a new checkpoint and then removes those that it replaces. No
// file can replace a folder, nor may its content be lost: one that restore took for a damaged
// checkpoint of this step gets another name.
func (f *folder) save(step int, write func(path string) error) error {
	if err := f.metrics.Sync(); err != nil {
		return f.refuse("%w", err)
	}
	path := f.path(CheckpointName(step))
	if isFolder(path) && slices.Contains(f.damaged, path) {
		if err := os.Rename(path, aside(path)); err != nil {
			return f.refuse("a folder has the name of the next checkpoint: %w", err)
		}
	}
	if err := write(path); err != nil {
		return f.refuse("%w", err)
	}
	f.saved = step
	f.damaged = slices.DeleteFunc(f.damaged, func(damaged string) bool {
		if damaged == path {
			return true
		}
		if isFolder(damaged) { // stays until it is in the way
			return false
		}
		// One that cannot be removed now may be the next time. Until then it must not count as good.
		err := os.Remove(damaged)
		return err == nil || errors.Is(err, fs.ErrNotExist)
	})
	f.prune()
	return nil
}

// writeConfig writes the configuration of the model folder sub, "" for that of the run.
func (f *folder) writeConfig(sub string, config []byte) error {
	if err := modelfolder.SaveConfig(f.path(sub), config); err != nil {
		return f.refuse("%w", err)
	}
	return nil
}

// writeWeights writes the weights of the model folder sub, "" for that of the run.
func (f *folder) writeWeights(sub string, tensors []weights.Tensor, metadata map[string]string) error {
	if err := modelfolder.SaveWeights(f.path(sub), tensors, metadata); err != nil {
		return f.refuse("%w", err)
	}
	return nil
}

// writeBest writes the model folder of the best validation.
func (f *folder) writeBest(best Best, config []byte, tensors []weights.Tensor) error {
	if err := atomicfile.MkdirAll(f.path(BestDir)); err != nil {
		return f.refuse("%w", err)
	}
	if err := f.writeConfig(BestDir, config); err != nil {
		return err
	}
	return f.writeWeights(BestDir, tensors, map[string]string{
		metaConfig: string(config), metaStep: strconv.Itoa(best.Step), metaLoss: strconv.FormatFloat(best.Criterion, 'g', -1, 64),
	})
}

// best returns the best validation up to a step. The weights of the best model are of no later step
// than the last checkpoint. If they are of a later step than the run goes on from, that checkpoint
// was damaged: then, as where the weights are gone, the next validation is the best. It may be
// written again, by the same step. The error is that of a damaged file.
func (f *folder) best(upTo int) (Best, error) {
	file, err := weights.Open(f.path(BestDir, multimae.WeightsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Best{}, nil
	}
	if err != nil {
		return Best{}, fmt.Errorf("%w; the next validation will replace it", err)
	}
	defer file.Close()
	step, err1 := strconv.Atoi(file.Metadata()[metaStep])
	loss, err2 := strconv.ParseFloat(file.Metadata()[metaLoss], 64)
	if err1 != nil || err2 != nil || step > upTo {
		return Best{}, nil
	}
	return Best{step, loss}, nil
}
