// Package parity compares a model with a dump of what another implementation, PyTorch in float64,
// computed for the same weights, batch and masks.
//
// A dump is a folder:
//
//   - config.json: the model and its optimiser, as package multimae reads them, and "case" with
//     batch, image_size [H, W] and torch_fp32_rel_err: for each group of tensors the relative error
//     of PyTorch's own float32 run;
//   - model.safetensors: the parameters at the start;
//   - inputs.safetensors: in.M of each modality M that is present, target.T of each output T,
//     mask.M [B, patches] (1 = masked), ids_keep, ids_restore;
//   - expected.safetensors: encoder, out.T, loss.T, grad.PARAMETER of the summed loss, step0.loss,
//     step1.loss, … before the steps of AdamW with the same batch and masks, and param.PARAMETER
//     after the last step. What the dump lacks is not compared.
//
// The error of a tensor is ‖ours − expected‖ / ‖expected‖. A group passes if no error is above
// [Limit] times PyTorch's own, or above [Floor]. What is rounding and nothing else is judged by
// other measures: testdata/README.md has them, and the whole format.
package parity
