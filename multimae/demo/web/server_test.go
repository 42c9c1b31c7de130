package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/demo"
	"github.com/gomae/gomae/multimae/train"
)

func post(t testing.TB, url, body string) (status int, answer string) {
	t.Helper()
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

const prediction = `{"scene":{"number":7},"visible":{"rgb":"1111111100000000"}}`

// TestHandler asks for every kind of answer.
func TestHandler(t *testing.T) {
	s := httptest.NewServer(Handler(demo.New(testModel(t), demo.Options{Name: "test"})))
	defer s.Close()
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"info", "{}", 200, `"model":"test"`},
		{"predict", prediction, 200, `"views"`},
		{"predict", "", 400, `"error"`},
		{"lost", "{}", 400, "lost"},
		{"predict", `"` + strings.Repeat("x", maxRequest*3/2) + `"`, 413, "1 MB"},
		{"scene", `{"scene":{"images":{"rgb":"` + strings.Repeat("A", maxUpload) + `"}}}`, 413, "12 MB"},
		{"scene", `{"scene":{"images":{"rgb":"` + strings.Repeat("A", maxRequest*2) + `"}}}`, 400, "rgb"},
	} {
		t.Run(c.path+" "+c.want, func(t *testing.T) {
			if status, answer := post(t, s.URL+"/api/"+c.path, c.body); status != c.status || !strings.Contains(answer, c.want) || !json.Valid([]byte(answer)) {
				t.Errorf("%d %.300s", status, answer)
			}
		})
	}
	for _, path := range []string{"/", "/app.js", "/style.css", "/icon.svg"} {
		r, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || len(b) == 0 || r.Header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: %s, %d bytes, %v", path, r.Status, len(b), r.Header)
		}
	}
	do := func(method, path string, header http.Header) int {
		r, err := http.NewRequest(method, s.URL+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	for _, c := range []struct {
		method, path, site string
		status             int
	}{
		{"GET", "/icon.svg", "cross-site", 403}, {"GET", "/icon.svg", "same-origin", 200}, {"GET", "/icon.svg", "none", 200},
		{"GET", "/api/info", "", 405}, {"POST", "/", "", 405}, {"GET", "/../web.go", "", 404}, {"GET", "/lost", "", 404},
		{"POST", "/api/info", "cross-site", 403}, {"POST", "/api/info", "same-site", 403}, {"POST", "/api/info", "same-origin", 200},
	} {
		if status := do(c.method, c.path, http.Header{"Sec-Fetch-Site": {c.site}}); status != c.status {
			t.Errorf("%s %s from %q: %d, want %d", c.method, c.path, c.site, status, c.status)
		}
	}
	for origin, want := range map[string]int{s.URL: 200, "http://other.example": 403, "null": 403} { // over plain HTTP
		if status := do("POST", "/api/info", http.Header{"Origin": {origin}}); status != want {
			t.Errorf("POST from %s: %d, want %d", origin, status, want)
		}
	}
	for method, want := range map[string]int{"GET": 200, "POST": 403} { // a link, and a form
		link := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
		if status := do(method, "/", link); status != want {
			t.Errorf("%s by a link on another site: %d, want %d", method, status, want)
		}
	}
}

// TestLargeImages sends back the images that the page was sent, at their largest: noise.
func TestLargeImages(t *testing.T) {
	c := tiny.Config()
	c.ImageSize = 640
	m, err := multimae.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Params.Freeze()
	s := httptest.NewServer(Handler(demo.New(m, demo.Options{})))
	defer s.Close()
	random := rand.NewChaCha8([32]byte{})
	rgb, depth := image.NewNRGBA(image.Rect(0, 0, 640, 640)), image.NewGray16(image.Rect(0, 0, 640, 640))
	random.Read(rgb.Pix)
	random.Read(depth.Pix)
	for i := 3; i < len(rgb.Pix); i += 4 {
		rgb.Pix[i] = 255
	}
	upload := demo.Scene{Images: map[string][]byte{}}
	for name, img := range map[string]image.Image{"rgb": rgb, "depth": depth} {
		var file bytes.Buffer
		if err := png.Encode(&file, img); err != nil {
			t.Fatal(err)
		}
		upload.Images[name] = file.Bytes()
	}
	ask := func(method string, request any) (int, string) {
		b, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		return post(t, s.URL+"/api/"+method, string(b))
	}
	status, body := ask("scene", demo.SceneRequest{Scene: upload})
	var answer demo.SceneAnswer
	if err := json.Unmarshal([]byte(body), &answer); status != 200 || err != nil {
		t.Fatalf("%d, %v", status, err)
	}
	if status, body := ask("predict", demo.State{Scene: answer.Scene}); status != 400 || !strings.Contains(body, "nothing is visible") {
		t.Errorf("%d %.300s", status, body)
	}
}

// TestNoOutside wants the pages to name no other host that a browser would ask.
func TestNoOutside(t *testing.T) {
	for _, name := range []string{"index.html", "live.html", "app.js", "live.js", "worker.js", "style.css", "icon.svg"} {
		b, err := embedded.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{`src="http`, `src='http`, "url(http", "@import", "fetch('http", `href="http`} {
			text := strings.ReplaceAll(string(b), `<a href="https://arxiv.org`, "") // a link is followed by people only
			if strings.Contains(text, part) {
				t.Errorf("%s has %q", name, part)
			}
		}
	}
}

// TestLoad has 64 clients ask at once, over and over. None gets an error or waits for ever.
func TestLoad(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- Serve(ctx, l, Handler(demo.New(testModel(t), demo.Options{Name: "test"}))) }()
	const clients, requests = 64, 3
	var wait sync.WaitGroup
	for i := range clients {
		wait.Add(1)
		go func() {
			defer wait.Done()
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for k := range requests {
				body := fmt.Sprintf(`{"scene":{"number":%d},"visible":{"rgb":"1111111100000000","depth":"0000000011111111"}}`, (i+k)%20)
				r, err := c.Post(fmt.Sprintf("http://%s/api/predict", l.Addr()), "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != 200 {
					t.Errorf("client %d: %s, %v, %.200s", i, r.Status, err, b)
					return
				}
			}
		}()
	}
	wait.Wait()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}

// TestGone has clients go away while their requests wait or are computed: the places that they took
// are free again.
func TestGone(t *testing.T) {
	s := &service{app: demo.New(testModel(t), demo.Options{Name: "test"}), turns: make(chan struct{}, 1), uploads: make(chan struct{}, 1)}
	s.turns <- struct{}{} // somebody computes
	ask := func(ctx context.Context, method string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, "POST", "/api/"+method, strings.NewReader(prediction))
		r.SetPathValue("method", method)
		w := httptest.NewRecorder()
		s.answer(w, r)
		return w
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answers := make(chan *httptest.ResponseRecorder)
	go func() { answers <- ask(ctx, "predict") }()
	cancel()
	if w := <-answers; w.Body.Len() > 0 {
		t.Errorf("predict: %s", w.Body)
	}
	if w := ask(ctx, "scene"); w.Body.Len() > 0 {
		t.Errorf("scene: %s", w.Body)
	}
	<-s.turns
	if w := ask(context.Background(), "predict"); w.Code != 200 || len(s.turns) != 0 || len(s.uploads) != 0 {
		t.Errorf("%d, %d turns and %d uploads taken", w.Code, len(s.turns), len(s.uploads))
	}
}

// TestConnections opens more connections than a server takes. Those that are too many wait until
// others are closed.
func TestConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bounded{Listener: l, places: make(chan struct{}, 2), closed: make(chan struct{})}
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := b.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	one := <-accepted
	<-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	one.Close()
	one.Close() // gives one place back, not two
	<-accepted
	b.Close()
	if _, ok := <-accepted; ok {
		t.Error("a connection after Close")
	}
}

// TestLive reads the events of a run that goes on, is cut, and goes on again, and its picture.
func TestLive(t *testing.T) {
	dir := t.TempDir()
	metrics := filepath.Join(dir, train.MetricsFile)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write(metrics, "{\"step\": 1}\nbroken\n")
	drawn := 0
	s := httptest.NewServer(Live(dir, func(context.Context) (image.Image, error) {
		drawn++
		if drawn == 2 {
			return nil, errors.New("no picture")
		}
		return image.NewGray(image.Rect(0, 0, 3, 3)), nil
	}))
	defer s.Close()
	get := func(path string) (int, []byte) {
		r, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, b
	}
	if status, b := get("/"); status != 200 || !bytes.Contains(b, []byte("live.js")) {
		t.Errorf("the page: %d", status)
	}
	if status, _ := get("/reconstructions.png"); status != http.StatusNotFound {
		t.Errorf("a picture without a checkpoint: %d", status)
	}
	write(filepath.Join(dir, multimae.WeightsFile), "")
	for range 2 { // drawn once
		if status, b := get("/reconstructions.png"); status != 200 || !bytes.HasPrefix(b, []byte("\x89PNG")) || drawn != 1 {
			t.Errorf("a picture: %d, drawn %d times", status, drawn)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, multimae.WeightsFile), time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if status, b := get("/reconstructions.png"); status != 500 || !strings.Contains(string(b), "no picture") {
		t.Errorf("a picture that cannot be drawn: %d", status)
	}

	r, err := http.Get(s.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			for lines.Scan() && lines.Text() == "" {
			}
			if lines.Text() != w {
				t.Fatalf("event line %q, want %q", lines.Text(), w)
			}
		}
	}
	expect("event: again", "data: ", "event: lines", `data: [{"step": 1}]`)
	write(metrics, "{\"step\": 1}\nbroken\n{\"step\": 2}\n{\"step\": 3}\n")
	expect("event: lines", `data: [{"step": 2},{"step": 3}]`)
	write(metrics, "{\"step\": 1}\n")
	expect("event: again", "data: ", "event: lines", `data: [{"step": 1}]`)
}

// TestServeWaits ends a server while a handler has something to finish.
func TestServeWaits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var finished atomic.Bool
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		time.Sleep(20 * time.Millisecond)
		finished.Store(true)
	})
	go http.Get("http://" + l.Addr().String())
	if err := Serve(ctx, l, h); err != nil || !finished.Load() {
		t.Errorf("%v; the handler has ended: %v", err, finished.Load())
	}
}

// stuck is a client that does not read what it is sent.
type stuck struct {
	*httptest.ResponseRecorder
	sent, read chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	close(s.sent)
	<-s.read
	return len(b), nil
}

// TestLiveStuck sends the picture while another client does not take it.
func TestLiveStuck(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, multimae.WeightsFile), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	h := Live(dir, func(context.Context) (image.Image, error) { return image.NewGray(image.Rect(0, 0, 3, 3)), nil })
	ask := func(w http.ResponseWriter) { h.ServeHTTP(w, httptest.NewRequest("GET", "/reconstructions.png", nil)) }
	s := &stuck{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ask(s)
	}()
	<-s.sent
	other := make(chan int, 1)
	go func() {
		w := httptest.NewRecorder()
		ask(w)
		other <- w.Code
	}()
	select {
	case code := <-other:
		if code != 200 {
			t.Errorf("status %d", code)
		}
	case <-time.After(30 * time.Second):
		t.Error("a client waits for another")
	}
	close(s.read)
	<-ended
}

// TestLivePage looks at the page of a run in a browser.
func TestLivePage(t *testing.T) {
	b := newBrowser(t, 1300, 1200)
	dir := os.Getenv("GOMAE_RUN") // to see the page of a real run
	if dir == "" {
		dir = t.TempDir()
		var text strings.Builder
		for i := 1; i <= 30; i++ {
			fmt.Fprintf(&text, `{"step": %d, "epoch": 0, "loss": %v, "loss.rgb": %v, "lr": 0.001, "grad_norm": 1, "images_per_s": 5}`+"\n", 10*i, 3/float64(i), 2/float64(i))
		}
		text.WriteString(`{"step": 300, "val.samples": 4, "val.loss": 0.5, "val.loss.rgb": 0.25, "val.trivial_loss.rgb": 1, "val.miou.semseg": 25}` + "\n")
		if err := os.WriteFile(filepath.Join(dir, train.MetricsFile), []byte(text.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, multimae.WeightsFile), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(Live(dir, func(context.Context) (image.Image, error) { return image.NewGray(image.Rect(0, 0, 30, 30)), nil }))
	defer s.Close()
	b.window(1300, 1200)
	b.open(s.URL)
	b.wait("document.body.dataset.lines >= 31 && !document.getElementById('picture').hidden")
	if n := b.js("return document.querySelectorAll('#charts canvas').length"); n == "0" || !strings.Contains(b.js("return document.title"), "step") {
		t.Errorf("%s charts", n)
	}
	blank := b.js("const c = document.createElement('canvas'); c.width = 760; c.height = 400; return c.toDataURL()")
	if b.js("return document.querySelector('#chart-loss canvas').toDataURL()") == blank {
		t.Error("the chart of the loss is blank")
	}
	if os.Getenv("GOMAE_RUN") == "" && !strings.Contains(b.js("return document.getElementById('chart-miou-semseg').innerText"), "25") {
		t.Error("no chart of the mean IoU")
	}
	b.screenshot("live")
	b.media("prefers-color-scheme", "dark")
	b.window(390, 844)
	b.js("draw()")
	if w := b.js("return document.documentElement.scrollWidth"); w != "390" {
		t.Errorf("the page is %s pixels wide in a window of 390", w)
	}
	b.screenshot("live-phone-dark")
	if list := b.problems(); len(list) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(list, "\n"))
	}
	// A long run becomes as many points of as many lines each, whose mean is that of the lines.
	got := b.js(`curves = new Map();
		for (let step = 1; step <= 100000; step++) take(step % 4 ? { step, loss: step % 2 ? 3 : 1 } : { step });
		draw();
		const { each, points } = curves.get('loss'), n = points.reduce((sum, p) => sum + p[2], 0);
		return [each, points.length, n, (points.reduce((sum, p) => sum + p[1] * p[2], 0) / n).toFixed(6), points.at(-1)[0]].join(' ')`)
	if want := "8 9375 75000 2.333333 99999"; got != want {
		t.Errorf("the curve of a long run is %q, want %q", got, want)
	}
	if os.Getenv("GOMAE_RUN") == "" { // another run follows: it has no checkpoint, no validation and, at first, no step
		for _, change := range []error{os.Remove(filepath.Join(dir, multimae.WeightsFile)), os.Truncate(filepath.Join(dir, train.MetricsFile), 0)} {
			if change != nil {
				t.Fatal(change)
			}
		}
		b.wait("document.title === 'gomae: training' && document.getElementById('lead').innerText.startsWith('Waiting')")
		if err := os.WriteFile(filepath.Join(dir, train.MetricsFile), []byte(`{"step": 1, "epoch": 0, "loss": 3, "images_per_s": 5}`+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		b.wait("document.title === 'gomae: step 1'")
		if b.js("return document.getElementById('picture').hidden && !document.getElementById('chart-miou-semseg')") != "true" {
			t.Error("curves or the picture of the run before are left")
		}
	}
	b.open("about:blank")
	s.CloseClientConnections() // the browser may keep that of the events for a minute, and Close waits for it
}

// TestWriteStaticNoGo wants an error that says what is missing.
func TestWriteStaticNoGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := WriteStatic(context.Background(), t.TempDir(), demo.New(testModel(t), demo.Options{})); !errors.Is(err, ErrNoGo) {
		t.Error(err)
	}
}

// TestWriteStaticOver writes to a folder with a file of the same name, and to an earlier page. The
// context has ended, so that nothing is compiled: and then nothing may be written.
func TestWriteStaticOver(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (&toolchain{ctx, goTool}).compile(); !errors.Is(err, context.Canceled) {
		t.Errorf("compile: got %v, want %v", err, context.Canceled)
	}
	for _, c := range []struct {
		name  string
		files []string
		want  error
	}{
		{"new folder", nil, context.Canceled},
		{"other files", []string{"notes.txt", "model/notes.txt"}, context.Canceled},
		{"model", []string{"model/config.json", "model/model.safetensors"}, fs.ErrExist},
		{"page of others", []string{"index.html"}, fs.ErrExist},
		{"earlier page", []string{"index.html", "model/config.json", "model/page.json"}, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range c.files {
				path := filepath.Join(dir, filepath.FromSlash(name))
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte("mine"), 0o666)); err != nil {
					t.Fatal(err)
				}
			}
			if err := WriteStatic(ctx, dir, demo.New(testModel(t), demo.Options{})); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			n := 0
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					n++
					if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
						t.Errorf("%s: %.20q, %v", path, b, err)
					}
				}
				return err
			})
			if err != nil || n != len(c.files) {
				t.Errorf("%d files, want %d; %v", n, len(c.files), err)
			}
		})
	}
}
