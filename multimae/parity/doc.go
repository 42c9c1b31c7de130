// Package parity holds a model against dumps of what another implementation,
// PyTorch in float64, computed for the same weights, batch and masks.
//
// A dump is a folder:
//
//   - config.json: the model and its optimiser, as package multimae reads them,
//     and "case" with batch, image_size [H, W] and torch_fp32_rel_err: for each
//     group of tensors the relative error that PyTorch's float32 makes;
//   - model.safetensors: the parameters at first;
//   - inputs.safetensors: in.M of each present modality M, target.T of each
//     output T, mask.M [B, patches] (1 = masked), ids_keep, ids_restore;
//   - expected.safetensors: encoder, out.T, loss.T, grad.PARAMETER of the summed
//     loss, step0.loss, step1.loss, … of AdamW steps with the same batch and
//     masks, and param.PARAMETER after the last of them. What a dump does not
//     have is not compared.
//
// The error of a tensor is ‖ours − expected‖ / ‖expected‖. A group passes if
// none is above [Limit] times PyTorch's own, or above [Floor].
package parity
