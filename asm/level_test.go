package asm

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	all := []Level{Generic, AVX2, AVX512}
	const hardware = "CPU has this and that"
	for _, c := range []struct {
		name      string
		wish      string
		supported []Level
		level     Level
		names     string // what the error names besides variable, value and choices; "": no error
	}{
		{"none", "", all, AVX512, ""},
		{"the best", "avx512", all, AVX512, ""},
		{"a lower one", "avx2", all, AVX2, ""},
		{"the lowest", "generic", all, Generic, ""},
		{"AVX-512 on a CPU with AVX2", "avx512", all[:2], AVX2, hardware},
		{"AVX2 on a CPU without", "avx2", all[:1], Generic, hardware},
		{"upper case", "AVX2", all, AVX512, "unknown"},
		{"another instruction set", "sse", all[:2], AVX2, "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			level, why, err := choose(c.wish, c.supported, hardware)
			if level != c.level {
				t.Errorf("level %v, want %v", level, c.level)
			}
			if why == "" {
				t.Error("no reason")
			}
			if c.names == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range []string{"GOMAE_SIMD", c.wish, "generic", c.names} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
		})
	}
}

func TestUse(t *testing.T) {
	before := Current()
	for _, l := range Supported() {
		t.Run(l.String(), func(t *testing.T) {
			restore := Use(l)
			if Current() != l {
				t.Errorf("the level is %v", Current())
			}
			restore()
			if Current() != before {
				t.Errorf("the level is %v after restoring %v", Current(), before)
			}
		})
	}
	t.Run("no level", func(t *testing.T) { mustPanic(t, "level", func() { Use(7) }) })
}

func TestSupported(t *testing.T) {
	if s := Supported(); s[0] != Generic {
		t.Errorf("Supported() = %v, want generic first", s)
	}
	Supported()[0] = AVX512
	if Supported()[0] != Generic {
		t.Error("Supported returns its own memory")
	}
	if Why() == "" {
		t.Error("no reason for the level")
	}
	if wish := os.Getenv(envName); wish != "" && (Err() != nil || Current().String() != wish) {
		t.Errorf("%s=%s: the level is %v, %v", envName, wish, Current(), Err())
	}
}

// TestDispatch wants each branch on a level to call a kernel of that level: the results of another one
// would be right, too.
func TestDispatch(t *testing.T) {
	source, err := os.ReadFile("dispatch_amd64.go")
	if err != nil {
		t.Fatal(err)
	}
	branches := regexp.MustCompile(`(?:case|if) .*(AVX2|AVX512)(?::| {)\s+(?:return )?(\w+)\(`).FindAllSubmatch(source, -1)
	if len(branches) < 40 {
		t.Fatalf("%d branches on a level", len(branches))
	}
	for _, b := range branches {
		if !bytes.HasSuffix(b[2], b[1]) {
			t.Errorf("at level %s, %s is called", b[1], b[2])
		}
	}
}
