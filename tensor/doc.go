// Package tensor computes with float32 arrays and their gradients.
//
// A [Tensor] is a dense row-major array. A [Tape] hands out the memory of one
// step, runs operations on its workers and, where it records, remembers how to
// go back: [Tape.Backward] adds the gradient of a scalar to every tensor that
// asked for one, and [Tape.Reset] makes the tape ready for the next step. After
// the first steps no memory is allocated that grows with the data.
//
// Operations are coarse: a linear layer with its bias, GELU or residual sum is
// one, and so is attention. Each stands beside its backward pass in one file.
// Packages above add their own with [Tape.New], [Tape.Record], [Tape.Grad] and
// [Tape.Parallel]; the class embedding of package multimae is written so. What
// an operation is given beside tensors (indices, weights, targets) must stay
// unchanged until Reset.
//
// # Same bits
//
// At one SIMD level the bits of a result do not depend on the number of
// workers: work is split by output, and where partial sums are needed their
// number depends on the shapes alone.
//
// # Errors
//
// A wrong shape is a mistake of the program and panics with
// "tensor: what, got X, want Y". Nothing here reads anything from outside.
package tensor
