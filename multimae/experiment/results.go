package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae/train"
)

// outcome is the file of one fine-tuning.
type outcome struct {
	Pretraining string             `json:"pretraining"`
	Inputs      string             `json:"inputs"`
	Task        string             `json:"task"`
	Seed        int                `json:"seed"`
	Samples     int                `json:"samples"`    // tested on
	Parameters  int                `json:"parameters"` // of the fine-tuned model
	Metrics     map[string]float64 `json:"metrics"`
	Config      json.RawMessage    `json:"config"`
}

// Results are the content of results.json.
type Results struct {
	Experiment string   `json:"experiment"`
	About      string   `json:"about"`
	Machine    string   `json:"machine"`
	Commit     string   `json:"commit"`
	Date       string   `json:"date"`
	Settings   Settings `json:"settings"`
	Rows       []Row    `json:"rows"`
}

// Row is a cell of the table: the mean over seeds.
type Row struct {
	Pretraining string    `json:"pretraining"`
	Inputs      string    `json:"inputs"` // "rgb,depth"
	Task        string    `json:"task"`
	Metric      string    `json:"metric"` // "miou" or "delta1", in percent
	Mean        float64   `json:"mean"`
	SD          float64   `json:"sd"` // of a single run: the root of the unbiased variance; 0 for one seed
	Seeds       int       `json:"seeds"`
	Values      []float64 `json:"values"` // of each seed
	Samples     int       `json:"samples"`
	Parameters  int       `json:"parameters"`
}

// Row returns the cell of a pre-training and a column, nil where there is none.
func (r *Results) Row(pretraining string, c *Column) *Row {
	for i := range r.Rows {
		if x := &r.Rows[i]; x.Pretraining == pretraining && x.Inputs == strings.Join(c.Inputs, ",") && x.Task == c.Task {
			return x
		}
	}
	return nil
}

// collect reads the outcomes that there are.
func (r *run) collect() (*Results, error) {
	res := &Results{
		Experiment: r.experiment.Name, About: r.experiment.About, Machine: r.Machine, Commit: r.Commit,
		Date: time.Now().UTC().Format("2006-01-02"), Settings: r.Settings,
	}
	res.Settings.Data, res.Settings.Labelled = shortened(r.Data, r.Labelled)
	for i := range r.experiment.Pretrainings {
		p := &r.experiment.Pretrainings[i]
		for k := range r.experiment.Columns {
			c := &r.experiment.Columns[k]
			row := Row{Pretraining: p.Name, Inputs: strings.Join(c.Inputs, ","), Task: c.Task, Metric: c.metric()}
			for seed := range r.Seeds {
				path := r.resultPath(p, c, seed)
				b, err := regular.ReadFile(path, regular.ConfigLimit)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				var o outcome
				if err == nil {
					err = json.Unmarshal(b, &o)
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w; remove it to do that run again", path, err)
				}
				row.Values = append(row.Values, o.Metrics[row.Metric])
				row.Samples, row.Parameters = o.Samples, o.Parameters
			}
			if row.Seeds = len(row.Values); row.Seeds == 0 {
				continue
			}
			row.Mean, row.SD = stat.MeanStdDev(row.Values, nil)
			if row.Seeds == 1 {
				row.SD = 0
			}
			res.Rows = append(res.Rows, row)
		}
	}
	return res, nil
}

// write writes table.md, results.json and plot.svg.
func (r *run) write() (*Results, error) {
	res, err := r.collect()
	if err != nil {
		return nil, err
	}
	if err := atomicfile.ReplaceJSON(r.path("results.json"), res); err != nil {
		return nil, err
	}
	for name, content := range map[string]string{"table.md": r.experiment.Table(res), "plot.svg": r.experiment.Plot(res)} {
		if err := atomicfile.ReplaceBytes(r.path(name), []byte(content)); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// heading names a column for people.
func (c *Column) heading() string {
	inputs := map[string]string{"rgb": "RGB", "depth": "D", "semseg": "S"}
	var names []string
	for _, in := range c.Inputs {
		if short, ok := inputs[in]; ok {
			in = short
		}
		names = append(names, in)
	}
	name := strings.Join(names, "-")
	if name == "D" {
		name = "depth"
	}
	if c.metric() == "delta1" {
		return name + ", depth δ1 %"
	}
	return name + ", mIoU %"
}

// Table returns the results as Markdown: mean ± standard deviation over seeds.
func (e *Experiment) Table(r *Results) string {
	var b strings.Builder
	b.WriteString("| pre-training |")
	for i := range e.Columns {
		fmt.Fprintf(&b, " %s |", e.Columns[i].heading())
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(e.Columns)) + "\n")
	seeds, samples := map[int]bool{}, 0
	var parameters []int
	for _, p := range e.Pretrainings {
		fmt.Fprintf(&b, "| %s |", p.Name)
		for i := range e.Columns {
			row := r.Row(p.Name, &e.Columns[i])
			switch {
			case row == nil:
				b.WriteString(" – |")
				continue
			case row.Seeds == 1:
				fmt.Fprintf(&b, " %.1f |", row.Mean)
			default:
				fmt.Fprintf(&b, " %.1f ± %.1f |", row.Mean, row.SD)
			}
			seeds[row.Seeds], samples = true, row.Samples
			parameters = append(parameters, row.Parameters)
		}
		b.WriteString("\n")
	}
	if len(parameters) == 0 {
		return b.String()
	}
	s := &r.Settings
	counts := slices.Sorted(maps.Keys(seeds))
	of := fmt.Sprint(counts[0])
	if last := counts[len(counts)-1]; last > counts[0] {
		of += fmt.Sprintf(" to %d", last)
	}
	labels := "all labelled samples"
	if s.Samples > 0 {
		labels = fmt.Sprintf("%d labelled samples", s.Samples)
	}
	if s.Labelled != s.Data {
		labels += " of " + dataName(s.Labelled)
	}
	fmt.Fprintf(&b, "\n%s Mean ± standard deviation of %s seeds, a miniature of the paper's table: preset %s, pre-trained on %s for %d steps of %d, "+
		"then fine-tuned on %s for %d steps of %d and tested on %d others; %.2f to %.2f million parameters. The same head, recipe and number of steps for every row.\n",
		e.About, of, s.Preset, dataName(s.Data), s.PretrainSteps, s.PretrainBatch,
		labels, s.Steps, s.Batch, samples, float64(slices.Min(parameters))/1e6, float64(slices.Max(parameters))/1e6)
	return b.String()
}

// shortened returns two values of Settings.Data without what they have in front of the name of the
// folder: where the data lie is nobody else's business. They stay different, and no folder becomes the
// name of rendered scenes.
func shortened(data, labelled string) (string, string) {
	short := func(path string, names int) string {
		if path == train.ScenesData {
			return path
		}
		name := filepath.Base(path)
		for dir := filepath.Dir(path); names > 1 && dir != filepath.Dir(dir); names, dir = names-1, filepath.Dir(dir) {
			name = filepath.Base(dir) + "/" + name
		}
		if name == train.ScenesData {
			name = "./" + name
		}
		return name
	}
	for n := 1; ; n++ {
		a, b := short(data, n), short(labelled, n)
		if data == labelled || a != b || n > len(data)+len(labelled) {
			return a, b
		}
	}
}

func dataName(data string) string {
	if data == train.ScenesData {
		return "rendered scenes"
	}
	return "the folder " + strings.TrimPrefix(data, "./")
}
