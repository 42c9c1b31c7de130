// Package nn holds what networks are made of beside their operations: named parameters with their
// initial values, layers, the AdamW optimiser, its schedule of learning rates, and random numbers.
//
// Parameters are registered under the key that they have in a checkpoint. A layer is given the
// first part of it:
//
//	ps := nn.NewParams()
//	fc := nn.NewLinear(ps, "mlp.fc1", 64, 256, true) // mlp.fc1.weight, mlp.fc1.bias
//	ps.Init(seed)
//	y := fc.Forward(tape, x)
package nn
