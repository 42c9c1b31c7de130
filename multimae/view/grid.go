package view

import (
	"fmt"
	"image"
	"image/color"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// Row is one line of a Section, of a modality or task for example.
type Row struct {
	Title string
	Tiles []image.Image // one for each column of the section; nil or missing is drawn as "not given"
	Notes []string      // lines of text below the tiles
}

func (r *Row) height(tile int) int { return tile + len(r.Notes)*lineHeight }

// Section is a block of rows under common column headings: for example a scene with the rows rgb,
// depth and semseg and the columns masked input, prediction and truth. Each of the texts may be
// empty.
type Section struct {
	Title   string
	Columns []string
	Rows    []Row
}

// Measures of a grid in pixels. The text is basicfont's 7×13, whose capitals are 9 high.
const (
	margin     = 16
	tileGap    = 6
	sectionGap = 28
	labelGap   = 10 // between a row's title and its first tile
	lineHeight = 18
	maxLabel   = 24 // characters of a row title; longer ones are cut
)

var (
	titleInk = color.RGBA{24, 24, 27, 255}
	textInk  = color.RGBA{82, 82, 91, 255}
	faintInk = color.RGBA{161, 161, 170, 255}
	ruleInk  = color.RGBA{228, 228, 231, 255}
	blankInk = color.RGBA{250, 250, 250, 255}
)

// Grid lays sections out on white, columnsOfSections (at least 1) to a line, with their titles and
// headings. Every image is fitted into a square of tile pixels and keeps its shape. Small images
// are enlarged by nearest neighbour, so that a pixel of the model stays a square; large ones are
// shrunk smoothly. Text that does not fit is cut and ends in dots; nothing overlaps. Characters
// outside ASCII show as a box.
func Grid(sections []Section, columnsOfSections, tile int) *image.RGBA {
	if tile < 1 {
		panic(fmt.Sprintf("view: Grid: got tile %d, want at least 1", tile))
	}
	perLine := max(1, min(columnsOfSections, len(sections)))

	// The same measures for all sections keep the tiles aligned down and across the whole picture.
	m := measures{tile: tile, cell: tile}
	for _, s := range sections {
		m.columns = max(m.columns, s.columns())
		for _, c := range s.Columns {
			m.cell = max(m.cell, min(textWidth(c), 2*tile))
		}
		for _, r := range s.Rows {
			m.label = max(m.label, textWidth(clipText(r.Title, maxLabel*7)))
		}
	}
	if m.label > 0 {
		m.label += labelGap
	}
	width := m.label + m.columns*m.cell + max(0, m.columns-1)*tileGap

	height := margin
	tops := make([]int, len(sections))
	for i := 0; i < len(sections); i += perLine {
		tallest := 0
		for k := i; k < min(i+perLine, len(sections)); k++ {
			tops[k] = height
			tallest = max(tallest, sections[k].height(tile))
		}
		height += tallest + sectionGap
	}
	height += margin - min(len(sections), 1)*sectionGap
	img := image.NewRGBA(image.Rect(0, 0, 2*margin+perLine*width+(perLine-1)*sectionGap, height))
	fill(img, img.Rect, color.White)
	for i, s := range sections {
		s.draw(img, margin+i%perLine*(width+sectionGap), tops[i], width, m)
	}
	return img
}

// measures are the sizes that all sections of a grid share.
type measures struct {
	tile    int
	cell    int // width of a column: a tile, or its heading if that is wider
	label   int // width of the row titles with the gap after them
	columns int
}

// left returns where column c begins, from the left edge of its section.
func (m *measures) left(c int) int { return m.label + c*(m.cell+tileGap) }

func (s Section) columns() int {
	n := len(s.Columns)
	for _, r := range s.Rows {
		n = max(n, len(r.Tiles))
	}
	return n
}

// headings returns the height of the title and column headings.
func (s Section) headings() int {
	h := 0
	if s.Title != "" {
		h += lineHeight + 6
	}
	if s.hasColumnTitles() {
		h += lineHeight
	}
	return h
}

func (s Section) hasColumnTitles() bool {
	for _, c := range s.Columns {
		if c != "" {
			return true
		}
	}
	return false
}

func (s Section) height(tile int) int {
	h := s.headings() + max(0, len(s.Rows)-1)*tileGap
	for i := range s.Rows {
		h += s.Rows[i].height(tile)
	}
	return h
}

// draw draws the section with its upper left corner at x, y.
func (s Section) draw(img *image.RGBA, x, y, width int, m measures) {
	top := y + s.headings()
	if s.Title != "" {
		title := clipText(s.Title, width)
		text(img, x, y+11, title, titleInk)
		text(img, x+1, y+11, title, titleInk) // twice, a pixel apart: bold
		fill(img, image.Rect(x, y+lineHeight-1, x+width, y+lineHeight), ruleInk)
	}
	columns := s.columns()
	for c := range columns {
		if c < len(s.Columns) {
			name := clipText(s.Columns[c], m.cell)
			text(img, x+m.left(c)+(m.cell-textWidth(name))/2, top-6, name, textInk)
		}
	}
	for i := range s.Rows {
		row := &s.Rows[i]
		for c := range columns {
			var pic image.Image
			if c < len(row.Tiles) {
				pic = row.Tiles[c]
			}
			fit(img, pic, x+m.left(c)+(m.cell-m.tile)/2, top, m.tile)
		}
		name := clipText(row.Title, maxLabel*7)
		// Right-aligned, next to its tiles.
		text(img, x+m.label-labelGap-textWidth(name), top+m.tile/2+4, name, textInk)
		for k, note := range row.Notes {
			text(img, x+m.label, top+m.tile+k*lineHeight+14, clipText(note, width-m.label), textInk)
		}
		top += row.height(m.tile) + tileGap
	}
}

// fit draws pic into the square of tile pixels at x, y, or a mark if there is no picture.
func fit(img *image.RGBA, pic image.Image, x, y, tile int) {
	square := image.Rect(x, y, x+tile, y+tile)
	if pic == nil || pic.Bounds().Empty() {
		fill(img, square, ruleInk)
		fill(img, square.Inset(1), blankInk)
		if note := "not given"; textWidth(note)+6 <= tile && tile >= lineHeight {
			text(img, x+(tile-textWidth(note))/2, y+tile/2+4, note, faintInk)
		}
		return
	}
	b := pic.Bounds()
	w, h := tile, tile
	if b.Dx() > b.Dy() {
		h = max(1, tile*b.Dy()/b.Dx())
	} else {
		w = max(1, tile*b.Dx()/b.Dy())
	}
	x, y = x+(tile-w)/2, y+(tile-h)/2
	var scaler draw.Scaler = draw.NearestNeighbor
	if b.Dx() > w || b.Dy() > h {
		scaler = draw.BiLinear // averages over the pixels that fall together
	}
	scaler.Scale(img, image.Rect(x, y, x+w, y+h), pic, b, draw.Src, nil)
}

// text draws s with its baseline at y.
func text(img *image.RGBA, x, y int, s string, ink color.Color) {
	d := font.Drawer{Dst: img, Src: image.NewUniform(ink), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(s)
}

// textWidth returns the width of s in pixels.
func textWidth(s string) int {
	n := 0
	for range s {
		n += basicfont.Face7x13.Advance
	}
	return n
}

// clipText cuts s to at most width pixels. A text that was cut ends in dots.
func clipText(s string, width int) string {
	runes := []rune(s)
	fits := max(0, width/basicfont.Face7x13.Advance)
	if len(runes) <= fits {
		return s
	}
	dots := min(2, fits)
	return string(runes[:fits-dots]) + ".."[:dots]
}
