package main

import (
	"bytes"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// TestReconstruct draws from each subset of files.
func TestReconstruct(t *testing.T) {
	model, dir := trained(t), t.TempDir()
	if code, _, stderr := gomae("render", "-out", filepath.Join(dir, "scenes"), "-n", "1", "-size", "40"); code != 0 {
		t.Fatal(stderr)
	}
	flags := map[string]string{}
	for _, m := range []string{"rgb", "depth", "semseg"} {
		flags[m] = filepath.Join(dir, "scenes", m, "scene", "000000.png")
	}
	pictures := map[string]bool{}
	for subset := 1; subset < 8; subset++ {
		out := filepath.Join(dir, "grid.png") // written over each time
		args := []string{"reconstruct", "-model", model, "-out", out}
		for i, m := range []string{"rgb", "depth", "semseg"} {
			if subset>>i&1 == 1 {
				args = append(args, "-"+m, flags[m])
			}
		}
		code, stdout, stderr := gomae(args...)
		if code != 0 || stdout != "" || stderr != "wrote "+out+"\n" {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, stdout, stderr)
			continue
		}
		img := readPNG(t, out)
		if s := img.Bounds().Size(); s.X < 3*96 || s.Y < 3*96 {
			t.Errorf("%v: a picture of %v", args, s)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if pictures[string(b)] {
			t.Errorf("%v: a picture of another subset", args)
		}
		pictures[string(b)] = true
		if code, _, stderr := gomae(args...); code != 0 {
			t.Error(stderr)
		} else if again, err := os.ReadFile(out); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%v: another picture the second time, %v", args, err)
		}
	}

	// Every flag changes the picture.
	out := filepath.Join(dir, "other.png")
	for _, more := range [][]string{{}, {"-seed", "5"}, {"-tokens", "1"}, {"-tokens", "12"}, {"-single"}, {"-paste"}, {"-scene", "1"}} {
		args := append([]string{"reconstruct", "-model", model, "-out", out}, more...)
		if len(more) == 0 || more[0] != "-scene" {
			args = append(args, "-scene", "0")
		}
		if code, _, stderr := gomae(args...); code != 0 {
			t.Fatalf("%v: %s", args, stderr)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if pictures[string(b)] {
			t.Errorf("%v changes nothing", more)
		}
		pictures[string(b)] = true
	}
}

// TestReconstructErrors wants the reason and no picture.
func TestReconstructErrors(t *testing.T) {
	model, dir := trained(t), t.TempDir()
	t.Chdir(dir)
	at := func(name string, img image.Image) string {
		write(t, encode(t, img), dir, name)
		return filepath.Join(dir, name)
	}
	rgb := at("rgb.png", image.NewRGBA(image.Rect(0, 0, 32, 24)))
	at("flat.png", image.NewGray16(image.Rect(0, 0, 32, 32)))
	small := at("small.png", image.NewGray16(image.Rect(0, 0, 11, 8))) // a third of 32×24, rounded
	grey := at("grey.png", image.NewGray(image.Rect(0, 0, 32, 24)))
	ids := image.NewGray(image.Rect(0, 0, 32, 24))
	ids.SetGray(3, 1, color.Gray{Y: 16})
	at("ids.png", ids)
	whole, err := os.ReadFile(rgb)
	if err != nil {
		t.Fatal(err)
	}
	write(t, whole[:len(whole)/2], "cut.png")
	write(t, []byte("text"), "text.png")
	damaged := filepath.Join(dir, "damaged")
	if err := os.CopyFS(damaged, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile(filepath.Join(model, multimae.WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	write(t, weights[:len(weights)-4], damaged, multimae.WeightsFile)
	bare := filepath.Join(dir, "bare")
	if err := os.Mkdir(bare, 0o777); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(model, multimae.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, bare, multimae.ConfigFile)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "-rgb, -depth and -semseg, or -scene"},
		{"-model none", 1, "none…config.json…gomae pretrain"},
		{"-model bare", 1, "bare…model.safetensors…gomae pretrain"},
		{"-model damaged -scene 0", 1, "model.safetensors"},
		{"-model MODEL", 2, "-rgb, -depth and -semseg, or -scene"},
		{"-model MODEL x", 2, `unexpected argument "x"`},
		{"-model MODEL -tokens -1", 2, "-tokens -1: want 0 or more"},
		{"-model MODEL -scene 0 -tokens 13", 2, "-tokens 13…12 patches"},
		{"-model MODEL -rgb rgb.png -tokens 5", 2, "-tokens 5…4 patches"},
		{"-model MODEL -scene -2", 2, "-scene -2: want -1 to 99999999"},
		{"-model MODEL -scene 0 -rgb rgb.png", 2, "-scene…-rgb"},
		{"-model MODEL -rgb none.png", 1, "none.png"},
		{"-model MODEL -rgb text.png", 1, "text.png: neither a PNG nor a JPEG"},
		{"-model MODEL -rgb cut.png", 1, "cut.png: truncated image"},
		{"-model MODEL -depth grey.png", 1, "grey.png: 8-bit png"},
		{"-model MODEL -depth rgb.png", 1, "rgb.png: a colour image"},
		{"-model MODEL -semseg ids.png", 1, "ids.png: pixel (3,1) has class id 16, outside 0..15"},
		{"-model MODEL -rgb rgb.png -depth flat.png", 1, "rgb.png…32×24…flat.png…32×32…same view"},
		{"-model MODEL -scene 0 -out none/grid.png", 1, "none/grid.png"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(strings.Replace(c.args, "MODEL", model, 1))
			refuses(t, c.code, c.want, append([]string{"reconstruct"}, args...)...)
		})
	}
	if _, err := os.Stat("grid.png"); err == nil {
		t.Error("a picture was written")
	}
	if code, _, stderr := gomae("reconstruct", "-model", model, "-rgb", rgb, "-depth", small, "-semseg", grey); code != 0 {
		t.Errorf("images of the same view: %s", stderr)
	}

	// A model without depth, and one of something else.
	for _, c := range []struct {
		edit func(c *multimae.Config)
		args []string
		want string
	}{
		{func(c *multimae.Config) { c.Inputs, c.Outputs = c.Inputs[:1], c.Outputs[:1] }, []string{"-depth", small}, "-depth…rgb"},
		{func(c *multimae.Config) { c.Inputs, c.Outputs = c.Inputs[:1], c.Outputs[:1] }, []string{"-scene", "0", "-tokens", "5"}, "-tokens 5…4 patches"},
	} {
		out := filepath.Join(t.TempDir(), "model")
		if code, _, stderr := gomae("pretrain", "-config", tinyConfig(t, c.edit), "-steps", "1", "-out", out); code != 0 {
			t.Fatal(stderr)
		}
		refuses(t, 2, c.want, append([]string{"reconstruct", "-model", out}, c.args...)...)
	}
}
