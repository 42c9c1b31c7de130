// Package bench measures this module: the machine's limits, kernels, matrix
// products, operations, whole models forward and in training, data and files, in
// the format of golang.org/x/perf/benchfmt.
//
//	go test ./bench -run '^$' -bench 'Forward|TrainStep' -count 10 | tee new.txt
//	benchstat old.txt new.txt
//	GOMAE_SIMD=avx2 go test ./bench -run '^$' -bench Gemm    # at a lower level
//
// Beside the time a benchmark reports GFLOP/s and %peak, the share of what the
// fused multiply-adds of as many threads reach: that is measured in the same
// process right before and after, because processors change their clock. Each
// result is verified before it is timed.
//
// What takes minutes or many gigabytes runs only where -bench names it: batch 32
// and preset large, as in -bench 'TrainStep/model=large/batch=32'.
//
// Other libraries are timed on the same work, under the same names, by the
// programs in peers and by torch_bench.py and onnx_bench.py; curves fits and
// draws cost curves.
package bench
