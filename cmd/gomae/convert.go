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
	to           string // "", "timm" or "multimae"
	config       string // file
	heads        int
	decoderHeads int
	force        bool
}

func convertCommand(e *env) *command {
	flags := newFlags()
	var c conversion
	flags.StringVar(&c.to, "to", "", "rename the keys of a ViT to those of `FAMILY`: timm or multimae")
	flags.StringVar(&c.config, "config", "", "for a folder: take the configuration from `FILE` instead of inferring it")
	flags.IntVar(&c.heads, "heads", 0, "for a folder: the encoder has `N` attention heads; 0 means one for every 64 channels")
	flags.IntVar(&c.decoderHeads, "decoder-heads", 8, "for a folder: each decoder has `N` attention heads")
	flags.BoolVar(&c.force, "force", false, "replace DST")
	list := flags.Bool("list", false, "list what SRC holds and convert nothing")
	return &command{
		name:  "gomae convert",
		usage: "gomae convert [flags] SRC DST",
		short: "convert weights between PyTorch, safetensors, timm and model folders",
		about: `SRC is a PyTorch checkpoint, a safetensors file or a model folder. Of a checkpoint
the state dict is read; no code in it is ever executed. The name of DST says what
it becomes: .pth, .pt or .bin a PyTorch checkpoint {"model": state dict},
.safetensors a safetensors file, any other name a model folder for the other
commands. The configuration of a folder is that of SRC if SRC is a folder;
otherwise it is inferred from the keys and shapes, except for the numbers of
attention heads.

Values do not change: half and bfloat16 become float32, smaller integers int64.
With -to, a ViT of timm, DeiT or MAE becomes the encoder and RGB adapter of a
MultiMAE, or the other way round. Keys without a counterpart are left out and
listed.`,
		examples: []string{
			"gomae convert -list checkpoint.pth",
			"gomae convert checkpoint.pth base",
			"gomae convert out/model.safetensors out.pth",
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
			if *list {
				if err := exactly(args, "SRC"); err != nil {
					return err
				}
				return e.list(args[0])
			}
			if err := exactly(args, "SRC", "DST"); err != nil {
				return err
			}
			c.src, c.dst = args[0], args[1]
			return e.convert(ctx, c)
		},
	}
}

// openSource opens a file of weights, or the weights of a model folder.
func openSource(path string) (weights.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return weights.Open(path)
	}
	f, err := modelfolder.OpenWeights(os.DirFS(path))
	if err != nil {
		err = fmt.Errorf("model folder %s: %w", path, err)
	}
	return f, err
}

// list prints the tensors of a file and what else a checkpoint holds.
func (e *env) list(path string) error {
	f, err := openSource(path)
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
		rows[i] = [3]string{printable(name), f.DType(name), strings.ReplaceAll(fmt.Sprint(shape), " ", ", ")}
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

func (e *env) convert(ctx context.Context, c conversion) error {
	src, err := openSource(c.src)
	if err != nil {
		return err
	}
	defer src.Close()
	folder := true
	for _, ext := range []string{".pth", ".pt", ".bin", ".safetensors"} {
		folder = folder && !strings.EqualFold(filepath.Ext(c.dst), ext)
	}
	if folder && c.to != "" {
		return usagef("-to %s: the result is only a part of a model, and a folder holds a whole one; give DST a name in .safetensors or .pth", c.to)
	}
	if err := c.mayWrite(folder); err != nil {
		return err
	}
	tensors, err := weights.ReadAll(src)
	if err != nil {
		return err
	}
	if tensors, err = e.rename(tensors, src, c.to); err != nil {
		return err
	}
	write := func() error {
		if folder {
			return e.writeFolder(c, src, tensors)
		}
		return atomicfile.Write(c.dst, func(w io.Writer) error {
			w = untilEnd{ctx, w}
			if strings.EqualFold(filepath.Ext(c.dst), ".safetensors") {
				return weights.WriteSafetensors(w, tensors, metadata)
			}
			return weights.WritePth(w, tensors, nil)
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

// metadata marks a safetensors file as PyTorch's; transformers and others refuse a file without it.
var metadata = map[string]string{"format": "pt"}

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
	if from, err := os.Stat(c.src); err == nil && os.SameFile(from, at) {
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
func (e *env) rename(tensors []weights.Tensor, src weights.File, to string) ([]weights.Tensor, error) {
	if to == "" {
		return tensors, nil
	}
	isTimm := multimae.IsTimm(src.Names())
	if isTimm == (to == "timm") {
		return nil, fmt.Errorf("%s: the keys are not those of %s; \"gomae convert -list\" shows them", src.Label(),
			map[bool]string{true: "a MultiMAE", false: "a timm ViT"}[isTimm])
	}
	out, dropped, err := multimae.ToTimm(tensors)
	if to == "multimae" {
		out, dropped, err = multimae.FromTimm(tensors)
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

// writeFolder writes a model folder after checking that the configuration fits the weights.
func (e *env) writeFolder(c conversion, src weights.File, tensors []weights.Tensor) error {
	config, err := c.configuration(src)
	if err != nil {
		return err
	}
	if _, err := multimae.LoadFrom(config, src); err != nil {
		return err
	}
	return modelfolder.Save(c.dst, config.JSON(), tensors)
}

// configuration reads the configuration from -config, takes it from SRC if SRC is a folder, or
// infers it.
func (c *conversion) configuration(src weights.File) (*multimae.Config, error) {
	if c.config != "" {
		config, err := multimae.LoadConfig(os.DirFS(filepath.Dir(c.config)), filepath.Base(c.config))
		if err != nil {
			err = fmt.Errorf("%s: %w", filepath.Dir(c.config), err)
		}
		return config, err
	}
	if info, err := os.Stat(c.src); err == nil && info.IsDir() {
		return multimae.LoadConfig(os.DirFS(c.src), multimae.ConfigFile)
	}
	config, err := multimae.ConfigOf(src, c.heads, c.decoderHeads)
	if err != nil {
		err = fmt.Errorf("%w and give it with -config", err)
	}
	return config, err
}
