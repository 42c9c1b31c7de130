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
package multimae
