// The generator of the assembly in ../asm. It is a module of its own, so that
// programs which import the library do not depend on avo.
//
// Each kernel family is one file here and one <family>_amd64.s with its Go
// stubs <family>_amd64.go there. A kernel is described once, in terms of the
// helpers in simd.go, and emitted for both instruction sets.
//
//	go run . -out ../asm
package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
	"github.com/mmcloughlin/avo/reg"
)

// families lists the files to write and what fills them.
var families = []struct {
	name string
	emit func(*simd)
}{
	{"gemm", gemmFamily},
	{"pack", packFamily},
	{"vector", vectorFamily},
	{"activation", activationFamily},
	{"layernorm", layerNormFamily},
	{"adamw", adamWFamily},
}

func main() {
	flags := flag.NewFlagSet("gen", flag.ExitOnError) // avo fills the default set
	out := flags.String("out", "../asm", "`directory` to write to")
	flags.Parse(os.Args[1:])
	if err := generate(*out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// generate writes every family's assembly and stubs to dir.
func generate(dir string) error {
	asm, err := asmTypes("../asm")
	if err != nil {
		return err
	}
	for _, f := range families {
		ctx := build.NewContext()
		ctx.ConstraintExpr("amd64,!purego")
		for _, s := range newSIMDs(ctx, asm) {
			f.emit(s)
		}
		file, err := ctx.Result()
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := pass.Compile.Execute(file); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := checkRegisters(file); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		cfg := printer.Config{Name: "gomae/gen", Pkg: "asm"}
		for _, p := range []struct {
			suffix string
			printer.Printer
		}{{"_amd64.s", printer.NewGoAsm(cfg)}, {"_amd64.go", printer.NewStubs(cfg)}} {
			text, err := p.Print(file)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			if err := os.WriteFile(filepath.Join(dir, f.name+p.suffix), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// asmTypes returns package asm with the types that kernels are given pointers to.
func asmTypes(dir string) (*types.Package, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range []string{"adamw.go", "dispatch_amd64.go"} {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	// Other files, imports and functions, whose absence are the errors, do not matter.
	conf := types.Config{IgnoreFuncBodies: true, Error: func(error) {}}
	pkg, _ := conf.Check("asm", fset, files, nil)
	return pkg, nil
}

// checkRegisters rejects AVX2 kernels that use a register only AVX-512 has:
// the allocator hands them out when the first sixteen are taken, and the
// assembler would quietly encode AVX-512 instructions.
func checkRegisters(file *ir.File) error {
	for _, fn := range file.Functions() {
		if !strings.HasSuffix(fn.Name, "AVX2") {
			continue
		}
		for _, i := range fn.Instructions() {
			for _, r := range append(i.InputRegisters(), i.OutputRegisters()...) {
				if p := reg.ToPhysical(r); p != nil && p.Kind() == reg.KindVector && p.PhysicalIndex() >= 16 {
					return fmt.Errorf("%s needs more than 16 vector registers", fn.Name)
				}
			}
		}
	}
	return nil
}
