package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn/weights"
)

// conversion is what a call of convert asks for.
type conversion struct {
	src, dst     string
	key          string // of the weights in src
	to           string // "", "timm" or "multimae"
	config       string // file
	heads        int    // 0 for what the configuration has
	decoderHeads int    // likewise
	force        bool
	bfloat16     bool
}

func convertCommand(e *env) *command {
	flags := newFlags()
	var c conversion
	flags.StringVar(&c.key, "key", "", "read the weights at `PATH` in SRC, such as teacher, model.state_dict or 0; -list shows what there is")
	flags.StringVar(&c.to, "to", "", "rename the keys of a ViT to those of `FAMILY`: timm or multimae")
	flags.StringVar(&c.config, "config", "", "take the configuration from `FILE` instead of SRC's or an inferred one")
	flags.IntVar(&c.heads, "heads", 0, "the encoder has `N` attention heads; 0 means what SRC says, or else one for every 64 channels")
	flags.IntVar(&c.decoderHeads, "decoder-heads", multimae.DefaultDecoderHeads, "each decoder has `N` attention heads; without the flag what SRC says, or else the default")
	flags.BoolVar(&c.bfloat16, "bfloat16", false, "store floating-point values as bfloat16, rounded, in half the space")
	flags.BoolVar(&c.force, "force", false, "replace DST")
	list := flags.Bool("list", false, "list what SRC holds and convert nothing")
	return &command{
		name:  "gomae convert",
		usage: "gomae convert [flags] SRC DST",
		short: "convert weights between PyTorch, safetensors, timm and model folders",
		about: `SRC is a PyTorch checkpoint, a safetensors file, the index of a file in several
parts, a checkpoint of a run, a model folder, also one of Hugging Face, or the name
of a built-in model. Of a checkpoint the state dict is read; no code in it is ever
executed. A prefix that all names have, such as module. or model., is removed. The
name of DST says what it becomes: .pth, .pt or .bin a PyTorch checkpoint
{"model": state dict}, .safetensors a safetensors file, a name without extension a
model folder for the other commands, of a MultiMAE or of a fine-tuned model.

The configuration of a folder is its config.json, and the files that gomae writes
carry that of their model. Otherwise it is that of the config.json beside SRC, or
it is inferred from keys and shapes, and what these do not show is assumed and
printed.

Values do not change, except with -bfloat16: half, bfloat16 and 8-bit floats
become float32, smaller integers int64. With -to, a ViT of timm, DeiT, MAE or
Hugging Face (also ViTMAE) becomes the encoder and RGB adapter of a MultiMAE, or a
MultiMAE a ViT of timm. Keys without a counterpart are left out and listed.`,
		examples: []string{
			"gomae convert -list checkpoint.pth",
			"gomae convert checkpoint.pth base",
			"gomae convert -key teacher dino.pth teacher.safetensors",
			"gomae convert out/model.safetensors out.pth",
			"gomae convert -bfloat16 out/best small",
			"gomae convert rooms folder",
			"gomae convert -to multimae mae_pretrain_vit_base.pth mae.safetensors",
		},
		flags: flags,
		run: func(ctx context.Context, args []string) error {
			switch c.to {
			case "", "timm", "multimae":
			default:
				return usagef("-to %s: want timm or multimae", c.to)
			}
			for _, err := range []error{within("heads", c.heads, 0, 1<<16), within("decoder-heads", c.decoderHeads, 1, 1<<16)} {
				if err != nil {
					return err
				}
			}
			if !given(flags)["decoder-heads"] {
				c.decoderHeads = 0
			}
			if c.to != "" && (c.heads > 0 || c.decoderHeads > 0) {
				return usagef("-heads and -decoder-heads: they have no effect with -to, whose result has no configuration; leave them out")
			}
			if *list {
				if err := exactly(args, "SRC"); err != nil {
					return err
				}
				return e.list(args[0], c.key)
			}
			if err := exactly(args, "SRC", "DST"); err != nil {
				return err
			}
			c.src, c.dst = args[0], args[1]
			return e.convert(ctx, c)
		},
	}
}

// open opens the weights at a path and says what was chosen.
func (e *env) open(path, key string) (weights.File, error) {
	f, err := openWeights(path, key)
	if errors.Is(err, weights.ErrKey) {
		return nil, fmt.Errorf("%w with -key", err)
	}
	if err != nil {
		return nil, err
	}
	for _, note := range f.Notes() {
		e.logf("%s: %s", quote(path), printable(note))
	}
	return f, nil
}

// list prints the tensors of a file and what else a checkpoint holds.
func (e *env) list(path, key string) error {
	f, err := e.open(path, key)
	if err != nil {
		return err
	}
	defer f.Close()
	names := f.Names()
	rows := make([][3]string, len(names))
	var width [2]int
	values := 0
	for i, name := range names {
		shape, _ := f.Shape(name)
		n := 1
		for _, d := range shape {
			n *= d
		}
		values += n
		rows[i] = [3]string{printable(name), printable(f.DType(name)), strings.ReplaceAll(fmt.Sprint(shape), " ", ", ")}
		for k := range width {
			width[k] = max(width[k], min(len(rows[i][k]), 100)) // a long name is not the width of the others
		}
	}
	for _, r := range rows {
		fmt.Fprintf(e.stdout, "%-*s  %-*s  %s\n", width[0], r[0], width[1], r[1], r[2])
	}
	fmt.Fprintf(e.stdout, "%s of %s\n", count(len(names), "tensor"), count(values, "value"))
	for _, c := range f.Contents() {
		fmt.Fprintf(e.stdout, "%s: %s\n", printable(c.Key), printable(c.Text))
		for _, entry := range c.Entries {
			fmt.Fprintf(e.stdout, "  %s\n", printable(entry))
		}
	}
	return nil
}

// printable returns text from a file, quoted if it has characters that a terminal would obey.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// What the extension of DST makes of it.
const (
	asFolder = iota
	asSafetensors
	asPth
)

// format returns what DST becomes, by its extension.
func (c *conversion) format() (int, error) {
	switch ext := filepath.Ext(c.dst); strings.ToLower(ext) {
	case ".safetensors":
		return asSafetensors, nil
	case ".pth", ".pt", ".bin":
		return asPth, nil
	case "", ".":
		return asFolder, nil
	default:
		if info, err := os.Stat(c.dst); err == nil && info.IsDir() || os.IsPathSeparator(c.dst[len(c.dst)-1]) {
			return asFolder, nil
		}
		return 0, usagef("%s: no format has the extension %s; want .safetensors, .pth, .pt or .bin for a file, and a / at the end for a folder", quote(c.dst), quote(ext))
	}
}

func (e *env) convert(ctx context.Context, c conversion) error {
	format, err := c.format()
	if err != nil {
		return err
	}
	folder := format == asFolder
	if folder && c.to != "" {
		return usagef("-to %s: the result is only a part of a model, and a folder holds a whole one; give DST a name in .safetensors or .pth", c.to)
	}
	src, err := e.open(c.src, c.key)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := c.mayWrite(folder); err != nil {
		return err
	}
	// A folder must have a configuration, and a file has the one that fits.
	var config []byte
	if c.to == "" {
		if config, err = e.configuration(c, src, folder); err != nil {
			return err
		}
	}
	tensors, err := weights.ReadAll(src)
	if err != nil {
		return err
	}
	if tensors, err = e.rename(tensors, src, c); err != nil {
		return err
	}
	metadata := map[string]string{}
	if config != nil {
		metadata[modelfolder.MetaConfig] = string(config)
	}
	if c.bfloat16 {
		for i, t := range tensors {
			switch values := t.Data.(type) {
			case []float32:
				tensors[i].Data = weights.BFloat16(values)
			case []float64:
				// Rounding to float32 first decides otherwise only for values within 2⁻²⁵ of the middle
				// of two neighbours, of which the other is then as near to that relative precision.
				narrow := make(weights.BFloat16, len(values))
				for k, v := range values {
					narrow[k] = float32(v)
				}
				tensors[i].Data = narrow
			}
		}
	}
	write := func() error {
		if folder {
			return modelfolder.Save(c.dst, config, tensors)
		}
		return atomicfile.Write(c.dst, func(w io.Writer) error {
			w = untilEnd{ctx, w}
			if format == asPth {
				return weights.WritePth(w, tensors, metadata)
			}
			metadata["format"] = "pt" // marks a file as PyTorch's; transformers and others refuse one without it
			return weights.WriteSafetensors(w, tensors, metadata)
		})
	}
	if at, serr := os.Stat(c.dst); serr == nil && !at.Mode().IsRegular() && !folder {
		err = write() // which may wait for the reader of a pipe
	} else {
		err = e.save(write)
	}
	if err != nil {
		return err
	}
	e.logf("wrote %s to %s", count(len(tensors), "tensor"), quote(c.dst))
	return nil
}

// mayWrite returns an error if DST exists and -force is not given, if DST is SRC, or if a file
// would replace a folder or a folder a file.
func (c *conversion) mayWrite(folder bool) error {
	at, err := os.Stat(c.dst)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case folder != at.IsDir():
		return usagef("%s is %s; a name in .pth, .pt, .bin or .safetensors is written as a file, any other name as a folder",
			quote(c.dst), map[bool]string{true: "a folder", false: "a file"}[at.IsDir()])
	case !folder:
		if !c.force {
			return fmt.Errorf("%s exists; give another name, or -force to replace it", quote(c.dst))
		}
		return nil
	}
	if from, err := os.Stat(c.src); builtin(c.src) == nil && err == nil && os.SameFile(from, at) {
		return usagef("SRC and DST are the same folder, %s", quote(c.dst))
	}
	for _, name := range []string{multimae.ConfigFile, multimae.WeightsFile} {
		if _, err := os.Stat(filepath.Join(c.dst, name)); !c.force && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s holds a model; give another name, or -force to replace it", quote(c.dst))
		}
	}
	return nil
}

// rename gives tensors the keys of another family of models.
func (e *env) rename(tensors []weights.Tensor, src weights.File, c conversion) ([]weights.Tensor, error) {
	to := c.to
	if to == "" {
		return tensors, nil
	}
	isViT := multimae.IsViT(src.Names())
	if isViT == (to == "timm") {
		return nil, fmt.Errorf("%s: the keys are not those of %s; \"gomae convert -list\" shows them", src.Label(),
			map[bool]string{true: "a MultiMAE", false: "a ViT of timm, MAE or Hugging Face"}[isViT])
	}
	out, dropped, err := multimae.ToTimm(tensors)
	if to == "multimae" {
		grid, e := c.grid()
		if e != nil {
			return nil, e
		}
		out, dropped, err = multimae.FromViT(tensors, grid)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.Label(), err)
	}
	if len(dropped) > 0 {
		e.logf("left out, without a counterpart: %s", strings.Join(weights.Groups(dropped, 100), ", "))
	}
	if to == "timm" {
		e.logf("added norm.weight (ones) and norm.bias (zeros), a norm that MultiMAE does not have")
	}
	return out, nil
}
