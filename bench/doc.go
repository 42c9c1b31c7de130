// Package bench measures this module: the limits of the machine, kernels, matrix products,
// operations, whole models forward and in training, data and files. It prints results in the format
// of golang.org/x/perf/benchfmt.
//
//	go test ./bench -run '^$' -bench 'Forward|TrainStep' -count 10 | tee new.txt
//	benchstat old.txt new.txt
//	GOMAE_SIMD=avx2 go test ./bench -run '^$' -bench Gemm    # at a lower level
//
// Besides the time, a benchmark reports GFLOP/s and %peak, the share of the peak of fused
// multiply-adds with the same number of threads. That peak is measured in the same process right
// before and after, because processors change their clock. Kernels, products, operations and
// forward passes are compared with a reference before they are timed. Of a training step, which the
// tests compare with PyTorch, loss and gradient must be plausible.
//
// Forward passes and training steps that need minutes or many gigabytes run only if -bench names
// them: a batch of 32 and preset large, as in -bench 'TrainStep/model=large/batch=32'.
//
// The programs in peers, torch_bench.py and onnx_bench.py time other libraries on the same work
// under the same names. PyTorch does slightly more of it, as published: in a training step the last
// layers of decoders compute all patches, ours masked ones only, and in the dpt head 1×1 convolutions
// come after interpolations, ours before them. Command compare runs everyone in turn, and command
// curves fits and draws cost curves.
package bench
