// Package multimae is a multi-modal, multi-task masked autoencoder.
package multimae
