package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/tensor"
)

// imageFile is the flag that gives the file of a modality.
type imageFile struct {
	modality string
	path     *string
}

func reconstructCommand(e *env) *command {
	fs := newFlags()
	var (
		model = modelFlag(fs)
		files = []imageFile{
			{"rgb", fs.String("rgb", "", "read the colour image from `FILE`: PNG, JPEG, WebP, TIFF, BMP or PPM")},
			{"depth", fs.String("depth", "", "read the depth image from `FILE`: a 16-bit PNG, TIFF or PGM, or .npy")},
			{"semseg", fs.String("semseg", "", "read the semantic map from `FILE`: class ids in an 8-bit PNG or TIFF, or .npy")},
		}
		scene  = fs.Int("scene", -1, "instead of files, use scene `N`, counted from 0, of the photographs that the built-in model photos has, or of rendered scenes that no model was trained on")
		tokens = fs.Int("tokens", 0, "show the model `N` patches; 0 means as many as in training, or a sixth if that is not known")
		seed   = fs.Uint64("seed", 0, "draw the visible patches from `SEED`")
		single = fs.Bool("single", false, "also predict from each given modality alone, all of it visible")
		paste  = fs.Bool("paste", false, "paste the visible patches over the predictions")
		inputs = fs.String("inputs", "", "show the model only the modalities in `LIST`, separated by commas; empty means all that are given")
		out    = fs.String("out", "grid.png", "write the picture to `FILE`, a PNG or JPEG")
	)
	return &command{
		name:  "gomae reconstruct",
		usage: "gomae reconstruct [flags]",
		short: "draw masked input, prediction and truth of images",
		about: `Hides most patches of the given images and draws what the model predicts from the
rest: a row for each modality with masked input, prediction and truth. A modality
that is not given is predicted from the others. The images must show the same
view; they are cropped to the largest centred square and resized to the size that
the model was trained on.`,
		examples: []string{
			"gomae reconstruct -scene 7",
			"gomae reconstruct -model photos -rgb photo.jpg",
			"gomae reconstruct -model base -rgb photo.jpg -tokens 98 -single -out photo-grid.png",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if err := atLeast(fs, 0, "tokens"); err != nil {
				return err
			}
			if err := view.CheckPath(*out); err != nil {
				return usagef("-out %v", err)
			}
			if err := within("scene", *scene, -1, scenes.HeldOutLen-1); err != nil {
				return err
			}
			m, err := openModel(*model)
			if err != nil {
				return err
			}
			m.Params.Pack(tensor.NewInference(nil))
			s, err := m.sampleOf(files, *scene)
			if err != nil {
				return err
			}
			if err := showOnly(s, *inputs); err != nil {
				return err
			}
			nh, nw := m.Config.Grid(m.Config.ImageSize, m.Config.ImageSize)
			all, visible := 0, *tokens
			for i := range m.Config.Inputs {
				if s.Maps[m.Config.Inputs[i].Name] != nil {
					all += nh * nw
				}
			}
			switch {
			case visible > all:
				return usagef("-tokens %d: the given images have only %d patches", visible, all)
			case visible == 0:
				visible = min(m.Config.VisibleTokens(), all)
			}
			pool := tensor.NewPool(0)
			defer pool.Close()
			img, err := view.Reconstructions(m.Model, []*data.Sample{s}, view.ReconstructOptions{
				Visible: visible, Seed: *seed, Single: *single, Paste: *paste, Classes: m.classNames(),
			}, pool)
			if err != nil {
				return err
			}
			if err := view.Write(*out, img); err != nil {
				return err
			}
			e.logf("wrote %s", quote(*out))
			return nil
		},
	}
}

// loadModel reads a model folder.
func loadModel(dir string) (*multimae.Model, error) {
	m, err := multimae.LoadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; give a folder with %s and %s, such as the -out of gomae pretrain", err, multimae.ConfigFile, multimae.WeightsFile)
	}
	return m, err
}

// showOnly leaves only the modalities of a list, if that is not empty.
func showOnly(s *data.Sample, list string) error {
	if list == "" {
		return nil
	}
	maps := map[string]*data.Map{}
	for name := range strings.SplitSeq(list, ",") {
		if s.Maps[name] == nil {
			return usagef("-inputs %s: %q is not given", list, name)
		}
		maps[name] = s.Maps[name]
	}
	s.Maps = maps
	return nil
}

// sampleOf reads the given files, or takes a scene.
func (m *model) sampleOf(files []imageFile, scene int) (*data.Sample, error) {
	c := m.Config
	names := c.Inputs.Names()
	s := &data.Sample{Maps: map[string]*data.Map{}}
	paths := map[string]string{}
	for _, f := range files {
		if *f.path == "" {
			continue
		}
		if scene >= 0 {
			return nil, usagef("-scene and -%s exclude each other", f.modality)
		}
		in := c.Input(f.modality)
		if in == nil {
			return nil, usagef("-%s: the model has no such input; it has %s", f.modality, strings.Join(names, ", "))
		}
		m, err := data.ReadImage(*f.path, *in)
		if err != nil {
			return nil, err
		}
		s.Maps[f.modality], paths[f.modality] = m, *f.path
		if s.Name == "" {
			s.Name = strings.TrimSuffix(filepath.Base(*f.path), filepath.Ext(*f.path))
		}
	}
	if err := images.Misfit(s.Maps, func(modality string) string { return paths[modality] }); err != nil {
		return nil, err
	}
	if scene >= 0 {
		if m.examples == nil {
			ds, err := m.rendered()
			if err != nil {
				return nil, fmt.Errorf("-scene: %w", err)
			}
			return ds.Sample(scene)
		}
		if err := within("scene", scene, 0, m.examples.Len()-1); err != nil {
			return nil, err
		}
		return m.examples.Sample(scene)
	}
	if len(s.Maps) == 0 {
		return nil, usagef("no image; give at least one of -rgb, -depth and -semseg, or -scene N")
	}
	return s, nil
}
