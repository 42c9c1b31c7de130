// Package bench measures this module: matrix products, operations, and whole
// models forward and in training, in the format of golang.org/x/perf/benchfmt.
//
//	go test ./bench -run '^$' -bench 'Forward|TrainStep' -count 10 | tee new.txt
//	benchstat old.txt new.txt
//
// Beside the time a benchmark reports GFLOP/s and %peak, the share of what the
// fused multiply-adds of as many threads reach: that is measured in the same
// process right before and after, because processors change their clock. Each
// result is verified before it is timed.
package bench
