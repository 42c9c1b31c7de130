package images

import (
	"fmt"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

func TestMisfit(t *testing.T) {
	path := func(modality string) string { return modality + ".png" }
	for _, c := range []struct {
		what   string
		views  map[string]*Map
		called func(string) string
		want   string
	}{
		{"none", nil, nil, ""},
		{"one", map[string]*Map{"rgb": {W: 5, H: 3}}, nil, ""},
		{"rounded", map[string]*Map{"depth": {W: 11, H: 8}, "rgb": {W: 32, H: 24}}, nil, ""},
		{"square", map[string]*Map{"depth": {W: 32, H: 32}, "rgb": {W: 32, H: 24}}, nil, "rgb has 32×24 pixels, but depth has 32×32"},
		{"turned", map[string]*Map{"depth": {W: 24, H: 32}, "rgb": {W: 48, H: 64}, "semseg": {W: 8, H: 6}}, path, "semseg.png has 8×6 pixels, but rgb.png has 48×64"},
	} {
		t.Run(c.what, func(t *testing.T) {
			err := Misfit(c.views, c.called)
			if (err == nil) != (c.want == "") || err != nil && !testkit.Mentions(fmt.Sprint(err), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
