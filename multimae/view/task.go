package view

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"maps"
	"math"
	"slices"

	"golang.org/x/image/draw"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/metrics"
)

// The colours of errors can be told apart by the colour-blind.
var (
	rightColor = color.RGBA{236, 236, 240, 255}
	wrongColor = color.RGBA{213, 94, 0, 255}
	voidColor  = color.RGBA{0, 0, 0, 255}
	holeColor  = color.RGBA{150, 150, 158, 255}
)

// WrongClasses draws where predicted class ids [h, w] differ from the true ones: right pixels pale,
// wrong ones vermilion, and those without a label, multimae.IDPadding and IDIgnored, black.
func WrongClasses(pred, truth []int32, h, w int) *image.RGBA {
	if len(pred) != h*w || len(truth) != h*w {
		panic(fmt.Sprintf("view: WrongClasses: got %d and %d ids, want %d x %d", len(pred), len(truth), h, w))
	}
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i, id := range truth {
		c := wrongColor
		switch {
		case id == multimae.IDIgnored || id == multimae.IDPadding:
			c = voidColor
		case id == pred[i]:
			c = rightColor
		}
		img.SetRGBA(i%w, i/w, c)
	}
	return img
}

// Measured draws values [h, w] as images.Depth does, between lo and hi. Pixels that are not valid
// are grey; a nil valid draws all of them.
func Measured(pix []float32, valid []bool, h, w int, lo, hi float32) *image.RGBA {
	img := images.Depth(pix, h, w, lo, hi)
	for i, v := range valid {
		if !v {
			img.SetRGBA(i%w, i/w, holeColor)
		}
	}
	return img
}

// Pixels counts those of each class in the maps of a picture, for its legend.
type Pixels map[int32]int

// Add counts those of a map. What has no class is in no legend.
func (p Pixels) Add(ids []int32) {
	for _, id := range ids {
		if id >= 0 && id != multimae.IDIgnored && id != multimae.IDPadding {
			p[id]++
		}
	}
}

// Frequent returns the classes to name in a legend: up to 24, the most frequent first.
func (p Pixels) Frequent() []int32 {
	ids := slices.Collect(maps.Keys(p))
	slices.SortFunc(ids, func(a, b int32) int { return cmp.Or(cmp.Compare(p[b], p[a]), cmp.Compare(a, b)) })
	return ids[:min(len(ids), 24)]
}

// Legend draws the colours and names of classes, in lines of up to width pixels. A class without a
// name is called by its number.
func Legend(ids []int32, names []string, width int) *image.RGBA {
	const swatch, gap = 13, 14
	name := func(id int32) string { return images.ClassName(names, int(id)) }
	type place struct{ x, y int }
	var places []place
	x, y := margin, 0
	for _, id := range ids {
		w := swatch + 5 + textWidth(name(id)) + gap
		if x+w > width-margin && x > margin {
			x, y = margin, y+lineHeight
		}
		places = append(places, place{x, y})
		x += w
	}
	img := image.NewRGBA(image.Rect(0, 0, width, y+lineHeight+margin))
	fill(img, img.Rect, color.White)
	for i, id := range ids {
		p := places[i]
		fill(img, image.Rect(p.x, p.y, p.x+swatch, p.y+swatch), images.ClassColor(id))
		text(img, p.x+swatch+5, p.y+11, clipText(name(id), width-margin-p.x-swatch-5), textInk)
	}
	return img
}

// Below returns a picture of both, one below the other, on white.
func Below(top, bottom image.Image) *image.RGBA {
	t, b := top.Bounds(), bottom.Bounds()
	img := image.NewRGBA(image.Rect(0, 0, max(t.Dx(), b.Dx()), t.Dy()+b.Dy()))
	fill(img, img.Rect, color.White)
	draw.Draw(img, image.Rect(0, 0, t.Dx(), t.Dy()), top, t.Min, draw.Src)
	draw.Draw(img, image.Rect(0, t.Dy(), b.Dx(), t.Dy()+b.Dy()), bottom, b.Min, draw.Src)
	return img
}

// maxMatrix is how many classes a confusion matrix is drawn of.
const maxMatrix = 64

// Confusion draws a confusion matrix: a row for each true class, a column for each predicted one,
// and in each cell the share of the row in percent, darker for more. Classes without a name are
// called by their number. Of more than 64 classes it draws the 64 that the truth has most of.
func Confusion(c *metrics.Confusion, names []string) *image.RGBA {
	ids := make([]int, c.Classes)
	for i := range ids {
		ids[i] = i
	}
	title := "share of each true class (rows) that was predicted as a class (columns), in percent"
	if len(ids) > maxMatrix {
		truth := make([]int64, c.Classes)
		for i := range truth {
			truth[i] = c.Class(i).Truth
		}
		slices.SortStableFunc(ids, func(a, b int) int { return int(min(max(truth[b]-truth[a], -1), 1)) })
		title = fmt.Sprintf("%s; the %d most frequent of %d classes", title, maxMatrix, c.Classes)
		ids = slices.Sorted(slices.Values(ids[:maxMatrix]))
	}
	label := 0
	name := func(id int) string {
		if id < len(names) {
			return clipText(names[id], maxLabel*7)
		}
		return fmt.Sprint(id)
	}
	for _, id := range ids {
		label = max(label, textWidth(name(id)))
	}
	const cell = 30
	left, top := margin+label+labelGap, margin+lineHeight+label+labelGap
	width := max(left+len(ids)*cell+margin, 2*margin+textWidth(title))
	img := image.NewRGBA(image.Rect(0, 0, width, top+len(ids)*cell+margin))
	fill(img, img.Rect, color.White)
	text(img, margin, margin+9, title, titleInk)
	for i, id := range ids {
		text(img, left-labelGap-textWidth(name(id)), top+i*cell+cell/2+4, name(id), textInk)
		upward(img, left+i*cell+cell/2+4, top-labelGap, name(id))
		all := c.Class(id).Truth
		for k, other := range ids {
			square := image.Rect(left+k*cell, top+i*cell, left+(k+1)*cell-1, top+(i+1)*cell-1)
			if all == 0 {
				fill(img, square, blankInk)
				continue
			}
			share := float64(c.Counts[id*c.Classes+other]) / float64(all)
			fill(img, square, shade(share))
			if n := int(math.Round(100 * share)); n > 0 {
				ink := titleInk
				if share > 0.5 {
					ink = color.RGBA{255, 255, 255, 255}
				}
				s := fmt.Sprint(n)
				text(img, square.Min.X+(cell-textWidth(s))/2, square.Min.Y+cell/2+4, s, ink)
			}
		}
	}
	return img
}

// shade returns white for 0 and a dark blue for 1.
func shade(share float64) color.RGBA {
	mix := func(dark float64) uint8 { return uint8(255 + share*(dark-255) + 0.5) }
	return color.RGBA{mix(8), mix(48), mix(107), 255}
}

// upward draws s turned by a quarter to the left, from its baseline's end at x, y upwards.
func upward(img *image.RGBA, x, y int, s string) {
	flat := image.NewRGBA(image.Rect(0, 0, max(1, textWidth(s)), 13))
	text(flat, 0, 11, s, textInk)
	for v := range flat.Rect.Dy() {
		for u := range flat.Rect.Dx() {
			if c := flat.RGBAAt(u, v); c.A > 0 {
				img.SetRGBA(x-11+v, y-u, c)
			}
		}
	}
}
