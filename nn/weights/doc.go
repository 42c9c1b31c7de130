// Package weights reads and writes files of named tensors: safetensors files and PyTorch
// checkpoints (.pth, .pt, .bin), of the zip format and of the one before it. It knows nothing of
// networks and is of use to any program that wants the numbers in such a file.
//
// # Reading
//
// [Open], [OpenFS] and [NewReader] tell the format by the first bytes of a file and return a
// [File]. Opening parses and checks everything but the numbers. A File lists the names of its
// tensors, their shapes and types, and what else it holds; it reads a tensor when asked for it,
// straight into a slice of float32, float64 or int64. [ReadAll] reads everything.
//
// Of a checkpoint, the tensors are those of its state dict: the entry "model", "state_dict",
// "model_state_dict" or "module", the first that is a dictionary of tensors, or else the checkpoint
// itself. A prefix "module." that all names have is removed. [File.Contents] describes the rest,
// such as the epoch and the arguments of the training.
//
// # Writing
//
// [WriteSafetensors] and [WritePth] stream tensors to a writer. The same tensors give the same
// bytes.
//
// # Hostile files
//
// A file may come from anywhere. Nothing in it is ever executed: a pickle may hold containers,
// numbers, strings and the few classes that checkpoints are made of, and is refused with
// [ErrRefused] as soon as it names anything else. Opening, listing and reading a file take at most
// 50 MB and 20 times its bytes, in 2 s and 1 s for each 50 MB, whatever it says: what would take
// more is refused with [ErrTooLarge]. Files that contradict themselves are refused with
// [ErrDamaged]. No file makes the package panic. Text from a file that an error repeats is quoted
// and shortened.
package weights
