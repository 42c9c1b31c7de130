package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
)

// counted is a dataset that remembers which samples could not be read, and does not read them again: a
// loader comes to a bad file once for each bad one before it. A sample that could not be read for a
// passing reason counts too, and stays out until the run is resumed.
type counted struct {
	data.Dataset
	mu  sync.Mutex    // guards bad
	bad map[int]error // by index
}

func (c *counted) Sample(i int) (*data.Sample, error) {
	c.mu.Lock()
	err := c.bad[i]
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s, err := c.Dataset.Sample(i)
	if err != nil && !data.Interrupted(err) {
		c.remember(i, err)
	}
	return s, err
}

func (c *counted) remember(i int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad == nil {
		c.bad = map[int]error{}
	}
	if c.bad[i] == nil {
		c.bad[i] = err
	}
}

// skipped returns the indices of the bad samples so far, ascending, and the error of the first.
func (c *counted) skipped() (indices []int, first error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if indices = slices.Sorted(maps.Keys(c.bad)); len(indices) > 0 {
		first = c.bad[indices[0]]
	}
	return indices, first
}

// share adds what other ranks could not read.
func (g *group) share(c *counted) error {
	if g == nil {
		return nil
	}
	type found struct {
		Bad  []int
		Text string // of the first, for no other is ever told
	}
	var own found
	var first error
	if own.Bad, first = c.skipped(); first != nil {
		own.Text = first.Error()
	}
	b, err := json.Marshal(own)
	if err != nil {
		return err
	}
	all, err := g.gather(b)
	if err != nil {
		return err
	}
	for _, b := range all {
		var x found
		if err := json.Unmarshal(b, &x); err != nil {
			return err
		}
		for _, i := range x.Bad {
			c.remember(i, errors.New(x.Text))
		}
	}
	return nil
}

// abandon is how long the end of a context waits for a sample that is being read.
const abandon = time.Second

// interruptible is a dataset whose samples need not be waited for when ctx ends: reading one may
// wait for ever, for a network or for who writes to a pipe. The error of one that was not waited for is
// context.Canceled, however ctx ended: see data.Interrupted.
type interruptible struct {
	data.Dataset
	ctx context.Context
}

func (d interruptible) Sample(i int) (*data.Sample, error) {
	type result struct {
		s   *data.Sample
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := d.Dataset.Sample(i)
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		return r.s, r.err
	case <-d.ctx.Done():
	}
	select {
	case r := <-done:
		return r.s, r.err
	case <-time.After(abandon):
		return nil, context.Canceled
	}
}

// shrunk is a dataset whose samples are of the size that a model sees, so that many of them take little
// memory. data.Collate makes the same bits of them.
type shrunk struct {
	data.Dataset
	inputs []multimae.Input
	size   int
}

// shrink returns the samples of ds as shrunk, with the inputs of a model.
func shrink(ds data.Dataset, c *multimae.Config) shrunk {
	d := shrunk{ds, slices.Clone(c.Inputs), c.ImageSize}
	for i := range d.inputs {
		d.inputs[i].Normalize = multimae.NormalizeNone // Collate will do that
	}
	return d
}

func (d shrunk) Sample(i int) (*data.Sample, error) {
	s, err := d.Dataset.Sample(i)
	if err != nil {
		return nil, err
	}
	b, err := data.Collate([]*data.Sample{s}, d.inputs, d.size)
	if err != nil {
		return s, nil // Collate will say so again
	}
	small := &data.Sample{Name: s.Name, Maps: map[string]*data.Map{}}
	for i := range d.inputs {
		in := &d.inputs[i]
		m := &data.Map{H: d.size / in.Stride, W: d.size / in.Stride}
		if pix, ok := b.Images[in.Name]; ok {
			m.C, m.Pix, m.Valid = in.Channels, pix, b.Valid[in.Name]
		} else if ids, ok := b.Classes[in.Name]; !ok {
			continue
		} else if was := s.Maps[in.Name]; was.IsLabel() {
			m = was
		} else {
			for _, id := range ids {
				m.IDs = append(m.IDs, uint8(id))
			}
		}
		small.Maps[in.Name] = m
	}
	return small, nil
}

// batches calls f with up to n samples that are spread over ds, a batch at a time; from is the
// number of samples in the batches before. With skipBad it leaves out samples that cannot be read;
// otherwise the first of them is the error. It returns how many samples f got, and an error if
// there were none.
func batches(ctx context.Context, ds data.Dataset, n, workers int, skipBad bool, f func(from int, samples []*data.Sample) error) (int, error) {
	return (*group)(nil).batches(ctx, ds, n, workers, skipBad, f)
}

// batches is the function of that name, with each batch on one of the ranks. All get the number of
// samples of all, and the same error.
func (g *group) batches(ctx context.Context, ds data.Dataset, n, workers int, skipBad bool, f func(from int, samples []*data.Sample) error) (int, error) {
	got, err := g.ownBatches(ctx, ds, n, workers, skipBad, f)
	if errors.Is(err, errNone) && g != nil {
		err = nil // the other ranks may have some
	}
	if err = g.agree(err); err != nil || g == nil {
		return got, err
	}
	sum := []int{got}
	if err = g.sumInts(sum); err == nil && sum[0] == 0 {
		err = fmt.Errorf("evaluate: %w", errNone)
	}
	return sum[0], err
}

// errNone is the error of a dataset no sample of which can be used.
var errNone = errors.New("no sample can be used")

// ownBatches does those of this rank.
func (g *group) ownBatches(ctx context.Context, ds data.Dataset, n, workers int, skipBad bool, f func(from int, samples []*data.Sample) error) (int, error) {
	indices, got := data.Spread(n, ds.Len()), 0
	none := errors.New("the dataset is empty")
	part, parts := g.part()
	for from := 0; from < len(indices); from += evalBatch {
		if from/evalBatch%parts != part {
			continue
		}
		samples, errs := data.Read(ctx, ds, indices[from:min(len(indices), from+evalBatch)], workers)
		if err := ctx.Err(); err != nil {
			return got, err
		}
		good := samples[:0]
		for k, err := range errs {
			switch {
			case err == nil:
				good = append(good, samples[k])
			case !skipBad || data.Interrupted(err):
				return got, err
			default:
				none = err
			}
		}
		if len(good) == 0 {
			continue
		}
		if err := f(from, good); err != nil {
			return got, err
		}
		got += len(good)
	}
	if got == 0 {
		return 0, fmt.Errorf("evaluate: %w, of %d: %w", errNone, len(indices), none)
	}
	return got, nil
}
