package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"unsafe"

	"github.com/gomae/gomae/internal/poison"
)

func TestArena(t *testing.T) {
	a := arena[float32]{min: 1 << 13, unit: cacheLine} // as all that float arenas have: whole pages
	r := rand.New(rand.NewPCG(1, 1))
	for step := range 50 {
		var parts [][]float32
		for k := range 1 + r.IntN(40) {
			p := a.take(r.IntN(5000))
			if cap(p) != len(p) {
				t.Fatalf("step %d: %d values with room for %d: append would write to the next", step, len(p), cap(p))
			}
			for i := range p {
				p[i] = float32(k)
			}
			parts = append(parts, p)
			if len(p) > 0 && uintptr(unsafe.Pointer(&p[0]))%64 != 0 {
				t.Fatalf("step %d: %d values begin within a cache line", step, len(p))
			}
		}
		for k, p := range parts {
			for _, v := range p {
				if v != float32(k) {
					t.Fatalf("step %d: part %d overlaps part %v", step, k, v)
				}
			}
		}
		a.reset()
		for k, p := range parts {
			if !allNaN(p) {
				t.Fatalf("step %d: part %d is not NaN after reset", step, k)
			}
		}
	}
}

// TestArenaSteady: memory does not grow with the number of steps, be the sizes the same or vary a
// little, and is not much more than the largest step needs. Elements of no size stand in for
// gigabytes.
func TestArenaSteady(t *testing.T) {
	for _, c := range []struct {
		name         string
		tensors      int
		size, spread float64
		allowed      float64 // multiple of the largest need
	}{
		{"small", 40, 1e3, 0.1, 1.6},
		{"middle", 100, 1e5, 0.05, 1.6},
		{"large", 300, 5e6, 0.05, 1.6},
		{"beyond a chunk", 100, 3e7, 0.05, 1.6},
		{"same", 100, 3e7, 0, 1.3},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := arena[struct{}]{min: 1 << 16, unit: 1}
			r := rand.New(rand.NewPCG(2, 3))
			held := func() (n float64) {
				for _, c := range a.chunks {
					n += float64(len(c))
				}
				return n
			}
			var largest, settled float64
			const steps = 2000
			for step := range steps {
				need := 0.0
				factor := 1 + c.spread*(2*r.Float64()-1) // how many tokens a step has
				for k := range c.tensors {
					n := int(c.size * (0.1 + float64(k%4)) * factor)
					if k%3 == 0 {
						n = int(c.size * (0.5 + r.Float64()*c.spread)) // the tokens of one modality
					}
					a.take(n)
					need += float64(n)
				}
				a.reset()
				largest = max(largest, need)
				if step == steps/10 {
					settled = held()
				}
			}
			t.Logf("%d chunks hold %.2f of the largest need, %.2f of it early on", len(a.chunks), held()/largest, settled/largest)
			if len(a.chunks) > 40 { // to look through for each new one
				t.Errorf("%d chunks for %.3g", len(a.chunks), largest)
			}
			if h := held(); h > c.allowed*largest+1<<17 || h > 1.1*settled {
				t.Errorf("holds %.3g for %.3g, and %.3g early on", h, largest, settled)
			}
		})
	}
}

// TestFreeListSteady is the same for buffers that come and go in any order.
func TestFreeListSteady(t *testing.T) {
	defer poison.Off()()
	var l freeList
	r := rand.New(rand.NewPCG(4, 5))
	made := map[*float32]bool{}
	settled := 0
	for step := range 1000 {
		factor := 0.95 + 0.1*r.Float64()
		var live [][]float32
		for k := range 40 {
			b := l.take(int(float64(1+k%5) * 3000 * factor))
			made[&b[0]] = true
			if live = append(live, b); len(live) > 6 {
				i := r.IntN(len(live))
				l.give(live[i])
				live = append(live[:i], live[i+1:]...)
			}
		}
		for _, b := range live {
			l.give(b)
		}
		if step == 100 {
			settled = len(made)
		}
	}
	if len(made) != len(l.free) {
		t.Errorf("%d buffers made, %d came back", len(made), len(l.free))
	}
	if len(made) > 40 || len(made) > settled+2 {
		t.Errorf("%d buffers for 7 in use at a time, %d early on", len(made), settled)
	}
}

// network does in a step what a model does: tokens gathered, a block, the cross-attention of a
// decoder, losses.
type network struct {
	dim                           int
	input, mask, query            *Tensor
	norm, bias                    *Tensor
	qkv, proj, fc1, fc2, kv, head *Tensor
	target, ones                  []float32
	class                         []int32
	rows, masked                  []int32
}

// newNetwork has room for steps of up to so many tokens.
func newNetwork(tokens int) *network {
	const dim = 16
	n := &network{dim: dim, input: param("input", tokens, dim), mask: param("mask", dim), query: param("query", tokens, dim),
		norm: param("norm", dim), bias: param("bias", dim), qkv: param("qkv", 3*dim, dim), proj: param("proj", dim, dim),
		fc1: param("fc1", 4*dim, dim), fc2: param("fc2", dim, 4*dim), kv: param("kv", 2*dim, dim), head: param("head", 8, dim),
		target: make([]float32, 8*tokens), ones: ones(2 * tokens), class: make([]int32, 2*tokens), rows: make([]int32, tokens), masked: make([]int32, tokens)}
	for i := range n.rows {
		n.rows[i], n.masked[i] = int32(i), -int32(i%2)
	}
	return n
}

// step is one for two sequences of count tokens.
func (n *network) step(t *Tape, count int) {
	d, rows := n.dim, 2*count
	x := View(t, From(n.input.Data[:rows*d], rows, d), 2, count, d)
	x = Linear(t, x, n.proj, n.bias)
	x = GatherSum(t, x.Shape, Source{x, n.rows[:rows]}, Source{n.mask, n.masked[:rows]}, Source{n.query, n.rows[:rows]})
	a := Attention(t, Linear(t, LayerNorm(t, x, n.norm, n.bias, 1e-6), n.qkv, nil), 4)
	x = AddScaled(t, x, Linear(t, a, n.proj, n.bias), n.ones[:2])
	x = LinearAdd(t, LinearGELU(t, LayerNorm(t, x, n.norm, n.bias, 1e-6), n.fc1, nil), n.fc2, n.bias, x)
	q := GatherSum(t, x.Shape, Source{n.query, n.rows[:rows]})
	x = CrossAttention(t, q, Linear(t, x, n.kv, nil), 4)
	y := Linear(t, x, n.head, nil)
	l1 := RegressionLoss(t, y, n.target[:8*rows], n.ones[:rows], L1)
	ce := CrossEntropy(t, y, 4, n.class[:2*rows], n.ones[:2*rows], 0.1)
	if total := Sum(t, l1, ce); t.recording {
		t.Backward(total)
	}
	t.Reset()
}

// perStep is how many bytes a step allocates at least, once it has been done a few times.
func perStep(step func(i int)) uint64 {
	const warm, measured = 4, 3
	for i := range warm {
		step(i)
	}
	var before, after runtime.MemStats
	least := uint64(math.MaxUint64)
	for i := range measured { // the runtime allocates now and then
		runtime.ReadMemStats(&before)
		step(warm + i)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// held is how many numbers the tape has memory for, beside the scratch of workers.
func held(t *Tape) (n int) {
	for _, c := range t.values.chunks {
		n += len(c)
	}
	for _, b := range t.buffers.free {
		n += cap(b)
	}
	return n
}

// TestSteadyStep: after the first steps a step allocates its closures and nothing that grows with
// the data, and the tape holds no more.
func TestSteadyStep(t *testing.T) {
	const tokens = 40
	shared := pools(t, 2)[0]
	for _, make := range []func(*Pool) *Tape{NewTape, NewInference} {
		recording := make(nil).recording
		var base uint64
		for _, c := range []struct {
			name  string
			count func(step int) int
		}{
			{"few tokens", func(int) int { return tokens }},
			{"many tokens", func(int) int { return 4 * tokens }},
			{"about as many tokens", func(step int) int { return 4*tokens - step*17%(tokens/4) }},
		} {
			t.Run(fmt.Sprintf("recording=%v/%s", recording, c.name), func(t *testing.T) {
				n := newNetwork(8 * tokens)
				alone := make(nil)
				bytes := perStep(func(i int) { n.step(alone, c.count(i)) })
				t.Logf("%d bytes a step", bytes)
				if base == 0 {
					base = bytes
				}
				if bytes > base+256 || bytes > 20<<10 {
					t.Errorf("%d bytes a step, with few tokens %d", bytes, base)
				}
				tape := make(shared)
				for i := range 8 {
					n.step(tape, c.count(i))
				}
				was := held(tape)
				for i := range 8 {
					n.step(tape, c.count(8+i))
				}
				if got := held(tape); got != was {
					t.Errorf("memory for %d numbers after 16 steps, after 8 %d", got, was)
				}
			})
		}
	}
}
