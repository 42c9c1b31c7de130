package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// presets are short names for patterns of -bench.
var presets = map[string]string{
	"quick": "BenchmarkGemm$/^shape=(99x3072x768|99x768x3072|99x768x768|792x3072x768|1568x1024x256|1024x1024x1024)$/packed" +
		"|Benchmark(Forward|TrainStep)$/^model=base$/^batch=8$|Benchmark(Forward|TrainStep)$/^model=tiny$/^batch=16$",
	"gemm":   "BenchmarkGemm$",
	"models": "Benchmark(Forward|TrainStep)$",
	// The benchmark of 512×512 pixels takes minutes.
	"finetune": "BenchmarkFinetune$/model/head/inputs/^size=(64|224)$",
	"all":      ".",
}

// selector is a pattern of go test's -bench: alternatives, each with a regular expression for every
// part of a name between slashes.
type selector [][]*regexp.Regexp

// newSelector parses a pattern.
func newSelector(pattern string) (selector, error) {
	var s selector
	for _, alternative := range split(pattern, '|') {
		var parts []*regexp.Regexp
		for _, p := range split(alternative, '/') {
			re, err := regexp.Compile(p)
			if err != nil {
				return nil, fmt.Errorf("-bench %s: %w", pattern, err)
			}
			parts = append(parts, re)
		}
		s = append(s, parts)
	}
	return s, nil
}

// split cuts a pattern at each separator outside of brackets, as package testing does.
func split(pattern string, separator byte) (parts []string) {
	start, square, round := 0, 0, 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[':
			square++
		case c == ']':
			square = max(0, square-1)
		case c == '(' && square == 0:
			round++
		case c == ')' && square == 0:
			round--
		case c == separator && square == 0 && round == 0:
			parts = append(parts, pattern[start:i])
			start = i + 1
		}
	}
	return append(parts, pattern[start:])
}

// match reports whether go test would run the benchmark.
func (s selector) match(name string) bool {
	names := strings.Split("Benchmark"+name, "/")
	return slices.ContainsFunc(s, func(parts []*regexp.Regexp) bool {
		if len(parts) > len(names) {
			return false
		}
		for i, p := range parts {
			if !p.MatchString(names[i]) {
				return false
			}
		}
		return true
	})
}
