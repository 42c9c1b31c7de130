package experiment

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

// folder writes a dataset folder of small rooms with parts for training, validation and test.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for k, part := range []string{"train", "val", "test"} {
		if err := data.WriteFolder(context.Background(), filepath.Join(dir, part), scenes.New(1000*k, 4, 64, 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// small is an experiment of two rows and two columns.
func small() *Experiment {
	return &Experiment{
		Name: "small", About: "What is small?", Pretrainings: []Pretraining{{Name: "scratch"}, {Name: "RGB-D", Model: "rgb-d", Change: modalities("rgb", "depth")}},
		Columns: []Column{{[]string{"depth"}, heads.TaskSemseg}, {[]string{"rgb"}, heads.TaskDepth}},
	}
}

func smallOptions(dir, data string) Options {
	s := DefaultSettings("small")
	s.Data, s.Labelled, s.Classes, s.Seeds, s.PretrainSteps, s.PretrainBatch, s.Steps, s.Batch, s.Samples = data, data, len(scenes.Classes), 2, 2, 4, 2, 2, 3
	s.DepthUnit = scenes.DepthUnit
	return Options{Settings: s, Dir: dir, Workers: 1, Commit: "c0ffee", Machine: "a machine"}
}

// TestRun interrupts an experiment, goes on with it and wants the results of one that was left alone.
func TestRun(t *testing.T) {
	photos := folder(t)
	straight := t.TempDir()
	o := smallOptions(straight, photos)
	var taken []string // what fine-tuned models took from pre-trained ones
	o.Log = func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); strings.HasPrefix(line, "taken from a ") {
			taken = append(taken, line)
		}
	}
	want, err := Run(context.Background(), small(), o)
	if err != nil {
		t.Fatal(err)
	}
	colour, depth := "taken from a MultiMAE: global_tokens, input_adapters.rgb, encoder", "taken from a MultiMAE: global_tokens, input_adapters.depth, encoder"
	if wanted := []string{depth, colour, depth, colour}; !slices.Equal(taken, wanted) {
		t.Errorf("got %q, want %q", taken, wanted)
	}
	if len(want.Rows) != 4 {
		t.Fatalf("%d rows, want 4: %+v", len(want.Rows), want.Rows)
	}
	for _, row := range want.Rows {
		mean := (row.Values[0] + row.Values[1]) / 2
		sd := math.Abs(row.Values[0]-row.Values[1]) / math.Sqrt2
		if row.Seeds != 2 || math.Abs(row.Mean-mean) > 1e-9 || math.Abs(row.SD-sd) > 1e-9 || row.Samples != 4 || row.Parameters < 1e5 {
			t.Errorf("%+v", row)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(straight, "finetune")); err != nil || len(entries) > 0 {
		t.Errorf("runs of fine-tuning are left: %v, %v", entries, err)
	}
	if lines, err := os.ReadFile(filepath.Join(straight, "results", "rgb_d-depth-rgb-seed1.jsonl")); err != nil || !strings.Contains(string(lines), `"loss": `) {
		t.Errorf("metrics of a fine-tuning: %q, %v", lines, err)
	}

	dir := t.TempDir()
	for calls := 1; ; calls++ {
		ctx, cancel := context.WithCancel(context.Background())
		o := smallOptions(dir, photos)
		steps := 0
		o.Step = func(*train.Progress) {
			if steps++; steps == 7 {
				cancel()
			}
		}
		got, err := Run(ctx, small(), o)
		cancel()
		if errors.Is(err, context.Canceled) && calls < 20 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if calls < 2 {
			t.Error("it was never interrupted")
		}
		if fmt.Sprint(got.Rows) != fmt.Sprint(want.Rows) {
			t.Errorf("got %v, want %v", got.Rows, want.Rows)
		}
		break
	}

	t.Run("nothing is left to do", func(t *testing.T) {
		o := smallOptions(dir, photos)
		o.Step = func(*train.Progress) { t.Error("a step was taken") }
		if _, err := Run(context.Background(), small(), o); err != nil {
			t.Error(err)
		}
	})
	t.Run("other settings", func(t *testing.T) {
		o := smallOptions(dir, photos)
		o.Steps = 3
		if _, err := Run(context.Background(), small(), o); err == nil || !testkit.Mentions(err.Error(), dir+"…steps…2…3") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("models of another experiment", func(t *testing.T) {
		o := smallOptions(t.TempDir(), photos)
		o.Models, o.Steps = filepath.Join(dir, "pretrain"), 1
		o.Log = func(format string, _ ...any) {
			if strings.HasPrefix(format, "pre-training") {
				t.Error("a model was trained again")
			}
		}
		if _, err := Run(context.Background(), small(), o); err != nil {
			t.Error(err)
		}
		o.Dir, o.PretrainSteps = t.TempDir(), 3
		if _, err := Run(context.Background(), small(), o); err == nil || !testkit.Mentions(err.Error(), "rgb-d-seed0…train.steps 2 and not 3") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no truth", func(t *testing.T) {
		o := smallOptions(t.TempDir(), photos)
		o.Classes, o.DepthUnit = 0, 0
		if _, err := Run(context.Background(), small(), o); err == nil || !testkit.Mentions(err.Error(), photos) {
			t.Errorf("got %v", err)
		}
		o.DepthUnit, o.Seeds = scenes.DepthUnit, 1
		r, err := Run(context.Background(), small(), o)
		if err != nil || len(r.Rows) != 2 || r.Rows[0].Task != heads.TaskDepth {
			t.Errorf("with depth alone: %+v, %v", r, err)
		}
	})
	t.Run("damaged result", func(t *testing.T) {
		path := filepath.Join(dir, "results", "scratch-semseg-depth-seed0.json")
		if err := os.WriteFile(path, []byte("{"), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(context.Background(), small(), smallOptions(dir, photos)); err == nil || !testkit.Mentions(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	})
	for name, change := range map[string]func(dir string, o *Options) (want string){
		"misspelt target": func(_ string, o *Options) string { o.Target = "lables"; return "lables" },
		"fewer labelled samples than a batch": func(dir string, o *Options) string {
			o.Batch = 4
			return "samples: got 3…" + dir + "…at least 4"
		},
		"fewer samples to pre-train on than a batch": func(dir string, o *Options) string {
			o.PretrainBatch = 5
			return "data: " + dir + " has 4 samples…at least 5"
		},
		"no test part": func(dir string, _ *Options) string {
			if err := os.RemoveAll(filepath.Join(dir, "test")); err != nil {
				t.Fatal(err)
			}
			return dir + "…test"
		},
		"no truth to test on": func(dir string, _ *Options) string {
			part := filepath.Join(dir, "test")
			if err := os.RemoveAll(part); err != nil {
				t.Fatal(err)
			}
			blank := data.Samples{blankSample(t)}
			if err := data.WriteFolder(context.Background(), part, blank, nil); err != nil {
				t.Fatal(err)
			}
			return dir + "…test…semseg"
		},
	} {
		t.Run(name, func(t *testing.T) {
			photos := folder(t)
			o := smallOptions(filepath.Join(t.TempDir(), "new"), photos)
			want := change(photos, &o)
			o.Step = func(*train.Progress) { t.Error("a step was taken") }
			if _, err := Run(context.Background(), small(), o); err == nil || !testkit.Mentions(err.Error(), want) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(o.Dir); err == nil {
				t.Error("the folder of the experiment holds settings that cannot work")
			}
		})
	}
	t.Run("no such data to pre-train on", func(t *testing.T) {
		o := smallOptions(filepath.Join(t.TempDir(), "new"), photos)
		o.Data = filepath.Join(dir, "absent")
		o.Step = func(*train.Progress) { t.Error("a step was taken") }
		if _, err := Run(context.Background(), small(), o); !errors.Is(err, fs.ErrNotExist) || !testkit.Mentions(err.Error(), "data: …"+o.Data) {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(o.Dir); err == nil {
			t.Error("the folder of the experiment holds settings that cannot work")
		}
	})
	t.Run("no such data", func(t *testing.T) {
		if _, err := Run(context.Background(), small(), smallOptions(t.TempDir(), filepath.Join(dir, "absent"))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}

// blankSample is a scene whose pixels have no class.
func blankSample(t *testing.T) *data.Sample {
	t.Helper()
	s, err := scenes.New(0, 1, 64, 1).Sample(0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Maps["semseg"].IDs {
		s.Maps["semseg"].IDs[i] = multimae.IDIgnored
	}
	return s
}

// TestTables checks that every table can be made: configurations that hold, with the seed of the run, and
// names that differ.
func TestTables(t *testing.T) {
	for _, name := range Names {
		t.Run(name, func(t *testing.T) {
			e, err := New(name)
			if err != nil {
				t.Fatal(err)
			}
			r := &run{Options{Settings: DefaultSettings(name), Models: "models"}, e}
			seen := map[string]bool{}
			for i := range e.Pretrainings {
				p := &e.Pretrainings[i]
				if p.Change != nil {
					if c, err := r.pretrainConfig(p, 1); err != nil {
						t.Errorf("%s: %v", p.Name, err)
					} else if c.Train.Seed != 1 {
						t.Errorf("%s: seed %d, want 1", p.Name, c.Train.Seed)
					}
				}
				for k := range e.Columns {
					c := &e.Columns[k]
					from := ""
					if p.Change != nil {
						from = filepath.Join("models", p.Model+"-seed1")
					}
					if f, err := r.finetuneConfig(p, c, 1); err != nil {
						t.Errorf("%s: %v", p.Name, err)
					} else if f.Train.Seed != 1 || f.Train.From != from {
						t.Errorf("%s: seed %d from %q, want 1 from %q", p.Name, f.Train.Seed, f.Train.From, from)
					}
					if path := r.resultPath(p, c, 1); seen[path] {
						t.Errorf("%s is written twice", path)
					} else {
						seen[path] = true
					}
				}
			}
		})
	}
	if _, err := New("nothing"); err == nil {
		t.Error("an experiment of no name")
	}
}

// TestDepthInvalid wants holes in the depth of the labelled folder to be left out of pre-training on it and
// of fine-tuning, as input and as truth, and values of another folder to be left alone.
func TestDepthInvalid(t *testing.T) {
	photos := folder(t)
	for other, want := range map[string][]float64{photos: {0}, photos + "-labelled": nil, train.ScenesData: nil} {
		o := smallOptions(t.TempDir(), photos)
		o.Labelled, o.DepthInvalid = other, []float64{0}
		c, err := (&run{o, small()}).pretrainConfig(&small().Pretrainings[1], 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Input("depth").Invalid; !slices.Equal(got, want) {
			t.Errorf("labelled %s: invalid %v, want %v", other, got, want)
		}
		want = o.DepthInvalid
		if other == train.ScenesData {
			want = nil
		}
		for _, column := range small().Columns {
			f, err := (&run{o, small()}).finetuneConfig(new(Pretraining), &column, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := f.Outputs[0].Invalid
			if in := f.Input("depth"); in != nil {
				got = in.Invalid
			}
			if !slices.Equal(got, want) {
				t.Errorf("labelled %s: %s from %v: depth without %v, want %v", other, column.Task, column.Inputs, got, want)
			}
		}
	}
}

// TestRows wants each row to be pre-trained as its name says: tiny sees 32 of 192 tokens, of which a
// modality has 64.
func TestRows(t *testing.T) {
	const all, outputs = "rgb depth semseg", "rgb depth semseg norm_rgb"
	type row struct {
		inputs, outputs string
		alphas          string
		uniform         bool
		tokens          int
		maps            Maps
	}
	plain, multi := row{"rgb", "rgb norm_rgb", "[1]", false, 16, AsTheyAre}, row{all, outputs, "[1]", false, 32, AsTheyAre}
	alpha := func(alphas string) row { return row{all, outputs, alphas, false, 32, AsTheyAre} }
	for name, want := range map[string]map[string]row{
		"transfer": {"MAE": plain, "MultiMAE": multi},
		"tasks": {
			"RGB": plain, "RGB-D": {"rgb depth", "rgb depth norm_rgb", "[1]", false, 32, AsTheyAre},
			"RGB-S": {"rgb semseg", "rgb semseg norm_rgb", "[1]", false, 32, AsTheyAre}, "RGB-D-S": multi,
		},
		"alpha": {
			"α = 0.2": alpha("[0.2]"), "α = 0.5": alpha("[0.5]"), "α = 1": multi, "α = 2": alpha("[2]"),
			"equal shares": alpha("[10000]"), "uniform tasks": {all, outputs, "[1]", true, 32, AsTheyAre},
		},
		"labels": {
			"MAE, no maps": plain, "spoilt maps": {all, outputs, "[1]", false, 32, Spoilt},
			"maps of a fine-tuned MAE": {all, outputs, "[1]", false, 32, Labelled}, "true maps": multi,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := New(name)
			if err != nil {
				t.Fatal(err)
			}
			r := &run{Options{Settings: DefaultSettings(name)}, e}
			got := map[string]row{}
			for i := range e.Pretrainings {
				p := &e.Pretrainings[i]
				if p.Change == nil {
					continue
				}
				c, err := r.pretrainConfig(p, 1)
				if err != nil {
					t.Fatal(err)
				}
				var in, out []string
				for _, x := range c.Inputs {
					in = append(in, x.Name)
				}
				for _, x := range c.Outputs {
					out = append(out, x.Name)
				}
				got[p.Name] = row{strings.Join(in, " "), strings.Join(out, " "), fmt.Sprint(c.Train.Alphas), c.Train.UniformTasks, c.Train.NumEncodedTokens, p.Maps}
			}
			if !maps.Equal(got, want) {
				t.Errorf("got\n%v, want\n%v", got, want)
			}
		})
	}
}

// TestDrawings checks the table, the plot and the comparison of rows against numbers given.
func TestDrawings(t *testing.T) {
	e := small()
	r := &Results{Settings: DefaultSettings("small"), Rows: []Row{
		{Pretraining: "scratch", Inputs: "depth", Task: heads.TaskSemseg, Metric: "miou", Mean: 20, SD: 3, Seeds: 9, Parameters: 1e6, Samples: 5},
		{Pretraining: "RGB-D", Inputs: "depth", Task: heads.TaskSemseg, Metric: "miou", Mean: 31.25, SD: 4, Seeds: 4, Parameters: 2e6, Samples: 5},
		{Pretraining: "RGB-D", Inputs: "rgb", Task: heads.TaskDepth, Metric: "delta1", Mean: 60, Seeds: 1, Parameters: 2e6, Samples: 5},
	}}
	table := e.Table(r)
	for _, line := range []string{
		"| pre-training | depth, mIoU % | RGB, depth δ1 % |", "| scratch | 20.0 ± 3.0 | – |", "| RGB-D | 31.2 ± 4.0 | 60.0 |",
		"128 labelled samples", "tested on 5 others", "1.00 to 2.00 million parameters", "deviation of 1 to 9 seeds",
	} {
		if !strings.Contains(table, line) {
			t.Errorf("the table lacks %q:\n%s", line, table)
		}
	}
	for _, c := range [][4]string{
		{"scenes", "scenes", "scenes", "scenes"},
		{"/a/scenes", "scenes", "./scenes", "scenes"},
		{"/a/set", "/a/set", "set", "set"},
		{"/a/set", "/b/set", "a/set", "b/set"},
		{"/x/a/set", "/y/a/set", "x/a/set", "y/a/set"},
		{"/a/set", "scenes", "set", "scenes"},
	} {
		if a, b := shortened(filepath.FromSlash(c[0]), filepath.FromSlash(c[1])); a != c[2] || b != c[3] {
			t.Errorf("%s and %s became %s and %s, want %s and %s", c[0], c[1], a, b, c[2], c[3])
		}
	}
	r.Settings.Data, r.Settings.Labelled = "./scenes", "scenes"
	if table := e.Table(r); !strings.Contains(table, "the folder scenes for") || !strings.Contains(table, "labelled samples of rendered scenes") {
		t.Errorf("a folder by the name of scenes: %s", table)
	}
	plot, bars := xml.NewDecoder(strings.NewReader(e.Plot(r))), 0
	for {
		token, err := plot.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := token.(xml.StartElement); ok && s.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 3+2 { // and those of the legend
		t.Errorf("%d bars, want 5", bars)
	}
}

// TestPlotFits wants all text within the picture, whatever rows and columns there are.
func TestPlotFits(t *testing.T) {
	for _, e := range []*Experiment{
		{Pretrainings: []Pretraining{{Name: "scratch"}, {Name: "MAE"}, {Name: "MultiMAE"}}, Columns: []Column{{[]string{"rgb"}, heads.TaskDepth}}},
		{Pretrainings: []Pretraining{{Name: "maps of a model that has a long name"}}, Columns: []Column{{[]string{"rgb"}, heads.TaskSemseg}}},
		{Pretrainings: slices.Repeat([]Pretraining{{Name: "maps of a fine-tuned MAE"}}, 6), Columns: segmentation},
	} {
		var svg struct {
			Width  float64 `xml:"width,attr"`
			Height float64 `xml:"height,attr"`
			Texts  []struct {
				X    float64 `xml:"x,attr"`
				Y    float64 `xml:"y,attr"`
				At   string  `xml:"text-anchor,attr"`
				Text string  `xml:",chardata"`
			} `xml:"text"`
		}
		if err := xml.Unmarshal([]byte(e.Plot(new(Results))), &svg); err != nil {
			t.Fatal(err)
		}
		names := 0
		for _, x := range svg.Texts {
			end := x.X
			if x.At == "start" {
				names++
				end += 6.5 * float64(len(x.Text)) // about what a font of 12 pixels takes
			}
			if end > svg.Width || x.Y > svg.Height {
				t.Errorf("%q ends at %g, %g in %g×%g", x.Text, end, x.Y, svg.Width, svg.Height)
			}
		}
		if names != len(e.Pretrainings) {
			t.Errorf("%d names of %d rows", names, len(e.Pretrainings))
		}
	}
}
