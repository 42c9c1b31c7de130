package probe

import (
	"context"
	"fmt"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/metrics"
)

// Result is what Run measures on the validation images, in percent.
type Result struct {
	LinearTop1 float64 `json:"linear_top1"`
	LinearTop5 float64 `json:"linear_top5"`
	KNNTop1    float64 `json:"knn_top1"`
	KNNTop5    float64 `json:"knn_top5"`

	Classes    []string `json:"-"`
	Train, Val int      `json:"-"` // images
	L2         float64  `json:"-"` // weight decay of the linear classifier, as chosen by ChooseLinear
}

// Run fits both classifiers to the images of train and measures them on those of val. The class of
// an image is the folder that it is in, below that of its modality.
func (e *Extractor) Run(ctx context.Context, train, val data.Listed) (*Result, error) {
	r := &Result{Train: train.Len(), Val: val.Len()}
	var err error
	if r.Classes, err = data.Classes(train); err != nil {
		return nil, err
	}
	n := len(r.Classes)
	if n < 2 {
		return nil, fmt.Errorf("all %d training images are of the class %s; give images of two classes or more, each in a folder", train.Len(), r.Classes[0])
	}
	labels, err := Labels(train, r.Classes)
	if err != nil {
		return nil, err
	}
	truth, err := Labels(val, r.Classes)
	if err != nil {
		return nil, err
	}
	known, err := e.Features(ctx, train)
	if err != nil {
		return nil, err
	}
	asked, err := e.Features(ctx, val)
	if err != nil {
		return nil, err
	}
	linear, err := ChooseLinear(ctx, known, labels, n, e.Pool)
	if err != nil {
		return nil, err
	}
	r.L2 = linear.L2
	logits, err := linear.Logits(ctx, asked, e.Pool)
	if err != nil {
		return nil, err
	}
	scores, err := Vote(ctx, asked, known, labels, n, e.Pool)
	if err != nil {
		return nil, err
	}
	withoutVote(scores, n, truth)
	for _, m := range []struct {
		logits     []float32
		top1, top5 *float64
	}{{logits, &r.LinearTop1, &r.LinearTop5}, {scores, &r.KNNTop1, &r.KNNTop5}} {
		var top metrics.TopK
		if err := top.Add(m.logits, n, truth); err != nil {
			return nil, err
		}
		*m.top1, *m.top5 = top.Top1(), top.Top5()
	}
	return r, nil
}
