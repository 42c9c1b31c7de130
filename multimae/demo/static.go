package demo

import (
	"encoding/json"
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
)

// maxStatic bounds the scenes that a static page carries.
const maxStatic = 24

// static is what a page without a server keeps beside the model.
type static struct {
	Name    string              `json:"name"`
	Classes map[string][]string `json:"classes"`
	Scenes  []staticScene       `json:"scenes"` // null stands for rendered rooms
}

type staticScene struct {
	Name string `json:"name"`
	Scene
}

// MarshalOptions returns the options as JSON, from which Open makes an App again: without the pool,
// and with at most 24 scenes, evenly spread, as the model sees them.
func (a *App) MarshalOptions() ([]byte, error) {
	o := static{Name: a.Name, Classes: a.Classes}
	if a.Scenes != nil {
		o.Scenes = []staticScene{}
		for _, i := range data.Spread(maxStatic, a.Scenes.Len()) {
			n := uint64(i)
			b, err := a.batch(&Scene{Number: &n})
			if err != nil {
				return nil, err
			}
			s := staticScene{Name: a.nameOf(n)}
			if s.Scene, err = a.small(b); err != nil {
				return nil, err
			}
			o.Scenes = append(o.Scenes, s)
		}
	}
	return json.Marshal(o)
}

// Open returns an App for a model, which must be frozen, with the options that MarshalOptions stored.
func Open(m *multimae.Model, options []byte) (*App, error) {
	var o static
	if err := json.Unmarshal(options, &o); err != nil {
		return nil, fmt.Errorf("the options of the page: %w", err)
	}
	a := New(m, Options{Name: o.Name, Classes: o.Classes})
	if o.Scenes == nil {
		return a, nil
	}
	var list data.Samples
	for _, s := range o.Scenes {
		sample, err := a.decode(&s.Scene)
		if err != nil {
			return nil, fmt.Errorf("scene %s of the page: %w", s.Name, err)
		}
		sample.Name = s.Name
		list = append(list, sample)
	}
	a.Scenes, a.offers = list, list
	return a, nil
}
