package data

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/nn"
)

// LoaderConfig says what batches a Loader makes.
type LoaderConfig struct {
	Inputs []multimae.Input // modalities that every sample must have
	Size   int              // side of the batch's images in pixels, a multiple of every stride
	Batch  int              // samples in a batch
	// First and Count select samples of each batch, for a process that has a part of it: Count of
	// them, the first of which has the place First. Count 0 means all.
	First, Count int
	Seed         uint64 // fixes order and augmentation
	Augment      Augment
	Workers      int // goroutines that make batches; less than 1 means 1. The number does not change the batches
	Start        int // number of the first batch, for an exact resume
	// SkipBad replaces a sample that cannot be read by the next good one of the dataset. Otherwise
	// such a sample ends the loader with its error.
	SkipBad bool
	Shuffle bool // draw a new order each epoch; otherwise the order is that of the dataset
	Drop    bool // leave out the last batch of an epoch if it is not full
	// Hold is for a caller whose cores all have work when Next returns: while the batch after that is
	// ready, the workers begin no other one before Resume.
	Hold bool
}

// Loader streams batches through endless epochs; its workers prepare them ahead. The samples of
// batch k, their order and their augmentation depend only on the dataset, the configuration and k.
type Loader struct {
	ds     Dataset
	c      LoaderConfig
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	per    int // batches in an epoch

	// Batch k passes through slots[k mod len(slots)], which holds one batch. A worker takes a
	// ticket before it takes the number of a batch, and Next returns the ticket. So at most
	// len(slots) batches are on their way, and the slot of a batch is empty when the batch is
	// ready.
	slots   []chan prepared
	tickets chan struct{}
	held    atomic.Int64 // tickets that Resume will return
	taken   atomic.Int64

	next sync.Mutex // serialises Next; guards k and err
	k    int
	err  error

	free  sync.Mutex // guards spare
	spare []*multimae.Batch
}

type prepared struct {
	b   *multimae.Batch
	err error
}

// NewLoader returns a loader and starts its workers. They end when ctx does, at a sample that
// cannot be read, or at Close. Next reports a configuration of which no batches can be made.
func NewLoader(ctx context.Context, ds Dataset, c LoaderConfig) *Loader {
	l := &Loader{ds: ds, c: c, k: c.Start}
	l.ctx, l.cancel = context.WithCancel(ctx)
	if l.err = l.check(); l.err != nil {
		l.cancel()
		return l
	}
	l.per = ds.Len() / c.Batch
	if !c.Drop && ds.Len()%c.Batch != 0 {
		l.per++
	}
	workers := max(c.Workers, 1)
	// One batch in stock for each worker evens out the times of decoding and takes little memory.
	l.slots = make([]chan prepared, 2*workers)
	l.tickets = make(chan struct{}, len(l.slots))
	for i := range l.slots {
		l.slots[i] = make(chan prepared, 1)
		l.tickets <- struct{}{}
	}
	l.taken.Store(int64(c.Start))
	l.wg.Add(workers)
	for range workers {
		go l.work()
	}
	return l
}

func (l *Loader) check() error {
	c := &l.c
	if err := checkInputs(c.Inputs, c.Size); err != nil {
		return err
	}
	n := l.ds.Len()
	a := &c.Augment
	switch {
	case c.Batch < 1:
		return fmt.Errorf("data: batch: got %d samples, want at least 1", c.Batch)
	case c.First < 0 || c.Count < 0 || c.First+c.Count > c.Batch || c.Count > 0 && !c.Drop:
		return fmt.Errorf("data: part: got %d samples from place %d, want a part of a full batch of %d", c.Count, c.First, c.Batch)
	case c.Start < 0:
		return fmt.Errorf("data: start: got batch %d, want 0 or more", c.Start)
	case n < 1:
		return errors.New("data: the dataset has no samples")
	case c.Drop && n < c.Batch:
		return fmt.Errorf("data: the dataset has %d samples, fewer than a batch of %d", n, c.Batch)
	case a.Crop && a.CropScale != [2]float64{} && !(a.CropScale[0] > 0 && a.CropScale[0] <= a.CropScale[1] && a.CropScale[1] <= 1):
		return fmt.Errorf("data: crop scale: got %v, want two ascending shares of the area, such as [0.2 1]", a.CropScale)
	case a.Crop && a.CropRatio != [2]float64{} && !(a.CropRatio[0] > 0 && a.CropRatio[0] <= a.CropRatio[1]):
		return fmt.Errorf("data: crop ratio: got %v, want two ascending aspect ratios, such as [0.75 1.3333]", a.CropRatio)
	}
	return nil
}

// Next waits for the next batch and returns it. The epochs never end. An error is that of ctx or of
// the first sample that cannot be read; every later call returns it again. Pass the batch to
// Release when it is no longer needed.
func (l *Loader) Next() (*multimae.Batch, error) {
	l.next.Lock()
	defer l.next.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	select {
	case <-l.ctx.Done():
		l.err = l.ctx.Err()
	case p := <-l.slots[l.k%len(l.slots)]:
		if l.err = p.err; l.err == nil {
			l.k++
			if l.c.Hold && len(l.slots[l.k%len(l.slots)]) > 0 {
				l.held.Add(1)
			} else {
				l.tickets <- struct{}{}
			}
			return p.b, nil
		}
		l.cancel()
	}
	return nil, l.err
}

// Resume lets the workers make the batches that LoaderConfig.Hold has put off.
func (l *Loader) Resume() {
	for range l.held.Swap(0) {
		l.tickets <- struct{}{}
	}
}

// Release lets the loader overwrite b, a batch that Next returned. After that b must be neither
// used nor released again. Batches that are not released are left to the garbage collector.
func (l *Loader) Release(b *multimae.Batch) {
	l.free.Lock()
	defer l.free.Unlock()
	if b != nil && len(l.spare) <= len(l.slots) { // there are never more on their way
		l.spare = append(l.spare, b)
	}
}

// BatchesPerEpoch returns the number of batches in one pass over the dataset, or 0 if no batches
// can be made.
func (l *Loader) BatchesPerEpoch() int { return l.per }

// Close ends the workers and waits for them. Batches that Next has returned stay valid. It may be
// called more than once.
func (l *Loader) Close() {
	l.cancel()
	l.wg.Wait()
}

func (l *Loader) work() {
	defer l.wg.Done()
	var z images.Resizer
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.tickets:
		}
		k := int(l.taken.Add(1) - 1)
		b := l.buffer()
		err := l.fill(&z, b, k)
		l.slots[k%len(l.slots)] <- prepared{b, err} // never blocks: see slots
		if err != nil {
			return // Next ends the other workers when it comes to this batch
		}
	}
}

// buffer returns a batch whose memory may be overwritten.
func (l *Loader) buffer() *multimae.Batch {
	l.free.Lock()
	defer l.free.Unlock()
	n := len(l.spare)
	if n == 0 {
		return new(multimae.Batch)
	}
	b := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return b
}

// fill makes batch number k.
func (l *Loader) fill(z *images.Resizer, b *multimae.Batch, k int) error {
	n := l.ds.Len()
	epoch := uint64(k / l.per)
	from := k % l.per * l.c.Batch
	to := min(from+l.c.Batch, n)
	if l.c.Count > 0 {
		from = min(from+l.c.First, to)
		to = min(from+l.c.Count, to)
	}
	images.Reshape(b, to-from, l.c.Size, l.c.Size, l.c.Inputs)
	order := newPermutation(n, l.c.Seed, epoch)
	for pos := from; pos < to; pos++ {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		i := pos
		if l.c.Shuffle {
			i = order.at(pos)
		}
		s, err := l.sample(i)
		if err != nil {
			return err
		}
		r := nn.NewRNG(l.c.Seed, epoch, uint64(pos))
		w, h := images.Size(s.Maps)
		z.Place(b, pos-from, s.Maps, l.c.Inputs, l.c.Augment.draw(&r, w, h))
	}
	return nil
}

// sample reads sample i, or with SkipBad the first good one from there on.
func (l *Loader) sample(i int) (s *Sample, err error) {
	n := l.ds.Len()
	for bad := range n {
		s, err = l.ds.Sample((i + bad) % n)
		for j := range l.c.Inputs {
			if err == nil {
				err = s.Check(&l.c.Inputs[j])
			}
		}
		if err == nil {
			return s, nil
		}
		if !l.c.SkipBad || l.ctx.Err() != nil || Interrupted(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("data: none of the %d samples can be read: %w", n, err)
}
