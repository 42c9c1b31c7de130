// Package web serves the interactive page of package demo, and writes it as files for any web host
// with gomae as WebAssembly in the place of the server. [Live] is the page of a training run.
//
// The pages ask nobody but their own host: everything is embedded, and a policy of the browser
// forbids the rest. A server bounds what strangers can make it do: the size of a request, the
// number of connections, the time that reading and writing take, and how many requests are computed
// at a time; the others wait in line.
package web
