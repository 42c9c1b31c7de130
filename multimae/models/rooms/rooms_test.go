package rooms

import (
	"context"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/tensor"
)

// TestCard holds the figures of the model card to the model, which must be as small as promised.
func TestCard(t *testing.T) {
	rows := testkit.CardRows(t, Files())
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
	if len(rows) != len(e.Scores) {
		t.Fatalf("the card has %d rows of figures, want %d", len(rows), len(e.Scores))
	}
	for i, s := range e.Scores {
		t.Logf("| %s | %.4f | %.4f | %.0f %% | %s %.3f |", s.Output, s.Loss, s.TrivialLoss, 100*s.Loss/s.TrivialLoss, s.Figure, s.Value)
		if rows[i].Output != s.Output {
			t.Errorf("row %d is of %s, want %s", i+1, rows[i].Output, s.Output)
		}
		rows[i].Check(t, s.Loss, s.TrivialLoss, s.Value)
	}
}
