// Package gen writes the assembly of package asm. It is a module of its own, so that programs which
// import the library do not depend on avo.
//
// Each kernel family is one file here and one <family>_amd64.s with its Go stubs <family>_amd64.go
// there. A kernel is described once, in terms of the helpers in simd.go, and emitted for both
// instruction sets.
//
// The files are committed. The test of this package compares them with what the generator writes,
// or writes them:
//
//	go test . -count=1
//	go test . -run TestFamilies -generate
package gen

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
	"github.com/mmcloughlin/avo/reg"
)

// family is a group of kernels that share a file.
type family struct {
	name string
	emit func(*simd)
}

var families = []family{
	{"gemm", gemmFamily},
	{"pack", packFamily},
	{"vector", vectorFamily},
	{"activation", activationFamily},
	{"layernorm", layerNormFamily},
	{"adamw", adamWFamily},
}

// generate returns the family's assembly and its Go stubs. dir is where package asm lies.
func (f family) generate(dir string) (assembly, stubs []byte, err error) {
	asm, err := asmTypes(dir)
	if err != nil {
		return nil, nil, err
	}
	ctx := build.NewContext()
	ctx.ConstraintExpr("amd64,!purego")
	for _, s := range newSIMDs(ctx, asm) {
		f.emit(s)
	}
	file, err := ctx.Result()
	if err != nil {
		return nil, nil, err
	}
	if err := pass.Compile.Execute(file); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(checkRegisters(file), checkEncoding(file)); err != nil {
		return nil, nil, err
	}
	cfg := printer.Config{Name: "gomae/gen", Pkg: "asm"}
	if assembly, err = printer.NewGoAsm(cfg).Print(file); err != nil {
		return nil, nil, err
	}
	stubs, err = printer.NewStubs(cfg).Print(file)
	return assembly, stubs, err
}

// asmTypes returns package asm with the structs that kernels are given pointers to.
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
	// The errors are about imports and the other files of the package, which the structs do not
	// need.
	conf := types.Config{IgnoreFuncBodies: true, Error: func(error) {}}
	pkg, _ := conf.Check("asm", fset, files, nil)
	return pkg, nil
}

// checkEncoding rejects moves of SSE: see simd.result.
func checkEncoding(file *ir.File) error {
	for _, fn := range file.Functions() {
		for _, i := range fn.Instructions() {
			if i.Opcode == "MOVSS" || i.Opcode == "MOVSD" {
				return fmt.Errorf("%s has %s; take V%s", fn.Name, i.Opcode, i.Opcode)
			}
		}
	}
	return nil
}

// checkRegisters rejects AVX2 kernels that use a register only AVX-512 has. The allocator hands
// those out when the first sixteen are taken, and the assembler would encode AVX-512 instructions
// without a word.
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
