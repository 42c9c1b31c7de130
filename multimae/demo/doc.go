// Package demo answers what the interactive page asks of a model: scenes, masks, predictions, a
// shifted hue and attention.
//
// An [App] has no state of a visitor: each request says all that its answer depends on, so that a
// saved request reproduces what was seen. It knows neither HTTP nor files, and is the same behind a
// server (package web) and as WebAssembly in a browser (command wasm).
package demo
