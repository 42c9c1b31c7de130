// Package evaluate measures fine-tuned models on labelled images and draws what they predict.
//
// Truth is compared at its own size, to which predictions are resized, so that figures do not depend
// on the size at which a model sees the images. It sees whole images, or a window of the size that it
// was trained on slides over them. A model with Linear heads only sees the largest centred square.
package evaluate
