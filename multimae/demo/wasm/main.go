//go:build js && wasm

// Command wasm is package demo for a browser's worker: it sets the object gomae with the functions
// load(config, weights, options), which takes the two files of a model folder and what
// App.MarshalOptions returns as Uint8Arrays, and call(name, request), which takes and returns JSON.
// Both return promises.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall/js"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/demo"
	"github.com/gomae/gomae/nn/weights"
)

var app *demo.App

func main() {
	js.Global().Set("gomae", map[string]any{"load": promise(load), "call": promise(call)})
	select {}
}

func load(args []js.Value) (any, error) {
	if len(args) != 3 {
		return nil, errors.New("load: want a configuration, weights and options")
	}
	var files [3][]byte
	for i := range files {
		files[i] = make([]byte, args[i].Get("length").Int())
		js.CopyBytesToGo(files[i], args[i])
	}
	c, err := multimae.ParseConfig(files[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", multimae.ConfigFile, err)
	}
	f, err := weights.NewReader(bytes.NewReader(files[1]), int64(len(files[1])))
	if err != nil {
		return nil, err
	}
	m, err := multimae.LoadFrom(c, f)
	if err != nil {
		return nil, err
	}
	m.Params.Freeze()
	app, err = demo.Open(m, files[2])
	return nil, err
}

func call(args []js.Value) (any, error) {
	if app == nil || len(args) != 2 {
		return nil, errors.New("call: want a name and a request, after load")
	}
	b, err := app.Call(context.Background(), args[0].String(), []byte(args[1].String()))
	return string(b), err
}

// promise returns f as a function whose result is a promise: a call may compute for long, and the
// worker goes on.
func promise(f func([]js.Value) (any, error)) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		var executor js.Func
		executor = js.FuncOf(func(_ js.Value, settle []js.Value) any {
			resolve, reject := settle[0], settle[1]
			go func() {
				defer executor.Release()
				if v, err := f(args); err != nil {
					reject.Invoke(js.Global().Get("Error").New(err.Error()))
				} else {
					resolve.Invoke(v)
				}
			}()
			return nil
		})
		return js.Global().Get("Promise").New(executor)
	})
}
