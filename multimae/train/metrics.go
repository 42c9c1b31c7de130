package train

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/lockfile"
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
	f, busy, err := lockfile.Open(path)
	if f == nil {
		return nil, busy, err
	}
	return &metricsLog{f, -1}, false, nil
}

// maxLine is the number of bytes that a line of metrics may have. A line of the largest
// configuration is shorter.
const maxLine = 1 << 20

// cut removes the lines after a step, which will be written again, and the incomplete line that a
// crash has left. Nothing else is lost: a line that says nothing stays if a line that stays comes
// after it. Otherwise it goes into another file, which aside names; "" if there is no such line.
func (m *metricsLog) cut(step int) (aside string, err error) {
	var strange []span // after keep
	keep := int64(0)
	ends := true // in a line break
	err = m.lines(func(at span, line []byte, complete bool) {
		var x struct {
			Step *int `json:"step"`
			Val  *int `json:"val.samples"`
		}
		switch bad := json.Unmarshal(line, &x) != nil || x.Step == nil; {
		case bad && !complete && line != nil: // what a crash has left
		case bad:
			if n := len(strange); n > 0 && strange[n-1].to == at.from {
				strange[n-1].to = at.to
			} else {
				strange = append(strange, at)
			}
		case *x.Step <= step:
			if x.Val != nil {
				m.evaluated = *x.Step
			}
			keep, strange, ends = at.to, strange[:0], complete
		}
	})
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", m.Name(), err)
	}
	if len(strange) > 0 {
		if aside, err = m.setAside(strange); err != nil {
			return "", err
		}
	}
	if err := m.Truncate(keep); err != nil {
		return aside, err
	}
	if _, err = m.Seek(keep, io.SeekStart); err == nil && !ends {
		_, err = m.WriteString("\n")
	}
	return aside, err
}

// span is the place of bytes in the file.
type span struct{ from, to int64 }

// lines calls f with each line, its place and whether it is complete, which the last one may not be.
// line is nil if the line is too long.
func (m *metricsLog) lines(f func(at span, line []byte, complete bool)) error {
	if _, err := m.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(m, 1<<16)
	var at span
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		at.to += int64(len(part))
		if at.to-at.from <= maxLine {
			line = append(line, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return err
		}
		if at.to-at.from > maxLine {
			line = nil
		}
		if at.to > at.from {
			f(at, line, err == nil)
		}
		if err == io.EOF {
			return nil
		}
		at.from, line = at.to, line[:0]
	}
}

// setAside copies parts of the file into a new one.
func (m *metricsLog) setAside(parts []span) (path string, err error) {
	path = aside(m.Name())
	return path, atomicfile.Replace(path, func(w io.Writer) error {
		for _, p := range parts {
			if _, err := io.Copy(w, io.NewSectionReader(m, p.from, p.to-p.from)); err != nil {
				return err
			}
		}
		return nil
	})
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
		key, err := json.Marshal(f.key)
		if err != nil {
			return err
		}
		v, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		if i > 0 {
			line = append(line, ", "...)
		}
		line = fmt.Appendf(line, "%s: %s", key, v)
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
		line = append(line, field{"loss." + r.plan.Outputs[i], l})
	}
	line = append(line, field{"lr", p.LR}, field{"weight_decay", p.WeightDecay}, field{"grad_norm", p.GradNorm},
		field{"images_per_s", math.Round(p.ImagesPerSec*10) / 10}, field{"data_wait_s", math.Round(p.DataWait*1e4) / 1e4})
	if r.group != nil {
		line = append(line, field{"sum_s", math.Round(p.Sum*1e4) / 1e4}, field{"sum_wait_s", math.Round(p.SumWait*1e4) / 1e4})
	}
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
	for _, m := range e.Metrics {
		line = append(line, field{"val." + m.Name + "." + m.Output, m.Value})
	}
	return line
}
