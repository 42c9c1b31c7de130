package parity

import (
	"os"
	"testing"
)

func TestDumps(t *testing.T) {
	for _, d := range []string{"pretrain_tiny", "pretrain_small"} {
		dir := "../../../shared/parity/" + d
		r, err := Run(os.DirFS(dir), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range r.Groups {
			t.Logf("%-8s n=%d err=%.3g torch=%.3g ratio=%.2f pass=%v worst=%s first=%s", g.Name, g.Count, g.Error, g.Torch, g.Ratio, g.Pass, g.Worst, g.First)
		}
	}
}
