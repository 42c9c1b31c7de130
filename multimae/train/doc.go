// Package train trains models: a MultiMAE by masked prediction, and the heads of a fine-tuned one.
//
// A [Trainer] takes one optimisation step at a time, and is all that a loop of your own needs.
// [Run] is the whole of it: batches from a dataset, metrics, validation, checkpoints from which a
// later call resumes to the bit, and a picture of predictions. Both learn from an [Objective] what
// they train: [Pretraining], which validates next to trivial predictors, or [Finetuning].
//
// options.go says what a run takes and gives, run.go has the loop, objective.go what the loop needs
// to know of what it trains, pretrain.go and finetune.go the two objectives, folder.go what lies in
// the folder of a run, errors.go how a run fails. ranks.go has what several processes agree on when
// they train together, and exchange.go how they sum their gradients: see [Ranks].
//
// The folder of a run holds
//
//   - config.json and model.safetensors: a model folder, see multimae.Load;
//   - best: the model folder of the step with the best validation: the lowest loss, or the best
//     figures of a fine-tuned model. The metadata of its weights has the step as gomae_step and what
//     was compared as gomae_val_loss;
//   - checkpoint-STEP.safetensors: everything that an exact resume needs, with a checksum. The last
//     two are kept, or as many as Options.Keep says;
//   - metrics.jsonl: a JSON object for each logged step and each validation;
//   - reconstructions.png: drawn at the end.
//
// A step of metrics.jsonl has step, epoch (counted from 0), loss (what was minimised), loss.OUTPUT,
// lr, weight_decay, grad_norm, images_per_s and data_wait_s (both since the last logged step), with
// several ranks sum_s and sum_wait_s (the seconds in which gradients were summed since then, and those
// of them in which nothing was computed) and, if it is true, skipped. A validation has step, val.samples and val.loss (the sum over outputs),
// for each output val.loss.OUTPUT and val.trivial_loss.OUTPUT, and its figure as val.FIGURE.OUTPUT
// and val.trivial_FIGURE.OUTPUT. FIGURE is psnr (dB), l1, accuracy (per cent) or mse: see [Score].
// The figures of a fine-tuned output are val.METRIC.OUTPUT: see package evaluate.
// A resumed run has the lines of a run that was never interrupted, except for the times.
//
// A run that is killed at any moment goes on to the same bits, at the same SIMD level and with the
// same program, compiled for the same architecture. All random numbers depend only on the seed and
// the step. A file has its name only when it is complete and on the disk. The checkpoint is written
// before the best model of its step, and that before the line of its validation. An old checkpoint is
// removed when the new one is safe. What a later step left behind is written again.
//
// A checkpoint holds the configuration that it was written under. A run whose config.json was changed
// in anything but train.steps, data, from, val_every, save_every and log_every is not resumed: see
// [ErrOtherConfig]. A checkpoint that is no file, but a folder, a link to nothing or a device, is as
// good as a damaged one. What is in the way of a new file is replaced, and a folder in the way of a
// new checkpoint gets the name NAME.damaged-1. Lines of metrics.jsonl that say nothing stay where
// they are. Those among lines that are written again are kept in metrics.jsonl.damaged-1.
//
// While it runs, a process locks metrics.jsonl against others, if the system can.
package train
