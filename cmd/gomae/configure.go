package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/nn/weights"
)

// configuration returns the config.json of the model whose weights are converted: that of -config,
// that which SRC carries or has beside it, or for a folder an inferred one. It has been checked
// against the weights. For a file it may be nil.
func (e *env) configuration(c conversion, src weights.File, folder bool) ([]byte, error) {
	b, from := []byte(src.Metadata()[modelfolder.MetaConfig]), src.Label()
	if c.config != "" {
		var err error
		if b, err = regular.ReadFile(c.config, regular.ConfigLimit); err != nil {
			return nil, err
		}
		from = c.config
	}
	if len(b) > 0 {
		config, err := c.parsed(b, src)
		if err == nil {
			return config, nil
		}
		if folder || c.config != "" {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		e.logf("the configuration of SRC does not fit its weights and was left out: %v", err)
		return nil, nil
	}
	if !folder && c.heads == 0 && c.decoderHeads == 0 {
		return nil, nil
	}
	return e.inferred(c, src)
}

// multiViT is what a configuration of package heads has as "model".
const multiViT = "multivit"

// parsed reads a configuration of either kind of model, puts in the heads of the flags, and
// compares it with the weights.
func (c *conversion) parsed(b []byte, src weights.File) ([]byte, error) {
	var kind struct{ Model string }
	json.Unmarshal(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), &kind) // what is wrong with it is said below
	if kind.Model == multiViT {
		config, err := heads.ParseConfig(b)
		if err != nil {
			return nil, err
		}
		if c.heads > 0 {
			config.Encoder.Heads = c.heads
		}
		_, err = heads.LoadFrom(config, src)
		return config.JSON(), err
	}
	config, err := multimae.ParseConfig(b)
	if err != nil {
		return nil, err
	}
	if c.heads > 0 {
		config.Encoder.Heads = c.heads
	}
	for i := range config.Outputs {
		if c.decoderHeads > 0 {
			config.Outputs[i].Heads = c.decoderHeads
		}
	}
	_, err = multimae.LoadFrom(config, src)
	return config.JSON(), err
}

// inferred derives the configuration of a MultiMAE from its weights, and prints what they do not
// show.
func (e *env) inferred(c conversion, src weights.File) ([]byte, error) {
	path := quote(c.src)
	decoderHeads := c.decoderHeads
	if decoderHeads == 0 {
		decoderHeads = multimae.DefaultDecoderHeads
	}
	config, err := multimae.ConfigOf(src, c.heads, decoderHeads)
	switch {
	case multimae.IsViT(src.Names()):
		return nil, fmt.Errorf("%s is the encoder of a ViT, and a model folder holds a whole MultiMAE; start one from it with \"gomae pretrain -from %s\" or \"gomae finetune -from %[2]s\", or convert it to a file with -to multimae",
			src.Label(), path)
	case errors.Is(err, multimae.ErrEncoderOnly):
		return nil, fmt.Errorf("%s is %w, which is what a model folder holds; start one from it with \"gomae pretrain -from %s\" or \"gomae finetune -from %[3]s\", or convert it to a file in .safetensors or .pth",
			src.Label(), multimae.ErrEncoderOnly, path)
	case errors.Is(err, multimae.ErrFineTuned):
		return nil, fmt.Errorf("%s is %w; put that config.json beside it, or give it with -config", src.Label(), multimae.ErrFineTuned)
	case err != nil:
		return nil, fmt.Errorf("%w into %s, or give one with -config", err, quote(filepath.Dir(c.src)))
	}
	if _, err := multimae.LoadFrom(config, src); err != nil {
		return nil, err
	}
	assumed := ""
	if c.heads == 0 {
		assumed = fmt.Sprintf("%s in the encoder (-heads), one for every 64 channels", count(config.Encoder.Heads, "attention head"))
	}
	if c.decoderHeads == 0 {
		if assumed != "" {
			assumed += "; "
		}
		assumed += fmt.Sprintf("%s in each decoder (-decoder-heads), the paper's", count(decoderHeads, "attention head"))
	}
	if assumed != "" {
		assumed += "; "
	}
	e.logf("the weights do not show everything. Assumed: %stask queries and losses of the paper (-config)", assumed)
	return config.JSON(), nil
}

// grid returns the rows and columns of patches that a configuration gives, that of -config or the
// config.json of SRC, by "position_grid" or by an image size of two numbers as Hugging Face has it;
// nil if none does.
func (c *conversion) grid() ([]int, error) {
	path := c.config
	if path == "" {
		path = filepath.Join(c.src, modelfolder.ConfigFile)
		if info, err := os.Stat(c.src); err == nil && !info.IsDir() {
			path = filepath.Join(filepath.Dir(c.src), modelfolder.ConfigFile)
		}
	}
	b, err := regular.ReadFile(path, regular.ConfigLimit)
	if err == nil {
		if b, err = strictjson.Text(b); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		if c.config == "" { // the file beside SRC may be anything
			err = nil
		}
		return nil, err
	}
	var own struct {
		Grid []int `json:"position_grid"`
	}
	if json.Unmarshal(b, &own) == nil && len(own.Grid) == 2 {
		return own.Grid, nil
	}
	var other struct {
		Size  []int `json:"image_size"`
		Patch int   `json:"patch_size"`
	}
	if json.Unmarshal(b, &other) == nil && len(other.Size) == 2 && other.Patch > 0 {
		return []int{other.Size[0] / other.Patch, other.Size[1] / other.Patch}, nil
	}
	return nil, nil
}
