package multimae

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/poison"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/tensor"
)

// TestPredict compares every output, from every subset of the modalities and by every kind of
// masks, with Forward and Unpatch.
func TestPredict(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	m.Params.Freeze()
	ctx := context.Background()
	check := func(what string, b *Batch, o *PredictOptions) {
		t.Helper()
		p, err := m.Predict(ctx, b, o)
		if err != nil {
			t.Fatal(what, err)
		}
		if o == nil {
			o = new(PredictOptions)
		}
		masks := o.Masks
		switch {
		case masks == nil && o.Visible > 0:
			masks = p.Masks
			if masks.Visible != o.Visible || !slices.Equal(masks.Inputs, m.Present(b)) {
				t.Fatalf("%s: %d tokens of %v", what, masks.Visible, masks.Inputs)
			}
		case masks == nil:
			nh, nw := c.Grid(b.H, b.W)
			if masks, err = AllVisible(b.Size, m.Present(b), nh*nw); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(*p.Masks) != fmt.Sprint(*masks) || o.Masks != nil && &p.Masks.Keep[0] == &masks.Keep[0] {
			t.Errorf("%s: other masks: %v, want %v", what, *p.Masks, *masks)
		}
		preds, err := m.Forward(tensor.NewTape(nil), b, masks, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the calls below must not write to what was returned
			if len(p.Outputs) != len(c.Outputs) {
				t.Fatalf("%s: %d outputs", what, len(p.Outputs))
			}
			for i := range p.Outputs {
				o, out := &p.Outputs[i], &c.Outputs[i]
				if o.Name != out.Name || o.Task != out.Task || p.Output(o.Name) != o || o.Channels != out.Channels || o.H != b.H/out.Stride || o.W != b.W/out.Stride {
					t.Fatalf("%s: output %d is %s of %d×%d", what, i, o.Name, o.H, o.W)
				}
				if kind := [...]string{"image imagenet", "image standardize", "classes ", "image patches"}[i]; o.Kind+" "+o.Normalization != kind {
					t.Errorf("%s is of kind %s, normalised by %q", o.Name, o.Kind, o.Normalization)
				}
				want := m.Unpatch(i, preds[i], b.H, b.W)
				testkit.SameBits(t, what+o.Name, o.Pix, want)
				n := o.Channels * o.H * o.W
				for s := range b.Size {
					testkit.SameBits(t, what+o.Name+", a sample", o.Image(s), want[s*n:(s+1)*n])
				}
			}
			if _, err := m.Predict(ctx, newBatch(c, 1, 16, 16, 99, "depth"), nil); err != nil {
				t.Fatal(err)
			}
		}
		if p.Output("lidar") != nil {
			t.Error("Output returns an output that does not exist")
		}
	}
	for _, pool := range pools(t) {
		for _, s := range subsets(c.Inputs.Names()) {
			what := fmt.Sprint("inputs ", s, ": ")
			b := newBatch(c, 3, 24, 16, 3, s...)
			check(what+"no options: ", b, nil)
			check(what+"all visible: ", b, &PredictOptions{Pool: pool})
			check(what+"drawn: ", b, &PredictOptions{Visible: 4, Seed: 7, Pool: pool})
			check(what+"given: ", b, &PredictOptions{Masks: newMasks(t, c, b, 3, 4, s[:1]...), Pool: pool})
		}
	}
	b := newBatch(c, 2, 16, 16, 3, c.Inputs.Names()...)
	visible := func(seed uint64) []int32 {
		p, err := m.Predict(ctx, b, &PredictOptions{Visible: 6, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		return p.Masks.Keep
	}
	if !slices.Equal(visible(1), visible(1)) || slices.Equal(visible(1), visible(2)) {
		t.Error("the seed and nothing else must choose the tokens")
	}
	for what, c := range map[string]struct {
		b    *Batch
		o    *PredictOptions
		want string
	}{
		"nothing":  {&Batch{Size: 1, H: 16, W: 16}, nil, "inputs: "},
		"size":     {&Batch{Size: 1, H: 15, W: 16}, nil, "image_size: 15×16"},
		"too many": {b, &PredictOptions{Visible: 13}, "num_encoded_tokens: got 13"},
		"negative": {b, &PredictOptions{Visible: -1}, "num_encoded_tokens: got -1"},
		"both":     {b, &PredictOptions{Visible: 1, Masks: newMasks(t, c, b, 3, 4, "rgb")}, "predict: "},
		"masks":    {newBatch(c, 2, 16, 16, 3, "rgb"), &PredictOptions{Masks: newMasks(t, c, b, 3, 4, "depth")}, "masks: modality \"depth\""},
	} {
		t.Run(what, func(t *testing.T) {
			p, err := m.Predict(ctx, c.b, c.o)
			if testkit.ErrorNames(t, err, c.want); p != nil {
				t.Error("a prediction and an error")
			}
		})
	}
}

// TestIDs compares with the definition, for logits that have equals.
func TestIDs(t *testing.T) {
	p := &Predicted{Channels: 3, H: 1, W: 4, Pix: []float32{
		1, 0, 5, -1, 1, 2, 0, -2, 0, 2, 9, -1,
		float32(math.Inf(-1)), 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 2,
	}}
	for b, want := range [][]int32{{0, 1, 2, 0}, {1, 0, 2, 2}} {
		if got := p.IDs(b); !slices.Equal(got, want) {
			t.Errorf("sample %d: got %v, want %v", b, got, want)
		}
	}
}

// TestPredictTogether has many callers with batches, masks and pools of their own. They get what
// they would get alone, from one set of weights that the first of them pack, and leave no memory
// behind.
func TestPredictTogether(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	ps := pools(t)
	type call struct {
		b *Batch
		o PredictOptions
	}
	var calls []call
	var want []*Prediction
	for i, s := range subsets(c.Inputs.Names()) {
		k := call{newBatch(c, 1+i%3, 16, 8*(1+i%2), uint64(i), s...), PredictOptions{Visible: i % 2, Seed: uint64(i)}}
		p, err := m.Predict(context.Background(), k.b, &k.o)
		if err != nil {
			t.Fatal(err)
		}
		calls, want = append(calls, k), append(want, p)
	}
	m.Params.Freeze()
	round := func(callers int) {
		var wg sync.WaitGroup
		for g := range callers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				k := calls[g%len(calls)]
				k.o.Pool = ps[g%len(ps)]
				p, err := m.Predict(context.Background(), k.b, &k.o)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range p.Outputs {
					testkit.SameBits(t, fmt.Sprintf("caller %d, %s", g, p.Outputs[i].Name), p.Outputs[i].Pix, want[g%len(calls)].Outputs[i].Pix)
				}
			}()
		}
		wg.Wait()
	}
	inUse := func() uint64 {
		for range 2 { // a sync.Pool empties in two rounds
			runtime.GC()
		}
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	round(20)
	before := inUse()
	round(200)
	after := inUse()
	for i := 0; after > before+1<<18 && i < 100; i++ { // what the callers left may be freed late
		time.Sleep(10 * time.Millisecond)
		after = inUse()
	}
	if after > before+1<<18 {
		t.Errorf("%d bytes in use after 20 callers, %d after 200 more", before, after)
	}
}

// TestFeatures compares with Encode and EncodeBlocks.
func TestFeatures(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	ctx := context.Background()
	g, d := c.NumGlobalTokens, c.Encoder.Dim
	for _, s := range subsets(c.Inputs.Names()) {
		b := newBatch(c, 2, 16, 24, 3, s...)
		all, err := AllVisible(2, s, 6)
		if err != nil {
			t.Fatal(err)
		}
		for _, masks := range []*Masks{nil, newMasks(t, c, b, 5, 4, s...)} {
			f, err := m.Features(ctx, b, &FeatureOptions{Masks: masks, Blocks: []int{0, 1}})
			if err != nil {
				t.Fatal(err)
			}
			last, err := m.Features(ctx, b, &FeatureOptions{Masks: masks})
			if err != nil {
				t.Fatal(err)
			}
			if masks == nil {
				masks = all
			}
			tape := tensor.NewTape(nil)
			tokens, err := m.Encode(tape, b, masks, nil)
			if err != nil {
				t.Fatal(err)
			}
			first, err := m.EncodeBlocks(tape, b, masks, nil, []int{0})
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(*f.Masks) != fmt.Sprint(*masks) || &f.Masks.Keep[0] == &masks.Keep[0] || f.Global != g || f.Dim != d || !slices.Equal(f.Blocks, []int{0, 1}) || !slices.Equal(last.Blocks, []int{1}) {
				t.Errorf("%v: %+v", s, f)
			}
			testkit.SameBits(t, "first block", f.Tokens[0], first[0].Data)
			testkit.SameBits(t, "last block", f.Tokens[1], tokens.Data)
			testkit.SameBits(t, "the default", last.Tokens[0], tokens.Data)
			mean, global := f.Mean(1), f.GlobalTokens(1)
			n := masks.Visible
			for k, v := range mean {
				var sum, size float64
				for j := range n {
					x := float64(tokens.Data[(k/d*(n+g)+j)*d+k%d])
					sum += x
					size += math.Abs(x)
				}
				if math.Abs(float64(v)-sum/float64(n)) > 2*u*size/float64(n) {
					t.Fatalf("%v: mean %d is %v, want %v", s, k, v, sum/float64(n))
				}
			}
			if len(mean) != 2*d || len(global) != 2*g*d {
				t.Fatalf("%d means, %d values of global tokens", len(mean), len(global))
			}
			for b := range 2 {
				testkit.SameBits(t, "global tokens", global[b*g*d:(b+1)*g*d], tokens.Data[(b*(n+g)+n)*d:(b+1)*(n+g)*d])
			}
		}
	}
	b := newBatch(c, 2, 16, 16, 3, "rgb")
	for _, blocks := range [][]int{{2}, {-1}, {1, 0}, {0, 0}} {
		_, err := m.Features(ctx, b, &FeatureOptions{Blocks: blocks})
		testkit.ErrorNames(t, err, "blocks: ", fmt.Sprint(blocks))
	}
	_, err := m.Features(ctx, &Batch{Size: 1, H: 16, W: 16}, nil)
	testkit.ErrorNames(t, err, "inputs: ")
	_, err = m.Features(ctx, b, &FeatureOptions{Masks: newMasks(t, c, b, 3, 4, "depth")})
	testkit.ErrorNames(t, err, "masks: ", "depth")
}

// endsSoon is a context that ends as soon as somebody waits for its end.
type endsSoon struct {
	context.Context
	done chan struct{}
}

func (c endsSoon) Done() <-chan struct{} { return c.done }

func (c endsSoon) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// AfterFunc is what context.AfterFunc calls.
func (c endsSoon) AfterFunc(f func()) (stop func() bool) {
	close(c.done)
	go f() // the caller holds a lock that f takes
	return func() bool { return false }
}

// TestPredictEnds ends contexts at the beginning and in the middle of large calls, the first of
// which pack the weights, and then checks that the model still predicts. The calls would take
// minutes in all if they did not end with their contexts, and must take much less.
func TestPredictEnds(t *testing.T) {
	c, err := Preset("base", 16)
	if err != nil {
		t.Fatal(err)
	}
	size, rounds := 16, 7
	if testing.Short() {
		c.Encoder.Depth, c.Outputs, size, rounds = 1, c.Outputs[1:2], 4, 3
	}
	defer poison.Off()() // it takes time, and is no part of a call
	m, err := NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	b := newBatch(c, size, 224, 224, 1, c.Inputs.Names()...)
	few := newBatch(c, 1, 224, 224, 1, "rgb")
	want, err := m.Predict(context.Background(), few, &PredictOptions{Visible: 8})
	if err != nil {
		t.Fatal(err)
	}
	m.Params.Freeze()
	pool := tensor.NewPool(0)
	defer pool.Close()
	goroutines := runtime.NumGoroutine()

	var took time.Duration
	call := func(ctx context.Context, i int) error {
		begin := time.Now()
		defer func() { took += time.Since(begin) }()
		pool := []*tensor.Pool{pool, nil}[i%2]
		if i%3 < 2 {
			_, err := m.Predict(ctx, b, &PredictOptions{Pool: pool})
			return err
		}
		_, err := m.Features(ctx, b, &FeatureOptions{Pool: pool})
		return err
	}
	for i := range rounds {
		if err := call(endsSoon{context.Background(), make(chan struct{})}, i); !errors.Is(err, context.Canceled) {
			t.Errorf("a context that ends soon: error %v, want context.Canceled", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(20+15*i)*time.Millisecond)
		if err := call(ctx, i); err != nil && !errors.Is(err, context.DeadlineExceeded) { // a fast machine may be done before
			t.Errorf("a context that ends later: error %v, want context.DeadlineExceeded", err)
		}
		cancel()
	}
	if !testing.Short() { // whole calls of the short test take no longer than the contexts
		// One sample with all workers says how long whole calls would have taken, or less: half of them had one worker.
		begin := time.Now()
		if _, err := m.Predict(context.Background(), newBatch(c, 1, 224, 224, 1, c.Inputs.Names()...), &PredictOptions{Pool: pool}); err != nil {
			t.Fatal(err)
		}
		if full := time.Duration(2*rounds*size) * time.Since(begin); took > full/4 {
			t.Errorf("calls that ended took %v in all, whole ones about %v", took, full)
		}
	}
	for runtime.NumGoroutine() > goroutines { // they end soon, unless the test runs into its limit
		time.Sleep(time.Millisecond)
	}

	p, err := m.Predict(context.Background(), few, &PredictOptions{Visible: 8, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Outputs {
		testkit.SameBits(t, p.Outputs[i].Name, p.Outputs[i].Pix, want.Outputs[i].Pix)
	}
	ended, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	if _, err := m.Predict(ended, b, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got the error %v, want context.DeadlineExceeded", err)
	}
}

// wide is a model whose position tables take a second at wideSide×wideSide pixels: patches of a
// single pixel, of which a prediction shows one.
func wide(t *testing.T) (*Model, *PredictOptions) {
	t.Helper()
	c := smallConfig()
	c.ImageSize, c.PatchSize = 4, 1
	c.Inputs = Inputs{{Name: "depth", Kind: KindImage, Channels: 1, Stride: 1}}
	c.Outputs = Outputs{c.Outputs[1]}
	c.Outputs[0].Stride = 1
	m := newModel(t, c)
	m.Params.Freeze()
	return m, &PredictOptions{Visible: 1}
}

const wideSide = 2048

// made reports whether the model keeps a position table for h×w patches.
func (m *Backbone) made(h, w int) bool {
	return slices.ContainsFunc(m.positions, func(p *positionTable) bool { return p.kept([2]int{h, w}) != nil })
}

// started is a context that says when somebody first asks for its end.
type started struct {
	context.Context
	begun func()
}

func (c started) Done() <-chan struct{} {
	c.begun()
	return c.Context.Done()
}

// TestPositionsEnd predicts at a small size while a large table is being made, whose context then
// ends: neither waits for the table.
func TestPositionsEnd(t *testing.T) {
	defer poison.Off()()
	m, o := wide(t)
	large, small := newBatch(m.Config, 1, wideSide, wideSide, 1, "depth"), newBatch(m.Config, 1, 8, 8, 2, "depth")
	for range 3 { // a busy machine may make the large one before it comes to the small one
		ctx, cancel := context.WithCancel(context.Background())
		begun, ended := make(chan struct{}), make(chan error, 1)
		once := sync.OnceFunc(func() { close(begun) })
		go func() {
			_, err := m.Predict(started{ctx, once}, large, o)
			ended <- err
		}()
		<-begun
		time.Sleep(50 * time.Millisecond) // the table is what comes first and takes long
		if _, err := m.Predict(context.Background(), small, o); err != nil {
			t.Error(err)
		}
		waited := m.made(wideSide, wideSide)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) && err != nil {
			t.Errorf("error %v, want context.Canceled", err)
		}
		late := m.made(wideSide, wideSide)
		if !waited && !late {
			return
		}
		t.Logf("the prediction at the small size waited for the table: %v; so did the end of the context: %v", waited, late)
		m.PositionsChanged()
	}
	t.Error("the table of a large size was waited for")
}
