// Package heads has MultiViT, the model as which a pre-trained MultiMAE is fine-tuned: the same
// input adapters and encoder, which sees all tokens of the modalities present, and a head for each
// task in place of the decoders.
//
//	pixels, ids ─ Backbone ─▶ all tokens, of the last or of several blocks
//	            ─ a head each ─▶ logits or maps
//
// There are four heads: linear for classes of images, and ConvNeXt, Segmenter and DPT for maps. To
// use a fine-tuned model, call [Load] and [Model.Predict]. To start from a pre-trained one, make a
// [NewModel], and call its methods Init and LoadWeights.
package heads
