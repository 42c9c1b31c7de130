// Package poison lets tests see a use of memory after its release. It is a package of its own so
// that the switch is no part of what package tensor exports.
package poison

// On makes package tensor fill the memory that a tape takes back with NaN. Tests set it by
// importing internal/testkit.
var On bool

// Off switches it off, for a measurement of memory or time, and returns a function that restores
// what was before.
func Off() (restore func()) {
	old := On
	On = false
	return func() { On = old }
}
