// Package experiment repeats the tables of the MultiMAE paper in miniature: models are pre-trained
// in several ways for as many steps each, fine-tuned on few labels, and judged on samples that neither
// saw, with several seeds.
//
// [Run] does an [Experiment], and takes up one that was stopped. Its folder holds
//
//   - settings.json: what was asked for; a folder is not gone on with under other settings;
//   - pretrain/MODEL-seedN: the runs of package train, whose models may be looked at, and which other
//     experiments on the same data, with the same steps, may share;
//   - results/*.json: a file for each fine-tuning that is done, and beside it, as *.jsonl, the metrics of
//     its steps, which show whether it learnt the samples by heart;
//   - table.md, results.json and plot.svg: what came out, written again after each of them.
package experiment
