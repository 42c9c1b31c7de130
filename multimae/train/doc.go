// Package train pre-trains a MultiMAE.
//
// A [Trainer] takes one optimisation step at a time and is all that a loop of
// one's own needs. [Run] is the whole of it: batches from a dataset, metrics,
// validation beside trivial predictors, checkpoints that a later call resumes
// from to the bit, and a picture of reconstructions.
//
// The folder of a run holds
//
//   - config.json and model.safetensors: a model folder, see multimae.Load;
//   - best: another one, of the step with the lowest validation loss; step and
//     loss are gomae_step and gomae_val_loss in the metadata of its weights;
//   - checkpoint-STEP.safetensors: all that an exact resume needs, the last two
//     or as many as Options.Keep says, each with a checksum;
//   - metrics.jsonl: a JSON object for each logged step and each validation;
//   - reconstructions.png: made at the end.
//
// A step of metrics.jsonl has step, epoch (from 0), loss (what was minimised),
// loss.OUTPUT, lr, weight_decay, grad_norm, images_per_s, data_wait_s (both
// since the last logged step) and, where it is true, skipped. A validation has
// step, val.samples, val.loss (the sum over outputs) and for each output
// val.loss.OUTPUT and val.trivial_loss.OUTPUT, and its figure FIGURE, one of
// psnr (dB), l1, accuracy (per cent) and mse, as val.FIGURE.OUTPUT and
// val.trivial_FIGURE.OUTPUT: see [Score]. A resumed run has the lines of one
// that was never interrupted, but for images_per_s and data_wait_s.
//
// Killed at any moment, a run goes on to the same bits, at the same SIMD level:
// all random numbers depend on seed and step alone; a file has its name only
// when it is complete and on the disk; the checkpoint comes before the best
// model of its step and that before the line of its validation; an old
// checkpoint is removed after the new one is safe; and what a later step left
// behind is written again.
//
// While it runs, a process locks metrics.jsonl against others, where the
// system can.
package train
