package train

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae/data"
)

// Ranks are processes that train together, each on its part of every batch. Package mpi has them for
// what an MPI launcher started.
type Ranks interface {
	Rank() int // of this process: 0 ≤ Rank() < Size()
	Size() int
	// Sum replaces x by its sum over all ranks, which has the same bits on all of them and for each
	// call with the same values. All ranks call it with equally many values, and their calls in the
	// same order. After an error the ranks are no longer in step.
	Sum(ctx context.Context, x []float32) error
}

// BFloat16Ranks can also sum what travels in bfloat16, with half of the bytes.
type BFloat16Ranks interface {
	Ranks
	// SumBFloat16 is Sum, but for rounding: each rank's values and their sum are rounded to bfloat16,
	// to nearest even, and added up in float32.
	SumBFloat16(ctx context.Context, x []float32) error
}

// RankError says which rank ended a run of several.
type RankError struct {
	Rank int
	Host string
	Text string // what was wrong there
	// Err is the error itself on the rank that had it, and otherwise nil.
	Err error
}

func (e *RankError) Error() string {
	return fmt.Sprintf("rank %d on %s: %s", e.Rank, e.Host, strings.TrimSpace(e.Text))
}

func (e *RankError) Unwrap() error { return e.Err }

// ErrDiffer is wrapped by the error of ranks that cannot train together.
var ErrDiffer = errors.New("all ranks must have the same")

// group are the ranks of a run, seen from one of them. A nil group is a process that trains alone.
//
// Methods that return an error are collective, except divide and ownBatches: a rank that calls one
// waits until all others have called it too, so all must come to the same calls in the same order. What
// a rank alone knows, above all an error of its own, must not decide whether it comes to the next call:
// it goes through agree first, which gives all ranks the same error. A *RankError and the error of a
// lost rank then pass every further agree without a sum. context.Canceled does not, so all ranks must
// pass it through agree equally often.
type group struct {
	ranks Ranks
	ctx   context.Context // never ends: a rank that ended alone would leave the others waiting
	host  string
	first int  // place of this rank's first sample in a batch
	of    int  // samples of a batch
	half  bool // gradients travel in bfloat16; ranks are BFloat16Ranks

	outer  context.Context    // of the process, whose end is an interrupt
	cancel context.CancelFunc // ends the run on this rank when all have agreed to
}

func newGroup(ctx context.Context, ranks Ranks) *group {
	if ranks == nil || ranks.Size() < 2 {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return &group{ranks: ranks, ctx: context.WithoutCancel(ctx), host: host}
}

// lead reports whether this process is the one that writes.
func (g *group) lead() bool { return g == nil || g.ranks.Rank() == 0 }

// part returns which of how many parts of a dataset this process evaluates.
func (g *group) part() (part, parts int) {
	if g == nil {
		return 0, 1
	}
	return g.ranks.Rank(), g.ranks.Size()
}

// divide divides a batch: this rank takes count samples, the first of which has the place first.
// Where samples are shared out among lanes, a rank takes whole lanes.
func (g *group) divide(plan *Plan) (first, count int, err error) {
	batch := plan.Recipe.Batch
	if g == nil {
		return 0, batch, nil
	}
	parts := batch
	if plan.Lanes > 0 {
		parts = plan.Lanes
	}
	rank, size := g.ranks.Rank(), g.ranks.Size()
	if size > parts {
		return 0, 0, fmt.Errorf("train.batch: a batch of %d can be shared among at most %d ranks, but there are %d; use fewer, or a larger batch",
			batch, parts, size)
	}
	at := func(rank int) int { return batch * (parts * rank / size) / parts }
	g.first, g.of = at(rank), batch
	return g.first, at(rank+1) - g.first, nil
}

// place returns the place in a batch of sample number i of this rank.
func (g *group) place(i int) int {
	if g == nil {
		return i
	}
	return g.first + i
}

// sum is Ranks.Sum.
func (g *group) sum(x []float32) error {
	if err := g.ranks.Sum(g.ctx, x); err != nil {
		return &lostError{err}
	}
	return nil
}

// sumGradients is sum with the precision of gradients.
func (g *group) sumGradients(x []float32) error {
	if !g.half {
		return g.sum(x)
	}
	if err := g.ranks.(BFloat16Ranks).SumBFloat16(g.ctx, x); err != nil {
		return &lostError{err}
	}
	return nil
}

// gather returns what each rank has. Bytes travel as numbers, to which the other ranks add zero.
func (g *group) gather(own []byte) ([][]byte, error) {
	rank, size := g.ranks.Rank(), g.ranks.Size()
	// In two numbers, for float32 has all integers to 2^24 only.
	lengths := make([]float32, 2*size)
	lengths[2*rank], lengths[2*rank+1] = float32(len(own)>>16), float32(len(own)&0xffff)
	if err := g.sum(lengths); err != nil {
		return nil, err
	}
	all, n, at := make([][]byte, size), 0, 0
	for r := range all {
		all[r] = make([]byte, int(lengths[2*r])<<16|int(lengths[2*r+1]))
		if r == rank {
			at = n
		}
		n += len(all[r])
	}
	x := make([]float32, n)
	for i, b := range own {
		x[at+i] = float32(b)
	}
	if err := g.sum(x); err != nil {
		return nil, err
	}
	for _, b := range all {
		for i := range b {
			b[i] = byte(x[i])
		}
		x = x[len(b):]
	}
	return all, nil
}

// sumFloats replaces x by its sum over all ranks, added in float64 in the order of ranks.
func (g *group) sumFloats(x []float64) error {
	if g == nil {
		return nil
	}
	// In parts, because gather takes memory for what all ranks have.
	for part := range slices.Chunk(x, 1<<14) {
		if err := g.sumPart(part); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) sumPart(x []float64) error {
	var own []byte
	for _, v := range x {
		own = binary.LittleEndian.AppendUint64(own, math.Float64bits(v))
	}
	all, err := g.gather(own)
	if err != nil {
		return err
	}
	clear(x)
	for r, b := range all {
		if len(b) != len(own) {
			return fmt.Errorf("rank %d sums %d numbers, and this one %d", r, len(b)/8, len(x))
		}
		for i := range x {
			v := math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
			if r == 0 {
				x[i] = v
			} else {
				x[i] += v
			}
		}
	}
	return nil
}

// sumInts is sumFloats for counts below 2^53.
func (g *group) sumInts(x []int) error {
	if g == nil {
		return nil
	}
	f := make([]float64, len(x))
	for i, v := range x {
		f[i] = float64(v)
	}
	if err := g.sumFloats(f); err != nil {
		return err
	}
	for i, v := range f {
		x[i] = int(v)
	}
	return nil
}

// least returns the smallest number of all ranks.
func (g *group) least(n int) (int, error) {
	if g == nil {
		return n, nil
	}
	all, err := g.gather(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	if err != nil {
		return 0, err
	}
	for _, b := range all {
		n = min(n, int(binary.LittleEndian.Uint64(b)))
	}
	return n, nil
}

// largest returns the largest number of all ranks, or NaN if one has that.
func (g *group) largest(x float64) (float64, error) {
	if g == nil {
		return x, nil
	}
	all, err := g.gather(binary.LittleEndian.AppendUint64(nil, math.Float64bits(x)))
	if err != nil {
		return 0, err
	}
	for _, b := range all {
		x = max(x, math.Float64frombits(binary.LittleEndian.Uint64(b)))
	}
	return x, nil
}

// lostError is an error of a sum: the ranks are out of step, and can agree on nothing any more.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// agree makes an error of one rank that of all: a *RankError, that of the lowest rank that has one,
// or context.Canceled if a rank was interrupted and none has another. All ranks call it at the same
// place. A *RankError passes unchanged, for all ranks have it already.
func (g *group) agree(err error) error {
	if g == nil || errors.As(err, new(*RankError)) || errors.As(err, new(*lostError)) {
		return err
	}
	var failed, stopped float32
	switch {
	case data.Interrupted(err):
		stopped = 1
	case err != nil:
		failed = 1
	}
	n := []float32{failed, stopped}
	if e := g.sum(n); e != nil {
		return errors.Join(err, e)
	}
	if n[0] == 0 && n[1] == 0 {
		return nil
	}
	if n[0] == 0 {
		return context.Canceled
	}
	var own []byte
	if failed > 0 {
		own = []byte(g.host + "\n" + err.Error())
	}
	all, e := g.gather(own)
	if e != nil {
		return errors.Join(err, e)
	}
	for r, b := range all {
		if len(b) == 0 {
			continue
		}
		host, text, _ := bytes.Cut(b, []byte("\n"))
		failure := &RankError{Rank: r, Host: string(host), Text: string(text)}
		if r == g.ranks.Rank() {
			failure.Err = err
		}
		return failure
	}
	return err
}

// property is something that all ranks must have the same of.
type property struct {
	name, value string
	remedy      string
}

// same returns an error that wraps ErrDiffer, the same on all ranks, if a rank has another value of a
// property than rank 0. difference may be nil; it says in which part two values of the first
// property differ.
func (g *group) same(list []property, difference func(a, b string) string) error {
	if g == nil {
		return nil
	}
	own := []byte(g.host)
	for _, p := range list {
		own = append(own, 0)
		own = append(own, p.value...)
	}
	all, err := g.gather(own)
	if err != nil {
		return err
	}
	zero := bytes.Split(all[0], []byte{0})
	for r, b := range all {
		values := bytes.Split(b, []byte{0})
		for i, p := range list {
			if len(values) != len(zero) || bytes.Equal(values[i+1], zero[i+1]) {
				continue
			}
			a, b := string(zero[i+1]), string(values[i+1])
			what := fmt.Sprintf("%s, and rank 0 on %s has %s", b, zero[0], a)
			if i == 0 && difference != nil {
				what = difference(a, b)
			}
			return fmt.Errorf("%w %s: rank %d on %s has %s; %s", ErrDiffer, p.name, r, values[0], what, p.remedy)
		}
		if len(values) != len(zero) {
			return fmt.Errorf("%w version of gomae: rank %d on %s has another than rank 0 on %s", ErrDiffer, r, values[0], zero[0])
		}
	}
	return nil
}

// broadcast gives all ranks the values of rank 0. They must be finite.
func (g *group) broadcast(x []float32) error {
	if g == nil {
		return nil
	}
	if !g.lead() {
		for i := range x {
			x[i] = float32(math.Copysign(0, -1)) // which adds nothing, not even to −0
		}
	}
	return g.sum(x)
}

// broadcastInts is broadcast for numbers from −1 to 2^52.
func (g *group) broadcastInts(x ...*int) error {
	if g == nil {
		return nil
	}
	v := make([]int, len(x))
	if g.lead() {
		for i, p := range x {
			v[i] = *p + 1
		}
	}
	if err := g.sumInts(v); err != nil {
		return err
	}
	for i, p := range x {
		*p = v[i] - 1
	}
	return nil
}
