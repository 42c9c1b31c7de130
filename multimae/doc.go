// Package multimae is a multi-modal, multi-task masked autoencoder.
//
// A program that uses a trained model needs [Load] and [Model.Predict], and
// package images to get from pictures to a [Batch] and back; with
// [Backbone.Features] it has the encoder alone. Training takes a tape, masks
// and [Model.Forward], as package train does.
package multimae
