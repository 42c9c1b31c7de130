// Package figure draws what a model has learnt, as figures for a paper: predictions from single
// modalities, the experiment with a shifted hue, reconstructions over training, and the draws of
// masks for several concentrations. A [Drawing] becomes PNG or SVG.
package figure
