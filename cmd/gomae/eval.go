package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/tensor"
)

// evalFlags are the flags of eval.
type evalFlags struct {
	model, data, split, out, confusion string
	size, samples, workers             int
	slide, skipBad, json               bool
}

func evalCommand(e *env) *command {
	f := new(evalFlags)
	fs := newFlags()
	fs.StringVar(&f.model, "model", "", "evaluate the fine-tuned model in the folder `DIR`, such as the -out of finetune (required)")
	fs.StringVar(&f.data, "data", "", "evaluate on the dataset folder `DIR`, or on rendered "+scenesUsage+", that no run trains on (required)")
	fs.StringVar(&f.split, "split", "", "use the part `NAME` of DIR: train, val or test; none means val, or all of a folder without parts")
	fs.IntVar(&f.size, "size", 0, "resize the shorter side of images to `N` pixels; 0 means the size that the model was trained on")
	fs.BoolVar(&f.slide, "slide", false, "slide a window of the model's size over each image, instead of showing it whole; not for relative depth")
	fs.IntVar(&f.samples, "samples", 0, "use `N` samples, spread over the data; 0 means all")
	fs.StringVar(&f.out, "out", "", "draw input, prediction, truth and error of some samples to `FILE`, a PNG or JPEG; none draws nothing")
	fs.StringVar(&f.confusion, "confusion", "", "draw the confusion matrix of the classes to `FILE`, a PNG or JPEG; none draws nothing")
	fs.IntVar(&f.workers, "workers", 0, "compute on `N` cores; 0 means all. The number does not change the result")
	fs.BoolVar(&f.skipBad, "skip-bad", false, "leave out and count samples that cannot be read, instead of stopping")
	fs.BoolVar(&f.json, "json", false, "print the metrics as JSON")
	return &command{
		name:  "gomae eval",
		usage: "gomae eval -model DIR -data DIR [flags]",
		short: "measure a fine-tuned model and draw its predictions",
		about: `Compares the predictions of every output with the truth, at the size at which the
truth is stored. Of class maps it prints mIoU, pixel accuracy, mean accuracy and a
table of classes; of depth RMSE, AbsRel, log10 and δ1 to δ3 over the valid pixels
of all images, also after scaling and shifting each image to fit the truth
(_aligned) or, for relative depth, its inverse (_aligned_disparity); of the classes
of images top-1 and top-5 accuracy. Shares are in percent. Pixels without a label or
a measurement do not count. A class that is neither in the truth nor predicted has
no IoU, and means leave it out.`,
		examples: []string{
			"gomae eval -model segmentation -data scenes -out grid.png",
			"gomae eval -model depth/best -data set -split test -json",
			"gomae eval -model segmentation -data streets -size 256 -slide -confusion confusion.png",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if err := need(fs, "model", "data"); err != nil {
				return err
			}
			if err := atLeast(fs, 0, "size", "samples", "workers"); err != nil {
				return err
			}
			for _, p := range []struct{ name, path string }{{"out", f.out}, {"confusion", f.confusion}} {
				if err := view.CheckPath(p.path); err != nil {
					return usagef("-%s %v", p.name, err)
				}
			}
			return e.eval(ctx, f)
		},
	}
}

func (e *env) eval(ctx context.Context, f *evalFlags) error {
	m, err := loadFinetuned(f.model)
	if err != nil {
		return err
	}
	if f.confusion != "" && !slices.ContainsFunc(m.Config.Outputs, func(o heads.Output) bool { return o.Loss == heads.LossCrossEntropy }) {
		return usagef("-confusion: the model predicts no classes")
	}
	ds, err := e.testData(m.Config, f)
	if err != nil {
		return err
	}
	m.Params.Pack(tensor.NewInference(nil))
	pool := tensor.NewPool(f.workers)
	defer pool.Close()
	n := ds.Len()
	if f.samples > 0 {
		n = min(n, f.samples)
	}
	bar := e.bar(n, "images")
	told := time.Now()
	o := evaluate.Options{Size: f.size, Slide: f.slide, Samples: f.samples, SkipBad: f.skipBad, Progress: func(done int) {
		bar.Set(done)
		if !e.terminal() && time.Since(told) > 15*time.Second {
			told = time.Now()
			e.logf("%d of %d images", done, n)
		}
	}}
	r, err := evaluate.Evaluate(ctx, m, ds, o, pool)
	bar.Clear()
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; run the command again, with -samples for fewer images")
		}
		return err
	}
	if r.Skipped > 0 {
		e.logf("left out %s that could not be read; \"gomae data check\" lists all of them", count(r.Skipped, "sample"))
	}
	if f.json {
		err = e.writeJSON(evalJSON(r))
	} else {
		e.writeResult(r)
	}
	if err != nil {
		return err
	}
	return e.evalPictures(ctx, m, ds, r, f, o, pool)
}

// pictured is how many samples eval draws.
const pictured = 8

// evalPictures writes the pictures that flags ask for.
func (e *env) evalPictures(ctx context.Context, m *heads.Model, ds data.Dataset, r *evaluate.Result, f *evalFlags, o evaluate.Options, pool *tensor.Pool) error {
	if f.out != "" {
		samples, err := first(data.Subset(ds, data.Spread(pictured, ds.Len())), pictured, f.skipBad)
		if err != nil {
			return err
		}
		img, err := evaluate.Picture(ctx, m, samples, o, pool)
		if err != nil {
			return err
		}
		if err := view.Write(f.out, img); err != nil {
			return err
		}
		e.logf("wrote %s", quote(f.out))
	}
	if f.confusion != "" {
		k := slices.IndexFunc(r.Outputs, func(o evaluate.Output) bool { return o.Confusion != nil })
		if err := view.Write(f.confusion, view.Confusion(r.Outputs[k].Confusion, r.Outputs[k].Classes)); err != nil {
			return err
		}
		e.logf("wrote %s", quote(f.confusion))
	}
	return nil
}

// loadFinetuned reads a model folder of finetune.
func loadFinetuned(dir string) (*heads.Model, error) {
	m, err := heads.LoadDir(dir)
	if err == nil {
		return m, nil
	}
	if _, e := loadModel(dir); e == nil {
		return nil, fmt.Errorf("%s is pre-trained and has no head; fine-tune it first: gomae finetune -task TASK -from %s", quote(dir), quote(dir))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; give a folder with %s and %s, such as the -out of gomae finetune", err, multimae.ConfigFile, multimae.WeightsFile)
	}
	return nil, err
}

// testData opens what to evaluate on.
func (e *env) testData(c *heads.Config, f *evalFlags) (data.Dataset, error) {
	if f.data == scenesData {
		if f.split != "" {
			return nil, usagef("-split %s: rendered scenes have no parts", f.split)
		}
		if slices.ContainsFunc(c.Outputs, func(o heads.Output) bool { return o.Head == heads.Linear }) {
			return nil, errors.New("rendered scenes have no class of the whole image, which the model predicts; give a dataset folder with -data")
		}
		return train.TestData(c, f.data, "")
	}
	if f.split != "" && !slices.Contains([]string{"train", "val", "test"}, f.split) {
		return nil, usagef("-split %s: want train, val or test", f.split)
	}
	dir, err := filepath.Abs(f.data)
	if err != nil {
		return nil, err
	}
	parts, err := data.FindSplits(f.data, c.Inputs)
	if err != nil {
		return nil, err
	}
	part := f.data
	switch {
	case f.split == "test":
		part = parts.Test
	case f.split != "train" && parts.Val != "":
		part = parts.Val
	case parts.Train != "" || parts.Val != "":
		part = parts.Train // a tenth of it, where there is no val
	case f.split == "" && dir == c.Train.Data:
		e.logf("%s is not divided, and the model was trained on nine tenths of it; -split val judges it by the others", quote(f.data))
	}
	if part == "" {
		return train.TestData(c, f.data, f.split) // which says that there is none
	}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		if o.Head != heads.Linear && !isFolder(filepath.Join(part, o.TargetName())) {
			return nil, fmt.Errorf("%s has no labels: output %s is compared with %s; put the truth there, or evaluate on data that have it",
				quote(part), o.Name, quote(filepath.Join(part, o.TargetName())))
		}
	}
	return train.TestData(c, f.data, f.split)
}

// isFolder reports whether there is a folder at path.
func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// evalJSON is what eval -json prints.
func evalJSON(r *evaluate.Result) any {
	type class struct {
		Name      string   `json:"name,omitempty"`
		IoU       *float64 `json:"iou"`      // null where the class is nowhere
		Accuracy  *float64 `json:"accuracy"` // null where the truth lacks it
		Truth     int64    `json:"truth"`
		Predicted int64    `json:"predicted"`
		Correct   int64    `json:"correct"`
	}
	type output struct {
		Name      string    `json:"name"`
		Pixels    int64     `json:"pixels"` // that have a truth; images for the classes of images
		Classes   []class   `json:"classes,omitempty"`
		Confusion [][]int64 `json:"confusion,omitempty"` // rows are true classes
	}
	v := struct {
		Metrics map[string]float64 `json:"metrics"`
		Samples int                `json:"samples"`
		Skipped int                `json:"skipped"`
		Loss    float64            `json:"loss"`
		Outputs []output           `json:"outputs"`
	}{Metrics: metricsJSON(r.Metrics()), Samples: r.Samples, Skipped: r.Skipped, Loss: r.Loss}
	number := func(x float64) *float64 {
		if x != x {
			return nil
		}
		return &x
	}
	for _, o := range r.Outputs {
		out := output{Name: o.Name, Pixels: o.Pixels}
		for id := 0; o.Confusion != nil && id < o.Confusion.Classes; id++ {
			k := o.Confusion.Class(id)
			out.Classes = append(out.Classes, class{className(&o, id), number(k.IoU()), number(k.Accuracy()), k.Truth, k.Predicted, k.Correct})
			out.Confusion = append(out.Confusion, o.Confusion.Counts[id*o.Confusion.Classes:][:o.Confusion.Classes])
		}
		v.Outputs = append(v.Outputs, out)
	}
	return v
}

// metricsJSON returns metrics by name. With several outputs, names begin with that of their output.
func metricsJSON(list []evaluate.Metric) map[string]float64 {
	several := slices.ContainsFunc(list, func(m evaluate.Metric) bool { return m.Output != list[0].Output })
	named := map[string]float64{}
	for _, m := range list {
		name := m.Name
		if several {
			name = m.Output + "." + name
		}
		named[name] = m.Value
	}
	return named
}

// className returns the name of a class, "" if it has none.
func className(o *evaluate.Output, id int) string {
	if id < len(o.Classes) {
		return o.Classes[id]
	}
	return ""
}

// writeResult prints tables of metrics and classes.
func (e *env) writeResult(r *evaluate.Result) {
	fmt.Fprintf(e.stdout, "%s\n", count(r.Samples, "sample"))
	for i := range r.Outputs {
		o := &r.Outputs[i]
		fmt.Fprintf(e.stdout, "\n%s\n", o.Name)
		w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, m := range o.Metrics {
			value := fmt.Sprintf("%.4g", m.Value)
			if m.More { // a share
				value = fmt.Sprintf("%.2f %%", m.Value)
			}
			fmt.Fprintf(w, "%s\t%s\t\n", m.Name, value)
		}
		w.Flush()
		if o.Confusion != nil {
			e.writeClasses(o)
		}
	}
}

// writeClasses prints the table of classes, and which of them means leave out.
func (e *env) writeClasses(o *evaluate.Output) {
	share := func(v float64) string {
		if v != v {
			return "-"
		}
		return fmt.Sprintf("%.2f %%", v)
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	maps := o.Metrics[0].Name == evaluate.MIoU // and not classes of whole images
	iou := func(s string) string {
		if maps {
			return s + "\t"
		}
		return ""
	}
	fmt.Fprintf(w, "\nclass\t%saccuracy\tof the truth\t\n", iou("IoU"))
	var absent []string
	for id := range o.Confusion.Classes {
		k := o.Confusion.Class(id)
		name := className(o, id)
		if name == "" {
			name = fmt.Sprint(id)
		}
		if k.Truth+k.Predicted == 0 {
			absent = append(absent, name)
			continue
		}
		fmt.Fprintf(w, "%s\t%s%s\t%s\t\n", name, iou(share(k.IoU())), share(k.Accuracy()), share(100*float64(k.Truth)/float64(o.Confusion.Counted())))
	}
	w.Flush()
	if len(absent) > 0 {
		fmt.Fprintf(e.stdout, "neither in the truth nor predicted, and left out of means: %s\n", strings.Join(absent, ", "))
	}
}
