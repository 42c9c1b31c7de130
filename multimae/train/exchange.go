package train

import (
	"fmt"
	"strings"
	"time"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// bucketValues is how many values the ranks sum at a time, or more, by less than a parameter: enough
// that a message takes longer than to begin it, and few enough that the first sum begins soon after
// the backward pass.
const bucketValues = 1 << 18

// exchange sums the gradients of all ranks, some parameters at a time, in the order in which the
// backward pass has finished with them, and while that goes on.
type exchange struct {
	group   *group
	params  []*nn.Param
	order   []*nn.Param // in which gradients are complete; nil before the first step
	buckets []*bucket   // of order
	of      map[*tensor.Tensor]*bucket

	sent   int           // buckets of this step that are being summed, or have been
	busy   time.Duration // of this step: in sums
	waited time.Duration // of this step: for sums, with nothing to compute meanwhile
	queue  chan *bucket
	result chan error
}

// bucket is some parameters whose gradients are summed together.
type bucket struct {
	params []*nn.Param
	left   int       // parameters whose gradients are not complete
	flat   []float32 // their gradients, and for each whether a rank has one
}

func newExchange(g *group, sets []*nn.Params) *exchange {
	x := &exchange{group: g}
	for _, ps := range sets {
		for _, p := range ps.All() {
			if !p.Fixed {
				x.params = append(x.params, p)
			}
		}
	}
	return x
}

// begin starts the exchange of a step. complete must be called from the goroutine of the backward
// pass.
func (x *exchange) begin() {
	x.sent, x.busy, x.waited = 0, 0, 0
	for _, b := range x.buckets {
		b.left = len(b.params)
	}
	x.queue, x.result = make(chan *bucket, len(x.params)), make(chan error, 1)
	go func() {
		var err error
		for b := range x.queue {
			began := time.Now()
			if err == nil {
				err = b.sum(x.group)
			}
			x.busy += time.Since(began)
		}
		x.result <- err
	}()
}

// complete says that the gradient of a parameter will not change any more.
func (x *exchange) complete(leaf *tensor.Tensor) {
	if x.buckets == nil { // in the first step the order is only noted
		for _, p := range x.params {
			if p.Tensor == leaf {
				x.order = append(x.order, p)
			}
		}
		return
	}
	if b := x.of[leaf]; b != nil {
		b.left--
	}
	// All ranks sum the buckets in one order.
	for x.sent < len(x.buckets) && x.buckets[x.sent].left <= 0 {
		x.queue <- x.buckets[x.sent]
		x.sent++
	}
}

// end sums what is left and gives the parameters the sums for gradients.
func (x *exchange) end(t *tensor.Tape) error {
	began := time.Now()
	if x.buckets == nil {
		if err := x.arrange(); err != nil {
			close(x.queue)
			<-x.result
			return err
		}
	}
	for ; x.sent < len(x.buckets); x.sent++ {
		x.queue <- x.buckets[x.sent]
	}
	close(x.queue)
	if err := <-x.result; err != nil {
		return err
	}
	x.waited = time.Since(began)
	for _, b := range x.buckets {
		at := 0
		for i, p := range b.params {
			if b.flat[len(b.flat)-len(b.params)+i] > 0 {
				t.SetGrad(p.Tensor, b.flat[at:at+len(p.Grad)])
			} else {
				t.SetGrad(p.Tensor, nil)
			}
			at += len(p.Grad)
		}
	}
	return nil
}

// arrange makes the buckets.
func (x *exchange) arrange() error {
	seen := map[*nn.Param]bool{}
	for _, p := range x.order {
		seen[p] = true
	}
	for _, p := range x.params {
		if !seen[p] {
			x.order = append(x.order, p)
		}
	}
	x.of = map[*tensor.Tensor]*bucket{}
	var names []string
	size := 0
	for _, p := range x.order {
		n := len(x.buckets)
		if n == 0 || size >= bucketValues {
			x.buckets, n, size = append(x.buckets, new(bucket)), n+1, 0
		}
		b := x.buckets[n-1]
		b.params = append(b.params, p)
		x.of[p.Tensor] = b
		size += len(p.Grad)
		names = append(names, p.Name)
	}
	for _, b := range x.buckets {
		n := len(b.params)
		for _, p := range b.params {
			n += len(p.Grad)
		}
		b.flat = make([]float32, n)
	}
	order := fmt.Sprintf("%d parameters, %08x", len(names), checksum([]byte(strings.Join(names, " "))))
	return x.group.same([]property{{name: "order of gradients", value: order, remedy: "start all ranks alike"}}, nil)
}

// sum sums the gradients over all ranks.
func (b *bucket) sum(g *group) error {
	at := 0
	for i, p := range b.params {
		has := &b.flat[len(b.flat)-len(b.params)+i]
		part := b.flat[at : at+len(p.Grad)]
		if *has = 0; p.HasGrad() {
			*has = 1
			copy(part, p.Grad)
		} else {
			clear(part)
		}
		at += len(p.Grad)
	}
	return g.sumGradients(b.flat)
}
