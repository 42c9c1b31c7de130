package pseudolabel_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/pseudolabel"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/teacher"
)

// A fine-tuned model makes depth for rendered pictures, which stand for photographs.
func Example() {
	dir, err := os.MkdirTemp("", "photos")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	photos := filepath.Join(dir, "photos")
	if err := data.WriteFolder(context.Background(), photos, scenes.New(0, 2, 64, 0), nil); err != nil {
		fmt.Println(err)
		return
	}
	t, err := teacher.Open([]string{"../../testdata/parity/vit_dpt"}, teacher.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	report, err := pseudolabel.Run(context.Background(), pseudolabel.Options{
		Data:       photos,
		Out:        filepath.Join(dir, "set"),
		Modalities: []pseudolabel.Modality{{Name: "depth", Teacher: t}},
	})
	fmt.Println(report.Made, err)
	// Output: 2 <nil>
}
