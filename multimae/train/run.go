package train

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/gomae/gomae/internal/machine"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/tensor"
)

// Run trains to the configuration's number of steps, saves as it goes, and then validates and
// draws. When ctx ends, it saves and returns; a later Run with Resume goes on to the same bits as a
// run that was never interrupted. Resuming a run that has done all its steps validates and draws
// again. If the last checkpoint is damaged, the run goes on from the one before it, to the same
// bits; it is an error if all are damaged.
//
// A folder that cannot be used is a *FolderError, and a run that ends between its first and its
// last step a *StopError. If the folder, the numbers or a difference between ranks (ErrDiffer) is to
// blame, the last checkpoint is as it was. After any other error the steps done are saved. A new run
// that fails before its first step, or diverges before its first checkpoint, leaves no files.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Keep == 0 {
		o.Keep = 2
	}
	// outer is what the caller ends. Work that no other rank waits for, reading samples, ends with it.
	// ctx is what the run ends by: the same for a process that trains alone, and in a group one that
	// ends when all ranks have agreed to, because a rank that ended alone would leave the others waiting.
	outer := ctx
	group := newGroup(ctx, o.Ranks)
	if group != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		group.cancel, group.outer = cancel, outer
		if _, can := o.Ranks.(BFloat16Ranks); o.BFloat16 && !can {
			return nil, errors.New("these ranks cannot send gradients as bfloat16; leave that out")
		}
		group.half = o.BFloat16
	}
	r := &run{Options: o, group: group, folder: folder{dir: o.Dir, keep: o.Keep, saved: -1}, exported: -1}
	r.pool = tensor.NewPool(o.Workers)
	defer r.pool.Close()
	r.data = data.Fingerprint(o.Train, o.Val)
	if o.SkipBad {
		r.counted = []*counted{{Dataset: o.Train}, {Dataset: o.Val}}
		r.Train, r.Val = r.counted[0], r.counted[1]
	}
	r.Train, r.Val = interruptible{r.Train, outer}, interruptible{r.Val, outer}
	defer func() { r.folder.release(r.nothingDone()) }()
	if err := r.sameEverywhere(); err != nil {
		return nil, err
	}
	if err := r.group.agree(r.open()); err != nil {
		return nil, err
	}
	if err := r.follow(); err != nil {
		return nil, err
	}
	r.result.Resumed = r.trainer.Steps()
	if r.OnStart != nil {
		r.OnStart(r.result.Resumed)
	}
	if err := r.train(ctx); err != nil {
		return nil, r.stop(err)
	}
	r.result.Steps = r.trainer.Steps()
	for _, c := range r.counted {
		if err := r.group.share(c); err != nil {
			return nil, r.stop(err)
		}
		bad, first := c.skipped()
		if r.result.SkippedData += len(bad); r.result.FirstSkipped == nil {
			r.result.FirstSkipped = first
		}
	}
	return &r.result, nil
}

// run is a Run in progress.
type run struct {
	Options
	group    *group // nil if this process trains alone
	folder   folder
	pool     *tensor.Pool
	trainer  *Trainer
	plan     Plan
	data     string // Trainer.Data
	count    int    // samples of a batch that this rank takes
	begun    bool   // by this call
	diverged bool
	exported int        // step of the model folder that this call wrote; −1 if it wrote none
	counted  []*counted // with SkipBad: Train and Val
	result   Result
}

// open prepares the trainer and the folder.
func (r *run) open() error {
	lead := r.group.lead() // the other ranks leave the folder alone
	if lead && r.Resume {
		if err := r.folder.inhabited(); err != nil {
			return err
		}
	} else if lead {
		if err := r.folder.vacant(); err != nil {
			return err
		}
	}
	// What cannot work is refused before anything is written.
	if r.Keep < 1 {
		return fmt.Errorf("keep: got %d checkpoints, want at least 1", r.Keep)
	}
	r.plan = r.Objective.Plan()
	if n, batch := r.Train.Len(), r.plan.Recipe.Batch; n < batch {
		return fmt.Errorf("train.batch: got %d, but there are only %d samples to train on; use a batch of no more than that", batch, n)
	}
	if r.Val.Len() < 1 {
		return errors.New("the dataset for validation has no samples; set some apart")
	}
	var err error
	if r.trainer, err = NewTrainer(r.Objective, r.pool); err != nil {
		return err
	}
	r.trainer.Data = r.data
	if _, r.count, err = r.trainer.join(r.group); err != nil || !lead {
		return err
	}
	if err := r.folder.claim(); err != nil {
		return err
	}
	if r.Resume {
		err = r.restore()
	} else {
		err = r.begin()
	}
	if err != nil {
		return err
	}
	r.trainer.average.start(r.trainer.Steps()) // the run may be interrupted before a step, and then saves it
	r.folder.sweep()
	r.folder.prune()
	aside, err := r.folder.metrics.cut(r.trainer.Steps())
	if err != nil {
		return r.folder.refuse("%w", err)
	}
	if aside != "" && r.OnDamaged != nil {
		r.OnDamaged(fmt.Errorf("%s has lines that are %w; they are kept in %s", r.folder.path(MetricsFile), ErrDamaged, aside), r.trainer.Steps())
	}
	return nil
}

// begin makes a new run.
func (r *run) begin() error {
	if err := r.folder.vacant(); err != nil { // another process was faster
		return err
	}
	r.begun = true
	if err := r.initialize(); err != nil {
		return err
	}
	return r.folder.writeConfig("", r.Objective.JSON())
}

// initialize gives the model its first parameters.
func (r *run) initialize() error {
	if r.Init != nil {
		return r.Init()
	}
	r.Objective.Backbone().Init(r.plan.Recipe.Seed)
	return nil
}

// restore goes back to where the run was saved.
func (r *run) restore() error {
	damaged, err := r.folder.restore(func(path string) (step int, err error) {
		err = r.trainer.Restore(path)
		return r.trainer.Steps(), err
	})
	if err != nil {
		return err
	}
	if r.folder.saved < 0 { // stopped before the first checkpoint: the beginning is as exact
		return r.initialize()
	}
	if r.result.Best, err = r.folder.best(r.folder.saved); err != nil {
		damaged = append(damaged, err)
	}
	for _, err := range damaged {
		if r.OnDamaged != nil {
			r.OnDamaged(err, r.folder.saved)
		}
	}
	if was := r.trainer.restored; was != "" && was != r.data && r.OnData != nil {
		r.OnData(was, r.data)
	}
	return nil
}

// nothingDone reports whether there is nothing in the folder to go on from, so that its files are
// better removed: this call began the run, and saved no checkpoint because it took no step or
// diverged.
func (r *run) nothingDone() bool {
	return r.begun && r.folder.saved < 0 && (r.diverged || r.trainer.Steps() == 0)
}

// sameEverywhere returns an error unless all ranks are about to do the same.
func (r *run) sameEverywhere() error {
	if r.group == nil {
		return nil
	}
	level, _, _ := machine.SIMD()
	var prints [2]string
	var err error
	for i, ds := range []data.Dataset{r.Train, r.Val} {
		if err == nil {
			prints[i], err = fingerprint(ds)
		}
	}
	if err := r.group.agree(err); err != nil {
		return err
	}
	return r.group.same([]property{
		{"configuration", string(r.Objective.JSON()), "start all with the same settings"},
		{"treatment of bad samples", fmt.Sprintf("skipping %v", r.SkipBad), "start all with the same settings"},
		{"precision of sums", fmt.Sprintf("bfloat16 %v", r.BFloat16), "start all with the same settings"},
		{"build of gomae", r.Build, "copy one program to all hosts"},
		{"SIMD level", level, "set GOMAE_SIMD to the lowest of them everywhere"},
		{"architecture", runtime.GOARCH, "start all on hosts of one architecture"},
		{"data to train on", prints[0], "give all hosts the same files"},
		{"data to validate with", prints[1], "give all hosts the same files"},
		{"names of the samples", r.data, "give all hosts the same files"},
	}, func(a, b string) string {
		key, was, is := strictjson.Difference([]byte(a), []byte(b))
		return fmt.Sprintf("%s %s, and rank 0 has %s", key, is, was)
	})
}

// fingerprint describes a dataset by its size and a few samples. The only error is an interruption.
func fingerprint(ds data.Dataset) (string, error) {
	hash := crc32.New(castagnoli)
	var part []byte // photographs are large
	for _, i := range data.Spread(4, ds.Len()) {
		s, err := ds.Sample(i)
		if data.Interrupted(err) {
			return "", err
		}
		if err != nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(s.Maps)) {
			m := s.Maps[name]
			fmt.Fprintf(hash, "%s %d %d %d %d", name, m.C, m.H, m.W, m.Label)
			for pix := range slices.Chunk(m.Pix, 1<<12) {
				part, _ = binary.Append(part[:0], binary.LittleEndian, pix)
				hash.Write(part)
			}
			hash.Write(m.IDs)
			for valid := range slices.Chunk(m.Valid, 1<<14) {
				part, _ = binary.Append(part[:0], binary.LittleEndian, valid)
				hash.Write(part)
			}
		}
	}
	return fmt.Sprintf("%d samples, checksum %08x", ds.Len(), hash.Sum32()), nil
}

// follow gives the other ranks the state that rank 0 has read or made.
func (r *run) follow() error {
	if r.group == nil {
		return nil
	}
	if !r.group.lead() {
		r.folder.metrics = &metricsLog{evaluated: -1}
	}
	if err := r.group.broadcastInts(&r.folder.saved, &r.folder.metrics.evaluated); err != nil {
		return err
	}
	return r.trainer.broadcast()
}

// agree is that of the group. If a rank was interrupted, it ends the context of the run on all.
func (r *run) agree(err error) error {
	if r.group == nil {
		return err
	}
	if err == nil && r.group.outer.Err() != nil {
		err = context.Canceled // however outer ended, it is an interrupt
	}
	err = r.group.agree(err)
	if errors.Is(err, context.Canceled) {
		r.group.cancel()
	}
	return err
}

// train does all steps that are left, and what follows the last one.
func (r *run) train(ctx context.Context) error {
	if err := r.steps(ctx); err != nil {
		return err
	}
	if err := r.saveTogether(); err != nil {
		return err
	}
	if r.trainer.Steps() < r.plan.Recipe.Steps {
		r.result.Interrupted = true
		return nil
	}
	e, err := r.evaluate(ctx)
	if err == nil {
		if r.group.lead() {
			err = r.pictures()
		}
		err = r.agree(err)
	}
	switch {
	case err == nil:
		r.result.Evaluation = e
	case interrupted(ctx, err):
		r.result.Interrupted = true
	default:
		return err
	}
	return nil
}

// interrupted reports whether an error says no more than that ctx has ended.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (data.Interrupted(err) || errors.Is(err, ctx.Err()))
}

// steps trains until the last step or the end of ctx.
func (r *run) steps(ctx context.Context) error {
	c := r.plan.Recipe
	if r.trainer.Steps() >= c.Steps {
		return nil
	}
	loader := data.NewLoader(ctx, r.Train, data.LoaderConfig{
		Inputs: r.plan.Inputs, Size: r.plan.Size, Batch: c.Batch, Seed: c.Seed, Augment: r.plan.Augment,
		Workers: r.pool.Workers(), Start: r.trainer.Steps(), SkipBad: r.SkipBad, Shuffle: true, Drop: true, Hold: true,
		First: r.group.place(0), Count: r.count,
	})
	defer loader.Close()
	// A lane takes long. A worker that begins one late, because the loader has its core, makes the others
	// wait at the end of the step: with two workers preset tiny would lose a tenth by that.
	r.trainer.Idle = loader.Resume
	since, images, wait, sum, sumWait := time.Now(), 0, 0.0, 0.0, 0.0
	for r.trainer.Steps() < c.Steps {
		// Between two steps, so that a resumed run does here what it was interrupted in.
		pause := time.Now()
		if err := r.between(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		asked := time.Now()
		since = since.Add(asked.Sub(pause))
		b, err := loader.Next()
		if err = r.agree(err); ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		waited := time.Since(asked).Seconds()
		wait += waited
		r.result.DataWait += waited
		images += c.Batch
		x, err := r.trainer.Step(b)
		loader.Release(b) // and b is the loader's again
		if err != nil {
			return err
		}
		sum, sumWait = sum+x.Sum, sumWait+x.SumWait
		p := &Progress{
			Metrics: x, Steps: c.Steps, Epoch: (x.Step - 1) / max(1, loader.BatchesPerEpoch()),
			ImagesPerSec: float64(images) / time.Since(since).Seconds(), DataWait: wait,
			Sum: sum, SumWait: sumWait,
		}
		if x.Step%c.LogEvery == 0 || x.Step == c.Steps || x.Skipped {
			if err := r.log(r.stepLine(p)); err != nil {
				return err
			}
			since, images, wait, sum, sumWait = time.Now(), 0, 0, 0, 0
		}
		if r.OnStep != nil {
			r.OnStep(p)
		}
	}
	return nil
}

// between validates and saves if either is due. If validation finds that the run has diverged, the
// last checkpoint stays as it was.
func (r *run) between(ctx context.Context) error {
	c, step := r.plan.Recipe, r.trainer.Steps()
	if step == 0 {
		return nil
	}
	save := c.SaveEvery > 0 && step%c.SaveEvery == 0 && r.folder.saved != step
	if c.ValEvery > 0 && step%c.ValEvery == 0 && r.folder.metrics.evaluated != step {
		if _, err := r.evaluate(ctx); err != nil && !interrupted(ctx, err) {
			return err
		}
	}
	if save { // asked before, because rank 0 may have saved with the best model
		return r.saveTogether()
	}
	return nil
}

// log writes a line of metrics.
func (r *run) log(line []field) error {
	if !r.group.lead() {
		return nil
	}
	if err := r.folder.metrics.log(line); err != nil {
		return r.folder.refuse("%w", err)
	}
	return nil
}

// compare returns an error unless all ranks have the same to save.
func (r *run) compare() error {
	if r.group == nil {
		return nil
	}
	return r.group.same([]property{{
		name: "parameters", value: fmt.Sprintf("the checksum %08x", r.trainer.checksum()),
		remedy: "a memory or a processor may be faulty; go on from the last checkpoint, with one kind of processor",
	}}, nil)
}

// saveTogether is save for all ranks, if they have the same to save.
func (r *run) saveTogether() error {
	err := r.compare()
	if err != nil {
		return err
	}
	if r.group.lead() {
		err = r.save()
	}
	if err = r.group.agree(err); err == nil {
		r.folder.saved = r.trainer.Steps() // also on ranks that did not write it
	}
	return err
}

// save writes the checkpoint, from which the run can go on, and then the model folder for others to
// read. Only rank 0 calls it.
func (r *run) save() error {
	step := r.trainer.Steps()
	if r.folder.saved != step {
		// An update may overflow although its gradient did not.
		if bad := r.trainer.firstBad(); bad != "" {
			return &DivergedError{step, "the update overflowed", bad}
		}
		if err := r.folder.save(step, r.trainer.Save); err != nil {
			return err
		}
	}
	if r.exported != step {
		about := map[string]string{metaStep: strconv.Itoa(step), metaConfig: string(r.Objective.JSON())}
		if err := r.trainer.average.during(func() error {
			return r.folder.writeWeights("", r.Objective.Backbone().Params.Tensors(), about)
		}); err != nil {
			return err
		}
		r.exported = step
	}
	return nil
}

// saveBest keeps the model if no validation before was as good.
func (r *run) saveBest(e *Evaluation) error {
	best := Best{r.trainer.Steps(), e.Criterion}
	if math.IsNaN(best.Criterion) || r.result.Best.Step > 0 && best.Criterion >= r.result.Best.Criterion {
		return nil
	}
	// With the checkpoint first, a resumed run never meets a best model of a step that it has still
	// to do.
	if err := r.save(); err != nil {
		return err
	}
	if err := r.trainer.average.during(func() error {
		return r.folder.writeBest(best, r.Objective.JSON(), r.Objective.Backbone().Params.Tensors())
	}); err != nil {
		return err
	}
	r.result.Best = best
	return nil
}

// stop ends the run with an error. It saves the steps done, unless the error is one of saving, the
// numbers are lost or the ranks differ. Rank 0 does so without the others, which may be out of step.
func (r *run) stop(err error) error {
	r.diverged = errors.As(err, new(*DivergedError))
	if !r.diverged && !errors.As(err, new(*FolderError)) && !errors.Is(err, ErrDiffer) {
		if r.trainer.Steps() == 0 {
			return err
		}
		if r.group.lead() {
			if e := r.save(); e != nil {
				err = fmt.Errorf("%w; and then: %w", err, e)
			}
		}
	}
	s := &StopError{Err: err, Step: r.folder.saved}
	if s.Step >= 0 {
		s.Checkpoint = r.folder.path(CheckpointName(s.Step))
	}
	return s
}
