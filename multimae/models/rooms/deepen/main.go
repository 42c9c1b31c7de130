// Command deepen copies a model folder and adds a block to the encoder that changes nothing at first:
// a copy of the last one, with zeros in the two layers whose results are added to the tokens. Training
// then goes on with what has been learnt. The model card of package rooms has the place of
//
//	go run ./multimae/models/rooms/deepen FROM TO
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/gomae/gomae/multimae"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: deepen FROM TO")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "deepen:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	m, err := multimae.LoadDir(from)
	if err != nil {
		return err
	}
	if m, err = deepen(m); err != nil {
		return err
	}
	return m.Save(to)
}

func deepen(m *multimae.Model) (*multimae.Model, error) {
	c := *m.Config
	c.Encoder.Depth++
	deeper, err := multimae.NewModel(&c)
	if err != nil {
		return nil, err
	}
	block := func(i int) string { return fmt.Sprintf("encoder.%d.", i) }
	last, added := block(m.Config.Encoder.Depth-1), block(m.Config.Encoder.Depth)
	for _, p := range deeper.Params.All() {
		layer, isNew := strings.CutPrefix(p.Name, added)
		switch {
		case !isNew:
			copy(p.Data, m.Params.Get(p.Name).Data)
		case strings.HasPrefix(layer, "attn.proj.") || strings.HasPrefix(layer, "mlp.fc2."):
			clear(p.Data)
		default:
			copy(p.Data, m.Params.Get(last+layer).Data)
		}
	}
	deeper.PositionsChanged()
	return deeper, nil
}
