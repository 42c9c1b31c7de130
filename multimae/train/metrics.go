package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
)

// metricsLog is the open metrics.jsonl of a run. It is locked while it is open, which keeps other
// processes out of the run.
type metricsLog struct {
	*os.File
	evaluated int // step of the last line of a validation; −1 if there is none
}

// openMetrics opens or creates the file. busy reports that another process has it; then there is
// nothing to close.
func openMetrics(path string) (m *metricsLog, busy bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, false, err
	}
	if !lock(f) {
		f.Close()
		return nil, true, nil
	}
	return &metricsLog{f, -1}, false, nil
}

// cut removes the lines after a step, which will be written again, and the incomplete line that a
// crash has left. A damaged line before stays, because neither it nor the lines after it are
// written again.
func (m *metricsLog) cut(step int) error {
	old, err := io.ReadAll(m)
	if err != nil {
		return fmt.Errorf("reading %s: %w", m.Name(), err)
	}
	keep, read := int64(0), int64(0)
	for line := range bytes.Lines(old) {
		var at struct {
			Step int  `json:"step"`
			Val  *int `json:"val.samples"`
		}
		read += int64(len(line))
		if !bytes.HasSuffix(line, []byte("\n")) || json.Unmarshal(line, &at) != nil {
			continue
		}
		if at.Step > step {
			break
		}
		if at.Val != nil {
			m.evaluated = at.Step
		}
		keep = read
	}
	if err := m.Truncate(keep); err != nil {
		return err
	}
	_, err = m.Seek(keep, io.SeekStart)
	return err
}

// field is a key and a value of a line of metrics.
type field struct {
	key   string
	value any
}

// log appends a line with the fields in the given order.
func (m *metricsLog) log(fields []field) error {
	line := []byte{'{'}
	for i, f := range fields {
		if v, ok := f.value.(float64); ok && !finite(v) {
			continue // JSON has no NaN, which is the loss of a task without a target
		}
		v, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		if i > 0 {
			line = append(line, ", "...)
		}
		line = fmt.Appendf(line, "%q: %s", f.key, v)
	}
	if _, err := m.Write(append(line, "}\n"...)); err != nil {
		return fmt.Errorf("writing %s: %w", m.Name(), err)
	}
	return nil
}

// stepLine returns the fields of a step.
func (r *run) stepLine(p *Progress) []field {
	line := []field{{"step", p.Step}, {"epoch", p.Epoch}, {"loss", p.Loss}}
	for i, l := range p.Losses {
		line = append(line, field{"loss." + r.Config.Outputs[i].Name, l})
	}
	line = append(line, field{"lr", p.LR}, field{"weight_decay", p.WeightDecay}, field{"grad_norm", p.GradNorm},
		field{"images_per_s", math.Round(p.ImagesPerSec*10) / 10}, field{"data_wait_s", math.Round(p.DataWait*1e4) / 1e4})
	if p.Skipped {
		line = append(line, field{"skipped", true})
	}
	return line
}

// figureKeys are the names that metrics.jsonl has for the figures of a Score.
var figureKeys = map[string]string{FigurePSNR: "psnr", FigureL1: "l1", FigureAccuracy: "accuracy", FigureMSE: "mse"}

// evaluationLine returns the fields of a validation.
func evaluationLine(step int, e *Evaluation) []field {
	line := []field{{"step", step}, {"val.samples", e.Samples}, {"val.loss", e.Loss}}
	for _, s := range e.Scores {
		key := figureKeys[s.Figure]
		line = append(line, field{"val.loss." + s.Output, s.Loss}, field{"val.trivial_loss." + s.Output, s.TrivialLoss},
			field{"val." + key + "." + s.Output, s.Value}, field{"val.trivial_" + key + "." + s.Output, s.Trivial})
	}
	return line
}
