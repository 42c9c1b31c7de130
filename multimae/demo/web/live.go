package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/train"
)

const (
	maxWatchers = 64 // pages that follow a run at a time
	eventLines  = 200
	pollMetrics = 500 * time.Millisecond
)

// Live serves a page that shows the run in dir as it goes: curves from its metrics.jsonl, which
// come as server-sent events, and reconstructions of its last checkpoint, which draw makes when
// somebody looks. It only reads, and follows a run that is stopped and resumed.
func Live(dir string, draw func(ctx context.Context) (image.Image, error)) http.Handler {
	l := &live{dir: dir, draw: draw, places: make(chan struct{}, maxWatchers)}
	mux := http.NewServeMux()
	mux.HandleFunc("/events", l.events)
	mux.HandleFunc("/reconstructions.png", l.picture)
	mux.Handle("/", files("live.html"))
	return guard(mux)
}

type live struct {
	dir    string
	draw   func(ctx context.Context) (image.Image, error)
	places chan struct{}

	mu    sync.Mutex // held while the picture is drawn
	of    time.Time  // modification of the weights that drawn is of
	drawn []byte     // PNG
}

// events sends the lines of the metrics as arrays of JSON objects, first all that there are. An
// event "again" says that what came before is void.
func (l *live) events(w http.ResponseWriter, r *http.Request) {
	select {
	case l.places <- struct{}{}:
		defer leave(l.places)
	default:
		http.Error(w, fmt.Sprintf("%d pages follow this run already", maxWatchers), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	c := http.NewResponseController(w)
	send := func(event string, data []byte) error {
		// Without a new deadline the connection would end with the server's, in a minute.
		if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data); err != nil {
			return err
		}
		return c.Flush()
	}
	if send("again", nil) != nil {
		return
	}
	train.Follow(r.Context(), l.dir, pollMetrics, func(lines [][]byte, again bool) error {
		if again {
			if err := send("again", nil); err != nil {
				return err
			}
		}
		for len(lines) > 0 {
			n := min(eventLines, len(lines))
			if err := send("lines", array(lines[:n])); err != nil {
				return err
			}
			lines = lines[n:]
		}
		return nil
	})
}

// array joins lines that are JSON objects.
func array(lines [][]byte) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for _, line := range lines {
		if len(line) < 2 || line[0] != '{' || line[len(line)-1] != '}' {
			continue // what a crash has left
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(line)
	}
	b.WriteByte(']')
	return b.Bytes()
}

// picture sends reconstructions of the last checkpoint.
func (l *live) picture(w http.ResponseWriter, r *http.Request) {
	picture, err := l.latest(r.Context())
	switch {
	case r.Context().Err() != nil: // nobody looks
	case errors.Is(err, errNoCheckpoint):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "image/png")
		w.Write(picture)
	}
}

var errNoCheckpoint = errors.New("there is no checkpoint yet")

// latest returns reconstructions of the last checkpoint as PNG, drawn once for each.
func (l *live) latest(ctx context.Context) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := os.Stat(filepath.Join(l.dir, multimae.WeightsFile))
	if err != nil {
		return nil, errNoCheckpoint
	}
	if !info.ModTime().Equal(l.of) || l.drawn == nil {
		img, err := l.draw(ctx)
		if err == nil {
			err = ctx.Err()
		}
		var b bytes.Buffer
		if err == nil {
			err = png.Encode(&b, img)
		}
		if err != nil {
			return nil, err
		}
		l.of, l.drawn = info.ModTime(), b.Bytes()
	}
	return l.drawn, nil
}
