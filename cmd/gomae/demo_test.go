package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/lockfile"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

// shared is a buffer that a command writes to while a test reads it.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var address = regexp.MustCompile(`http://[0-9.:]+`)

// TestDemo starts the server, asks it for a page and a prediction, and interrupts it.
func TestDemo(t *testing.T) {
	for _, args := range [][]string{nil, {"-model", trained(t)}} {
		t.Run(strings.Join(args, " ")[:min(6, len(strings.Join(args, " ")))], func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			stderr := new(shared)
			done := make(chan int)
			go func() {
				done <- run(ctx, append([]string{"demo", "-addr", "127.0.0.1:0"}, args...), io.Discard, stderr)
			}()
			url := ""
			for url == "" {
				url = address.FindString(stderr.String())
				select {
				case code := <-done:
					t.Fatalf("exit %d: %s", code, stderr)
				case <-time.After(10 * time.Millisecond):
				}
			}
			for _, ask := range []struct{ path, body, want string }{{"/", "", "<title>gomae"}, {"/api/mask", `{"scene":{"number":3},"tokens":2}`, "visible"}} {
				r, err := http.Get(url + ask.path)
				if ask.body != "" {
					r, err = http.Post(url+ask.path, "application/json", strings.NewReader(ask.body))
				}
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != 200 || !bytes.Contains(b, []byte(ask.want)) {
					t.Errorf("%s: %s, %v, %.100s", ask.path, r.Status, err, b)
				}
			}
			cancel()
			if code := <-done; code != 0 {
				t.Errorf("exit %d: %s", code, stderr)
			}
		})
	}
}

// TestInvite wants a server to say that it answers other machines, too.
func TestInvite(t *testing.T) {
	for addr, others := range map[string]bool{"127.0.0.1:0": false, ":0": true, "0.0.0.0:0": true} {
		l, err := listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var stderr bytes.Buffer
		(&env{stderr: &stderr}).invite(l, "")
		if got := strings.Contains(stderr.String(), "every machine"); got != others || strings.Contains(stderr.String(), "localhost") != others {
			t.Errorf("%s: %s", addr, &stderr)
		}
	}
}

func TestDemoErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	profile := filepath.Join(t.TempDir(), "cpu")
	if err := os.WriteFile(profile, []byte("of the run before"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code       int
		args, want string
	}{
		{1, "demo -addr " + l.Addr().String(), "cannot serve at " + l.Addr().String()},
		{1, "demo -addr nowhere", "nowhere"},
		{1, "demo -model none", "none…config.json"},
		{2, "demo -addr 127.0.0.1:0 -static x", "-addr and -static"},
		{2, "demo x", `unexpected argument "x"`},
		{1, "pretrain -out " + filepath.Join(t.TempDir(), "out") + " -steps 1 -cpuprofile " + profile + " -serve " + l.Addr().String(), "cannot serve at"},
	} {
		t.Run(c.args, func(t *testing.T) { refuses(t, c.code, c.want, strings.Fields(c.args)...) })
	}
	if b, err := os.ReadFile(profile); err != nil || len(b) == 0 {
		t.Errorf("a command that was refused changed the profile: %q, %v", b, err)
	}
}

// TestFigure draws every figure.
func TestFigure(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "run")
	if code, _, stderr := gomae("pretrain", "-config", tinyConfig(t, nil), "-out", model, "-keep", "9"); code != 0 {
		t.Fatal(stderr)
	}
	steps, err := train.Checkpoints(model)
	if err != nil || len(steps) < 2 {
		t.Fatal(steps, err)
	}
	for _, c := range []struct{ args, stdout string }{
		{"single-modality -scenes 1", ""},
		{"single-modality -scenes 1 -model " + model, ""},
		{"alpha -tokens 5", ""},
		{"progress -scenes 1 -steps 2 -model " + model, ""},
		{"hue -scenes 3 -examples 1", "inside the object"},
		{"hue -scenes 3 -examples 0 -json", `"inside"`},
	} {
		for _, ext := range []string{"png", "svg"} {
			t.Run(c.args[:8]+ext, func(t *testing.T) {
				out := filepath.Join(dir, "figure."+ext)
				os.Remove(out)
				code, stdout, stderr := gomae(append([]string{"figure"}, append(strings.Fields(c.args), "-out", out)...)...)
				if code != 0 || !strings.Contains(stdout, c.stdout) || (stdout == "") != (c.stdout == "") {
					t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
				}
				if b, err := os.ReadFile(out); err != nil || len(b) < 1000 {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			})
		}
	}
	for _, c := range []struct {
		code       int
		args, want string
	}{
		{2, "figure", "single-modality"},
		{2, "figure huge", `"hue"`},
		{2, "figure hue -out x.jpg", "-out x.jpg"},
		{2, "figure hue -scenes 1", "-scenes 1"},
		{2, "figure hue -degrees NaN", "-degrees"},
		{2, "figure alpha -tokens 1000", "-tokens 1000"},
		{2, "figure progress", "flag missing: -model"},
		{1, "figure progress -model " + dir, "no run"},
		{1, "figure hue -data " + filepath.Join(dir, "none"), "none"},
	} {
		t.Run(c.args, func(t *testing.T) { refuses(t, c.code, c.want, strings.Fields(c.args)...) })
	}
}

// spoilt is a dataset whose first sample cannot be read.
type spoilt struct{ data.Dataset }

func (s spoilt) Sample(i int) (*data.Sample, error) {
	if i == 0 {
		return nil, errors.New("spoilt")
	}
	return s.Dataset.Sample(i)
}

// TestWatch trains with a page and an event file, and wants both to follow a resumed run.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"-config", tinyConfig(t, nil)}, {"-resume"}} {
		code, _, stderr := gomae(append([]string{"pretrain", "-out", filepath.Join(dir, "out"), "-serve", "127.0.0.1:0", "-tensorboard", filepath.Join(dir, "logs")}, args...)...)
		if code != 0 || address.FindString(stderr) == "" {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		files, err := filepath.Glob(filepath.Join(dir, "logs", "events.out.tfevents.*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		b, err := os.ReadFile(files[0])
		if err != nil || !bytes.Contains(b, []byte("train/loss.rgb")) || !bytes.Contains(b, []byte("val/loss.rgb")) {
			t.Errorf("%q, %v", b, err)
		}
	}

	for _, skipBad := range []bool{false, true} {
		if _, err := drawRun(filepath.Join(dir, "out"), spoilt{scenes.Unseen(32, 0)}, skipBad)(context.Background()); (err == nil) != skipBad {
			t.Errorf("a picture with a bad sample, -skip-bad %v: %v", skipBad, err)
		}
	}

	// Another process trains there: its event file stays.
	f, busy, err := lockfile.Open(filepath.Join(dir, "out", train.MetricsFile))
	if busy || err != nil {
		t.Fatal(busy, err)
	}
	defer f.Close()
	events := filepath.Join(dir, "logs", "events.out.tfevents.0000000001.gomae")
	if err := os.WriteFile(events, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	refuses(t, 1, "another process is training there", "pretrain", "-out", filepath.Join(dir, "out"), "-tensorboard", filepath.Join(dir, "logs"), "-resume")
	if _, err := os.Stat(events); err != nil {
		t.Error(err)
	}
}
