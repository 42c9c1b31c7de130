package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// adapter runs another library, or our own benchmarks. It prints results in Go's benchmark format
// under the names of our benchmarks, with its name and version as the configuration lines "peer" and
// "version", and "variant" if it has several. If the library is not installed, the adapter exits
// with a code other than 0 and the last line on stderr is
// "peer NAME is absent; install it with: COMMAND". Where GOMAE_SIMD=avx2, it computes with AVX2 at most.
type adapter struct {
	name  string
	title string         // in prose
	does  *regexp.Regexp // matches the benchmarks that it knows
	build string         // folder of a Go program below the root; empty for a script
	// variants, separated by commas, are those that a peer with several is asked for.
	variants string
	// commands returns what to run in the root of the checkout for a set of benchmarks. The program
	// is the one that was built, or the interpreter.
	commands func(a *adapter, program string, names []string, seconds float64) [][]string
}

var (
	products   = regexp.MustCompile(`^(Gemm|Op/linear-gelu)/`)
	wholeModel = regexp.MustCompile(`^(Forward|TrainStep)/`)
	fineTuning = regexp.MustCompile(`^Finetune/`)
	steps      = regexp.MustCompile(wholeModel.String() + "|" + fineTuning.String())
	inference  = regexp.MustCompile(`^Forward/`)
)

// adapters are the peers. To add one, write such a program and add a line for it.
var adapters = []adapter{
	{"onednn", "oneDNN", products, "bench/peers/blas", "", goPeer("-lib", "onednn")},
	{"openblas", "OpenBLAS", products, "bench/peers/blas", "", goPeer("-lib", "openblas")},
	{"gonum", "gonum", products, "bench/peers/gonum", "", goPeer()},
	{"gomlx", "gomlx", products, "bench/peers/gomlx", "", goPeer()},
	{"torch", "PyTorch", steps, "", "eager,onednn,compile,freeze", script("bench/torch_bench.py", true, "--dtype", "float32")},
	{"onnxruntime", "ONNX Runtime", inference, "", "", script("bench/onnx_bench.py", false)},
}

// goPeer returns the command line of a program that is built on package peers.
func goPeer(args ...string) func(*adapter, string, []string, float64) [][]string {
	return func(_ *adapter, program string, names []string, seconds float64) [][]string {
		quoted := make([]string, len(names))
		for i, n := range names {
			quoted[i] = regexp.QuoteMeta(n)
		}
		return [][]string{append(append([]string{program}, args...),
			"-bench", "^Benchmark("+strings.Join(quoted, "|")+")$",
			"-threads", list(names, "threads"), "-seconds", fmt.Sprint(seconds))}
	}
}

// script returns the command lines of a Python program. Each runs one model in one mode, because
// models and modes are benchmarked with different batches. For fine-tuning, models differ in all but
// the number of threads.
func script(path string, modes bool, args ...string) func(*adapter, string, []string, float64) [][]string {
	return func(a *adapter, python string, names []string, seconds float64) (commands [][]string) {
		kinds := groupBy(names, func(n string) string { // "Forward/model=base"
			if fineTuning.MatchString(n) {
				return work(n)
			}
			p := strings.SplitN(n, "/", 3)
			return p[0] + "/" + p[1]
		})
		for _, kind := range kinds.keys {
			bench, model, _ := strings.Cut(kind, "/model=")
			model, head, _ := strings.Cut(model, "/") // "head=convnext/inputs=rgb/size=64/batch=16"
			c := []string{python, path, "--model", model, "--batch", list(kinds.of[kind], "batch"),
				"--threads", list(kinds.of[kind], "threads"), "--seconds", fmt.Sprint(seconds)}
			if modes {
				c = append(c, "--mode", map[string]string{"Forward": "forward", "TrainStep": "train", "Finetune": "finetune"}[bench])
			}
			for p := range strings.SplitSeq(head, "/") {
				if key, value, ok := strings.Cut(p, "="); ok && key != "batch" {
					c = append(c, "--"+key, value)
				}
			}
			if a.variants != "" {
				c = append(c, "--compile", a.variants)
			}
			commands = append(commands, append(c, args...))
		}
		return commands
	}
}

// list returns the distinct values of a key in benchmarks' names: "1,2".
func list(names []string, key string) string {
	var values []int
	for _, n := range names {
		values = append(values, part(n, key))
	}
	slices.Sort(values)
	var words []string
	for _, v := range slices.Compact(values) {
		words = append(words, strconv.Itoa(v))
	}
	return strings.Join(words, ",")
}
