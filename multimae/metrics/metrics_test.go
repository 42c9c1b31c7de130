package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
)

// stored is testdata/reference.json, which testdata/reference.py writes.
type stored struct {
	Segmentation map[string]struct {
		Classes      int
		Truth, Pred  []int32
		Confusion    []int64
		IoU          map[string]float64
		MIoU         float64
		Accuracy     float64
		MeanAccuracy float64 `json:"mean_accuracy"`
	}
	Depth struct {
		Truth [][]float32
		Valid [][]bool
		Near  float64

		None, Depth, Disparity depthCase
	}
	Top struct {
		Truth      []int32
		Logits     []float32
		Top1, Top5 float64
	}
	Values struct {
		Truth, Pred []float32
		L1, RMSE    float64
	}
}

type depthCase struct {
	Pred   [][]float32
	RMSE   float64
	AbsRel float64 `json:"abs_rel"`
	Log10  float64
	Delta  [3]float64
}

func sklearn(t *testing.T) *stored {
	t.Helper()
	b, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	s := new(stored)
	if err := json.Unmarshal(b, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// near reports whether two float64 computations of up to a thousand terms agree.
func near(got, want float64) bool {
	return math.Abs(got-want) <= 1e-12*max(1, math.Abs(want))
}

func TestConfusionAgainstScikitLearn(t *testing.T) {
	for name, c := range sklearn(t).Segmentation {
		t.Run(name, func(t *testing.T) {
			m := NewConfusion(c.Classes, 255)
			if err := m.Add(c.Truth, c.Pred); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(m.Counts, c.Confusion) {
				t.Errorf("counts %v, want %v", m.Counts, c.Confusion)
			}
			for what, v := range map[string][2]float64{
				"mIoU":          {m.MeanIoU(), c.MIoU},
				"accuracy":      {m.Accuracy(), c.Accuracy},
				"mean accuracy": {m.MeanAccuracy(), c.MeanAccuracy},
			} {
				if !near(v[0], v[1]) {
					t.Errorf("%s: got %v, want %v", what, v[0], v[1])
				}
			}
			for id := range c.Classes {
				want, present := c.IoU[strconv.Itoa(id)]
				got := m.Class(id).IoU()
				if present != !math.IsNaN(got) || present && !near(got, want) {
					t.Errorf("IoU of class %d: got %v, want %v (present: %v)", id, got, want, present)
				}
				if slices.Contains(m.Absent(), id) == present {
					t.Errorf("class %d: absent are %v", id, m.Absent())
				}
			}
			if m.Counted()+m.Ignored != int64(len(c.Truth)) || m.Ignored == 0 {
				t.Errorf("%d pixels count and %d are ignored, of %d", m.Counted(), m.Ignored, len(c.Truth))
			}
		})
	}
}

// TestConfusionByHand has the void rules in a case small enough to check by eye.
func TestConfusionByHand(t *testing.T) {
	m := NewConfusion(4, 255, 254)
	//                     right  wrong  ignored, though predicted as class 3
	if err := m.Add([]int32{0, 1, 0, 255, 254}, []int32{0, 1, 1, 3, 3}); err != nil {
		t.Fatal(err)
	}
	// Class 0: 1 of 2 found, union 2. Class 1: 1 of 1 found, union 2. Classes 2 and 3: nowhere.
	if got := []float64{m.MeanIoU(), m.Accuracy(), m.MeanAccuracy()}; !near(got[0], 50) || !near(got[1], 200./3) || !near(got[2], 75) {
		t.Errorf("got mIoU, accuracy and mean accuracy %v, want 50, 66.7 and 75", got)
	}
	if m.Class(0) != (ClassCounts{2, 1, 1}) || m.Class(1) != (ClassCounts{1, 2, 1}) {
		t.Errorf("classes 0 and 1: %v, %v", m.Class(0), m.Class(1))
	}
	other := NewConfusion(2, 0) // a class of its own number, which was predicted once
	if err := other.Add([]int32{0, 1, 1, 1}, []int32{1, 1, 0, 1}); err != nil {
		t.Fatal(err)
	}
	if got := other.MeanIoU(); math.Abs(got-200./3) > 1e-12 || other.Ignored != 1 {
		t.Errorf("mIoU with class 0 ignored is %v, want 2/3, that of class 1", got)
	}
	if fmt.Sprint(m.Absent()) != "[2 3]" || m.Ignored != 2 || m.Counted() != 3 {
		t.Errorf("absent %v, ignored %d, counted %d", m.Absent(), m.Ignored, m.Counted())
	}
	empty := NewConfusion(2, 255)
	if err := empty.Add([]int32{255}, []int32{0}); err != nil {
		t.Fatal(err)
	}
	for _, v := range []float64{empty.MeanIoU(), empty.Accuracy(), empty.MeanAccuracy()} {
		if v == v {
			t.Errorf("%v without a pixel that counts, want NaN", v)
		}
	}
}

// TestOutsideClasses wants an error, and nothing counted.
func TestOutsideClasses(t *testing.T) {
	for _, id := range []int32{-1, 3, 254, math.MaxInt32, math.MinInt32} {
		m := NewConfusion(3, 255)
		if err := m.Add([]int32{0, id}, []int32{0, 0}); err == nil || m.Counted() != 0 {
			t.Errorf("true id %d: %v, %d pixels counted", id, err, m.Counted())
		}
		if err := m.Add([]int32{0, 0}, []int32{0, id}); err == nil || m.Counted() != 0 {
			t.Errorf("predicted id %d: %v, %d pixels counted", id, err, m.Counted())
		}
		if err := m.Add([]int32{0, 255}, []int32{0, id}); err != nil || m.Counted() != 1 {
			t.Errorf("predicted id %d where the truth is ignored: %v, %d pixels counted", id, err, m.Counted())
		}
		var k TopK
		if err := k.Add(make([]float32, 6), 3, []int32{0, id}); err == nil || k.Images != 0 {
			t.Errorf("true class %d: %v, %d images counted", id, err, k.Images)
		}
	}
}

func TestDepthAgainstScikitLearn(t *testing.T) {
	s := sklearn(t).Depth
	for _, c := range []struct {
		name  string
		align Alignment
		want  depthCase
	}{{"none", AlignNone, s.None}, {"depth", AlignDepth, s.Depth}, {"disparity", AlignDisparity, s.Disparity}} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDepth(c.align, s.Near)
			pixels := int64(0)
			for i := range s.Truth {
				d.Add(c.want.Pred[i], s.Truth[i], s.Valid[i])
				for _, v := range s.Valid[i] {
					if v {
						pixels++
					}
				}
			}
			e := d.Errors()
			got := []float64{e.RMSE, e.AbsRel, e.Log10, e.Delta[0], e.Delta[1], e.Delta[2]}
			for k, want := range []float64{c.want.RMSE, c.want.AbsRel, c.want.Log10, c.want.Delta[0], c.want.Delta[1], c.want.Delta[2]} {
				// A fit multiplies rounding by the ratio of mean and deviation.
				if math.Abs(got[k]-want) > 1e-10*max(1, want) {
					t.Errorf("figure %d: got %v, want %v", k, got[k], want)
				}
			}
			if e.Images != int64(len(s.Truth)) || e.Pixels != pixels {
				t.Errorf("%d images and %d pixels, want %d and %d", e.Images, e.Pixels, len(s.Truth), pixels)
			}
		})
	}
}

// TestDepthByHand has cases whose figures follow from a glance.
func TestDepthByHand(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name        string
		align       Alignment
		pred, truth []float32
		valid       []bool
		want        DepthErrors
	}{
		{"exact", AlignNone, []float32{1, 2}, []float32{1, 2}, nil, DepthErrors{Delta: [3]float64{100, 100, 100}, Images: 1, Pixels: 2}},
		{"twice as far", AlignNone, []float32{2, 4}, []float32{1, 2}, nil,
			DepthErrors{RMSE: math.Sqrt(2.5), AbsRel: 1, Log10: math.Log10(2), Images: 1, Pixels: 2}},
		{"ratios of 1.2, 1.5, 1.9, 2", AlignNone, []float32{1.2, 3, 1.9, 1}, []float32{1, 2, 1, 2}, nil,
			DepthErrors{RMSE: math.Sqrt((0.04 + 1 + 0.81 + 1) / 4), AbsRel: (0.2 + 0.5 + 0.9 + 0.5) / 4,
				Log10: (math.Log10(1.2) + math.Log10(1.5) + math.Log10(1.9) + math.Log10(2)) / 4, Delta: [3]float64{25, 50, 75}, Images: 1, Pixels: 4}},
		{"holes", AlignNone, []float32{9, 1, 9, 9, 9, 9}, []float32{5, 1, 0, -1, nan, inf}, []bool{false, true, true, true, true, true},
			DepthErrors{Delta: [3]float64{100, 100, 100}, Images: 1, Pixels: 1}},
		{"behind the camera", AlignNone, []float32{-5}, []float32{1}, nil,
			DepthErrors{RMSE: 0.999, AbsRel: 0.999, Log10: 3, Images: 1, Pixels: 1, Near: 1}},
		{"scaled and shifted", AlignDepth, []float32{-1, 0, 1, 7}, []float32{1, 3, 5, 0}, nil,
			DepthErrors{Delta: [3]float64{100, 100, 100}, Images: 1, Pixels: 3}},
		{"a constant", AlignDepth, []float32{7, 7}, []float32{1, 3}, nil,
			DepthErrors{RMSE: 1, AbsRel: (1 + 1./3) / 2, Log10: (math.Log10(2) + math.Log10(1.5)) / 2, Delta: [3]float64{0, 50, 50}, Images: 1, Pixels: 2}},
		{"disparity", AlignDisparity, []float32{11, 6, 3.5}, []float32{1, 2, 4}, nil, // 1 + 10/depth
			DepthErrors{Delta: [3]float64{100, 100, 100}, Images: 1, Pixels: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDepth(c.align, 0.001)
			d.Add(c.pred, c.truth, c.valid)
			got := d.Errors()
			close := func(got, want float64) bool { return math.Abs(got-want) < 1e-6 } // inputs are float32
			if !close(got.RMSE, c.want.RMSE) || !close(got.AbsRel, c.want.AbsRel) || !close(got.Log10, c.want.Log10) ||
				got.Delta != c.want.Delta || got.Images != c.want.Images || got.Pixels != c.want.Pixels || got.Near != c.want.Near {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
	t.Run("no valid pixel", func(t *testing.T) {
		d := NewDepth(AlignDepth, 0.001)
		d.Add([]float32{1}, []float32{1}, []bool{false})
		if e := d.Errors(); e.Pixels != 0 || e.Images != 0 || e.RMSE == e.RMSE || e.Delta[0] == e.Delta[0] {
			t.Errorf("got %+v, want NaN", e)
		}
	})
	t.Run("diverged", func(t *testing.T) {
		for _, align := range []Alignment{AlignNone, AlignDepth} {
			d := NewDepth(align, 0.001)
			d.Add([]float32{nan, 1}, []float32{1, 1}, nil)
			if e := d.Errors(); e.RMSE == e.RMSE || e.AbsRel == e.AbsRel || e.Log10 == e.Log10 {
				t.Errorf("alignment %d: got %+v, want NaN", align, e)
			}
		}
	})
}

func TestTopKAgainstScikitLearn(t *testing.T) {
	s := sklearn(t).Top
	var k TopK
	if err := k.Add(s.Logits, len(s.Logits)/len(s.Truth), s.Truth); err != nil {
		t.Fatal(err)
	}
	if !near(k.Top1(), s.Top1) || !near(k.Top5(), s.Top5) {
		t.Errorf("got %v and %v, want %v and %v", k.Top1(), k.Top5(), s.Top1, s.Top5)
	}
}

func TestTopKByHand(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		name       string
		logits     []float32
		truth      int32
		top1, top5 float64
	}{
		{"first", []float32{0, 9, 1, 2, 3, 4, 5}, 1, 100, 100},
		{"fifth", []float32{0, 9, 1, 2, 3, 4, 5}, 3, 0, 100},
		{"sixth", []float32{0, 9, 1, 2, 3, 4, 5}, 2, 0, 0},
		{"equal, first", []float32{1, 1, 1, 1, 1, 1}, 0, 100, 100},
		{"equal, last", []float32{1, 1, 1, 1, 1, 1}, 5, 0, 0},
		{"diverged", []float32{nan, nan, nan, nan, nan, nan}, 0, 0, 0},
		{"two classes", []float32{1, 2}, 0, 0, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k TopK
			if err := k.Add(c.logits, len(c.logits), []int32{c.truth}); err != nil {
				t.Fatal(err)
			}
			if k.Top1() != c.top1 || k.Top5() != c.top5 {
				t.Errorf("got %v and %v, want %v and %v", k.Top1(), k.Top5(), c.top1, c.top5)
			}
		})
	}
	if k := new(TopK); k.Top1() == k.Top1() {
		t.Error("a share of no images, want NaN")
	}
}

func TestValues(t *testing.T) {
	s := sklearn(t).Values
	var v Values
	v.Add(s.Pred, s.Truth, nil)
	if !near(v.L1(), s.L1) || !near(v.RMSE(), s.RMSE) || v.Count() != int64(len(s.Truth)) {
		t.Errorf("got %v, %v of %d values, want %v, %v", v.L1(), v.RMSE(), v.Count(), s.L1, s.RMSE)
	}
	var holes Values // two channels of two pixels, the second of which does not count
	holes.Add([]float32{1, 100, 5, 100}, []float32{0, 0, 2, 0}, []bool{true, false})
	if holes.L1() != 2 || holes.RMSE() != math.Sqrt(5) || holes.Count() != 2 {
		t.Errorf("got %v, %v of %d values, want 2, %v of 2", holes.L1(), holes.RMSE(), holes.Count(), math.Sqrt(5))
	}
}
