package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

func renderCommand(e *env) *command {
	fs := newFlags()
	var (
		out   = fs.String("out", "", "write to the folder `DIR`, which must be new or empty (required)")
		n     = fs.Int("n", 1000, "write `N` scenes")
		size  = fs.Int("size", 256, "render `S`×S pixels")
		seed  = fs.Uint64("seed", 0, "draw the rooms from `SEED`; the same seed gives the same scenes")
		split = fs.Float64("split", 0, "write this `SHARE` of the scenes to DIR/val, for validation, and the others to DIR/train")
	)
	return &command{
		name:  "gomae render",
		usage: "gomae render -out DIR [flags]",
		short: "write rendered scenes as a dataset folder",
		about: `Ray-traces furnished rooms and writes DIR/rgb/scene/NUMBER.png (8-bit colour),
DIR/depth/scene/NUMBER.png (16-bit, value = metres·65536/16) and
DIR/semseg/scene/NUMBER.png (8-bit ids of the 16 classes in DIR/classes.json). The
room depends on NUMBER and SEED only; S changes the sampling. Without -data,
pretrain trains on the rooms of its own -seed, and the built-in model rooms has
seen those of seed 0: give another SEED for rooms that they do not know.`,
		examples: []string{
			"gomae render -out set",
			"gomae render -out small -n 200 -size 64 -seed 7 -split 0.1",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if err := need(fs, "out"); err != nil {
				return err
			}
			if err := within("n", *n, 1, 10_000_000); err != nil {
				return err
			}
			if err := within("size", *size, 16, 2048); err != nil {
				return err
			}
			if err := within("split", *split, 0, 0.9); err != nil {
				return err
			}
			if *split > 0 && *n < 2 {
				return usagef("-split %v: -n %d leaves nothing to split", *split, *n)
			}
			return e.save(func() error { return e.render(ctx, *out, *n, *size, *seed, *split) })
		},
	}
}

func (e *env) render(ctx context.Context, dir string, n, size int, seed uint64, split float64) error {
	type part struct {
		dir      string
		first, n int
	}
	parts := []part{{dir, 0, n}}
	if split > 0 {
		// WriteFolder looks only into the folder of its part.
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return &data.Problem{File: dir, Message: "the folder is not empty", Remedy: "give a new folder, or empty this one"}
		}
		val := min(max(int(math.Round(split*float64(n))), 1), n-1)
		// Validation comes first: after an interruption the folder can be used as soon as there is
		// one training sample.
		parts = []part{{filepath.Join(dir, "val"), n - val, val}, {filepath.Join(dir, "train"), 0, n - val}}
	}
	bar := e.bar(n, "scenes")
	start, done := time.Now(), 0
	for _, p := range parts {
		before := done
		err := data.WriteFolder(ctx, p.dir, scenes.New(p.first, p.n, size, seed), func(k int) {
			done = before + k
			bar.Set(done)
		})
		if err == nil {
			continue
		}
		bar.Clear()
		again := fmt.Sprintf("remove %s and run the command again", quote(dir))
		switch {
		case ctx.Err() == nil && done == 0:
			return err
		case ctx.Err() == nil:
			return fmt.Errorf("%w; %d of %d scenes are written; %s", err, done, n, again)
		case len(parts) > 1 && done <= parts[0].n || done == 0:
			return fmt.Errorf("interrupted after %d of %d scenes; %s", done, n, again)
		}
		if err := data.WriteClassNames(dir, scenes.ClassNames()); err != nil {
			return err
		}
		return fmt.Errorf("interrupted after %d of %d scenes; those written are complete and can be used, or %s", done, n, again)
	}
	bar.Clear()
	if err := data.WriteClassNames(dir, scenes.ClassNames()); err != nil {
		return err
	}
	t := time.Since(start)
	e.logf("wrote %s of %d×%d pixels to %s in %.1f s, %.0f a second", count(n, "scene"), size, size, dir, t.Seconds(), float64(n)/t.Seconds())
	e.logf("to check them: gomae data check %s", quote(dir))
	return nil
}
