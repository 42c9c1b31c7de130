package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/experiment"
)

// TestExperimentSettings wants flags to reach the settings that an experiment keeps before its first step.
func TestExperimentSettings(t *testing.T) {
	dir := t.TempDir()
	for part, n := range map[string]string{"train": "24", "val": "1", "test": "1"} {
		if code, _, stderr := gomae("render", "-out", filepath.Join(dir, "set", part), "-n", n, "-size", "16"); code != 0 {
			t.Fatal(stderr)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	set, out := filepath.Join(dir, "set"), filepath.Join(dir, "out")
	code, _, stderr := gomaeContext(ctx, "experiment", "transfer", "-out", out, "-data", filepath.Join(set, "train"), "-labelled", set,
		"-preset", "photos", "-target", "semseg", "-classes", "17", "-ignore", "3,4", "-unit", "0.001", "-depth-invalid", "0,65535",
		"-seeds", "1", "-pretrain-steps", "3", "-steps", "2", "-samples", "20")
	if code != 1 || !testkit.Mentions(stderr, "interrupted") {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	b, err := os.ReadFile(filepath.Join(out, "settings.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got experiment.Settings
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := experiment.Settings{
		Experiment: "transfer", Preset: "photos", Data: filepath.Join(set, "train"), Labelled: set, Target: "semseg", Classes: 17, Ignore: []float64{3, 4},
		DepthUnit: 0.001, DepthInvalid: []float64{0, 65535}, Seeds: 1, PretrainSteps: 3, PretrainBatch: 16, Steps: 2, Batch: 16, Samples: 20,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
