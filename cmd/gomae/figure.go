package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/figure"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/tensor"
)

func figureCommand(e *env) *command {
	return &command{
		name:  "gomae figure",
		usage: "gomae figure COMMAND [flags]",
		short: "draw figures of what a model has learnt",
		about: `Draws as PNG or SVG, depending on the name of -out, of scenes that the model was not
trained on.`,
		flags: newFlags(),
		subs:  []*command{e.singleCommand(), e.hueCommand(), e.alphaCommand(), e.progressCommand()},
	}
}

// figureFlags are the flags that the figures share.
type figureFlags struct {
	model, data, out *string
	seed             *uint64
}

func newFigureFlags(fs *flag.FlagSet, out string) figureFlags {
	return figureFlags{
		model: modelFlag(fs),
		data:  dataFlag(fs),
		out:   fs.String("out", out, "write the figure to `FILE`, whose name ends in .png or .svg"),
		seed:  fs.Uint64("seed", 0, "draw patches from `SEED`"),
	}
}

// check returns a usage error unless -out can be written.
func (f figureFlags) check(args []string) error {
	if err := exactly(args); err != nil {
		return err
	}
	if ext := strings.ToLower(filepath.Ext(*f.out)); ext != ".png" && ext != ".svg" {
		return usagef("-out %s: want a name in .png or .svg", *f.out)
	}
	return nil
}

// open returns the model, with the names of the classes in its figures, and scenes that it was not
// trained on. Close the pool.
func (f figureFlags) open() (m figure.Model, ds data.Dataset, err error) {
	opened, err := openModel(*f.model)
	if err != nil {
		return m, nil, err
	}
	if ds, m.Classes, err = opened.lookAt(*f.data); err != nil {
		return m, nil, err
	}
	m.Model, m.Pool = opened.Model, tensor.NewPool(0)
	return m, ds, nil
}

// first returns the first n scenes, with skipBad the first that can be read: an error if there is none.
func first(ds data.Dataset, n int, skipBad bool) (list []*data.Sample, bad error) {
	for i := 0; i < ds.Len() && len(list) < n; i++ {
		s, err := ds.Sample(i)
		switch {
		case err == nil:
			list = append(list, s)
		case !skipBad || data.Interrupted(err):
			return nil, err
		default:
			bad = err
		}
	}
	if len(list) == 0 {
		return nil, bad
	}
	return list, nil
}

func (e *env) writeFigure(path string, d *figure.Drawing) error {
	if err := d.Write(path); err != nil {
		return err
	}
	e.logf("wrote %s", quote(path))
	return nil
}

func (e *env) singleCommand() *command {
	fs := newFlags()
	f := newFigureFlags(fs, "single-modality.png")
	n := fs.Int("scenes", 4, "draw `N` scenes")
	return &command{
		name:  "gomae figure single-modality",
		usage: "gomae figure single-modality [flags]",
		short: "everything predicted from one modality alone",
		about: `For each scene a row for each modality, all of which the model sees, and a column
for each modality that it predicts from it; then the truth.`,
		examples: []string{"gomae figure single-modality -out single.svg"},
		flags:    fs,
		run: func(ctx context.Context, args []string) error {
			if err := errors.Join(f.check(args), within("scenes", *n, 1, 100)); err != nil {
				return err
			}
			m, ds, err := f.open()
			if err != nil {
				return err
			}
			defer m.Pool.Close()
			list, err := first(ds, *n, false)
			if err != nil {
				return err
			}
			d, err := figure.SingleModality(ctx, m, list)
			if err != nil {
				return err
			}
			return e.writeFigure(*f.out, d)
		},
	}
}

func (e *env) hueCommand() *command {
	fs := newFlags()
	f := newFigureFlags(fs, "hue.png")
	n := fs.Int("scenes", 100, "measure `N` scenes")
	examples := fs.Int("examples", 4, "draw `N` of them")
	degrees := fs.Float64("degrees", 120, "turn the hue by `ANGLE`")
	asJSON := fs.Bool("json", false, "print what is measured as JSON")
	return &command{
		name:  "gomae figure hue",
		usage: "gomae figure hue [flags]",
		short: "does an object follow the colour of one of its patches?",
		about: `Shows the model all of depth and two patches of colour, one of them on an object,
turns the hue of that patch, and measures how much the predicted colour changes
inside the object and elsewhere, over many scenes, with 95 % confidence intervals.`,
		examples: []string{"gomae figure hue", "gomae figure hue -model out -scenes 1000 -json"},
		flags:    fs,
		run: func(ctx context.Context, args []string) error {
			if err := errors.Join(f.check(args), within("scenes", *n, 2, 100_000), within("examples", *examples, 0, 20), within("degrees", *degrees, -360, 360)); err != nil {
				return err
			}
			if math.Mod(*degrees, 360) == 0 {
				return usagef("-degrees %g: want an angle that changes the hue", *degrees)
			}
			m, ds, err := f.open()
			if err != nil {
				return err
			}
			defer m.Pool.Close()
			o := figure.HueOptions{Scenes: *n, Degrees: *degrees, Seed: *f.seed, Examples: *examples, Background: figure.Background(m)}
			r, d, err := figure.Hue(ctx, m, ds, o)
			if err != nil {
				return err
			}
			if len(o.Background) == 0 {
				e.logf("%s of the data names no class floor, wall, ceiling or sky, so that every class counts as an object", data.ClassesFile)
			}
			if err := e.writeFigure(*f.out, d); err != nil {
				return err
			}
			if *asJSON {
				return e.writeJSON(r)
			}
			fmt.Fprintf(e.stdout, "mean change of predicted colour in %d scenes when the hue of one patch turns by %g degrees, with 95 %% confidence intervals:\n\n", r.Scenes, r.Degrees)
			for _, row := range []struct {
				name string
				v    figure.Interval
			}{{"inside the object", r.Inside}, {"elsewhere", r.Outside}, {"difference", r.Difference}} {
				fmt.Fprintf(e.stdout, "%17s  %.4f  (%.4f to %.4f)\n", row.name, row.v.Mean, row.v.Low, row.v.High)
			}
			fmt.Fprintf(e.stdout, "\nthe object changes more than its surroundings in %.0f %% of the scenes\n", 100*r.Follows)
			return nil
		},
	}
}

func (e *env) alphaCommand() *command {
	fs := newFlags()
	f := newFigureFlags(fs, "alpha.png")
	tokens := fs.Int("tokens", 0, "share out `N` patches; 0 means as many as in training")
	return &command{
		name:  "gomae figure alpha",
		usage: "gomae figure alpha [flags]",
		short: "how visible patches are shared out for several α",
		about: `Draws the shares of the modalities among the visible patches of many samples, for
several concentrations of the Dirichlet distribution.`,
		examples: []string{"gomae figure alpha -out alpha.svg"},
		flags:    fs,
		run: func(ctx context.Context, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			m, err := openModel(*f.model)
			if err != nil {
				return err
			}
			visible, err := visibleOf(m.Config, *tokens)
			if err != nil {
				return err
			}
			d, err := figure.Alpha(m.Config, []float64{0.2, 0.5, 1, 5, 20}, visible, *f.seed)
			if err != nil {
				return err
			}
			return e.writeFigure(*f.out, d)
		},
	}
}

// visibleOf returns the number of visible patches that -tokens asks for.
func visibleOf(c *multimae.Config, tokens int) (int, error) {
	nh, nw := c.Grid(c.ImageSize, c.ImageSize)
	all := len(c.Inputs) * nh * nw
	if err := within("tokens", tokens, 0, all); err != nil {
		return 0, err
	}
	if tokens > 0 {
		return tokens, nil
	}
	return c.VisibleTokens(), nil
}

func (e *env) progressCommand() *command {
	fs := newFlags()
	f := newFigureFlags(fs, "progress.png")
	*f.model, fs.Lookup("model").DefValue = "", ""
	fs.Lookup("model").Usage = "use the checkpoints of the run in the folder `DIR`, the -out of pretrain -keep N (required)"
	n := fs.Int("scenes", 2, "draw `N` scenes")
	columns := fs.Int("steps", 6, "draw `N` steps, evenly spread in the logarithm")
	tokens := fs.Int("tokens", 0, "show `N` patches; 0 means as many as in training")
	return &command{
		name:  "gomae figure progress",
		usage: "gomae figure progress -model DIR [flags]",
		short: "reconstructions over the training of a run",
		about: `Draws what a model predicts from the same patches at several checkpoints of its
training. A run keeps as many checkpoints as pretrain's -keep says.`,
		examples: []string{"gomae figure progress -model out -out progress.svg"},
		flags:    fs,
		run: func(ctx context.Context, args []string) error {
			if err := errors.Join(f.check(args), need(fs, "model"), within("scenes", *n, 1, 20), within("steps", *columns, 1, 20)); err != nil {
				return err
			}
			pool := tensor.NewPool(0)
			defer pool.Close()
			steps, err := openSteps(*f.model, *columns, pool)
			if err != nil {
				return err
			}
			c := steps[0].Model.Config
			visible, err := visibleOf(c, *tokens)
			if err != nil {
				return err
			}
			ds, _, err := (&model{Model: steps[0].Model.Model}).lookAt(*f.data)
			if err != nil {
				return err
			}
			list, err := first(ds, *n, false)
			if err != nil {
				return err
			}
			d, err := figure.Progress(ctx, steps, list, visible, *f.seed)
			if err != nil {
				return err
			}
			return e.writeFigure(*f.out, d)
		},
	}
}

// openSteps loads up to n checkpoints of a run.
func openSteps(dir string, n int, pool *tensor.Pool) ([]figure.Step, error) {
	c, err := train.LoadRun(dir)
	if err != nil {
		return nil, err
	}
	saved, err := train.Checkpoints(dir)
	if err == nil && len(saved) == 0 {
		err = fmt.Errorf("%s: %w: the run has no checkpoint", dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	var steps []figure.Step
	for _, step := range spread(saved, n) {
		m, err := train.LoadCheckpoint(c, filepath.Join(dir, train.CheckpointName(step)))
		if err != nil {
			return nil, err
		}
		steps = append(steps, figure.Step{Number: step, Model: figure.Model{Model: m, Pool: pool}})
	}
	return steps, nil
}

// spread returns up to n of some ascending numbers, the last among them, evenly in the logarithm.
func spread(all []int, n int) (some []int) {
	lo, hi := math.Log(max(1, float64(all[0]))), math.Log(max(1, float64(all[len(all)-1])))
	for i := range n {
		want := hi
		if n > 1 {
			want = lo + (hi-lo)*float64(i)/float64(n-1)
		}
		best := all[0]
		for _, v := range all {
			if math.Abs(math.Log(max(1, float64(v)))-want) < math.Abs(math.Log(max(1, float64(best)))-want) {
				best = v
			}
		}
		if !slices.Contains(some, best) {
			some = append(some, best)
		}
	}
	return some
}
