// Package heads has the model that a pre-trained MultiMAE is fine-tuned as: "MultiViT", the same
// input adapters and encoder on all tokens of any modalities, with a head for each task in place of
// the decoders.
//
//	pixels, ids ─ Backbone ─▶ all tokens, of the last or of several blocks
//	            ─ a head each ─▶ logits or maps
//
// There are four heads: linear for classes of images, ConvNeXt, Segmenter and DPT for maps. To
// start from a pre-trained model, make a [NewModel], Init it and load the encoder's weights with
// multimae.LoadWeights.
package heads
