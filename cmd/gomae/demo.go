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
		addr   = fs.String("addr", "127.0.0.1:8080", "serve the page at `HOST:PORT`; "+hostUsage)
		static = fs.String("static", "", "instead of serving, write the page with the model in it to the folder `DIR`, for any web host; it replaces an earlier page, and no other files; needs Go")
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
			o := demo.Options{Name: m.name, Classes: m.classNames()}
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
	e.invite(l, "; Ctrl-C ends the server")
	return e.save(func() error { return web.Serve(ctx, l, web.Handler(demo.New(m, o))) })
}

// hostUsage ends the usage of a flag that takes an address for listen.
const hostUsage = "127.0.0.1 is for this machine only; without HOST, or with 0.0.0.0, every machine that reaches this one can open it"

// listen opens a TCP port.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		err = fmt.Errorf("cannot serve at %s: %w; give another HOST:PORT, or port 0 for a free one", quote(addr), err)
	}
	return l, err
}

// invite says where a browser on this machine finds the page at l, what for, and who else does.
func (e *env) invite(l net.Listener, what string) {
	address := l.Addr().String()
	a, ok := l.Addr().(*net.TCPAddr)
	all := ok && a.IP.IsUnspecified()
	if all {
		address = fmt.Sprintf("localhost:%d", a.Port)
	}
	e.logf("open http://%s in a browser%s", address, what)
	if all {
		e.logf("every machine that reaches this one can open it, too; at 127.0.0.1:%d only this one can", a.Port)
	}
}

func (e *env) writeStatic(ctx context.Context, dir string, a *demo.App) error {
	e.logf("compiling gomae to WebAssembly")
	err := e.save(func() error { return web.WriteStatic(ctx, dir, a) })
	if errors.Is(err, context.Canceled) {
		e.logf("interrupted; nothing was written to %s. Run the command again", quote(dir))
		return errReported
	}
	if err != nil {
		return err
	}
	e.logf("wrote %s and what belongs to it: put the folder on a web host, or try \"python3 -m http.server -d %s\"", quote(filepath.Join(dir, "index.html")), quote(dir))
	return nil
}
