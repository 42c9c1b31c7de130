package figure

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"path/filepath"
	"strings"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae/images"
)

// Drawing is a list of shapes on white. Lengths are in points of the SVG; y grows downwards.
type Drawing struct {
	Width, Height float64
	shapes        []shape
}

// shape is drawn as an element of SVG and as pixels.
type shape interface {
	svg(w io.Writer)
	paint(c *canvas)
}

var (
	ink  = color.RGBA{28, 30, 44, 255}
	soft = color.RGBA{104, 108, 128, 255}
)

// series are the colours of things that are compared: Okabe and Ito's, which the colour-blind tell
// apart.
var series = []color.RGBA{{0, 114, 178, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {213, 94, 0, 255}}

// Write writes the drawing to a file, whose name ends in .png or .svg.
func (d *Drawing) Write(path string) error {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".png":
		return atomicfile.Write(path, func(w io.Writer) error { return png.Encode(w, d.Image(2)) })
	case ".svg":
		return atomicfile.WriteBytes(path, d.SVG())
	}
	return fmt.Errorf("%s: a figure is written as PNG or SVG; give a name in .png or .svg", path)
}

// SVG returns the drawing as a file that needs no other.
func (d *Drawing) SVG() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" font-family=\"Go, Helvetica, Arial, sans-serif\">\n",
		d.Width, d.Height, d.Width, d.Height)
	b.WriteString("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n")
	for _, s := range d.shapes {
		s.svg(&b)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// Image returns the drawing with scale pixels a point.
func (d *Drawing) Image(scale float64) *image.RGBA {
	c := &canvas{scale: scale, img: image.NewRGBA(image.Rect(0, 0, int(math.Ceil(d.Width*scale)), int(math.Ceil(d.Height*scale)))), faces: map[faceKey]font.Face{}}
	draw.Draw(c.img, c.img.Rect, image.White, image.Point{}, draw.Src)
	for _, s := range d.shapes {
		s.paint(c)
	}
	return c.img
}

// canvas is what shapes are painted on.
type canvas struct {
	scale float64
	img   *image.RGBA
	faces map[faceKey]font.Face
}

type faceKey struct {
	size float64
	bold bool
}

var fonts = map[bool]*opentype.Font{false: parse(goregular.TTF), true: parse(gobold.TTF)}

func parse(ttf []byte) *opentype.Font {
	f, err := opentype.Parse(ttf)
	if err != nil {
		panic("figure: an embedded font: " + err.Error())
	}
	return f
}

func (c *canvas) face(k faceKey) font.Face {
	if c.faces[k] == nil {
		f, err := opentype.NewFace(fonts[k.bold], &opentype.FaceOptions{Size: k.size * c.scale, DPI: 72, Hinting: font.HintingNone})
		if err != nil {
			panic("figure: an embedded font: " + err.Error())
		}
		c.faces[k] = f
	}
	return c.faces[k]
}

// polygon fills a closed path.
func (c *canvas) polygon(points []point, fill color.RGBA) {
	lo, hi := points[0], points[0]
	for _, p := range points {
		lo, hi = point{min(lo.x, p.x), min(lo.y, p.y)}, point{max(hi.x, p.x), max(hi.y, p.y)}
	}
	x, y := math.Floor(lo.x*c.scale), math.Floor(lo.y*c.scale)
	w, h := int(math.Ceil(hi.x*c.scale-x)), int(math.Ceil(hi.y*c.scale-y))
	if w < 1 || h < 1 {
		return
	}
	z := vector.NewRasterizer(w, h)
	for i, p := range points {
		px, py := float32(p.x*c.scale-x), float32(p.y*c.scale-y)
		if i == 0 {
			z.MoveTo(px, py)
		} else {
			z.LineTo(px, py)
		}
	}
	z.ClosePath()
	z.Draw(c.img, image.Rect(int(x), int(y), int(x)+w, int(y)+h), image.NewUniform(fill), image.Point{})
}

type point struct{ x, y float64 }

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

type rectangle struct {
	x, y, w, h float64
	fill       color.RGBA
}

func (d *Drawing) rect(x, y, w, h float64, fill color.RGBA) {
	d.shapes = append(d.shapes, rectangle{x, y, w, h, fill})
}

func (r rectangle) svg(w io.Writer) {
	fmt.Fprintf(w, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>\n", r.x, r.y, r.w, r.h, hex(r.fill))
}

func (r rectangle) paint(c *canvas) {
	c.polygon([]point{{r.x, r.y}, {r.x + r.w, r.y}, {r.x + r.w, r.y + r.h}, {r.x, r.y + r.h}}, r.fill)
}

// line is a straight one.
type line struct {
	a, b  point
	width float64
	ink   color.RGBA
}

func (d *Drawing) line(x1, y1, x2, y2, width float64, c color.RGBA) {
	d.shapes = append(d.shapes, line{point{x1, y1}, point{x2, y2}, width, c})
}

func (l line) svg(w io.Writer) {
	fmt.Fprintf(w, "<path d=\"M%.2f %.2fL%.2f %.2f\" stroke=\"%s\" stroke-width=\"%.2f\"/>\n", l.a.x, l.a.y, l.b.x, l.b.y, hex(l.ink), l.width)
}

func (l line) paint(c *canvas) {
	dx, dy := l.b.x-l.a.x, l.b.y-l.a.y
	n := math.Hypot(dx, dy)
	if n == 0 {
		return
	}
	nx, ny := -dy/n*l.width/2, dx/n*l.width/2
	c.polygon([]point{{l.a.x + nx, l.a.y + ny}, {l.b.x + nx, l.b.y + ny}, {l.b.x - nx, l.b.y - ny}, {l.a.x - nx, l.a.y - ny}}, l.ink)
}

type dot struct {
	at   point
	r    float64
	fill color.RGBA
}

func (d *Drawing) dot(x, y, r float64, fill color.RGBA) {
	d.shapes = append(d.shapes, dot{point{x, y}, r, fill})
}

func (o dot) svg(w io.Writer) {
	fmt.Fprintf(w, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\" fill=\"%s\"/>\n", o.at.x, o.at.y, o.r, hex(o.fill))
}

func (o dot) paint(c *canvas) {
	const corners = 24
	points := make([]point, corners)
	for i := range points {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / corners)
		points[i] = point{o.at.x + o.r*cos, o.at.y + o.r*sin}
	}
	c.polygon(points, o.fill)
}

// label is a line of text. x is its left end, centre or right end, y its base line.
type label struct {
	at     point
	size   float64
	anchor string // "start", "middle" or "end"
	bold   bool
	ink    color.RGBA
	text   string
}

func (d *Drawing) text(x, y, size float64, anchor string, c color.RGBA, text string) {
	d.shapes = append(d.shapes, label{point{x, y}, size, anchor, false, c, text})
}

// legend adds lines with the colours and names of classes at the bottom of the drawing, in columns as
// wide as the longest name. A class without a name is called by its number.
func (d *Drawing) legend(ids []int32, names []string) {
	if len(ids) == 0 || len(names) == 0 {
		return
	}
	const size, swatch, line = 11.0, 11.0, 18.0
	labels, longest := make([]string, len(ids)), 0.0
	face := (&canvas{scale: 1, faces: map[faceKey]font.Face{}}).face(faceKey{size: size})
	for i, id := range ids {
		labels[i] = images.ClassName(names, int(id))
		longest = max(longest, float64(font.MeasureString(face, labels[i]))/64)
	}
	width := swatch + 6 + longest + 16
	perLine := max(1, int((d.Width-2*margin)/width))
	for i, id := range ids {
		x, y := margin+float64(i%perLine)*width, d.Height-margin+10+float64(i/perLine)*line
		d.rect(x, y, swatch, swatch, images.ClassColor(id))
		d.text(x+swatch+6, y+swatch-1.5, size, "start", ink, labels[i])
	}
	d.Height += 10 + float64((len(ids)+perLine-1)/perLine)*line
}

func (d *Drawing) title(x, y, size float64, anchor, text string) {
	d.shapes = append(d.shapes, label{point{x, y}, size, anchor, true, ink, text})
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (l label) svg(w io.Writer) {
	weight := ""
	if l.bold {
		weight = " font-weight=\"bold\""
	}
	fmt.Fprintf(w, "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%.1f\" text-anchor=\"%s\"%s fill=\"%s\">%s</text>\n",
		l.at.x, l.at.y, l.size, l.anchor, weight, hex(l.ink), escape.Replace(l.text))
}

func (l label) paint(c *canvas) {
	f := font.Drawer{Dst: c.img, Src: image.NewUniform(l.ink), Face: c.face(faceKey{l.size, l.bold})}
	x := fixed.Int26_6(l.at.x * c.scale * 64)
	switch l.anchor {
	case "middle":
		x -= f.MeasureString(l.text) / 2
	case "end":
		x -= f.MeasureString(l.text)
	}
	f.Dot = fixed.Point26_6{X: x, Y: fixed.Int26_6(l.at.y * c.scale * 64)}
	f.DrawString(l.text)
}

// picture is an image whose pixels stay squares.
type picture struct {
	img        image.Image
	x, y, w, h float64
}

func (d *Drawing) picture(img image.Image, x, y, w, h float64) {
	d.shapes = append(d.shapes, picture{img, x, y, w, h})
}

func (p picture) svg(w io.Writer) {
	var file bytes.Buffer
	if png.Encode(&file, p.img) != nil {
		return // an image without pixels
	}
	fmt.Fprintf(w, "<image x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,%s\"/>\n",
		p.x, p.y, p.w, p.h, base64.StdEncoding.EncodeToString(file.Bytes()))
}

func (p picture) paint(c *canvas) {
	r := image.Rect(int(math.Round(p.x*c.scale)), int(math.Round(p.y*c.scale)), int(math.Round((p.x+p.w)*c.scale)), int(math.Round((p.y+p.h)*c.scale)))
	draw.NearestNeighbor.Scale(c.img, r, p.img, p.img.Bounds(), draw.Src, nil)
}
