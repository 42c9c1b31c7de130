package web

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/demo"
)

//go:embed page
var embedded embed.FS

// page holds the files of the pages.
var page, _ = fs.Sub(embedded, "page")

// The bounds of a server.
const (
	maxConnections = 256
	maxUpload      = 12 << 20 // bytes of a scene with uploaded images, which are a third longer as text
	maxRequest     = 1 << 20  // bytes of any other request beside the images that the page was sent
	maxUploads     = 8        // scenes that are received at a time
	readTime       = 30 * time.Second
	writeTime      = 60 * time.Second
)

// Handler serves the page and, under api/, the methods of an App. Requests are computed by GOMAXPROCS
// goroutines, at least two; others wait for their turn, first come, first served. A client that goes
// away ends its computation.
func Handler(a *demo.App) http.Handler {
	s := &service{app: a, start: rand.Text(), turns: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), uploads: make(chan struct{}, maxUploads)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/{method}", s.answer)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusMethodNotAllowed, errors.New("send a POST request with a JSON object to api/METHOD"))
	})
	mux.Handle("/", files("index.html"))
	return guard(mux)
}

// files serves what belongs to the page of that name.
func files(index string) http.Handler {
	server := http.FileServerFS(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "a file can only be read", http.StatusMethodNotAllowed)
			return
		}
		if r.URL.Path == "/" {
			http.ServeFileFS(w, r, page, index)
			return
		}
		server.ServeHTTP(w, r)
	})
}

// policy allows a page what comes from its own host and nothing else.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; " +
	"connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard refuses requests that pages of other sites make, and sets headers.
func guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-cache")
		if foreign(r) {
			fail(w, http.StatusForbidden, errors.New("the request comes from a page of another site"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// foreign reports whether a page of another site makes the request. It may have a link to this one.
func foreign(r *http.Request) bool {
	site, to := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Sec-Fetch-Dest")
	if origin := r.Header.Get("Origin"); site == "" && origin != "" {
		// Over plain HTTP from another machine, a browser names the page's site only where the
		// answer could matter: with POST, and where a script wants to read it.
		u, err := url.Parse(origin)
		return err != nil || u.Host != r.Host
	}
	link := r.Method != http.MethodPost && r.Header.Get("Sec-Fetch-Mode") == "navigate" && (to == "document" || to == "")
	return site != "" && site != "same-origin" && site != "none" && !link
}

// service is what the requests share.
type service struct {
	app     *demo.App
	start   string        // an id that no other server has, by which the page knows when another one answers
	turns   chan struct{} // one for each request that is computed
	uploads chan struct{} // one for each scene that is received
}

func (s *service) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Gomae-Start", s.start)
	ctx, limit := r.Context(), maxRequest+imageBytes(s.app.Model().Config)
	c := http.NewResponseController(w) // what cannot have a deadline needs no other one
	if r.PathValue("method") == "scene" {
		limit = max(limit, maxUpload)
		if !enter(ctx, s.uploads) {
			return
		}
		defer leave(s.uploads)
		c.SetReadDeadline(time.Now().Add(readTime)) // waiting does not count
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			fail(w, http.StatusRequestEntityTooLarge, fmt.Errorf("the request has more than %d MB; give smaller images", limit>>20))
			return
		}
		fail(w, http.StatusBadRequest, errors.New("the request was cut off"))
		return
	}
	c.SetReadDeadline(time.Time{}) // else the request would end with it
	if !enter(ctx, s.turns) {
		return
	}
	defer leave(s.turns)
	c.SetWriteDeadline(time.Now().Add(writeTime))
	answer, err := s.app.Call(ctx, r.PathValue("method"), body)
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		w.Write(answer)
	case ctx.Err() != nil: // nobody reads what would be said
	case errors.As(err, new(*demo.RequestError)):
		fail(w, http.StatusBadRequest, err)
	default:
		fail(w, http.StatusInternalServerError, err)
	}
}

// imageBytes bounds the size of a scene's images as the App sends them to the page, which sends them
// back with every request: what PNG cannot compress, as text.
func imageBytes(c *multimae.Config) int64 {
	n := 0
	for _, in := range c.Inputs {
		pixel := 1 // the id of a class
		switch {
		case in.Kind == multimae.KindClasses:
		case in.Channels == 1:
			pixel = 2 + 1 // and whether it is valid
		default:
			pixel = in.Channels + 1
		}
		side := c.ImageSize / in.Stride
		n += side * side * pixel
	}
	return int64(n) * 4 / 3
}

// enter waits for a place, and reports false if ctx ends first.
func enter(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func leave(places chan struct{}) { <-places }

// fail sends an error as the page expects it.
func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

// Serve serves a handler on a listener, which it closes, until ctx ends. Handlers of requests then
// have a moment to end.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: writeTime,
		MaxHeaderBytes: 1 << 16, BaseContext: func(net.Listener) context.Context { return requests },
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		cancel()
		moment, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		if server.Shutdown(moment) != nil {
			server.Close()
		}
	})
	defer stop()
	err := server.Serve(&bounded{Listener: l, places: make(chan struct{}, maxConnections), closed: make(chan struct{})})
	if errors.Is(err, http.ErrServerClosed) { // at the beginning of Shutdown
		<-ended
		return nil
	}
	return err
}

// bounded is a listener that accepts no more connections than it has places.
type bounded struct {
	net.Listener
	places chan struct{}
	once   sync.Once
	closed chan struct{} // by Close, which ends an Accept that waits for a place
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &connection{Conn: c, places: b.places}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

// connection gives its place back when it is closed.
type connection struct {
	net.Conn
	places chan struct{}
	once   sync.Once
}

func (c *connection) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.places })
	return err
}
