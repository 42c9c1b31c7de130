package multimae

import (
	"sync"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// positionTable is a stored position table, which is not trained. A model and its replicas share the
// copies.
type positionTable struct {
	table *tensor.Tensor // [1, dim, h, w]
	how   vit.Resampling // for other grids than h×w
	*positionCopies
}

// positionCopies are copies of a table in token order, one for each grid that was asked for.
type positionCopies struct {
	mu     sync.Mutex
	copies map[[2]int]*tensor.Tensor // by grid
	values int                       // in copies
}

// newPositions registers prefix.pos_emb.
func (m *Backbone) newPositions(prefix string, dim int, how vit.Resampling) *positionTable {
	h, w := m.config.positionGrid()
	init := func(_ *nn.RNG, x []float32) { vit.SinCos(x, dim, h, w) }
	p := &positionTable{table: m.Params.AddFixed(prefix+".pos_emb", init, 1, dim, h, w), how: how, positionCopies: new(positionCopies)}
	m.positions = append(m.positions, p)
	return p
}

// rows returns the table for an nh×nw grid in token order, [nh·nw, dim]. Nobody waits while one is
// made: callers who need the same grid at the same time each make it.
func (p *positionTable) rows(t *tensor.Tape, nh, nw int) *tensor.Tensor {
	grid := [2]int{nh, nw}
	if rows := p.kept(grid); rows != nil {
		return rows
	}
	dim, h, w := p.table.Shape[1], p.table.Shape[2], p.table.Shape[3]
	rows := tensor.From(vit.PositionRows(t, p.table.Data, dim, h, w, nh, nw, p.how), nh*nw, dim)
	// A server may be asked for images of any size. A table that is larger than this is made anew each
	// time, which takes little of the time that such an image takes.
	const maxCopies, maxValues = 16, 1 << 24
	size := len(rows.Data)
	if size > maxValues {
		return rows
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.copies == nil || len(p.copies) >= maxCopies || p.values+size > maxValues {
		p.copies, p.values = map[[2]int]*tensor.Tensor{}, 0
	}
	if p.copies[grid] == nil {
		p.values += size
	}
	p.copies[grid] = rows
	return rows
}

// kept returns the copy for a grid, nil if there is none yet.
func (p *positionCopies) kept(grid [2]int) *tensor.Tensor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.copies[grid]
}

func (p *positionCopies) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copies, p.values = nil, 0
}
