// Package tensor computes with float32 arrays and their gradients.
//
// A [Tensor] is a dense row-major array. A [Tape] hands out the memory of one step and runs
// operations on its workers. If it records, [Tape.Backward] adds the gradient of a scalar to every
// tensor that has room for one. [Tape.Reset] makes the tape ready for the next step. After the
// first steps no memory is allocated that grows with the data. In inference a [Scope] releases
// results that are no longer needed.
//
// Operations are coarse: a linear layer with its bias, GELU or residual sum is one, and so is
// attention. Forward and backward pass of an operation are in one file; grad.go tells how gradients
// travel. Packages above add operations of their own with [Tape.New], [Tape.Record], [Tape.Grad]
// and [Tape.Parallel], as package multimae does for the embedding of classes. What an operation is
// given beside tensors (indices, weights, targets) must stay unchanged until Reset.
//
// # Same bits
//
// At one SIMD level the bits of a result do not depend on the number of workers: work is split by
// output, and where partial sums are needed their number depends on the shapes alone.
//
// # Errors
//
// A wrong shape is a mistake of the program and panics with "tensor: what, got X, want Y". The
// package reads nothing from outside.
package tensor
