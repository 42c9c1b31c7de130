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
// itself, or else the only dictionary of tensors in it. [Options.Key] names another one. Prefixes
// such as "module." or "model." that all names have are removed. [File.Notes] says what was chosen,
// and [File.Contents] describes the rest, such as the epoch and the arguments of the training.
//
// A tensor that cannot be read (sparse, quantized, complex, without values, of a class of its own)
// does not hide the others: it is listed, [File.DType] says of what kind it is, and reading it is
// an error.
//
// Weights that are stored in several files are opened by their index, such as
// model.safetensors.index.json.
//
// # Writing
//
// [WriteSafetensors] and [WritePth] stream tensors to a writer. The same tensors give the same
// bytes.
//
// # Hostile files
//
// A file may come from anywhere. Nothing in it is ever executed: an object of a class that is not
// part of a tensor stays a record of what the pickle says of it. A pickle that names what only an
// attack needs, such as os.system, is refused with [ErrRefused]. Opening, listing and reading a
// file take at most 50 MB and 20 times its bytes, in 2 s and 1 s for each 50 MB, whatever it says:
// what would take more is refused with [ErrTooLarge]. Files that contradict themselves are refused
// with [ErrDamaged]. No file makes the package panic. Text from a file that an error repeats is
// quoted and shortened.
package weights
