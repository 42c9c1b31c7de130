package photos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/tensor"
)

// TestCard holds the figures of the model card to the last validation of training, which needs
// photographs that are not here, and the model to the promised size.
func TestCard(t *testing.T) {
	rows := testkit.CardRows(t, Files())
	metrics, err := os.ReadFile("metrics.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var last map[string]float64
	for lines := bufio.NewScanner(bytes.NewReader(metrics)); lines.Scan(); {
		var v map[string]float64
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if v["val.loss"] > 0 {
			last = v
		}
	}
	if len(rows) != 3 {
		t.Fatalf("the card has %d rows of figures, want 3", len(rows))
	}
	for i, figure := range []string{"psnr", "l1", "accuracy"} {
		r := rows[i]
		loss, trivial := last["val.loss."+r.Output], last["val.trivial_loss."+r.Output]
		r.Check(t, loss, trivial, last["val."+figure+"."+r.Output])
	}
}

// TestExamples wants the model to predict the examples better than their own averages do.
func TestExamples(t *testing.T) {
	m, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	examples, names, err := data.Examples(Files(), m.Config.Inputs)
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Config.Input("semseg").NumClasses; examples.Len() != 4 || len(names["semseg"]) != n {
		t.Errorf("%d examples, want 4; %d names of classes, want %d", examples.Len(), len(names["semseg"]), n)
	}
	if testing.Short() {
		t.Skip("validates a model")
	}
	pool := tensor.NewPool(0)
	defer pool.Close()
	e, err := train.NewPretraining(m).Evaluate(context.Background(), examples, examples, false, pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range e.Scores {
		t.Logf("%s %.4f, averages %.4f", s.Output, s.Loss, s.TrivialLoss)
		if !(s.Loss < 0.8*s.TrivialLoss) || math.IsInf(s.Loss, 0) {
			t.Errorf("%s: a loss of %.4f, and averages have %.4f", s.Output, s.Loss, s.TrivialLoss)
		}
	}
}
