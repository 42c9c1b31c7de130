package main

import (
	"context"
	"flag"
	"image"
	"net"
	"sync"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/demo/web"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/tensorboard"
	"github.com/gomae/gomae/multimae/train"
)

// watchFlags are the flags that show a run while it trains.
type watchFlags struct{ serve, tensorboard string }

func (f *watchFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&f.serve, "serve", "", "show curves and reconstructions of the run in a browser, at `HOST:PORT`; "+hostUsage)
	fs.StringVar(&f.tensorboard, "tensorboard", "", "write the metrics as event files for TensorBoard to the folder `DIR`, in the place of those that gomae wrote there before")
}

// watch prepares what the flags of a run ask for, which validates with val. Call start when no other
// process trains there, whose event files it would remove, and stop when the run has ended: it waits
// until the last metrics are written.
func (e *env) watch(f *runFlags, val data.Dataset) (start, stop func(), err error) {
	var l net.Listener
	if f.watch.serve != "" {
		if l, err = listen(f.watch.serve); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := func(what string, f func() error) {
		running.Add(1)
		go func() {
			defer running.Done()
			if err := f(); err != nil { // which is no reason to lose the run
				e.logf("%s: %v; the training goes on without it", what, err)
			}
		}()
	}
	start = func() {
		if l != nil {
			e.invite(l, " to watch the run")
			run("-serve", func() error { return web.Serve(ctx, l, web.Live(f.out, drawRun(f.out, val, f.skipBad))) })
		}
		if f.watch.tensorboard != "" {
			run("-tensorboard", func() error { return tensorboard.Follow(ctx, f.out, f.watch.tensorboard) })
		}
	}
	stop = func() {
		cancel()
		running.Wait()
		if l != nil { // also if nothing was started
			l.Close()
		}
	}
	return start, stop, nil
}

// drawRun returns a function that draws what the model in the folder of a run makes of a few samples.
func drawRun(dir string, val data.Dataset, skipBad bool) func(context.Context) (image.Image, error) {
	return func(context.Context) (image.Image, error) {
		samples, err := first(val, 4, skipBad)
		if err != nil {
			return nil, err
		}
		m, err := loadModel(dir)
		if err == nil {
			return train.NewPretraining(m).Picture(samples, nil)
		}
		if fine, other := heads.LoadDir(dir); other == nil {
			return train.NewFinetuning(fine).Picture(samples, nil)
		}
		return nil, err
	}
}
