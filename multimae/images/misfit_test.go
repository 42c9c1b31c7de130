package images

import "testing"

func TestMisfit(t *testing.T) {
	for _, c := range []struct {
		what          string
		views         map[string]*Map
		name, largest string
	}{
		{"none", nil, "", ""},
		{"one", map[string]*Map{"rgb": {W: 5, H: 3}}, "", ""},
		{"rounded", map[string]*Map{"depth": {W: 11, H: 8}, "rgb": {W: 32, H: 24}}, "", ""},
		{"square", map[string]*Map{"depth": {W: 32, H: 32}, "rgb": {W: 32, H: 24}}, "rgb", "depth"},
		{"turned", map[string]*Map{"depth": {W: 24, H: 32}, "rgb": {W: 48, H: 64}, "semseg": {W: 8, H: 6}}, "semseg", "rgb"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if name, largest := Misfit(c.views); name != c.name || largest != c.largest {
				t.Errorf("got %q and %q, want %q and %q", name, largest, c.name, c.largest)
			}
		})
	}
}
