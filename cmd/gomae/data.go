package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

func dataCommand(e *env) *command {
	return &command{
		name:  "gomae data",
		usage: "gomae data check DIR",
		short: "work on dataset folders",
		about: `"gomae data check -h" describes its flags.`,
		flags: newFlags(),
		subs:  []*command{dataCheckCommand(e)},
	}
}

// classCount is the value of -classes.
type classCount struct {
	n     int
	names []string
}

func (c *classCount) String() string {
	if c.names != nil {
		return "scenes"
	}
	return strconv.Itoa(c.n)
}

func (c *classCount) Set(s string) error {
	if s == "scenes" {
		*c = classCount{len(scenes.Classes), scenes.Classes}
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > multimae.IDPadding {
		return errors.New("want 1 to 254, 0, or the word scenes")
	}
	*c = classCount{n: n}
	return nil
}

// find takes the classes that a dataset folder names, unless their number was given.
func (c *classCount) find(dir string) (err error) {
	if c.n > 0 {
		return nil
	}
	c.n, c.names, err = data.SemanticClasses(dir)
	return err
}

// name returns the name of a class id, "" if it has none.
func (c *classCount) name(id int) string {
	switch {
	case id < len(c.names):
		return c.names[id]
	case id == multimae.IDPadding:
		return "(padding)"
	case id == multimae.IDIgnored:
		return "(ignored)"
	}
	return ""
}

// numberList is the value of -depth-invalid.
type numberList []float64

func (l *numberList) String() string {
	var words []string
	for _, v := range *l {
		words = append(words, strconv.FormatFloat(v, 'g', -1, 64))
	}
	return strings.Join(words, ",")
}

func (l *numberList) Set(s string) error {
	*l = nil
	for word := range strings.SplitSeq(s, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return errors.New("want numbers separated by commas, such as 0,65535")
		}
		*l = append(*l, v)
	}
	return nil
}

// depthInvalidFlag adds the flag that lists the values of depth that are no measurements.
func depthInvalidFlag(fs *flag.FlagSet) *numberList {
	l := new(numberList)
	fs.Var(l, "depth-invalid", "leave out pixels of depth whose stored value is one of `LIST`, such as 0,65535")
	return l
}

// set gives the values to depth, if there are any.
func (l *numberList) set(inputs []multimae.Input) error {
	if l == nil || len(*l) == 0 {
		return nil
	}
	i := slices.IndexFunc(inputs, func(m multimae.Input) bool { return m.Name == "depth" })
	if i < 0 {
		return usagef("-depth-invalid %v: depth is not among the inputs", l)
	}
	inputs[i].Invalid = *l
	return nil
}

// publishedInputs returns the modalities of the paper.
func publishedInputs(classes int) []multimae.Input {
	return []multimae.Input{
		{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
		{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1},
		{Name: "semseg", Kind: multimae.KindClasses, NumClasses: classes, Stride: 4, ClassEmbDim: 64},
	}
}

func dataCheckCommand(e *env) *command {
	fs := newFlags()
	var classes classCount
	fs.Var(&classes, "classes", "expect class ids below `N`; \"scenes\" means the classes of gomae render; 0 means those that DIR/classes.json names, without it 133 (COCO)")
	inputs := fs.String("inputs", "rgb,depth,semseg", "check the modalities in `LIST`, separated by commas")
	config := fs.String("config", "", "take modalities and classes from the model configuration `FILE`")
	depthInvalid := depthInvalidFlag(fs)
	asJSON := fs.Bool("json", false, "print the report as JSON")
	return &command{
		name:  "gomae data check",
		usage: "gomae data check [flags] DIR",
		short: "find everything that is wrong with a dataset folder",
		about: `Reads every file of DIR, or of DIR/train and DIR/val (or valid, validation). It
reports each problem with its file and its remedy, and the counts, sizes, value
ranges and classes of the good files. The layout is DIR/rgb/CLASS/x.png (or jpg),
DIR/depth/CLASS/x.png (16-bit grey), DIR/semseg/CLASS/x.png (8-bit ids), where CLASS
may be any folder and the files of a sample have the same relative name. Colour may
also be WebP, TIFF, BMP or PPM; depth TIFF, PGM or .npy; ids TIFF, PGM or .npy. A
folder DIR/mask_valid of the same names is optional: depth where it is 0 was not
measured and is left out. The exit code is 1 if there is a problem.`,
		examples: []string{
			"gomae data check -classes scenes scenes",
			"gomae data check -inputs rgb,depth -json photos",
			"gomae data check -config model/config.json photos",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args, "DIR"); err != nil {
				return err
			}
			in, err := checkedInputs(fs, *inputs, *config, max(classes.n, 1))
			if err == nil {
				err = depthInvalid.set(in)
			}
			if err != nil {
				return err
			}
			dir := args[0]
			if st, err := os.Stat(dir); err != nil {
				return err
			} else if !st.IsDir() {
				return fmt.Errorf("%s is not a folder; give the folder that holds %s", dir, in[0].Name)
			}
			if err := classes.find(dir); err != nil {
				return err
			}
			if *config == "" {
				for i := range in {
					if in[i].Kind == multimae.KindClasses {
						in[i].NumClasses = classes.n
					}
				}
			}
			if e.terminal() {
				e.logf("reading %s ...", dir)
			}
			r, err := data.Check(ctx, dir, in)
			if ctx.Err() != nil {
				return errors.New("interrupted before all files were read; run the command again for a report")
			}
			if err != nil {
				return err
			}
			if *asJSON {
				err = e.writeJSON(struct {
					*data.Report
					ClassNames []string `json:"class_names,omitempty"`
				}{r, classes.names})
			} else {
				err = e.writeReport(r, dir, &classes)
			}
			if len(*depthInvalid) == 0 && *config == "" && !*asJSON {
				e.hintHoles(r)
			}
			if err == nil && len(r.Problems) > 0 {
				if *config == "" {
					e.hint("check", dir, in)
				}
				err = errReported
			}
			return err
		},
	}
}

// checkedInputs returns the modalities that the flags ask for.
func checkedInputs(fs *flag.FlagSet, list, config string, classes int) (in []multimae.Input, err error) {
	if config != "" {
		fs.Visit(func(f *flag.Flag) {
			if f.Name == "inputs" || f.Name == "classes" {
				err = usagef("-config and -%s exclude each other", f.Name)
			}
		})
		if err != nil {
			return nil, err
		}
		b, err := regular.ReadFile(config, regular.ConfigLimit)
		if err != nil {
			return nil, err
		}
		c, err := multimae.ParseConfig(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", config, err)
		}
		return c.Inputs, nil
	}
	all := publishedInputs(classes)
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	for word := range strings.SplitSeq(list, ",") {
		i := slices.Index(names, word)
		if i < 0 {
			return nil, usagef("-inputs %s: %q is not one of %s; other modalities need -config", list, word, strings.Join(names, ", "))
		}
		if slices.ContainsFunc(in, func(m multimae.Input) bool { return m.Name == word }) {
			return nil, usagef("-inputs %s: %s is listed twice", list, word)
		}
		in = append(in, all[i])
	}
	return in, nil
}

// hint says how to do without the modalities for which a dataset lacks the folder.
func (e *env) hint(verb, dir string, inputs []multimae.Input) {
	var have []string
	splits, _ := data.FindSplits(dir, nil)
	parts := []string{dir, splits.Train, splits.Val}
	for _, m := range inputs {
		if slices.ContainsFunc(parts, func(part string) bool {
			_, err := os.Stat(filepath.Join(part, m.Name))
			return err == nil && part != ""
		}) {
			have = append(have, m.Name)
		}
	}
	if len(have) > 0 && len(have) < len(inputs) {
		e.logf("to %s only the modalities that are there: -inputs %s", verb, strings.Join(have, ","))
	}
}

// hintHoles says how to leave out values of depth that may mark holes.
func (e *env) hintHoles(r *data.Report) {
	const few = 0.001
	for _, m := range r.Modalities {
		if m.Name == "depth" && m.Raw != nil && m.InvalidPart == 0 && (m.Raw.ZeroPart >= few || m.Raw.FullPart >= few) {
			fmt.Fprintln(e.stdout, "to leave out pixels of depth that are 0 or 65535, here and in pretrain: -depth-invalid 0,65535")
		}
	}
}

// writeReport prints the report for people, with the problems last, where they are seen.
func (e *env) writeReport(r *data.Report, dir string, classes *classCount) error {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s: %s\n\nmodality\tfiles\tvalues\tsizes\n", dir, count(r.Samples, "complete sample"))
	for _, m := range r.Modalities {
		var values string
		switch {
		case m.Files == 0:
			values = "-"
		case m.Kind == multimae.KindClasses:
			values = count(len(m.Classes), "class id")
		default:
			values = fmt.Sprintf("%.3f to %.3f, mean %.3f", m.Min, m.Max, m.Mean)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", m.Name, m.Files, values, sizes(m.Sizes))
	}
	w.Flush()
	for _, m := range r.Modalities {
		if m.Turned > 0 {
			fmt.Fprintf(e.stdout, "%s: %s turned as the EXIF orientation says\n", m.Name, count(m.Turned, "photograph"))
		}
	}
	for _, m := range r.Modalities {
		if m.Raw != nil {
			fmt.Fprintf(e.stdout, "%s: stored values %.5g to %.5g; %.2f%% are 0 and %.2f%% are 65535\n", m.Name, m.Raw.Min, m.Raw.Max, 100*m.Raw.ZeroPart, 100*m.Raw.FullPart)
		}
		if m.InvalidPart > 0 {
			fmt.Fprintf(e.stdout, "%s: %.2f%% of the pixels have no measurement and are left out\n", m.Name, 100*m.InvalidPart)
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(e.stdout, "note: %s\n", note)
	}
	for _, m := range r.Modalities {
		if len(m.Classes) == 0 {
			continue
		}
		var total int64
		for _, c := range m.Classes {
			total += c.Pixels
		}
		w = tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(w, "\n%s id\tpixels\tshare\t\n", m.Name)
		for _, c := range m.Classes {
			fmt.Fprintf(w, "%d\t%d\t%.2f%%\t", c.ID, c.Pixels, 100*float64(c.Pixels)/float64(total))
			if name := classes.name(c.ID); name != "" {
				fmt.Fprint(w, "  ", name)
			}
			fmt.Fprintln(w)
		}
		w.Flush()
	}
	if len(r.Problems) == 0 {
		_, err := fmt.Fprintln(e.stdout, "\nno problems")
		return err
	}
	fmt.Fprintf(e.stdout, "\n%s:\n", count(len(r.Problems), "problem"))
	for i := range r.Problems {
		if _, err := fmt.Fprintln(e.stdout, r.Problems[i].Error()); err != nil {
			return err
		}
	}
	return nil
}

// sizes lists image sizes, the most frequent first.
func sizes(list []data.SizeCount) string {
	const shown = 3
	if len(list) == 0 {
		return "-"
	}
	var parts []string
	for i, s := range list {
		if i == shown && len(list) > shown+1 {
			parts = append(parts, fmt.Sprintf("%d others", len(list)-shown))
			break
		}
		part := fmt.Sprintf("%d×%d", s.W, s.H)
		if len(list) > 1 {
			part += fmt.Sprintf(" (%d)", s.Files)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// count returns "1 sample" or "2 samples".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
