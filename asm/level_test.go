package asm

import (
	"reflect"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	all := []Level{Generic, AVX2, AVX512}
	for _, c := range []struct {
		wish      string
		supported []Level
		level     Level
		problem   string
	}{
		{"", all, AVX512, ""},
		{"avx512", all, AVX512, ""},
		{"avx2", all, AVX2, ""},
		{"generic", all, Generic, ""},
		{"avx512", all[:2], AVX2, "not supported"},
		{"avx2", all[:1], Generic, "not supported"},
		{"AVX2", all, AVX512, "unknown"},
		{"sse", all[:2], AVX2, "unknown"},
	} {
		level, why, err := choose(c.wish, c.supported, "CPU has it")
		if level != c.level {
			t.Errorf("%q of %v: level %v, want %v", c.wish, c.supported, level, c.level)
		}
		if why == "" {
			t.Errorf("%q: no reason", c.wish)
		}
		if c.problem == "" {
			if err != nil {
				t.Errorf("%q of %v: %v", c.wish, c.supported, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%q of %v: no error", c.wish, c.supported)
			continue
		}
		for _, part := range []string{"GOMAE_SIMD", c.wish, "generic", c.problem} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q lacks %q", err, part)
			}
		}
	}
}

func TestUse(t *testing.T) {
	before := Current()
	for _, l := range Supported() {
		restore := Use(l)
		if Current() != l {
			t.Errorf("Use(%v) leaves %v", l, Current())
		}
		restore()
	}
	if Current() != before {
		t.Errorf("level is %v after restoring %v", Current(), before)
	}
	mustPanic(t, "Use(7)", "level", func() { Use(7) })
	if s := Supported(); s[0] != Generic {
		t.Errorf("Supported() = %v, want generic first", s)
	}
	Supported()[0] = AVX512
	if !reflect.DeepEqual(Supported()[0], Generic) {
		t.Error("Supported returns its own memory")
	}
	if Why() == "" {
		t.Error("no reason for the level")
	}
}
