// Package train pre-trains a MultiMAE.
//
// A [Trainer] takes one optimisation step at a time and is all that a loop of
// one's own needs. [Run] is the whole of it: batches from a dataset, metrics,
// validation beside trivial predictors, checkpoints that a later call resumes
// from to the bit, and a picture of reconstructions.
package train
