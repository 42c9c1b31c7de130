// Package vit holds the vision transformer.
package vit
