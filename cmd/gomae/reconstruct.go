package main

import (
	"context"
	"flag"
	"path/filepath"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/tensor"
)

func reconstructCommand(e *env) *ffcli.Command {
	fs := new(flag.FlagSet)
	var (
		model = fs.String("model", "", "use the model in folder `DIR`, such as the -out of pretrain (required)")
		files = map[string]*string{
			"rgb":    fs.String("rgb", "", "colour image `FILE`, PNG or JPEG"),
			"depth":  fs.String("depth", "", "depth image `FILE`, 16-bit PNG"),
			"semseg": fs.String("semseg", "", "semantic map `FILE`, 8-bit PNG of class ids"),
		}
		scene  = fs.Int("scene", -1, "instead of files take rendered scene number `N`, held out if it is 1073741824 or above")
		tokens = fs.Int("tokens", 0, "show the model `N` patches; 0 means as many as in training, and a sixth where that is not known")
		seed   = fs.Uint64("seed", 0, "draw the visible patches from `SEED`")
		single = fs.Bool("single", false, "also predict from each given modality alone, seen whole")
		paste  = fs.Bool("paste", false, "put the visible patches over the predictions")
		out    = fs.String("out", "grid.png", "write the picture to `FILE`")
	)
	return &ffcli.Command{
		Name:       "reconstruct",
		ShortUsage: "gomae reconstruct -model DIR [flags]",
		ShortHelp:  "draw masked input, prediction and truth of images",
		LongHelp: `Hides most patches of the images given and draws what the model makes of the
rest: a row for each modality with masked input, prediction and truth. A
modality that is not given is predicted from the others. Images are cropped to
the largest centred square and resized to what the model was trained on.

Examples:
  gomae reconstruct -model out -scene 7
  gomae reconstruct -model base -rgb photo.jpg -tokens 98 -single -out photo-grid.png`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if err := need(fs, "model"); err != nil {
				return err
			}
			if *tokens < 0 {
				return usagef("-tokens %d: want 0 or more", *tokens)
			}
			m, err := multimae.LoadDir(*model)
			if err != nil {
				return err
			}
			m.Params.Freeze()
			s, err := sampleOf(m.Config, files, *scene)
			if err != nil {
				return err
			}
			nh, nw := m.Config.Grid(m.Config.ImageSize, m.Config.ImageSize)
			all := len(s.Maps) * nh * nw
			visible := *tokens
			switch {
			case visible > all:
				return usagef("-tokens %d: the images given have only %d patches", visible, all)
			case visible == 0 && m.Config.Train.NumEncodedTokens > 0:
				visible = min(m.Config.Train.NumEncodedTokens, all)
			case visible == 0:
				visible = max(1, len(m.Config.Inputs)*nh*nw/6)
				visible = min(visible, all)
			}
			pool := tensor.NewPool(0)
			defer pool.Close()
			img, err := view.Reconstructions(m, []*data.Sample{s}, view.ReconstructOptions{Visible: visible, Seed: *seed, Single: *single, Paste: *paste}, pool)
			if err != nil {
				return err
			}
			if err := view.WritePNG(*out, img); err != nil {
				return err
			}
			e.logf("wrote %s", quote(*out))
			return nil
		},
	}
}

// sampleOf reads the files given, or renders a scene.
func sampleOf(c *multimae.Config, files map[string]*string, scene int) (*data.Sample, error) {
	s := &data.Sample{Maps: map[string]*data.Map{}}
	var names []string
	for i := range c.Inputs {
		names = append(names, c.Inputs[i].Name)
	}
	for name, file := range files {
		if *file == "" {
			continue
		}
		if scene >= 0 {
			return nil, usagef("-scene and -%s: give one or the other", name)
		}
		in := c.Input(name)
		if in == nil {
			return nil, usagef("-%s: the model has no such input; it has %s", name, strings.Join(names, ", "))
		}
		m, err := data.ReadImage(*file, *in)
		if err != nil {
			return nil, err
		}
		s.Maps[name] = m
		s.Name = strings.TrimSuffix(filepath.Base(*file), filepath.Ext(*file))
	}
	if scene >= 0 {
		return data.Scenes(scene, 1, c.ImageSize, c.Train.Seed).Sample(0)
	}
	if len(s.Maps) == 0 {
		return nil, usagef("no image: give at least one of -rgb, -depth and -semseg, or -scene N")
	}
	return s, nil
}
