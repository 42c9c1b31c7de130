package tensor

import "github.com/gomae/gomae/asm"

// AdamWStep holds the numbers of one AdamW step: see asm.AdamWStep.
type AdamWStep = asm.AdamWStep

// AdamW updates the parameters p and their moments m and v by the gradient g,
// all of the same length: see asm.AdamW.
func AdamW(p, g, m, v []float32, s *AdamWStep) { asm.AdamW(p, g, m, v, s) }

// SumSq returns the sum of squares of x, accumulated in float64.
func SumSq(x []float32) float64 { return asm.SumSq(x) }
