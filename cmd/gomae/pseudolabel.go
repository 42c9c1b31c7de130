package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gomae/gomae/multimae/pseudolabel"
	"github.com/gomae/gomae/multimae/teacher"
)

// teacherFlags is the value of -teacher, which may be given several times.
type teacherFlags []struct {
	modality string
	specs    []string
}

func (t *teacherFlags) String() string { return "" }

func (t *teacherFlags) Set(s string) error {
	modality, specs, ok := strings.Cut(s, "=")
	if !ok || modality == "" || specs == "" {
		return errors.New("want MODALITY=TEACHER, such as depth=model.json")
	}
	*t = append(*t, struct {
		modality string
		specs    []string
	}{modality, strings.Split(specs, ",")})
	return nil
}

// shardFlag is the value of -shard.
type shardFlag struct{ i, n int }

func (s *shardFlag) String() string {
	if s.n == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.i, s.n)
}

func (s *shardFlag) Set(text string) error {
	first, second, _ := strings.Cut(text, "/")
	i, err := strconv.Atoi(first)
	n, err2 := strconv.Atoi(second)
	if err != nil || err2 != nil || i < 0 || n < 1 || i >= n {
		return errors.New("want I/N with I from 0 to N-1")
	}
	*s = shardFlag{i, n}
	return nil
}

func pseudolabelCommand(e *env) *command {
	fs := newFlags()
	var (
		dir      = fs.String("data", "", "label the photographs in the folder `DIR`: in DIR/rgb, in DIR/train/rgb and so on, or else all pictures in it (required)")
		teachers teacherFlags
		out      = fs.String("out", "", "write the dataset to the folder `DIR`; none means beside the rgb of -data")
		copies   = fs.Bool("copy", false, "copy the photographs to -out; otherwise they are linked where that is possible")
		size     = fs.Int("size", 0, "copy photographs to -out shrunk, so that their shorter side has at most `N` pixels, with maps of that size; training reads them faster. 0 keeps sizes. A photograph of the same name in -out must look the same: those that lack a map are compared, and a few complete ones")
		shard    shardFlag
		workers  = fs.Int("workers", 0, "run networks on `N` photographs at a time, each with one thread; 0 means one for each processor")
		library  = fs.String("ort", "", "load ONNX Runtime from the shared library or folder `PATH`; none looks where "+teacher.LibraryVariable+" says, then in the active environment of Python, in the system's folders, and in other Pythons")
		asJSON   = fs.Bool("json", false, "print what was done as JSON")
		show     = fs.String("show", "", "only print the known description `NAME`, to start from: "+strings.Join(teacher.Known(), ", "))
	)
	fs.Var(&teachers, "teacher", "make a modality with a network, as `MODALITY=TEACHER`; may be given several times (required)")
	fs.Var(&shard, "shard", "label only part `I/N` of the photographs, I from 0 to N-1, by a hash of their names; the parts may run at the same time")
	return &command{
		name:  "gomae pseudolabel",
		usage: "gomae pseudolabel -data DIR -teacher MODALITY=TEACHER [flags]",
		short: "make depth and class maps for a folder of photographs",
		about: `Runs networks on photographs and writes a dataset folder that pretrain reads. The
command goes on where an earlier call was stopped, and does nothing where all is
done. A photograph that cannot be read is listed and skipped.

TEACHER is FILE.json, which describes a network and names its file; FILE.onnx,
described by FILE.json or recognised by its name; FILE.onnx@NAME with a known
description, or FILE.onnx@OTHER.json; or the folder of a fine-tuned model. ONNX
needs ONNX Runtime: pip install onnxruntime. Several teachers of classes are
separated by commas: each pixel is that of the first which is sure.

Depth becomes a 16-bit PNG, larger = farther, stretched for each photograph; its
scale is a line of MODALITY.jsonl, or MODALITY.shard-I-of-N.jsonl, in OUT or its
train, val or test. Class maps are 8-bit PNG of ids, 255 = not
sure; OUT/classes.json names the classes.`,
		examples: []string{
			"gomae pseudolabel -data originals -out set -size 160 -teacher depth=tcmonodepth.onnx",
			"gomae pseudolabel -data set -teacher depth=m.onnx@depth-anything-v2 -teacher semseg=a.json,b.json",
			"gomae pseudolabel -data set -teacher semseg=finetuned -shard $SLURM_ARRAY_TASK_ID/64",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if *show != "" {
				b, err := teacher.KnownDescription(*show)
				if err != nil {
					return usagef("-show: %w", err)
				}
				_, err = e.stdout.Write(b)
				return err
			}
			if err := need(fs, "data"); err != nil {
				return err
			}
			if len(teachers) == 0 {
				return usagef("flag missing: %s", describe(fs.Lookup("teacher")))
			}
			if err := cmp.Or(within("workers", *workers, 0, 1024), within("size", *size, 0, 1<<14)); err != nil {
				return err
			}
			o := pseudolabel.Options{Data: *dir, Out: *out, Copy: *copies, Size: *size, Shard: shard.i, Shards: shard.n, Workers: *workers}
			for _, t := range teachers {
				opened, err := teacher.Open(t.specs, teacher.Options{Library: *library})
				if err != nil {
					return err
				}
				defer opened.Close()
				o.Modalities = append(o.Modalities, pseudolabel.Modality{Name: t.modality, Teacher: opened})
			}
			return e.save(func() error { return e.pseudolabel(ctx, o, *asJSON) })
		},
	}
}

// pseudolabel runs o and says how it goes on.
func (e *env) pseudolabel(ctx context.Context, o pseudolabel.Options, asJSON bool) error {
	bar := e.bar(-1, "photos")
	said := time.Now()
	o.Skipped = func(err error) {
		bar.Clear()
		e.logf("skipped: %v", err)
	}
	o.Progress = func(r pseudolabel.Report) {
		if e.terminal() {
			bar.ChangeMax(r.Photos - r.Before)
			bar.Set(r.Done())
			return
		}
		if time.Since(said) >= 10*time.Second {
			said = time.Now()
			e.logf("%d of %s, %.1f a second, %v left", r.Before+r.Made, count(r.Photos, "photograph"), r.PerSecond(), r.Left().Round(time.Second))
		}
	}
	r, err := pseudolabel.Run(ctx, o)
	bar.Clear()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		if r.Elapsed == 0 {
			return errors.New("interrupted while looking for what is to be done; the same command goes on")
		}
		return fmt.Errorf("interrupted; %d of %s are complete; the same command goes on", r.Before+r.Made, count(r.Photos, "photograph"))
	}
	if err != nil {
		if r.Made > 0 {
			return fmt.Errorf("%w; %d of %s are complete; the same command goes on", err, r.Before+r.Made, count(r.Photos, "photograph"))
		}
		return err
	}
	if r.Made == 0 && r.Skipped == 0 {
		e.logf("nothing to do: %s complete", areOf(r.Before, "photograph"))
	} else {
		e.logf("labelled %s in %.1f s, %.1f a second, with a network running %.0f%% of the time of %s; %d were complete before, %d were skipped",
			count(r.Made, "photograph"), r.Elapsed.Seconds(), r.PerSecond(), 100*r.Busy, count(r.Workers, "worker"), r.Before, r.Skipped)
	}
	if asJSON {
		err := e.writeJSON(map[string]any{
			"photos": r.Photos, "before": r.Before, "made": r.Made, "skipped": r.Skipped,
			"seconds": r.Elapsed.Seconds(), "photos_per_s": r.PerSecond(), "network_busy": r.Busy,
		})
		if err != nil {
			return err
		}
	}
	if r.Skipped > 0 && r.Before+r.Made == 0 {
		return errors.New("no photograph could be labelled")
	}
	return nil
}

// areOf returns "1 photograph is" or "2 photographs are".
func areOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " is"
	}
	return count(n, noun) + " are"
}
