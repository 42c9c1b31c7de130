// Package multimae is MultiMAE, a multi-modal, multi-task masked autoencoder: Bachmann, Mizrahi,
// Atanov and Zamir (2022).
//
// To use a trained model, call [Load] and [Model.Predict], or [Backbone.Features] for the encoder
// alone. Package images makes a [Batch] of pictures, and pictures of predictions:
//
//	m, err := multimae.Load(os.DirFS("out"))
//	batch, err := images.Batch(m, map[string]image.Image{"rgb": photo})
//	pred, err := m.Predict(ctx, batch, nil)
//	err = png.Encode(w, images.Picture(pred.Output("depth"), 0))
//
// Package heads has models that were fine-tuned from it, and package train trains. The parts that
// training is made of are [DrawMasks], [Model.ForwardLosses] and [Total].
//
// # How a sample gets to a model
//
// What a model takes is a [Batch], and perhaps [Masks] that say which of its tokens are visible.
//
// For decoded images of one view, images.Batch is all it takes. For many samples of a dataset,
// data.Collate makes a batch without augmentation, and a data.Loader makes those of training. Programs
// with sizes or crops of their own call images.Reshape once for a batch and images.Resizer.Place for
// each sample, as these three do. A fine-tuned model takes the same batches. To measure one on a
// dataset, evaluate.Evaluate chooses the size, or slides a window over large images.
//
// Without masks, [Model.Predict] shows the whole batch. To hide patches at random, set
// [PredictOptions].Visible. To choose the visible tokens yourself, use [NewMasks]. Training calls
// [Model.DrawMasks], which follows the configuration and passes over patches without a valid pixel;
// [DrawMasks] does the same for given sizes, without a model or a batch.
package multimae
