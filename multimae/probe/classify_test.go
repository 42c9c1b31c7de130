package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/gomae/gomae/multimae/metrics"
	"github.com/gomae/gomae/tensor"
)

// stored is testdata/reference.json, which testdata/reference.py writes.
type stored struct {
	Classes, Dim int
	Train, Val   []float32
	Labels       []int32
	Linear       map[string]struct {
		Weight, Bias []float64
		Predicted    []int32
	}
	Votes []float64
}

func reference(t *testing.T) (s *stored, train, val *Features) {
	t.Helper()
	b, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	s = new(stored)
	if err := json.Unmarshal(b, s); err != nil {
		t.Fatal(err)
	}
	of := func(x []float32) *Features {
		f := &Features{Dim: s.Dim, X: x}
		for i := range len(x) / s.Dim {
			f.Names = append(f.Names, fmt.Sprint("image/", i))
		}
		return f
	}
	return s, of(s.Train), of(s.Val)
}

// TestLinearAgainstScikitLearn bounds the distance from LogisticRegression's weights by that of the
// gradient from zero, which the weight decay allows.
func TestLinearAgainstScikitLearn(t *testing.T) {
	s, train, val := reference(t)
	for key, want := range s.Linear {
		t.Run("l2="+key, func(t *testing.T) {
			l2, err := strconv.ParseFloat(key, 64)
			if err != nil {
				t.Fatal(err)
			}
			l, err := FitLinear(context.Background(), train, s.Labels, s.Classes, l2, nil)
			if err != nil {
				t.Fatal(err)
			}
			bound := tolerance * math.Sqrt(float64(len(l.Weight)+len(l.Bias))) / l2
			for i, w := range want.Weight {
				if d := math.Abs(float64(l.Weight[i]) - w); !(d <= bound) {
					t.Errorf("weight %d: got %v, want %v (off by %.2g, at most %.2g)", i, l.Weight[i], w, d, bound)
				}
			}
			// Softmax does not see what is added to all biases.
			mean := 0.0
			for _, v := range l.Bias {
				mean += float64(v) / float64(len(l.Bias))
			}
			for i, b := range want.Bias {
				if d := math.Abs(float64(l.Bias[i]) - mean - b); !(d <= 10*bound) {
					t.Errorf("bias %d: got %v, want %v", i, float64(l.Bias[i])-mean, b)
				}
			}
			logits, err := l.Logits(context.Background(), val, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := first(logits, s.Classes); !slices.Equal(got, want.Predicted) {
				t.Errorf("predictions\n%v, want\n%v", got, want.Predicted)
			}
		})
	}
}

// first returns the index of the largest of each row's values.
func first(rows []float32, n int) (ids []int32) {
	for i := 0; i < len(rows); i += n {
		row := rows[i : i+n]
		ids = append(ids, int32(slices.Index(row, slices.Max(row))))
	}
	return ids
}

func TestVoteAgainstScikitLearn(t *testing.T) {
	s, train, val := reference(t)
	scores, err := Vote(context.Background(), val, train, s.Labels, s.Classes, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(scores); i += s.Classes {
		row, sum := scores[i:i+s.Classes], 0.0
		for _, v := range row {
			sum += float64(v)
		}
		for k, v := range row {
			// A cosine is off by a few units of float32's precision, which the temperature enlarges.
			if got, want := float64(v)/sum, s.Votes[i+k]; math.Abs(got-want) > 1e-5 {
				t.Errorf("image %d, class %d: got a share of %v, want %v", i/s.Classes, k, got, want)
			}
		}
	}
}

func TestVoteByHand(t *testing.T) {
	of := func(x ...float32) *Features { return &Features{Names: make([]string, len(x)/2), Dim: 2, X: x} }
	// Fewer images than neighbours: all vote. Their lengths do not count; zero has a cosine of 0.
	train := of(5, 0, 0, 0.1, -3, 0, 0, 0)
	scores, err := Vote(context.Background(), of(2, 0), train, []int32{0, 1, 2, 2}, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range []float64{math.Exp(1 / Temperature), 1, math.Exp(-1/Temperature) + 1, 0} {
		if got := float64(scores[k]); math.Abs(got-want) > 1e-5*want {
			t.Errorf("class %d: got %v, want %v", k, got, want)
		}
	}
	// Twenty-one images as near: the last one has no vote.
	x, labels := make([]float32, 0, 42), make([]int32, 21)
	for range labels {
		x = append(x, 1, 1)
	}
	labels[20] = 1
	if scores, err = Vote(context.Background(), of(1, 1), of(x...), labels, 2, nil); err != nil || scores[0] == 0 || scores[1] != 0 {
		t.Errorf("got %v, %v", scores, err)
	}
}

// TestWithoutVote wants a true class that no neighbour has to be wrong, wherever it is in the order.
func TestWithoutVote(t *testing.T) {
	for truth, want := range [][2]float64{{0, 0}, {0, 100}, {0, 0}, {100, 100}, {0, 0}, {0, 0}, {0, 0}} {
		scores := []float32{0, 1, 0, 2, 0, 0, 0}
		id := []int32{int32(truth)}
		withoutVote(scores, len(scores), id)
		var top metrics.TopK
		if err := top.Add(scores, len(scores), id); err != nil {
			t.Fatal(err)
		}
		if got := [2]float64{top.Top1(), top.Top5()}; got != want {
			t.Errorf("class %d: got %v, want %v", truth, got, want)
		}
	}
}

// TestWorkers wants the same bits from any number of workers.
func TestWorkers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(5)) // no pool is larger
	s, train, val := reference(t)
	type result struct{ weight, logits, votes []float32 }
	var want result
	for _, workers := range []int{1, 2, 5} {
		pool := tensor.NewPool(workers)
		defer pool.Close()
		l, err := FitLinear(context.Background(), train, s.Labels, s.Classes, 0.01, pool)
		if err != nil {
			t.Fatal(err)
		}
		got := result{weight: l.Weight}
		if got.logits, err = l.Logits(context.Background(), val, pool); err != nil {
			t.Fatal(err)
		}
		if got.votes, err = Vote(context.Background(), val, train, s.Labels, s.Classes, pool); err != nil {
			t.Fatal(err)
		}
		if workers == 1 {
			want = got
		} else if !slices.Equal(got.weight, want.weight) || !slices.Equal(got.logits, want.logits) || !slices.Equal(got.votes, want.votes) {
			t.Errorf("%d workers: other bits than with one", workers)
		}
	}
}

// TestChooseLinear has a feature that tells the classes apart among many that only the training
// images seem to: little decay learns these by heart.
func TestChooseLinear(t *testing.T) {
	const n, dim = 100, 80
	r := rand.New(rand.NewPCG(1, 1))
	f, labels := &Features{Dim: dim}, []int32(nil)
	for i := range n {
		f.Names = append(f.Names, fmt.Sprint("image/", i))
		label := int32(i % 2)
		labels = append(labels, label)
		for k := range dim {
			v := float32(r.NormFloat64())
			if k == 0 {
				v = v*0.7 + 2*float32(label) - 1
			}
			f.X = append(f.X, v)
		}
	}
	l, err := ChooseLinear(context.Background(), f, labels, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.L2 < 1e-2 {
		t.Errorf("chose a weight decay of %v, want a strong one", l.L2)
	}
	again, err := FitLinear(context.Background(), f, labels, 2, l.L2, nil)
	if err != nil || !slices.Equal(again.Weight, l.Weight) {
		t.Errorf("the choice is not the fit to all images with its weight decay, %v", err)
	}
}

func TestInterruptedFit(t *testing.T) {
	s, train, val := reference(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ChooseLinear(ctx, train, s.Labels, s.Classes, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ChooseLinear: %v", err)
	}
	if _, err := Vote(ctx, val, train, s.Labels, s.Classes, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Vote: %v", err)
	}
}

// TestLBFGS minimises a quadratic function with a condition of a million, and one with a corner of
// exponentials.
func TestLBFGS(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(x, grad []float64) (float64, error)
		want []float64
	}{
		{"quadratic", func(x, grad []float64) (v float64, _ error) {
			for i := range x {
				k, d := math.Pow(10, float64(2*i-3)), x[i]-float64(i+1)
				v += k * d * d / 2
				grad[i] = k * d
			}
			return v, nil
		}, []float64{1, 2, 3, 4}},
		{"exponential", func(x, grad []float64) (v float64, _ error) {
			for i := range x {
				up, down := math.Exp(x[i]-2), math.Exp(float64(i)-x[i])
				v += up + down
				grad[i] = up - down
			}
			return v, nil
		}, []float64{1, 1.5, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := make([]float64, len(c.want))
			n, err := lbfgs(x, c.f, 1e-9, 1000)
			if err != nil || n == 1000 {
				t.Fatalf("%d iterations, %v", n, err)
			}
			for i, want := range c.want {
				if math.Abs(x[i]-want) > 1e-5 {
					t.Errorf("x[%d]: got %v, want %v", i, x[i], want)
				}
			}
		})
	}
	t.Run("an error", func(t *testing.T) {
		bad := errors.New("bad")
		if _, err := lbfgs([]float64{1}, func(x, grad []float64) (float64, error) { return 0, bad }, 0, 10); err != bad {
			t.Error(err)
		}
	})
	t.Run("limit", func(t *testing.T) {
		x := []float64{100}
		if n, err := lbfgs(x, func(x, grad []float64) (float64, error) {
			grad[0] = 4 * x[0] * x[0] * x[0]
			return x[0] * x[0] * x[0] * x[0], nil
		}, 0, 3); n != 3 || err != nil || x[0] >= 100 {
			t.Errorf("%d iterations, x %v, %v", n, x, err)
		}
	})
}
