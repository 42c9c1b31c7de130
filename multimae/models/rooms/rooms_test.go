package rooms

import (
	"context"
	"io/fs"
	"math"
	"regexp"
	"strconv"
	"testing"

	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/tensor"
)

// row is a line of the card's table of figures: output, loss, that of averages, ratio, figure.
var row = regexp.MustCompile(`(?m)^\| (\w+) \| ([0-9.]+) \| ([0-9.]+) \| (\d+) % \| \S+ ([0-9.]+) `)

// TestCard holds the figures of the model card to the model, which must be as small as promised.
func TestCard(t *testing.T) {
	info, err := fs.Stat(Files(), "model.safetensors")
	if err != nil || info.Size() > 6_000_000 {
		t.Fatalf("%d bytes, %v", info.Size(), err)
	}
	card, err := fs.ReadFile(Files(), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		t.Skip("validates a model")
	}
	m, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	trainSet, val, err := train.PretrainData(m.Config)
	if err != nil {
		t.Fatal(err)
	}
	pool := tensor.NewPool(0)
	defer pool.Close()
	e, err := train.NewPretraining(m).Evaluate(context.Background(), trainSet, val, false, pool)
	if err != nil {
		t.Fatal(err)
	}
	rows := row.FindAllStringSubmatch(string(card), -1)
	if len(rows) != len(e.Scores) {
		t.Fatalf("the card has %d rows of figures, want %d", len(rows), len(e.Scores))
	}
	for i, s := range e.Scores {
		t.Logf("| %s | %.4f | %.4f | %.0f %% | %s %.3f |", s.Output, s.Loss, s.TrivialLoss, 100*s.Loss/s.TrivialLoss, s.Figure, s.Value)
		for k, want := range []float64{s.Loss, s.TrivialLoss, 100 * s.Loss / s.TrivialLoss, s.Value} {
			got, err := strconv.ParseFloat(rows[i][k+2], 64)
			// The ratio is rounded to a per cent.
			if err != nil || rows[i][1] != s.Output || math.Abs(got-want) > 0.005*want+0.5*float64(k/2%2) {
				t.Errorf("the card says %v; column %d is %.4f", rows[i][0], k+1, want)
			}
		}
	}
}
