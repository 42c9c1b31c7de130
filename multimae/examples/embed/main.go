// Command embed is a program that carries its model with it: it predicts depth and semantics of a
// room from a colour image. It depends on this library and on the two modules that the library
// needs, and runs wherever Go does, in a browser too.
//
// The model has 220 000 parameters and is the result of five minutes of gomae pretrain on rendered
// rooms; the image is a room that it has not seen.
package main

import (
	"bytes"
	"context"
	"embed"
	"flag"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

//go:embed model
var files embed.FS

//go:embed room.png
var room []byte

func main() {
	file := flag.String("png", "", "write the predicted depth to `FILE`")
	flag.Parse()
	if err := run(os.Stdout, *file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run predicts every output from the colour image, prints the shapes and the mean absolute values,
// and writes the depth to a file.
func run(w io.Writer, file string) error {
	folder, err := fs.Sub(files, "model")
	if err != nil {
		return err
	}
	m, err := multimae.Load(folder)
	if err != nil {
		return err
	}
	photo, err := png.Decode(bytes.NewReader(room))
	if err != nil {
		return err
	}
	batch, err := images.Batch(m, map[string]image.Image{"rgb": photo})
	if err != nil {
		return err
	}
	pred, err := m.Predict(context.Background(), batch, nil)
	if err != nil {
		return err
	}
	for i := range pred.Outputs {
		o, sum := &pred.Outputs[i], 0.0
		for _, v := range o.Pix {
			sum += math.Abs(float64(v))
		}
		fmt.Fprintf(w, "%s %d %d %d %.4f\n", o.Name, o.Channels, o.H, o.W, sum/float64(len(o.Pix)))
	}
	if file == "" {
		return nil
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, images.Picture(pred.Output("depth"), 0)); err != nil {
		return err
	}
	return os.WriteFile(file, picture.Bytes(), 0o666)
}
