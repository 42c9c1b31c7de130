package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/demo"
	"github.com/gomae/gomae/multimae/demo/web"
	"github.com/gomae/gomae/tensor"
)

func demoCommand(e *env) *command {
	fs := newFlags()
	var (
		model  = modelFlag(fs)
		from   = dataFlag(fs)
		addr   = fs.String("addr", "127.0.0.1:8080", "serve the page at `HOST:PORT`; other machines reach it only if HOST is one of this machine's addresses")
		static = fs.String("static", "", "instead of serving, write the page with the model in it to the folder `DIR`, for any web host; needs Go")
	)
	return &command{
		name:  "gomae demo",
		usage: "gomae demo [flags]",
		short: "show what a model sees and imagines, in a browser",
		about: `Serves a page on which patches of colour, depth and objects are shown to the model
or hidden from it by click and drag, and the prediction of everything follows. One
can change the colour of a patch and see whether the object follows, look at errors
and attention, and save the picture or the state. The scenes are some that the
model was not trained on, or your own pictures.

With -static the page computes in the visitor's browser: gomae is compiled to
WebAssembly, and the folder can be put on any web host.`,
		examples: []string{
			"gomae demo",
			"gomae demo -model photos",
			"gomae demo -model out -data set -addr 127.0.0.1:9000",
			"gomae demo -static page",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if given(fs)["addr"] && *static != "" {
				return usagef("-addr and -static exclude each other")
			}
			m, err := openModel(*model)
			if err != nil {
				return err
			}
			o := demo.Options{Name: m.name}
			if *from != "" || m.examples != nil { // else rendered rooms, where the model reads what they have
				if o.Scenes, o.Classes, err = m.lookAt(*from); err != nil {
					return err
				}
			}
			if *static != "" {
				return e.writeStatic(ctx, *static, demo.New(m.Model, o))
			}
			return e.serveDemo(ctx, *addr, m.Model, o)
		},
	}
}

func (e *env) serveDemo(ctx context.Context, addr string, m *multimae.Model, o demo.Options) error {
	l, err := listen(addr)
	if err != nil {
		return err
	}
	o.Pool = tensor.NewPool(0)
	defer o.Pool.Close()
	m.Params.Pack(tensor.NewInference(nil))
	e.logf("open http://%s in a browser; Ctrl-C ends the server", shownAddress(l))
	return e.save(func() error { return web.Serve(ctx, l, web.Handler(demo.New(m, o))) })
}

// listen opens a TCP port.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		err = fmt.Errorf("cannot serve at %s: %w; give another HOST:PORT, or port 0 for a free one", quote(addr), err)
	}
	return l, err
}

// shownAddress returns the address that a browser on this machine can open.
func shownAddress(l net.Listener) string {
	a, ok := l.Addr().(*net.TCPAddr)
	if ok && a.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", a.Port)
	}
	return l.Addr().String()
}

func (e *env) writeStatic(ctx context.Context, dir string, a *demo.App) error {
	e.logf("compiling gomae to WebAssembly")
	err := e.save(func() error { return web.WriteStatic(ctx, dir, a) })
	if errors.Is(err, context.Canceled) {
		e.logf("interrupted; the page in %s is not complete. Run the command again", quote(dir))
		return errReported
	}
	if err != nil {
		return err
	}
	e.logf("wrote %s and what belongs to it: put the folder on a web host, or try \"python3 -m http.server -d %s\"", quote(filepath.Join(dir, "index.html")), quote(dir))
	return nil
}
