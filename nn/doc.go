// Package nn holds what networks are made of beside their operations: named
// parameters with their initial values, layers, the AdamW optimiser and its
// schedule, random numbers, and files of weights.
//
// Parameters are registered under the key they have in a checkpoint, which is
// passed down as a prefix:
//
//	ps := nn.NewParams()
//	fc := nn.NewLinear(ps, "mlp.fc1", 64, 256, true) // mlp.fc1.weight, mlp.fc1.bias
//	ps.Init(seed)
//	y := fc.Forward(tape, x)
package nn
