package tensorboard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gomae/gomae/multimae/train"
)

const metrics = `{"step": 10, "epoch": 0, "loss": 1.5, "loss.rgb": 0.5, "lr": 0.001}
{"step": 20, "epoch": 0, "loss": 1.25, "skipped": true}
nonsense
{"step": 20, "val.samples": 4, "val.loss": 3, "val.loss.rgb": 0.75}
{"no": "step"}
`

// written returns the event file of the metrics.
func written(t *testing.T, logs string) string {
	t.Helper()
	run := t.TempDir()
	if err := os.WriteFile(filepath.Join(run, train.MetricsFile), []byte(metrics), 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Follow(ctx, run, logs); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(logs, "events.out.tfevents.*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

// TestRecords holds the bytes to the format of TFRecord and Event, spelled out by hand for a line.
func TestRecords(t *testing.T) {
	b, err := os.ReadFile(written(t, filepath.Join(t.TempDir(), "new", "logs")))
	if err != nil {
		t.Fatal(err)
	}
	var records []string
	for len(b) > 0 {
		n := int(b[0]) | int(b[1])<<8
		if len(b) < 16+n {
			t.Fatal("cut off")
		}
		records = append(records, string(b[12:12+n]))
		b = b[16+n:]
	}
	if len(records) != 4 {
		t.Fatalf("%d records, want the version and three lines", len(records))
	}
	if !strings.HasSuffix(records[0], "\x10\x00\x1a\x0dbrain.Event:2") {
		t.Errorf("version %q", records[0])
	}
	want := "\x10\x14\x2a\x29" + // step 20, summary
		"\x0a\x12\x0a\x0btrain/epoch\x15\x00\x00\x00\x00" +
		"\x0a\x11\x0a\x0atrain/loss\x15\x00\x00\xa0\x3f"
	want = strings.Replace(want, "\x2a\x29", fmt.Sprintf("\x2a%c", len(want)-4), 1)
	if got := records[2][9:]; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// CRC-32C of "123456789" is 0xe3069283.
	crc := uint32(0xe3069283)
	if got, want := masked([]byte("123456789")), (crc>>15|crc<<17)+0xa282ead8; got != want {
		t.Errorf("checksum %08x, want %08x", got, want)
	}
}

// TestAgain replaces the events of an earlier process and leaves other files alone.
func TestAgain(t *testing.T) {
	dir := t.TempDir()
	logs, alike := filepath.Join(dir, "runs[1]"), filepath.Join(dir, "runs1", "events.out.tfevents.0000000001.gomae")
	for _, folder := range []string{logs, filepath.Dir(alike)} {
		if err := os.Mkdir(folder, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(alike, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(logs, "mine.txt")
	if err := os.WriteFile(other, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(logs, "events.out.tfevents.0000000001.gomae"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	written(t, logs)
	for _, file := range []string{other, alike} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

// TestRemoved wants the events to stay where the metrics go, as a run that diverges early removes them.
func TestRemoved(t *testing.T) {
	run, logs := t.TempDir(), t.TempDir()
	file := filepath.Join(run, train.MetricsFile)
	if err := os.WriteFile(file, []byte(metrics), 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Follow(ctx, run, logs) }()
	events := func() (b []byte) {
		files, _ := filepath.Glob(filepath.Join(logs, prefix+"*"))
		for _, f := range files {
			more, _ := os.ReadFile(f)
			b = append(b, more...)
		}
		return b
	}
	for !strings.Contains(string(events()), "val/loss.rgb") {
		time.Sleep(10 * time.Millisecond)
	}
	want := string(events())
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil || string(events()) != want {
		t.Errorf("%v, %q, want %q", err, events(), want)
	}
}

// TestTensorBoard has the tensorboard package read the file. Where GOMAE_PYTHON names a Python, as in
// .ci/run, the package must be there.
func TestTensorBoard(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	python, missing := "python3", t.Skipf
	if p := os.Getenv("GOMAE_PYTHON"); p != "" {
		python, missing = p, t.Fatalf
	}
	if out, err := exec.Command(python, "-c", "import tensorboard").CombinedOutput(); err != nil {
		missing("no tensorboard for %s (%v); pip install tensorboard\n%s", python, err, out)
	}
	out, err := exec.Command(python, "-c", `
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
a = EventAccumulator(sys.argv[1])
a.Reload()
for tag in sorted(a.Tags()["scalars"]):
    print(tag, [(e.step, round(e.value, 6)) for e in a.Scalars(tag)])
`, filepath.Dir(written(t, t.TempDir()))).Output()
	want := `train/epoch [(10, 0.0), (20, 0.0)]
train/loss [(10, 1.5), (20, 1.25)]
train/loss.rgb [(10, 0.5)]
train/lr [(10, 0.001)]
val/loss [(20, 3.0)]
val/loss.rgb [(20, 0.75)]
val/samples [(20, 4.0)]
`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}
