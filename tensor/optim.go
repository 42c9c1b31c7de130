package tensor

import "github.com/gomae/gomae/asm"

// AdamWStep holds the numbers of one step of AdamW: see asm.AdamWStep.
type AdamWStep = asm.AdamWStep

// AdamW updates the parameters p and their moments m and v by the gradient g, all of the same
// length: see asm.AdamW.
func AdamW(t *Tape, p, g, m, v []float32, s *AdamWStep) {
	t.each(len(p), 1<<15, func(_, i, j int) { asm.AdamW(p[i:j], g[i:j], m[i:j], v[i:j], s) })
}
