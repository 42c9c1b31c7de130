package teacher

import (
	"context"
	"fmt"
	"strings"
)

// network is what computes: a session of ONNX Runtime, or a fine-tuned model of gomae. Several
// goroutines may run it at once.
type network interface {
	inputs() []port
	outputs() []port
	choose(input, output string) // before the first run
	run(ctx context.Context, x []float32, shape []int) (*output, error)
	close()
}

// port is an input or an output of a network.
type port struct {
	name    string
	element element
	shape   []int // -1 for a free dimension
}

// element is the type of a tensor's elements, by its number in ONNX.
type element int32

const (
	elementFloat32 element = 1
	elementUint8   element = 2
	elementInt32   element = 6
	elementInt64   element = 7
)

func (e element) String() string {
	names := []string{"undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"}
	if e >= 0 && int(e) < len(names) {
		return names[e]
	}
	return fmt.Sprintf("type %d", int32(e))
}

func (p port) String() string {
	dims := make([]string, len(p.shape))
	for i, n := range p.shape {
		dims[i] = fmt.Sprint(n)
		if n < 0 {
			dims[i] = "?"
		}
	}
	return fmt.Sprintf("%q %v [%s]", p.name, p.element, strings.Join(dims, ","))
}

// pick returns the port of that name, or the only one where the name is "". The error lists all.
func pick(what, name string, ports []port) (port, error) {
	all := make([]string, len(ports))
	for i, p := range ports {
		if p.name == name || name == "" && len(ports) == 1 {
			return p, nil
		}
		all[i] = p.String()
	}
	problem := fmt.Sprintf("%s.name: the network has no %s %q", what, what, name)
	if name == "" {
		problem = fmt.Sprintf("%s.name: the network has %d %ss, and none is named", what, len(ports), what)
	}
	return port{}, fmt.Errorf("%s; it has %s", problem, strings.Join(all, ", "))
}

// output is what a network has computed: values, or ids as whole numbers.
type output struct {
	shape  []int
	values []float32
	ids    []int
	free   func() // where the values are in the memory of a library
}

func (o *output) release() {
	if o != nil && o.free != nil {
		o.free()
		o.free, o.values = nil, nil
	}
}
