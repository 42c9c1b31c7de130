package tensor

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// imageCases are the operations on images and the small ones that heads need.
func imageCases() []*opCase {
	var all []*opCase
	add := func(name string, in []input, lib func(t *Tape, x []*Tensor) *Tensor, ref func(g *graph, x []*array) *array) *opCase {
		c := &opCase{name: name, in: in, lib: lib, ref: ref}
		all = append(all, c)
		return c
	}
	// Whole and odd grids, one column, kernels larger than the image, more padding than the kernel
	// reaches, no image.
	for i, s := range [][9]int{ // B H W C O kh kw stride pad
		{1, 1, 1, 1, 1, 1, 1, 1, 0}, {2, 5, 4, 3, 4, 3, 3, 1, 1}, {1, 7, 6, 5, 33, 3, 3, 2, 1}, {2, 5, 1, 2, 3, 3, 3, 1, 1}, {1, 2, 3, 2, 3, 5, 7, 1, 3},
		{2, 6, 5, 3, 2, 2, 3, 3, 2}, {1, 4, 5, 3, 2, 1, 1, 1, 0}, {1, 5, 4, 3, 2, 1, 1, 2, 0}, {1, 3, 2, 2, 2, 1, 1, 1, 1}, {1, 3, 2, 2, 2, 2, 2, 1, 3},
		{0, 4, 3, 2, 5, 3, 3, 1, 1}, {1, 3, 4, 2, 17, 3, 2, 5, 1},
		{1, 6, 7, blockK/9 + 1, 40, 3, 3, 1, 1}, {1, 41, blockK/40 + 7, 2, 5, 3, 3, 1, 1}, // blocks of the result, and of the weight's gradient from within a row
		{3, 8, 9, 33, 20, 3, 3, 2, 1},
	} {
		stride, pad := s[7], s[8]
		ins := []input{in(s[:4]...), in(s[4], s[3], s[5], s[6])}
		if i%3 != 2 {
			ins = append(ins, in(s[4]))
		}
		c := add(fmt.Sprintf("convolution/%v", s), ins,
			func(t *Tape, x []*Tensor) *Tensor { return Conv2D(t, x[0], x[1], third(x), stride, pad) },
			func(g *graph, x []*array) *array { return g.conv(x[0], x[1], third(x), stride, pad, false) })
		c.big = i >= 12
	}
	for i, s := range [][7]int{ // B H W C kh kw pad
		{1, 1, 1, 1, 1, 1, 0}, {2, 5, 9, 3, 3, 3, 1}, {1, 9, 12, 17, 7, 7, 3}, {1, 3, 2, 4, 7, 7, 3}, {2, 5, 1, 33, 3, 5, 2}, {1, 9, 8, 5, 7, 7, 0},
		{1, 2, 3, 2, 2, 2, 3}, {0, 4, 3, 2, 3, 3, 1}, {2, 20, 17, 33, 7, 7, 3}, {1, 18, 61, 2, 3, 5, 2},
	} {
		pad := s[6]
		ins := []input{in(s[:4]...), in(s[3], 1, s[4], s[5])}
		if i%3 != 2 {
			ins = append(ins, in(s[3]))
		}
		c := add(fmt.Sprintf("depthwise/%v", s), ins,
			func(t *Tape, x []*Tensor) *Tensor { return DepthwiseConv2D(t, x[0], x[1], third(x), pad) },
			func(g *graph, x []*array) *array { return g.conv(x[0], x[1], third(x), 1, pad, true) })
		c.big = i >= 8
	}
	for i, s := range [][6]int{ // B H W C O k
		{1, 1, 1, 1, 1, 1}, {2, 3, 2, 5, 4, 2}, {1, 2, 3, 3, 33, 4}, {0, 3, 2, 4, 2, 2}, {2, 4, 1, 3, 2, 3}, {2, 12, 9, 40, 6, 4},
	} {
		ins := []input{in(s[:4]...), in(s[3], s[4], s[5], s[5])}
		if i%3 != 2 {
			ins = append(ins, in(s[4]))
		}
		c := add(fmt.Sprintf("transposed convolution/%v", s), ins,
			func(t *Tape, x []*Tensor) *Tensor { return ConvTranspose2D(t, x[0], x[1], third(x)) },
			func(g *graph, x []*array) *array { return g.convTranspose(x[0], x[1], third(x)) })
		c.big = i >= 5
	}
	for _, s := range [][6]int{ // B H W C h w
		{1, 1, 1, 1, 1, 1}, {2, 3, 4, 5, 6, 8}, {1, 4, 3, 2, 7, 10}, {1, 9, 7, 3, 4, 3}, {1, 5, 1, 2, 3, 4}, {2, 4, 5, 1, 1, 1}, {1, 1, 2, 3, 5, 9},
		{1, 3, 4, 2, 3, 4}, {0, 3, 3, 2, 4, 4}, {1, 2, 3, 1, 40, 3},
	} {
		for _, align := range []bool{false, true} {
			add(fmt.Sprintf("resize/%v align corners %v", s, align), []input{in(s[:4]...)},
				func(t *Tape, x []*Tensor) *Tensor { return ResizeBilinear(t, x[0], s[4], s[5], align) },
				func(g *graph, x []*array) *array { return g.resize(x[0], s[4], s[5], align) })
		}
	}
	for _, n := range []int{0, 1, 7, 20000} {
		r := seeded("mask")
		mask := normal(r, n)
		for i := range mask {
			if mask[i] < 0 {
				mask[i] = 0
			}
		}
		add(fmt.Sprintf("elementwise/%d", n), []input{in(1, n), in(1, n)},
			func(t *Tape, x []*Tensor) *Tensor { return Mul(t, ReLU(t, Add(t, x[0], x[1])), mask) },
			func(g *graph, x []*array) *array { return g.scaled(g.relu(g.add(x[0], x[1])), mask) }).loose = n == 1
	}
	for _, s := range [][5]int{{1, 1, 1, 1, 1}, {2, 3, 2, 2, 5}, {1, 2, 3, 4, 3}, {0, 2, 2, 2, 3}} { // B nh nw s C
		add(fmt.Sprintf("depth to space/%v", s), []input{in(s[0], s[1]*s[2], s[3]*s[3]*s[4])},
			func(t *Tape, x []*Tensor) *Tensor { return DepthToSpace(t, x[0], s[1], s[2], s[3]) },
			func(g *graph, x []*array) *array { return g.depthToSpace(x[0], s[1], s[2], s[3]) })
	}
	for _, s := range [][3]int{{1, 1, 1}, {5, 3, 4}, {0, 3, 2}, {7, 0, 3}, {300, 40, 33}} {
		add(fmt.Sprintf("concatenation/%v", s), []input{in(s[0], 1, s[1]), in(s[0], 1, s[2])},
			func(t *Tape, x []*Tensor) *Tensor { return ConcatCols(t, x[0], x[1], x[0]) },
			func(g *graph, x []*array) *array { return g.concat(g.concat(x[0], x[1]), x[0]) })
	}
	for _, s := range [][3]int{{1, 1, 1}, {2, 5, 7}, {3, 130, 33}, {0, 4, 3}} {
		add(fmt.Sprintf("mean of rows/%v", s), []input{in(s[:]...)},
			func(t *Tape, x []*Tensor) *Tensor { return MeanRows(t, x[0]) },
			func(g *graph, x []*array) *array { return g.meanRows(x[0]) })
		add(fmt.Sprintf("normalisation/%v", s), []input{in(s[:]...)},
			func(t *Tape, x []*Tensor) *Tensor { return NormalizeRows(t, x[0]) },
			func(g *graph, x []*array) *array { return g.normalize(x[0]) }).loose = s[2] == 1
	}
	for _, s := range [][4]int{{1, 1, 1, 1}, {2, 3, 4, 5}, {1, 17, 40, 33}, {2, 0, 3, 4}, {2, 3, 0, 4}, {2, 3, 4, 0}, {0, 1, 2, 3}} { // B M N K
		add(fmt.Sprintf("matrix product/%v", s), []input{in(s[0], s[1], s[3]), in(s[0], s[2], s[3])},
			func(t *Tape, x []*Tensor) *Tensor { return MatMulT(t, x[0], x[1]) },
			func(g *graph, x []*array) *array { return g.matMulT(x[0], x[1]) })
	}
	for _, s := range [][2]int{{1, 1}, {0, 4}, {5, 7}, {50, 31}} {
		r, c := seeded(fmt.Sprint("berHu", s)), new(float64)
		target, weights := normal(r, s[0]*s[1]), normal(r, s[0])
		for i := range weights {
			if weights[i] = float32(math.Abs(float64(weights[i]))); weights[i] < 0.3 {
				weights[i] = 0
			}
		}
		add(fmt.Sprintf("berHu loss/%v", s), []input{in(s[0], s[1])},
			func(t *Tape, x []*Tensor) *Tensor {
				return BerHuLoss(t, x[0], target, weights, BerHuBound(t, x[0], target, weights))
			},
			func(g *graph, x []*array) *array { return g.berHu(x[0], target, weights, c) })
	}
	// One tensor in several places.
	add("graph/image and weight", []input{in(2, 2, 2, 2)},
		func(t *Tape, x []*Tensor) *Tensor { return Conv2D(t, x[0], x[0], nil, 1, 1) },
		func(g *graph, x []*array) *array { return g.conv(x[0], x[0], nil, 1, 1, false) })
	add("graph/transposed image and weight", []input{in(2, 2, 2, 2)},
		func(t *Tape, x []*Tensor) *Tensor { return ConvTranspose2D(t, x[0], x[0], nil) },
		func(g *graph, x []*array) *array { return g.convTranspose(x[0], x[0], nil) })
	add("graph/depthwise image and weight", []input{in(2, 1, 2, 2), in(2)},
		func(t *Tape, x []*Tensor) *Tensor { return DepthwiseConv2D(t, x[0], x[0], x[1], 2) },
		func(g *graph, x []*array) *array { return g.conv(x[0], x[0], x[1], 1, 2, true) })
	add("graph/matrix and itself", []input{in(2, 3, 4)},
		func(t *Tape, x []*Tensor) *Tensor { return MatMulT(t, x[0], x[0]) },
		func(g *graph, x []*array) *array { return g.matMulT(x[0], x[0]) })
	add("graph/sum with itself", []input{in(3, 4)},
		func(t *Tape, x []*Tensor) *Tensor { return Add(t, x[0], x[0]) },
		func(g *graph, x []*array) *array { return g.add(x[0], x[0]) })
	add("graph/residual convolution unit", []input{in(1, 3, 4, 3), in(3, 3, 3, 3).around(0, 0.3), in(3), in(3, 1, 3, 3)},
		func(t *Tape, x []*Tensor) *Tensor {
			h := Conv2D(t, ReLU(t, x[0]), x[1], x[2], 1, 1)
			h = Add(t, Conv2D(t, ReLU(t, h), x[1], x[2], 1, 1), x[0])
			h = Add(t, DepthwiseConv2D(t, h, x[3], x[2], 1), DepthwiseConv2D(t, x[0], x[3], x[2], 1))
			return Add(t, ResizeBilinear(t, h, 5, 5, true), ResizeBilinear(t, h, 5, 5, false))
		},
		func(g *graph, x []*array) *array {
			h := g.conv(g.relu(x[0]), x[1], x[2], 1, 1, false)
			h = g.add(g.conv(g.relu(h), x[1], x[2], 1, 1, false), x[0])
			h = g.add(g.conv(h, x[3], x[2], 1, 1, true), g.conv(x[0], x[3], x[2], 1, 1, true))
			return g.add(g.resize(h, 5, 5, true), g.resize(h, 5, 5, false))
		}).loose = true
	add("graph/readers of rows", []input{in(2, 4, 12)},
		func(t *Tape, x []*Tensor) *Tensor {
			h := DepthToSpace(t, x[0], 2, 2, 2) // [2, 4, 4, 3]
			n := NormalizeRows(t, h)
			m := Mul(t, n, ones(96))
			return MeanRows(t, View(t, ConcatCols(t, h, m, n, h), 2, 16, 12))
		},
		func(g *graph, x []*array) *array {
			h := g.depthToSpace(x[0], 2, 2, 2)
			n := g.normalize(h)
			return g.meanRows(g.view(g.concat(g.concat(g.concat(h, n), n), h), 2, 16, 12))
		}).loose = true
	return all
}

// third is the bias of a case that has one.
func third[T any](x []*T) *T {
	if len(x) < 3 {
		return nil
	}
	return x[2]
}

func FuzzConv2D(f *testing.F) {
	f.Add(uint8(9), uint8(7), uint8(3), uint8(5), uint8(0x33), uint8(0x11), uint8(0))
	f.Add(uint8(2), uint8(3), uint8(40), uint8(33), uint8(0x17), uint8(0x23), uint8(0x85))
	f.Fuzz(func(t *testing.T, h, w, c, o, kernel, how, level uint8) {
		height, width, in0, out := 1+int(h%12), 1+int(w%12), 1+int(c%50), 1+int(o%50)
		stride, pad := 1+int(how&3), int(how>>4)%4
		kh, kw := 1+int(kernel&15)%min(8, height+2*pad), 1+int(kernel>>4)%min(8, width+2*pad)
		for height*width*in0*out*kh*kw > 1<<19 {
			in0, out = (in0+1)/2, (out+1)/2
			kh, kw = (kh+1)/2, (kw+1)/2
		}
		name := fmt.Sprint(height, width, in0, out, kh, kw, stride, pad)
		fuzzCase(t, &opCase{
			name: "convolution/" + name, in: []input{in(1, height, width, in0), in(out, in0, kh, kw), in(out)},
			lib: func(t *Tape, x []*Tensor) *Tensor { return Conv2D(t, x[0], x[1], x[2], stride, pad) },
			ref: func(g *graph, x []*array) *array { return g.conv(x[0], x[1], x[2], stride, pad, false) },
		}, level)
		fuzzCase(t, &opCase{
			name: "depthwise/" + name, in: []input{in(1, height, width, in0), in(in0, 1, kh, kw), in(in0)},
			lib: func(t *Tape, x []*Tensor) *Tensor { return DepthwiseConv2D(t, x[0], x[1], x[2], pad) },
			ref: func(g *graph, x []*array) *array { return g.conv(x[0], x[1], x[2], 1, pad, true) },
		}, level)
	})
}

// TestImageOpsSteady: after the first steps, operations on images allocate closures and nothing
// that grows with the data.
func TestImageOpsSteady(t *testing.T) {
	for _, make := range []func(*Pool) *Tape{NewTape, NewInference} {
		t.Run(fmt.Sprintf("recording=%v", make(nil).recording), func(t *testing.T) {
			small, large := perStep(imageStep(make(nil), 10)), perStep(imageStep(make(nil), 30))
			t.Logf("%d and %d bytes a step", small, large)
			if large > small+512 || small > 32<<10 {
				t.Errorf("%d bytes a step, and %d on larger images", small, large)
			}
		})
	}
}

// imageStep is a step on images of n rows.
func imageStep(tape *Tape, n int) func(int) {
	x, w, up, dw := New(1, n, 30, 8).WithGrad(), New(8, 8, 3, 3).WithGrad(), New(8, 8, 2, 2).WithGrad(), New(8, 1, 7, 7).WithGrad()
	target, weights := make([]float32, 2*n*61*16), ones(1)
	return func(int) {
		tape.Reset()
		h := Conv2D(tape, Conv2D(tape, x, w, nil, 1, 1), w, nil, 2, 1)
		h = DepthwiseConv2D(tape, ReLU(tape, ConvTranspose2D(tape, h, up, nil)), dw, nil, 3)
		h = ResizeBilinear(tape, ConcatCols(tape, h, NormalizeRows(tape, Add(tape, h, h))), 2*n, 61, true)
		h = View(tape, h, 1, len(target))
		loss := BerHuLoss(tape, h, target, weights, BerHuBound(tape, h, target, weights))
		if tape.recording {
			tape.Backward(loss)
		}
	}
}

// TestResizeAsPyTorch has what torch.nn.functional.interpolate of PyTorch 2.13 makes of [[1 -2 4]
// [8 0.5 -3]], and TestReference does not know: where pixels lie.
func TestResizeAsPyTorch(t *testing.T) {
	x := From([]float32{1, -2, 4, 8, 0.5, -3}, 1, 2, 3, 1)
	for _, c := range []struct {
		h, w  int
		align bool
		want  []float32
	}{
		{4, 6, false, []float32{1, 0.25, -1.25, -0.5, 2.5, 4, 2.75, 1.71875, -0.34375, -0.46875, 1.34375, 2.25,
			6.25, 4.65625, 1.46875, -0.40625, -0.96875, -1.25, 8, 6.125, 2.375, -0.375, -2.125, -3}},
		{4, 6, true, []float32{1, -0.2, -1.4, -0.8, 1.6, 4, 3.3333333, 1.5333333, -0.2666667, -0.6, 0.5333333, 1.6666667,
			5.6666667, 3.2666667, 0.8666667, -0.4, -0.5333333, -0.6666667, 8, 5, 2, -0.2, -1.6, -3}},
		{3, 5, false, []float32{1, -0.2, -2, 1.6, 4, 4.5, 2.4, -0.75, 0, 0.5, 8, 5, 0.5, -1.6, -3}},
		{3, 5, true, []float32{1, -0.5, -2, 1, 4, 4.5, 1.875, -0.75, -0.125, 0.5, 8, 4.25, 0.5, -1.25, -3}},
		{1, 2, false, []float32{3.1875, 0.1875}},
		{1, 2, true, []float32{1, 4}},
	} {
		t.Run(fmt.Sprintf("%dx%d/align=%v", c.h, c.w, c.align), func(t *testing.T) {
			y := ResizeBilinear(NewTape(nil), x, c.h, c.w, c.align)
			for i, v := range y.Data {
				if !(math.Abs(float64(v-c.want[i])) <= 1.5e-6) {
					t.Errorf("element %d is %v, want %v", i, v, c.want[i])
				}
			}
		})
	}
}

// TestNaNStays: a NaN is not taken for something negative, whatever its sign.
func TestNaNStays(t *testing.T) {
	nan := float32(math.NaN())
	negative := math.Float32frombits(math.Float32bits(nan) | 1<<31)
	tape := NewTape(nil)
	x := From([]float32{nan, negative, -1, 0, 2}, 5).WithGrad()
	y := ReLU(tape, x)
	if !allNaN(y.Data[:2]) || !sameValues(y.Data[2:], 0, 0, 2) {
		t.Errorf("ReLU is %v", y.Data)
	}
	tape.Backward(project(tape, y, []float32{3, 3, 3, 3, 3}))
	if !sameValues(x.Grad, 3, 3, 0, 0, 3) {
		t.Errorf("gradient of ReLU is %v", x.Grad)
	}
	tape.Reset()
	if y := NormalizeRows(tape, From([]float32{nan, 1}, 1, 2)); !allNaN(y.Data) {
		t.Errorf("normalised rows are %v", y.Data)
	}
}

func sameValues(got []float32, want ...float32) bool {
	for i, v := range want {
		if got[i] != v {
			return false
		}
	}
	return len(got) == len(want)
}

func TestImagePanics(t *testing.T) {
	tape := NewTape(nil)
	x, w := New(1, 4, 5, 2), New(3, 2, 3, 3)
	for _, c := range []struct {
		want string
		f    func()
	}{
		{"tensor: Conv2D axes of x, got 2, want 4", func() { Conv2D(tape, New(4, 2), w, nil, 1, 0) }},
		{"tensor: Conv2D axes of the weight, got 2, want 4", func() { Conv2D(tape, x, New(3, 2), nil, 1, 0) }},
		{"tensor: Conv2D channels of the weight, got 3, want 2", func() { Conv2D(tape, x, New(2, 3, 3, 3), nil, 1, 0) }},
		{"tensor: Conv2D len(bias), got 2, want 3", func() { Conv2D(tape, x, w, New(2), 1, 0) }},
		{"tensor: Conv2D stride and padding, got 0 and 1, want at least 1 and 0", func() { Conv2D(tape, x, w, nil, 0, 1) }},
		{"tensor: Conv2D stride and padding, got 1 and -1, want at least 1 and 0", func() { Conv2D(tape, x, w, nil, 1, -1) }},
		{"tensor: Conv2D kernel, got 7, want 1 to 6, the padded image", func() { Conv2D(tape, x, New(3, 2, 7, 7), nil, 1, 1) }},
		{"tensor: Conv2D kernel, got 0, want 1 to 4, the padded image", func() { Conv2D(tape, x, New(3, 2, 0, 1), nil, 1, 0) }},
		{"tensor: ConvTranspose2D axes of x, got 2, want 4", func() { ConvTranspose2D(tape, New(4, 2), w, nil) }},
		{"tensor: ConvTranspose2D axes of the weight, got 1, want 4", func() { ConvTranspose2D(tape, x, New(3), nil) }},
		{"tensor: shape of ConvTranspose2D weight, got [3 2 3 3], want [2 2 3 3]", func() { ConvTranspose2D(tape, x, w, nil) }},
		{"tensor: shape of ConvTranspose2D weight, got [2 3 3 2], want [2 3 3 3]", func() { ConvTranspose2D(tape, x, New(2, 3, 3, 2), nil) }},
		{"tensor: ConvTranspose2D len(bias), got 2, want 3", func() { ConvTranspose2D(tape, x, New(2, 3, 2, 2), New(2)) }},
		{"tensor: DepthwiseConv2D axes of x, got 2, want 4", func() { DepthwiseConv2D(tape, New(4, 2), w, nil, 1) }},
		{"tensor: DepthwiseConv2D axes of the weight, got 1, want 4", func() { DepthwiseConv2D(tape, x, New(3), nil, 1) }},
		{"tensor: shape of DepthwiseConv2D weight, got [3 2 3 3], want [2 1 3 3]", func() { DepthwiseConv2D(tape, x, w, nil, 1) }},
		{"tensor: DepthwiseConv2D len(bias), got 3, want 2", func() { DepthwiseConv2D(tape, x, New(2, 1, 3, 3), New(3), 1) }},
		{"tensor: DepthwiseConv2D kernel, got 7, want 1 to 5, the padded image", func() { DepthwiseConv2D(tape, x, New(2, 1, 3, 7), nil, 0) }},
		{"tensor: ResizeBilinear axes of x, got 1, want 4", func() { ResizeBilinear(tape, New(3), 1, 1, true) }},
		{"tensor: ResizeBilinear sizes, got 4×5 to 0×3, want at least 1", func() { ResizeBilinear(tape, x, 0, 3, true) }},
		{"tensor: shape of Add's second term, got [3 2 3 3], want [1 4 5 2]", func() { Add(tape, x, w) }},
		{"tensor: Mul constants, got 3, want 40", func() { Mul(tape, x, ones(3)) }},
		{"tensor: DepthToSpace axes, got 4, want 3", func() { DepthToSpace(tape, x, 1, 1, 1) }},
		{"tensor: DepthToSpace tokens, got 4, want 6", func() { DepthToSpace(tape, New(1, 4, 8), 2, 3, 2) }},
		{"tensor: DepthToSpace features, got 7, want 4", func() { DepthToSpace(tape, New(1, 4, 7), 2, 2, 2) }},
		{"tensor: shape of ConcatCols part, got [3 2 3 3], want [1 4 5 3]", func() { ConcatCols(tape, x, w) }},
		{"tensor: MeanRows axes, got 4, want 3", func() { MeanRows(tape, x) }},
		{"tensor: MatMulT axes, got 4, want 3", func() { MatMulT(tape, x, x) }},
		{"tensor: MatMulT axes, got 4, want 3", func() { MatMulT(tape, New(1, 2, 3), x) }},
		{"tensor: shape of MatMulT second matrix, got [1 2 4], want [1 2 3]", func() { MatMulT(tape, New(1, 2, 3), New(1, 2, 4)) }},
		{"tensor: BerHuLoss len(target), got 3, want 40", func() { BerHuLoss(tape, x, ones(3), ones(20), 1) }},
		{"tensor: BerHuLoss len(weights), got 3, want 20", func() { BerHuLoss(tape, x, ones(40), ones(3), 1) }},
		{"tensor: BerHuBound len(target), got 3, want 40", func() { BerHuBound(tape, x, ones(3), ones(20)) }},
		{"tensor: BerHuBound len(weights), got 3, want 20", func() { BerHuBound(tape, x, ones(40), ones(3)) }},
	} {
		t.Run(c.want, func(t *testing.T) { testkit.MustPanic(t, c.want, c.f) })
	}
}
