package pseudolabel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/image/draw"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/teacher"
	"github.com/gomae/gomae/nn"
)

// Modality is a modality to be made.
type Modality struct {
	Name    string           // of its folder
	Teacher *teacher.Teacher // from teacher.Open
}

// Options says what Run does.
type Options struct {
	// Data is a dataset folder with DIR/rgb, or with parts that have one (train, val, test). Any
	// other folder is one of photographs, at any depth.
	Data string
	// Out is the dataset folder to write. "" is Data itself, which must be a dataset then.
	Out        string
	Modalities []Modality
	// Copy copies photographs to Out; otherwise they are linked by symbolic links, where the system and
	// the disk allow it.
	Copy bool
	// Size, if not 0, copies photographs shrunk, as PNG, so that the shorter side of none has more
	// pixels than that; their maps are as large. Networks see them as they are. Training then need not
	// decode twelve megapixels for a crop of a hundred pixels. Where Out has a photograph of that name, it
	// must look the same: those that lack a map are compared, and a few that are complete.
	Size int
	// Shard of Shards, counted from 0, is the part of the photographs that this run labels: those
	// with a hash of their names that leaves the remainder Shard. The other parts may run at the same
	// time, on any machine. 0 Shards is one.
	Shard, Shards int
	// Workers is how many photographs are with a network at the same time, each with one thread; as
	// many are being read, and written. 0 is the number of processors. The result does not depend on
	// it.
	Workers int
	// Progress, which may be nil, is called after every photograph, from one goroutine at a time.
	Progress func(Report)
	// Skipped, which may be nil, is called for every photograph that cannot be labelled and every
	// file that cannot be a photograph, from one goroutine at a time.
	Skipped func(error)
}

// Report is what a run has done so far.
type Report struct {
	Photos  int           // of this shard
	Before  int           // of these, complete when the run began
	Made    int           // completed by it
	Skipped int           // that cannot be labelled, and files that cannot be photographs of the dataset
	Unfit   int           // of these, the files, which are not among Photos
	Elapsed time.Duration // since it began to label; 0 before
	Busy    float64       // the share of its time that a worker has a network running
	Workers int           // of each stage: Options.Workers, but no more than photographs; 0 before
}

// Done returns how many photographs the run has completed or skipped.
func (r *Report) Done() int { return r.Made + r.Skipped - r.Unfit }

// Left estimates the time until all photographs are done.
func (r *Report) Left() time.Duration {
	done := r.Done()
	if done == 0 {
		return 0
	}
	return time.Duration(float64(r.Elapsed) / float64(done) * float64(max(r.Photos-r.Before-done, 0)))
}

// PerSecond returns the photographs completed in a second.
func (r *Report) PerSecond() float64 {
	return float64(r.Made) / max(r.Elapsed.Seconds(), 1e-9)
}

// failuresInARow is how many photographs the networks may fail on one after another: more are no
// fault of the photographs.
const failuresInARow = 16

// Run labels photographs, as the package comment says. It skips what is complete, so that a run that
// was interrupted or killed goes on. The report is valid with an error, too. While another run writes
// to the folder, it is refused, unless one of the two is a shard. Runs are not kept apart that label
// the same photographs as shards of another number, or as a shard and a whole.
//
// When ctx ends, Run completes the photographs that are being written and returns ctx's error; if it
// still looks for what is to be done, it has written nothing. A file that cannot be written ends it, too.
func Run(ctx context.Context, o Options) (Report, error) {
	r := &run{o: o, inRow: map[string]int{}}
	defer r.release()
	err := r.prepare(ctx)
	if err == nil {
		err = r.label(ctx)
	}
	return r.report, err
}

// run is the state of a Run.
type run struct {
	o       Options
	inPlace bool   // the photographs stay where they are
	own     bool   // they are those of the dataset, in place or named as a folder
	root    string // absolute, of Out
	lock    *os.File
	created []string // the folders that were not there: root, and those above it
	todo    []*photo
	lines   map[string]*lines // of depth, by file

	mu      sync.Mutex // guards the following
	report  Report
	busy    time.Duration
	start   time.Time
	inRow   map[string]int // failures of the networks since the last success
	failure error          // ends the run
	stop    context.CancelFunc
}

// photo is one that lacks something.
type photo struct {
	part  string // of the dataset, as a folder below it
	name  string // without extension, with slashes
	rel   string // with extension, as the system writes it
	file  string
	lacks []int // indices of modalities

	jobs   []*teacher.Job // for lacks
	w, h   int            // of the results
	shrunk *images.Map    // to be written, with Options.Size
}

// label runs the pipeline: read and resize, networks, resize and write. Each stage has its own
// goroutines, so that a network need not wait for files.
func (r *run) label(ctx context.Context) error {
	ctx, r.stop = context.WithCancel(ctx)
	defer r.stop()
	r.start = time.Now()
	n := max(min(cmp.Or(r.o.Workers, runtime.NumCPU()), len(r.todo)), 1)
	feed := make(chan *photo)
	go func() {
		defer close(feed)
		for _, p := range r.todo {
			select {
			case feed <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	prepared := stage(n, feed, func(p *photo) bool { return ctx.Err() == nil && r.read(p) })
	labelled := stage(n, prepared, func(p *photo) bool { return r.teach(ctx, p) })
	written := stage(n, labelled, r.write)
	for p := range written {
		p.close()
	}
	for _, l := range r.lines {
		if err := l.close(); err != nil {
			r.fail(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.measure(n)
	if r.failure != nil {
		return r.failure
	}
	return ctx.Err()
}

// stage runs f on what comes in by n goroutines and passes on what f says is good. It closes the others.
func stage(n int, in <-chan *photo, f func(*photo) bool) <-chan *photo {
	out := make(chan *photo, n)
	var wg sync.WaitGroup
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for p := range in {
				if f(p) {
					out <- p
				} else {
					p.close()
				}
			}
		}()
	}
	go func() {
		wg.Wait()
		close(out)
	}()
	return out
}

// read decodes a photograph and makes the inputs of the networks.
func (r *run) read(p *photo) bool {
	m, w, h, err := data.ReadPhoto(p.file)
	if err != nil {
		r.skip(err)
		return false
	}
	p.w, p.h = w, h
	for _, k := range p.lacks {
		j, err := r.o.Modalities[k].Teacher.Prepare(m)
		if err != nil {
			r.skip(fmt.Errorf("%s: %w", p.file, err))
			return false
		}
		p.jobs = append(p.jobs, j)
	}
	if r.o.Size > 0 {
		if p.shrunk, err = shrink(m, r.o.Size); err != nil {
			r.skip(fmt.Errorf("%s: %w", p.file, err))
			return false
		}
		p.w, p.h = p.shrunk.W, p.shrunk.H
		if to := r.photoFile(p); there(to) && !sameShrunk(to, p.shrunk) {
			r.fail(another(to, p.file))
			return false
		}
	}
	return true
}

// shrink returns a photograph whose shorter side has at most size pixels.
func shrink(m *images.Map, size int) (*images.Map, error) {
	if min(m.W, m.H) <= size {
		return m, nil
	}
	photo, err := m.Image()
	if err != nil {
		return nil, err
	}
	scale := float64(size) / float64(min(m.W, m.H))
	side := func(n int) int { return max(1, int(math.Round(scale*float64(n)))) }
	small := image.NewRGBA(image.Rect(0, 0, side(m.W), side(m.H)))
	draw.CatmullRom.Scale(small, small.Bounds(), photo, photo.Bounds(), draw.Src, nil)
	return images.From(small, &multimae.Input{Name: "rgb", Kind: multimae.KindImage, Channels: m.C, Stride: 1})
}

// teach runs the networks.
func (r *run) teach(ctx context.Context, p *photo) bool {
	start := time.Now()
	for i, j := range p.jobs {
		if err := j.Run(ctx); err != nil {
			if ctx.Err() == nil {
				r.failed(p, p.lacks[i], err)
			}
			return false
		}
	}
	r.mu.Lock()
	r.busy += time.Since(start)
	r.mu.Unlock()
	return true
}

// write resizes the results and writes them, and last the photograph, so that one which was not there
// before has all that belongs to it.
func (r *run) write(p *photo) bool {
	maps := make([]*images.Map, len(p.jobs))
	for i, j := range p.jobs {
		var err error
		if maps[i], err = j.Map(p.w, p.h); err != nil {
			r.failed(p, p.lacks[i], err)
			return false
		}
	}
	for i, m := range maps {
		mod := r.o.Modalities[p.lacks[i]]
		err := r.writeMap(p, mod, m)
		if err != nil {
			r.fail(err)
			return false
		}
	}
	if !r.inPlace {
		if err := r.place(p); err != nil {
			r.fail(err)
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range p.lacks {
		r.inRow[r.o.Modalities[k].Name] = 0
	}
	r.report.Made++
	r.progress()
	return true
}

// close frees what a photograph holds: the list of photographs lives until the run ends.
func (p *photo) close() {
	for _, j := range p.jobs {
		j.Close()
	}
	p.jobs, p.shrunk = nil, nil
}

// skip counts a photograph that cannot be labelled.
func (r *run) skip(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skipLocked(err)
	r.progress()
}

func (r *run) skipLocked(err error) {
	r.report.Skipped++
	if r.o.Skipped != nil {
		r.o.Skipped(err)
	}
}

// failed skips a photograph for which a network has no result, or ends the run if that happens again
// and again.
func (r *run) failed(p *photo, modality int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := r.o.Modalities[modality].Name
	r.inRow[name]++
	err = fmt.Errorf("%s: %s: %w", p.file, name, err)
	if r.inRow[name] >= failuresInARow && r.failure == nil {
		r.failure = fmt.Errorf("%d photographs in a row have no result; the last: %w", failuresInARow, err)
		r.stop()
	}
	r.skipLocked(err)
	r.progress()
}

// fail ends the run.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.failure = err
	}
	r.stop()
}

func (r *run) measure(workers int) {
	r.report.Elapsed, r.report.Workers = time.Since(r.start), workers
	r.report.Busy = r.busy.Seconds() / max(r.report.Elapsed.Seconds()*float64(workers), 1e-9)
}

func (r *run) progress() {
	r.report.Elapsed = time.Since(r.start)
	if r.o.Progress != nil {
		r.o.Progress(r.report)
	}
}

// shard is what a shard adds to the names of its own files, "" where there is only one.
func (o *Options) shard() string {
	if o.Shards <= 1 {
		return ""
	}
	return fmt.Sprintf(".shard-%d-of-%d", o.Shard, o.Shards)
}

// inShard reports whether a photograph is of this run's part.
func (o *Options) inShard(name string) bool {
	return o.Shards <= 1 || nn.Hash(name)%uint64(o.Shards) == uint64(o.Shard)
}

// check returns an error if the options make no sense.
func (o *Options) check() error {
	if len(o.Modalities) == 0 {
		return errors.New("pseudolabel: no modality given")
	}
	var names []string
	for _, m := range o.Modalities {
		if m.Name == "" || strings.EqualFold(m.Name, "rgb") || m.Name[0] == '.' || filepath.Base(m.Name) != m.Name {
			return fmt.Errorf("the modality %q cannot be made; its name must be that of a folder, and not rgb", m.Name)
		}
		if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, m.Name) }) {
			return fmt.Errorf("the modality %s is given twice, or differs only in the case of letters; give one of them another name", m.Name)
		}
		names = append(names, m.Name)
		if m.Teacher == nil || len(m.Teacher.Origins()) == 0 {
			return fmt.Errorf("the modality %s has no open teacher; open one with teacher.Open", m.Name)
		}
	}
	if o.Size < 0 {
		return fmt.Errorf("a shorter side of %d pixels: want 1 or more, or 0 to keep sizes", o.Size)
	}
	if o.Shards < 0 || o.Shard < 0 || o.Shard >= max(o.Shards, 1) {
		return fmt.Errorf("shard %d of %d: want 0 to %d", o.Shard, o.Shards, max(o.Shards, 1)-1)
	}
	return nil
}
