package main

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

func TestInfo(t *testing.T) {
	code, stdout, stderr := gomae("info", "-time", "1ms", "-json")
	var m machineInfo
	dec := json.NewDecoder(bytes.NewReader([]byte(stdout)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil || code != 0 || stderr != "" {
		t.Fatalf("%v; exit %d, stderr %q", err, code, stderr)
	}
	if m.CPU == "" || m.Caches == "" || m.SIMD == "" || m.Why == "" || m.Workers != runtime.GOMAXPROCS(0) || m.Go != runtime.Version() || m.Version == "" {
		t.Errorf("%+v", m)
	}
	for _, v := range []float64{m.PeakOne, m.PeakAll, m.ReadOne, m.ReadAll} {
		if !(v > 0 && v < 1e6) {
			t.Errorf("%+v", m)
		}
	}
	code, stdout, stderr = gomae("info", "-time=1ms")
	if code != 0 || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{m.CPU, m.SIMD + ": " + m.Why, m.Caches, "FMA peak", "memory read", runtime.Version()} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if code, stdout, stderr := gomaeContext(ctx, "info", "-time=1ms"); code != 1 || stdout != "" || !strings.Contains(stderr, "interrupted") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestInfoMemory(t *testing.T) {
	stdout, _ := ok(t, "info", "-preset", "base")
	for _, want := range []string{"98.6 million values", "a step of 32 images", "in all"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	stdout, _ = ok(t, "info", "-json", "-config", tinyConfig(t, nil))
	var m map[string]float64
	if err := json.Unmarshal([]byte(stdout), &m); err != nil || m["parameters"] < 1e4 || m["total_bytes"] <= 4*m["parameters"] {
		t.Errorf("%v: %s", err, stdout)
	}
	refuses(t, 2, `-preset tyni…"tiny"`, "info", "-preset", "tyni")
	refuses(t, 1, `config.json: has no "train"`, "info", "-config", tinyDump+"/config.json")
	refuses(t, 1, "none.json", "info", "-config", "none.json")
	refuses(t, 2, "-config and -preset", "info", "-config", "x", "-preset", "tiny")
}
