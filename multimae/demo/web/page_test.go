package web

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/demo"
	"github.com/gomae/gomae/multimae/scenes"
)

// testModel returns a model for tests: untrained, of 16 patches. Its outputs depend on all inputs.
func testModel(t testing.TB) *multimae.Model {
	t.Helper()
	c := tiny.Config()
	c.ImageSize, c.Train.NumEncodedTokens, c.Train.Data = 32, 8, "scenes"
	m := tiny.Model(t, c, 3)
	m.Params.Freeze()
	return m
}

// TestPage uses the page as a visitor does, behind a server and as a static page.
func TestPage(t *testing.T) {
	m := testModel(t)
	model := "test"
	if dir := os.Getenv("GOMAE_MODEL"); dir != "" { // to see the page with a trained model
		var err error
		if m, err = multimae.LoadDir(dir); err != nil {
			t.Fatal(err)
		}
		model = "rooms"
	}
	t.Run("server", func(t *testing.T) {
		b := newBrowser(t, 1360, 1000)
		s := httptest.NewServer(Handler(demo.New(m, demo.Options{Name: model})))
		defer s.Close()
		visit(t, b, s.URL, m, "server")
	})
	t.Run("static", func(t *testing.T) {
		b := newBrowser(t, 1360, 1000)
		dir := t.TempDir()
		if err := WriteStatic(context.Background(), dir, demo.New(m, demo.Options{Name: model})); err != nil {
			t.Fatal(err)
		}
		size := int64(0)
		err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
			if info, e := d.Info(); e == nil && d.Type().IsRegular() {
				size += info.Size()
			}
			return err
		})
		if err != nil || size > 12_000_000 {
			t.Errorf("the page has %d bytes, %v", size, err)
		}
		b.open("file://" + filepath.ToSlash(filepath.Join(dir, "index.html")))
		b.wait("document.getElementById('alert').innerText.includes('only from a web server')")
		s := httptest.NewServer(http.FileServer(http.Dir(dir)))
		defer s.Close()
		visit(t, b, s.URL, m, "static")
	})
}

func visit(t *testing.T, b *browser, url string, m *multimae.Model, prefix string) {
	grid := m.Config.ImageSize / m.Config.PatchSize
	b.window(1360, 1000)
	b.open(url)
	b.wait("document.body.dataset.predictions > 0 && document.getElementById('board').getAttribute('aria-busy') === 'false'")
	b.screenshot(prefix + "-desktop")
	pixels := func(id string) string {
		return b.js("const c = document.getElementById('" + id + "'); return c.toDataURL()")
	}
	seen := func(m string) string { return b.js("return state.visible['" + m + "'].map(Number).join('')") }
	// predicted does something and waits until a prediction has followed.
	predicted := func(f func()) {
		t.Helper()
		b.wait("asking === 0")
		before := b.js("return document.body.dataset.predictions")
		f()
		b.wait("asking === 0 && Number(document.body.dataset.predictions) > " + before)
	}

	t.Run("click and drag", func(t *testing.T) {
		predicted(func() { b.click("[data-recipe=all]") })
		predicted(func() { b.click("#only button:nth-child(2)") })
		if got, want := seen("depth"), strings.Repeat("1", grid*grid); got != want || strings.Contains(seen("rgb"), "1") {
			t.Fatalf("only depth: depth is %s, rgb %s", got, seen("rgb"))
		}
		b.screenshot(prefix + "-depth-only")
		before := pixels("predicts-depth")
		predicted(func() { b.drag("#sees-depth", grid, 0) })
		if got := seen("depth"); got[0] != '0' || strings.Count(got, "0") != 1 {
			t.Errorf("after a click on the first patch: %s", got)
		}
		if pixels("predicts-depth") == before {
			t.Error("the prediction is the same although a patch was hidden")
		}
		predicted(func() { b.drag("#sees-depth", grid, grid, grid+1, grid+2) })
		if got := seen("depth"); got[grid:grid+3] != "000" || strings.Count(got, "0") != 4 {
			t.Errorf("after a drag across three patches: %s", got)
		}
	})

	t.Run("sliders", func(t *testing.T) {
		predicted(func() {
			b.js("const i = document.getElementById('tokens'); i.value = 5; i.dispatchEvent(new Event('input'))")
		})
		if n := strings.Count(seen("rgb")+seen("depth")+seen("semseg"), "1"); n != 5 {
			t.Errorf("%d patches are shown, want 5", n)
		}
		predicted(func() {
			b.js(`for (const m of ['rgb', 'semseg']) { const i = document.getElementById('alpha-' + m); i.value = -1.3; i.dispatchEvent(new Event('input')); }
				const i = document.getElementById('alpha-depth'); i.value = 1.3; i.dispatchEvent(new Event('input'))`)
		})
		b.wait("state.alphas.depth > 19 && state.alphas.rgb < 0.1")
	})

	t.Run("random patches that come late", func(t *testing.T) {
		b.js(`window.prompt = backend.call;
			window.slow = () => { backend.call = async (name, r) => { const a = await prompt(name, r); if (name === 'mask') await new Promise((f) => setTimeout(f, 300)); return a; }; };
			slow()`)
		predicted(func() { b.click("[data-recipe=random]"); b.click("[data-recipe=random]"); b.click("[data-recipe=all]") })
		b.js("backend.call = window.prompt")
		if all := seen("rgb") + seen("depth") + seen("semseg"); strings.Contains(all, "0") {
			t.Errorf("the patches shown last are lost: %s", all)
		}
		b.js("slow()")
		for _, click := range []string{"input[value=attention] + span", "#forth", "#back"} { // which show and hide no patch
			predicted(func() { b.js("recipe('all')") })
			b.click("[data-recipe=random]")
			b.click(click)
			b.wait("asking === 0 && document.getElementById('board').getAttribute('aria-busy') === 'false'")
			if all := seen("rgb") + seen("depth") + seen("semseg"); !strings.Contains(all, "0") {
				t.Errorf("a click on %s has thrown away random patches", click)
			}
		}
		b.js("backend.call = window.prompt")
		b.click("input[value=show] + span")
	})

	t.Run("hue", func(t *testing.T) {
		predicted(func() { b.click("[data-recipe=all]") })
		predicted(func() { b.drag("#sees-rgb", grid, grid+1) }) // hidden, so that it is predicted
		b.click("input[value=hue] + span")
		predicted(func() { b.drag("#sees-rgb", grid, 2*grid+1, 2*grid+2) })
		b.wait("answer.views.rgb.before && !document.getElementById('huebox').hidden")
		one := pixels("sees-rgb")
		predicted(func() {
			b.js("const i = document.getElementById('hue'); i.value = -90; i.dispatchEvent(new Event('input'))")
		})
		b.wait("answer.views.rgb.input")
		if pixels("sees-rgb") == one {
			t.Error("another hue gives the same picture")
		}
		if b.js("return answer.views.rgb.prediction.rgba === answer.views.rgb.before.rgba") == "true" {
			t.Error("the prediction does not follow the hue")
		}
		b.screenshot(prefix + "-hue")
	})

	t.Run("attention", func(t *testing.T) {
		b.click("input[value=attention] + span")
		b.wait("gaze")
		b.drag("#sees-depth", grid, grid+2)
		b.wait("gaze && state.probe.modality === 'depth' && state.probe.patch === " + fmt.Sprint(grid+2))
		b.wait("Math.abs(Object.values(gaze.weights).flat().reduce((a, x) => a + x, gaze.global) - 1) < 1e-3")
		b.screenshot(prefix + "-attention")
		b.click("input[value=show] + span")
	})

	t.Run("keyboard", func(t *testing.T) {
		predicted(func() { b.click("[data-recipe=none]"); b.click("[data-recipe=all]") })
		b.js("document.querySelector('#sees-rgb').previousSibling; document.querySelector('.card .sets button:last-child').focus()")
		b.keys(keyTab)
		b.wait("document.activeElement.id === 'sees-rgb'")
		predicted(func() { b.keys(" ") })
		b.keys(keyRight, keyDown)
		predicted(func() { b.keys(" ") })
		if got := seen("rgb"); got[0] != '0' || got[grid+1] != '0' || strings.Count(got, "0") != 2 {
			t.Errorf("after two patches: %s", got)
		}
		predicted(func() { b.keys(keyShift, keyRight) })
		if got := seen("rgb"); got[grid+2] != '0' {
			t.Errorf("after painting to the right: %s", got)
		}
		if text := b.js("return document.getElementById('live').textContent"); !strings.Contains(text, "row 2, column 3") {
			t.Errorf("a screen reader hears %q", text)
		}
		b.screenshot(prefix + "-keyboard")
		predicted(func() { b.keys("n") })
		if strings.Contains(seen("rgb"), "1") {
			t.Error("the key n hides nothing")
		}
		for _, c := range []struct{ key, code, want string }{
			{"A", "KeyA", "1"}, {"т", "KeyN", "0"}, {"ф", "KeyA", "1"}, {"q", "KeyA", "1"}, {"N", "KeyN", "0"}, {"a", "KeyQ", "1"}, {"n", "KeyL", "0"},
		} {
			b.js(fmt.Sprintf("$('sees-rgb').dispatchEvent(new KeyboardEvent('keydown', { key: '%s', code: '%s' }))", c.key, c.code))
			if got := seen("rgb"); got != strings.Repeat(c.want, grid*grid) {
				t.Errorf("after the key %s, at the place of %s: %s", c.key, c.code, got)
			}
		}
	})

	t.Run("errors map", func(t *testing.T) {
		before := pixels("third-rgb")
		b.js("view.rgb.tabs.error.click()")
		if pixels("third-rgb") == before {
			t.Error("the error map is the truth")
		}
		b.screenshot(prefix + "-errors")
		b.js("view.rgb.tabs.truth.click()")
	})

	t.Run("rooms", func(t *testing.T) {
		before := pixels("third-rgb")
		predicted(func() { b.click("#forth") })
		if pixels("third-rgb") == before || b.js("return state.scene.number") != "13" {
			t.Error("the next room is the same")
		}
	})

	dir := t.TempDir()
	t.Run("state", func(t *testing.T) {
		b.click("#json")
		saved := filepath.Join(dir, "state.json")
		if err := os.WriteFile(saved, b.downloaded("gomae-state.json"), 0o666); err != nil {
			t.Fatal(err)
		}
		want := pixels("predicts-depth")
		predicted(func() { b.click("[data-recipe=left]") })
		predicted(func() { b.click("#forth") })
		if pixels("predicts-depth") == want {
			t.Fatal("another room looks the same")
		}
		predicted(func() { b.send("#open", saved) })
		b.wait("state.scene.number === 13 && document.getElementById('board').getAttribute('aria-busy') === 'false'")
		b.wait("document.getElementById('predicts-depth').toDataURL() === '" + want + "'")
	})

	t.Run("picture", func(t *testing.T) {
		b.click("#png")
		img, err := png.Decode(bytes.NewReader(b.downloaded("gomae.png")))
		if err != nil || img.Bounds().Dx() < 3*448 || img.Bounds().Dy() < 3*448 {
			t.Errorf("%v", err)
		}
	})

	t.Run("uploads", func(t *testing.T) {
		photo := image.NewRGBA(image.Rect(0, 0, 300, 200))
		for i := range photo.Pix {
			photo.Pix[i] = uint8(i * i / 997)
		}
		var file bytes.Buffer
		if err := jpeg.Encode(&file, photo, nil); err != nil {
			t.Fatal(err)
		}
		good, bad := filepath.Join(dir, "photo.jpg"), filepath.Join(dir, "bad.png")
		if err := os.WriteFile(good, file.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bad, []byte("no image"), 0o666); err != nil {
			t.Fatal(err)
		}
		b.click("#own summary")
		predicted(func() { b.send("#file-rgb", good) })
		if got := b.js("return Object.keys(truth).join()"); got != "rgb" || strings.Contains(seen("depth"), "1") {
			t.Error("the upload gives more than colour")
		}
		if label := b.js("return view.depth.count.textContent + view.depth.sees.getAttribute('aria-label')"); label != "Depth: not given, predicted from the others." {
			t.Errorf("depth, which is not given, has the label %q", label)
		}
		b.screenshot(prefix + "-upload")
		b.js(`window.dropOn = (selector, ...names) => {
				const dataTransfer = new DataTransfer();
				for (const name of names) dataTransfer.items.add(new File(['no image'], name));
				const e = new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true });
				document.querySelector(selector).dispatchEvent(e);
				return e.defaultPrevented;
			}`)
		if b.js("return dropOn('#file-depth', 'depth.png')") == "true" || b.js("return $('file-rgb').files[0].name") != "photo.jpg" {
			t.Error("what is dropped on the field of depth is read as colour")
		}
		if b.js("return document.elementFromPoint(innerWidth / 2, innerHeight / 2) === (document.body.classList.add('dropping'), document.elementFromPoint(innerWidth / 2, innerHeight / 2))") == "false" {
			t.Error("the fields cannot be reached while a file is dragged")
		}
		b.js("const f = new File([], 'gone.png'); f.arrayBuffer = async () => { throw new Error('not found'); }; load({ depth: f })")
		b.wait("document.getElementById('alert').innerText.includes('gone.png cannot be read') && $('file-rgb').files.length === 1")
		b.js("document.body.classList.remove('dropping'); dropOn('body', 'a.png', 'b.png')")
		b.wait("document.getElementById('alert').innerText.includes('2 files were dropped')")
		b.click("#alert button")
		b.send("#file-rgb", bad)
		b.wait("!document.getElementById('alert').hidden")
		if text := b.js("return document.getElementById('alert').innerText"); !strings.Contains(text, "neither a PNG nor a JPEG") {
			t.Errorf("a file that is no image: %q", text)
		}
		b.screenshot(prefix + "-bad-upload")
		b.click("#alert button")
		grey := image.NewGray(image.Rect(0, 0, 8, 8))
		grey.SetGray(1, 1, color.Gray{99})
		file.Reset()
		if err := png.Encode(&file, grey); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bad, file.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		b.wait("$('file-rgb').files.length === 0") // so that the mended file is a change
		b.send("#file-semseg", bad)
		b.wait("!document.getElementById('alert').hidden")
		if text := b.js("return document.getElementById('alert').innerText"); !strings.Contains(text, "class id 99") {
			t.Errorf("a class that the model lacks: %q", text)
		}
		b.click("#alert button")
		b.wait("$('file-semseg').files.length === 0")
		if prefix == "server" { // which takes less than it takes of each
			b.js("load({ rgb: new File([new Uint8Array(5e6)], 'a.png'), depth: new File([new Uint8Array(5e6)], 'b.png') })")
			b.wait("document.getElementById('alert').innerText.includes('10.0 MB together')")
			b.click("#alert button")
		}
	})

	t.Run("attention in another scene", func(t *testing.T) {
		predicted(func() { b.click("[data-recipe=all]") }) // of colour alone
		b.click("input[value=attention] + span")
		b.drag("#sees-rgb", grid, grid+2)
		b.wait("gaze && !gaze.weights.depth")
		saved := filepath.Join(dir, "attention.json")
		state := b.js("return JSON.stringify({ gomae: 1, ...state, probe: null })")
		if err := os.WriteFile(saved, []byte(state), 0o666); err != nil {
			t.Fatal(err)
		}
		predicted(func() { b.click("#next") })
		b.wait("gaze && gaze.weights.depth && document.getElementById('alert').hidden")
		if n := b.js("return $('file-rgb').files.length"); n != "0" {
			t.Errorf("%s old uploads would join the next one", n)
		}
		predicted(func() { b.send("#open", saved) })
		b.wait("state.scene.images && gaze && state.probe && document.getElementById('alert').hidden")
		for name, change := range map[string]string{"of the model": "s.model = 'another'", "scene": "s.scene = { number: 1e12 }"} {
			before := b.js("return JSON.stringify(state)")
			bad := b.js("const s = JSON.parse(" + strconv.Quote(state) + "); s.visible.rgb[0] = !s.visible.rgb[0]; s.seed++; " + change + "; return JSON.stringify(s)")
			if err := os.WriteFile(saved, []byte(bad), 0o666); err != nil {
				t.Fatal(err)
			}
			b.send("#open", saved)
			b.wait("document.getElementById('alert').innerText.includes('" + name + "')")
			if after := b.js("return JSON.stringify(state)"); after != before {
				t.Errorf("a state that was refused (%s) changed the page from %.200s to %.200s", name, before, after)
			}
			b.click("#alert button")
		}
		b.click("input[value=show] + span")
	})

	t.Run("narrow, dark and forced colours", func(t *testing.T) {
		predicted(func() { b.click("#next") })
		b.window(390, 844)
		b.js("scrollTo(0, 0)")
		if w := b.js("return document.documentElement.scrollWidth"); w != "390" {
			t.Errorf("the page is %s pixels wide in a window of 390", w)
		}
		b.screenshot(prefix + "-phone")
		b.js("document.querySelector('.card').scrollIntoView()")
		b.screenshot(prefix + "-phone-board")
		b.window(1360, 1000)
		b.media("prefers-color-scheme", "dark")
		if b.js("return getComputedStyle(document.body).backgroundColor") == "rgb(246, 246, 249)" {
			t.Error("a dark device gets a bright page")
		}
		b.js("scrollTo(0, 0); draw()")
		b.screenshot(prefix + "-dark")
		b.media("forced-colors", "active")
		if b.js("const dot = document.querySelector('.legend i'); return matchMedia('(forced-colors: active)').matches && getComputedStyle(dot).backgroundColor === dot.style.backgroundColor") != "true" {
			t.Error("the legend has no colours where those of a page are forced")
		}
		b.media("forced-colors", "none")
	})

	if list := b.problems(); len(list) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(list, "\n"))
	}
	if prefix == "static" {
		t.Log("a prediction of the static page: " + b.js("return document.getElementById('speed').textContent"))
	}
}

// TestPageScenes looks through a few scenes with names, with a server that is lost for a moment and
// then restarted with another model.
func TestPageScenes(t *testing.T) {
	m := testModel(t)
	var list data.Samples
	for i, name := range []string{"cat", "dog"} {
		s, err := scenes.Unseen(m.Config.ImageSize, 0).Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, &data.Sample{Name: name, Maps: s.Maps})
	}
	b := newBrowser(t, 1360, 1000)
	var running atomic.Value
	running.Store(Handler(demo.New(m, demo.Options{Name: "test", Scenes: list})))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { running.Load().(http.Handler).ServeHTTP(w, r) }))
	defer s.Close()
	b.open(s.URL)
	shows := func(number int, name string) {
		t.Helper()
		b.wait(fmt.Sprintf("state.scene.number === %d && document.getElementById('board').getAttribute('aria-busy') === 'false'", number))
		if note := b.js("return document.getElementById('note').textContent"); !strings.HasPrefix(note, name) {
			t.Errorf("scene %d is %q, want %s", number, note, name)
		}
	}
	shows(0, "cat")
	for _, click := range []struct {
		button string
		number int
		name   string
	}{{"#forth", 1, "dog"}, {"#forth", 1, "dog"}, {"#next", 0, "cat"}, {"#next", 1, "dog"}, {"#back", 0, "cat"}, {"#back", 0, "cat"}} {
		b.click(click.button)
		shows(click.number, click.name)
	}

	b.js("$('next').click(); $('next').click()") // before the first answer
	shows(0, "cat")
	b.js("open({ number: 9 }, true)") // there is none
	b.wait("!$('alert').hidden")
	b.click("#next")
	shows(1, "dog")
	b.click("#back")
	shows(0, "cat")

	b.wait("asking === 0")
	b.click("#json")
	state := b.js("return JSON.stringify(state)")
	for _, c := range []struct{ change, want string }{
		{"s.scene = null", "no state"},
		{"s.scenes = 3", "3 scenes"},
		{"s.sceneName = 'cow'", "is cow, and here it is cat"},
		{"s.sceneName = ''", "is a rendered room, and here it is cat"},
		{"", ""},
		{"delete s.scenes; delete s.sceneName", ""}, // of the page before it saved them
	} {
		b.js("const s = JSON.parse(" + strconv.Quote(string(b.downloaded("gomae-state.json"))) + "); s.seed = 77; " + c.change +
			"; $('alert').lastElementChild.onclick(); window.opened = 0; restore(new File([JSON.stringify(s)], 's.json')).then(() => { window.opened = 1; })")
		b.wait("window.opened && asking === 0")
		if text := b.js("return document.getElementById('alert').firstElementChild.textContent"); !strings.Contains(text, c.want) || (text == "") != (c.want == "") {
			t.Errorf("a state with %s: %q, want %q", c.change, text, c.want)
		}
		if after := b.js("return JSON.stringify(state)"); c.want != "" && after != state {
			t.Errorf("a state that was refused (%s) changed the page from %.200s to %.200s", c.change, state, after)
		}
	}

	for _, c := range []struct{ name, choose string }{
		{"a picture", "load({ rgb: slow })"},
		{"a file that cannot be read", "slow.text = slow.arrayBuffer = async () => { await later; throw new Error('gone'); }; load({ rgb: slow })"},
		{"a state", "restore(slow)"},
	} {
		b.js(`let late; const later = new Promise((f) => { late = f; }), saved = JSON.stringify({ gomae: 1, ...state, scene: { number: 1 } });
			const slow = new File([], 'slow.json');
			slow.arrayBuffer = async () => { await later; return new ArrayBuffer(8); };
			slow.text = async () => { await later; return saved; };
			window.opened = 0;
			const chosen = ` + c.choose + `;
			open({ number: 0 }, true).then(late).then(() => chosen).then(() => { window.opened = 1; })`)
		b.wait("window.opened && asking === 0")
		if text := b.js("return state.scene.number + $('alert').firstElementChild.textContent"); text != "0" {
			t.Errorf("%s that was given up for scene 0 comes late: %q", c.name, text)
		}
	}

	// Another scene is chosen while a prediction is computed, and then that of the new scene fails.
	b.wait("answer")
	b.js(`window.prompt = backend.call; window.held = [];
		backend.call = async (name, r) => {
			const a = await prompt(name, r);
			if (name === 'predict') await new Promise((pass, fail) => held.push({ pass, fail: () => fail(new Error('failed')) }));
			return a;
		}`)
	b.click("[data-recipe=left]")
	b.wait("held.length === 1")
	b.click("#forth")
	b.wait("state.scene.number === 1 && document.getElementById('board').getAttribute('aria-busy') === 'false'")
	b.js("window.answers = [answer]; held[0].pass()")
	b.wait("held.length === 2")
	b.js("answers.push(answer); held[1].fail(); backend.call = prompt")
	b.wait("asking === 0")
	if got := b.js("return [...answers, answer].map(String) + view.depth.score.textContent + $('alert').firstElementChild.textContent"); got != "null,null,nullfailed" {
		t.Errorf("a prediction of the former scene stands as that of the new one: %q", got)
	}

	b.js(`complain(null); window.prompt = fetch; window.fetch = async () => new Response('{"views": {')`)
	b.click("[data-recipe=all]")
	b.wait("asking === 0 && document.getElementById('alert').innerText.includes('cut off')")
	b.js("window.fetch = window.prompt")
	b.click("[data-recipe=left]")
	b.wait("asking === 0 && answer")
	if text := b.js("return document.getElementById('alert').firstElementChild.textContent"); text != "" {
		t.Errorf("after an answer that was cut off, the page says %q", text)
	}

	running.Store(Handler(demo.New(m, demo.Options{Name: "other"})))
	before := b.js("return JSON.stringify(answer)")
	b.click("[data-recipe=all]")
	b.wait("asking === 0 && document.getElementById('alert').innerText.includes('was restarted')")
	if b.js("return JSON.stringify(answer)") != before {
		t.Error("a prediction of another model stands under the name of the first one")
	}
}

// TestPageTour draws the frames of the README's animation, frame-00.png and so on, into the folder
// that GOMAE_SCREENSHOTS names. It needs GOMAE_MODEL.
func TestPageTour(t *testing.T) {
	dir := os.Getenv("GOMAE_MODEL")
	if dir == "" || os.Getenv("GOMAE_SCREENSHOTS") == "" {
		t.Skip("GOMAE_MODEL or GOMAE_SCREENSHOTS is not set")
	}
	m, err := multimae.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, 1180, 900)
	s := httptest.NewServer(Handler(demo.New(m, demo.Options{Name: "rooms"})))
	defer s.Close()
	b.window(1180, 860)
	b.open(s.URL)
	b.wait("document.body.dataset.predictions > 0 && asking === 0")
	grid := m.Config.ImageSize / m.Config.PatchSize
	frames := 0
	frame := func() {
		b.wait("asking === 0")
		b.screenshot(fmt.Sprintf("frame-%02d", frames))
		frames++
	}
	b.js("open({ number: 3 }, true)")
	b.wait("state.scene.number === 3 && document.getElementById('board').getAttribute('aria-busy') === 'false'")
	b.click("[data-recipe=none]")
	b.js("scrollTo(0, 118)")
	frame()
	// Depth is shown row by row.
	for row := range grid {
		var patches []int
		for x := range grid {
			patches = append(patches, row*grid+x)
		}
		b.drag("#sees-depth", grid, patches...)
		b.js("scrollTo(0, 118)")
		frame()
	}
	// Then a few patches of colour.
	for _, p := range []int{1 * grid, 2*grid + 5, 5*grid + 2, 6*grid + 6, 3*grid + 3, 4*grid + 6} {
		b.drag("#sees-rgb", grid, p)
		b.js("scrollTo(0, 118)")
		frame()
	}
	for range 2 {
		b.js("recipe('random')")
		b.wait("asking === 0")
		frame()
	}
}
