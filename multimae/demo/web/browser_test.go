package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser drives a headless Chromium by the WebDriver protocol of its chromedriver.
type browser struct {
	t       *testing.T
	session string // its URL
	dir     string // of downloads
}

var started = regexp.MustCompile(`started successfully on port (\d+)`)

// newBrowser starts a browser if GOMAE_BROWSER is set, as .ci/run does, and otherwise skips the test,
// which takes a minute. chromedriver is the package chromium-driver of Debian.
func newBrowser(t *testing.T, width, height int) *browser {
	t.Helper()
	if os.Getenv("GOMAE_BROWSER") == "" {
		t.Skip("GOMAE_BROWSER is not set; to use the pages in a browser: apt install chromium chromium-driver, and GOMAE_BROWSER=1 go test ./multimae/demo/web")
	}
	driver, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, driver, "--port=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		if b.session != "" {
			b.call("DELETE", "", nil)
		}
		cancel()
		cmd.Wait()
	})
	port := "" // chromedriver takes a free one, says which, and answers from then on
	lines := bufio.NewScanner(out)
	for said := ""; port == ""; {
		if !lines.Scan() {
			t.Fatalf("chromedriver names no port: %s", said)
		}
		said += lines.Text() + "\n"
		if m := started.FindStringSubmatch(lines.Text()); m != nil {
			port = m[1]
		}
	}
	go io.Copy(io.Discard, out)
	base := "http://127.0.0.1:" + port
	var made struct {
		SessionID string `json:"sessionId"`
	}
	b.session = base + "/session"
	b.into(&made, "POST", "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"goog:chromeOptions": map[string]any{
			"args": []string{"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
				fmt.Sprintf("--window-size=%d,%d", width, height)},
			"prefs": map[string]any{"download.default_directory": b.dir},
		},
		"goog:loggingPrefs": map[string]string{"browser": "ALL"},
	}}})
	b.session += "/" + made.SessionID
	return b
}

// call sends a command and returns its value.
func (b *browser) call(method, path string, body any) json.RawMessage {
	b.t.Helper()
	var data io.Reader
	if body != nil {
		j, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		data = bytes.NewReader(j)
	}
	r, err := http.NewRequest(method, b.session+path, data)
	if err != nil {
		b.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	var v struct{ Value json.RawMessage }
	if err := json.NewDecoder(answer.Body).Decode(&v); err != nil || answer.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s: %s, %v: %.600s", method, path, answer.Status, err, v.Value)
	}
	return v.Value
}

func (b *browser) into(v any, method, path string, body any) {
	b.t.Helper()
	if err := json.Unmarshal(b.call(method, path, body), v); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.call("POST", "/url", map[string]string{"url": url})
}

// js runs the body of a function and returns its result as text.
func (b *browser) js(body string) string {
	b.t.Helper()
	var v any
	b.into(&v, "POST", "/execute/sync", map[string]any{"script": body, "args": []any{}})
	return fmt.Sprint(v)
}

// wait waits until an expression is true.
func (b *browser) wait(expression string) {
	b.t.Helper()
	for range 1200 { // two minutes, for a machine that does much else
		if b.js("return !!("+expression+")") == "true" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.screenshot("failed")
	b.t.Fatalf("never true: %s; the page says %q", expression, b.js("return document.body.innerText"))
}

func (b *browser) element(selector string) string {
	b.t.Helper()
	var v map[string]string
	b.into(&v, "POST", "/element", map[string]string{"using": "css selector", "value": selector})
	for _, id := range v {
		return id
	}
	return ""
}

// click clicks with the mouse.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.call("POST", "/element/"+b.element(selector)+"/click", map[string]any{})
}

// send types text, or a file's path into a file input.
func (b *browser) send(selector, text string) {
	b.t.Helper()
	b.call("POST", "/element/"+b.element(selector)+"/value", map[string]string{"text": text})
}

// keys presses keys where the focus is. Shift holds for the rest of the text.
func (b *browser) keys(keys ...string) {
	b.t.Helper()
	var actions []map[string]any
	var held []string
	for _, k := range keys {
		actions = append(actions, map[string]any{"type": "keyDown", "value": k})
		if k == keyShift {
			held = append(held, k)
			continue
		}
		actions = append(actions, map[string]any{"type": "keyUp", "value": k})
	}
	for _, k := range held {
		actions = append(actions, map[string]any{"type": "keyUp", "value": k})
	}
	b.call("POST", "/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keyboard", "actions": actions}}})
}

const keyShift, keyTab, keyRight, keyDown, keyLeft = "\uE008", "\uE004", "\uE014", "\uE015", "\uE012"

// drag presses the mouse on a patch, moves it over others and lets go.
func (b *browser) drag(selector string, grid int, patches ...int) {
	b.t.Helper()
	b.js(fmt.Sprintf("document.querySelector(%q).scrollIntoView({block: 'center'})", selector))
	var rect struct{ X, Y, Width, Height float64 }
	b.into(&rect, "POST", "/execute/sync", map[string]any{"args": []any{},
		"script": fmt.Sprintf("const r = document.querySelector(%q).getBoundingClientRect(); return {x: r.x, y: r.y, width: r.width, height: r.height}", selector)})
	var actions []map[string]any
	for i, p := range patches {
		x := rect.X + (float64(p%grid)+0.5)*rect.Width/float64(grid)
		y := rect.Y + (float64(p/grid)+0.5)*rect.Height/float64(grid)
		actions = append(actions, map[string]any{"type": "pointerMove", "duration": 10, "x": int(x), "y": int(y)})
		if i == 0 {
			actions = append(actions, map[string]any{"type": "pointerDown", "button": 0})
		}
	}
	actions = append(actions, map[string]any{"type": "pointerUp", "button": 0})
	b.call("POST", "/actions", map[string]any{"actions": []any{map[string]any{"type": "pointer", "id": "mouse", "actions": actions}}})
}

// screenshot writes a picture of the window to the folder that GOMAE_SCREENSHOTS names.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("GOMAE_SCREENSHOTS")
	if dir == "" {
		return
	}
	var text string
	b.into(&text, "GET", "/screenshot", nil)
	img, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), img, 0o666)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// media makes the page see a device of which a media feature has a value.
func (b *browser) media(feature, value string) {
	b.t.Helper()
	b.call("POST", "/goog/cdp/execute", map[string]any{"cmd": "Emulation.setEmulatedMedia",
		"params": map[string]any{"features": []any{map[string]string{"name": feature, "value": value}}}})
}

// window changes what the page takes for its width and height.
func (b *browser) window(width, height int) {
	b.t.Helper()
	b.call("POST", "/goog/cdp/execute", map[string]any{"cmd": "Emulation.setDeviceMetricsOverride",
		"params": map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}})
}

// problems returns the errors in the browser's log, such as exceptions and requests that its policy
// has forbidden. A refused request to the API is not one.
func (b *browser) problems() (list []string) {
	b.t.Helper()
	var log []struct{ Level, Message string }
	b.into(&log, "POST", "/se/log", map[string]string{"type": "browser"})
	for _, l := range log {
		if l.Level == "SEVERE" && !strings.Contains(l.Message, "/api/scene - Failed to load resource: the server responded with a status of 400") {
			list = append(list, l.Message)
		}
	}
	return list
}

// downloaded waits for a file that the page saves.
func (b *browser) downloaded(name string) []byte {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	for range 600 {
		if data, err := os.ReadFile(path); err == nil && len(data) > 0 {
			return data
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.t.Fatal("never downloaded: " + name)
	return nil
}
