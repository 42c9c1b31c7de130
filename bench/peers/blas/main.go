// Command blas times OpenBLAS or oneDNN: see package peers. It compiles a small program around the
// library in a temporary folder, and runs it once for each number of threads.
//
//	go run ./bench/peers/blas -lib openblas
//	go run ./bench/peers/blas -lib onednn -shapes 99x3072x768 -threads 1
//
// To use a library outside of the system's folders, set CPATH, LIBRARY_PATH and LD_LIBRARY_PATH as for
// any compiler and loader.
package main

import (
	"bufio"
	"embed"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"

	"github.com/gomae/gomae/bench/peers"
)

//go:embed native
var native embed.FS

// library says how to install a library and compile a program for it.
type library struct {
	install string
	compile []string
	gelu    bool // whether it has linear layers with GELU
}

var libraries = map[string]library{
	"openblas": {"apt install libopenblas0-pthread gcc", []string{"cc", "-O2", "openblas.c", "-ldl"}, false},
	"onednn":   {"apt install libdnnl-dev g++", []string{"c++", "-O2", "-std=c++17", "onednn.cpp", "-ldnnl"}, true},
}

func main() {
	dir, err := os.MkdirTemp("", "gomae-blas-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	name := flag.String("lib", "openblas", "the library to time: openblas or onednn")
	code := peers.Main(func() (peers.Peer, error) {
		lib, ok := libraries[*name]
		if !ok {
			return peers.Peer{}, fmt.Errorf("-lib %s: want openblas or onednn", *name)
		}
		return peers.Peer{Name: *name, Install: lib.install, GELU: lib.gelu, Start: func(threads int) (peers.Library, error) {
			program, err := lib.build(dir)
			if err != nil {
				return peers.Library{}, err
			}
			return start(program, threads)
		}}, nil
	})
	os.RemoveAll(dir)
	os.Exit(code)
}

// build compiles the program in dir, unless it is there already.
func (lib library) build(dir string) (string, error) {
	program := filepath.Join(dir, "peer")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	files, err := native.ReadDir("native")
	for _, f := range files {
		var b []byte
		if b, err = native.ReadFile("native/" + f.Name()); err != nil {
			break
		}
		if err = os.WriteFile(filepath.Join(dir, f.Name()), b, 0o666); err != nil {
			break
		}
	}
	if err != nil {
		return "", err
	}
	cmd := exec.Command(lib.compile[0], append(slices.Clone(lib.compile[1:]), "-o", program)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &peers.AbsentError{Why: fmt.Sprintf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)}
	}
	return program, nil
}

// environment returns the environment variables that a library reads when it starts. On a CPU with
// AVX-512, OpenBLAS is told to use its kernels for that, which older versions do not use on a CPU
// they do not know. Where GOMAE_SIMD lowers our level to AVX2, the libraries keep to it as well.
func environment(threads int) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "OPENBLAS_") })
	env = append(env, fmt.Sprint("OMP_NUM_THREADS=", threads), fmt.Sprint("OPENBLAS_NUM_THREADS=", threads))
	if os.Getenv("GOMAE_SIMD") == "avx2" {
		env = append(env, "OPENBLAS_CORETYPE=HASWELL", "ONEDNN_MAX_CPU_ISA=AVX2", "DNNL_MAX_CPU_ISA=AVX2")
	} else if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL) {
		env = append(env, "OPENBLAS_CORETYPE=SKYLAKEX")
	}
	return env
}

// peer is a running program. native/peer.h describes what it reads and writes.
type peer struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func start(program string, threads int) (peers.Library, error) {
	cmd := exec.Command(program)
	cmd.Env = environment(threads)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return peers.Library{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return peers.Library{}, err
	}
	if err := cmd.Start(); err != nil {
		return peers.Library{}, err
	}
	p := &peer{in, bufio.NewReaderSize(out, 1<<20)}
	hello, err := p.out.ReadString('\n')
	if err != nil {
		in.Close()
		var exit *exec.ExitError
		if err := cmd.Wait(); errors.As(err, &exit) && (exit.ExitCode() == 3 || exit.ExitCode() == 127) {
			return peers.Library{}, &peers.AbsentError{Why: strings.TrimSpace(stderr.String())}
		}
		return peers.Library{}, fmt.Errorf("%v: %s", err, stderr.String())
	}
	version, variant, _ := strings.Cut(strings.TrimSpace(hello), "\t")
	return peers.Library{
		Version: version, Variant: variant,
		Compute: func(l *peers.Layer) ([]float32, peers.Measure, error) {
			y, err := p.compute(l)
			if err != nil {
				return nil, nil, fmt.Errorf("%w: %s", err, stderr.String())
			}
			return y, p.measure, nil
		},
		Done: func() error { return binary.Write(p.in, binary.NativeEndian, 0.0) },
		Close: func() error {
			in.Close()
			return cmd.Wait()
		},
	}, nil
}

// compute lets the program compute a layer once.
func (p *peer) compute(l *peers.Layer) ([]float32, error) {
	flag := map[bool]int32{true: 1}
	bias := l.Bias
	if bias == nil {
		bias = make([]float32, l.N)
	}
	w := bufio.NewWriterSize(p.in, 1<<20)
	for _, v := range []any{[]int32{int32(l.M), int32(l.N), int32(l.K), flag[l.Packed], flag[l.GELU]}, l.X, l.W, bias} {
		if err := binary.Write(w, binary.NativeEndian, v); err != nil {
			return nil, err
		}
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	y := make([]float32, l.M*l.N)
	return y, binary.Read(p.out, binary.NativeEndian, y)
}

// measure lets the program compute the layer repeatedly for about d.
func (p *peer) measure(d time.Duration) (int, time.Duration, error) {
	if err := binary.Write(p.in, binary.NativeEndian, d.Seconds()); err != nil {
		return 0, 0, err
	}
	var answer struct{ Calls, Seconds float64 }
	err := binary.Read(p.out, binary.NativeEndian, &answer)
	return int(answer.Calls), time.Duration(answer.Seconds * 1e9), err
}
