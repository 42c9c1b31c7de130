package data

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// fileType is a type of file that is not read.
type fileType struct {
	name string // "JPEG 2000"
	line string // that converts FILE, "" if there is no common one
}

// each is a line that converts files one by one, by a tool that takes two paths.
func each(tool string) string { return `for f in FILE; do ` + tool + ` "$f" "${f%.*}.png"; done` }

// python is a line that writes an array of each file f, an expression, as .npy.
func python(imports, array string) string {
	return `python3 -c 'import sys, numpy, ` + imports + `; [numpy.save(f.rsplit(".", 1)[0], ` + array + `) for f in sys.argv[1:]]' FILE`
}

const pillow = `python3 -c 'import sys; from PIL import Image; [Image.open(f).save(f.rsplit(".", 1)[0] + ".png") for f in sys.argv[1:]]' FILE`

var (
	jpeg2000 = fileType{name: "JPEG 2000", line: pillow}
	jpegXL   = fileType{name: "JPEG XL", line: each("djxl")}
	heic     = fileType{name: "HEIC", line: each("heif-convert")}
	avif     = fileType{name: "AVIF", line: each("avifdec")}
	gif      = fileType{name: "GIF", line: pillow}
	exr      = fileType{name: "OpenEXR", line: "OPENCV_IO_ENABLE_OPENEXR=1 " + python("cv2", "cv2.imread(f, cv2.IMREAD_UNCHANGED)")}
	pfm      = fileType{name: "PFM", line: python("cv2", "cv2.imread(f, cv2.IMREAD_UNCHANGED)")}
	hdf5     = fileType{name: "HDF5", line: python("h5py", `h5py.File(f)["NAME"][()]`)}
	matlab   = fileType{name: "MATLAB", line: python("scipy.io", `scipy.io.loadmat(f)["NAME"]`)}
	npz      = fileType{name: "NumPy archive", line: python("os", `numpy.load(f)["arr_0"]`)}
	camera   = fileType{name: "camera raw", line: "dcraw -w -T FILE"}
)

// unreadTypes are types of pictures and arrays that are not read, by their extensions.
var unreadTypes = map[string]fileType{
	".jpx": jpeg2000, ".jp2": jpeg2000, ".j2k": jpeg2000, ".j2c": jpeg2000, ".jpc": jpeg2000, ".jpf": jpeg2000, ".jxl": jpegXL,
	".heic": heic, ".heif": heic, ".avif": avif, ".gif": gif, ".exr": exr, ".pfm": pfm, ".h5": hdf5, ".hdf5": hdf5, ".hdf": hdf5, ".mat": matlab,
	".npz": npz, ".dng": camera, ".cr2": camera, ".cr3": camera, ".nef": camera, ".arw": camera, ".raf": camera, ".orf": camera, ".rw2": camera,
	".svg": {name: "SVG", line: `for f in FILE; do rsvg-convert "$f" -o "${f%.*}.png"; done`}, ".pdf": {name: "PDF", line: `for f in FILE; do pdftoppm -png -singlefile "$f" "${f%.*}"; done`},
	".tga": {name: "TGA", line: pillow}, ".psd": {name: "Photoshop", line: pillow}, ".pam": {name: "PAM", line: pillow}, ".pbm": {name: "PBM", line: pillow},
	".hdr": {name: "Radiance", line: each("magick")}, ".bin": {name: "raw binary"}, ".pt": {name: "PyTorch"}, ".pth": {name: "PyTorch"},
	".tar": {name: "tar", line: "tar -xf FILE"}, ".zip": {name: "zip", line: "unzip FILE"}, ".gz": {name: "gzip", line: "gunzip FILE"},
	".mp4": {name: "video", line: "ffmpeg -i FILE %06d.png"}, ".avi": {name: "video", line: "ffmpeg -i FILE %06d.png"}, ".mov": {name: "video", line: "ffmpeg -i FILE %06d.png"},
	".parquet": {name: "Parquet"}, ".tfrecord": {name: "TFRecord"}, ".lmdb": {name: "LMDB"}, ".mdb": {name: "LMDB"},
}

// remedy says how to convert such files, which have an extension.
func (t fileType) remedy(pattern string) string {
	if t.line == "" {
		return "convert them to PNG, or depth to .npy"
	}
	return "convert them, for example by " + strings.ReplaceAll(t.line, "FILE", pattern)
}

// signatures tell by their first bytes files that are not read.
var signatures = []struct {
	at    int
	bytes string
	is    fileType
}{
	{0, "GIF8", gif}, {4, "jP  \r\n\x87\n", jpeg2000}, {0, "\xff\x4f\xff\x51", jpeg2000}, {0, "\xff\x0a", jpegXL}, {4, "JXL \r\n\x87\n", jpegXL},
	{4, "ftypavif", avif}, {4, "ftypavis", avif}, {4, "ftyphei", heic}, {4, "ftyphev", heic}, {4, "ftypmif1", heic}, {4, "ftypmsf1", heic},
	{4, "ftyp", fileType{name: "video"}}, {0, "\x76\x2f\x31\x01", exr}, {0, "\x89HDF\r\n\x1a\n", hdf5}, {0, "MATLAB", matlab}, {0, "PF\n", pfm}, {0, "Pf\n", pfm},
	{0, "%PDF", fileType{name: "PDF"}}, {0, "PK\x03\x04", fileType{name: "a zip archive"}}, {0, "\x1f\x8b", fileType{name: "gzip"}}, {0, "8BPS", fileType{name: "Photoshop"}},
	{0, "II+\x00", fileType{name: "BigTIFF", line: pillow}}, {0, "MM\x00+", fileType{name: "BigTIFF", line: pillow}}, {0, "P7\n", fileType{name: "PAM"}},
	{0, "P1", fileType{name: "PBM"}}, {0, "P4", fileType{name: "PBM"}}, {0, "#?RADIANCE", fileType{name: "Radiance"}}, {0, "\x00\x00\x01\x00", fileType{name: "icon"}},
}

// notRead is the problem of a file that is of no type that is read.
func notRead(b []byte) *Problem {
	for _, s := range signatures {
		if len(b) > s.at && bytes.HasPrefix(b[s.at:], []byte(s.bytes)) {
			remedy := "convert it to PNG"
			if s.is.line != "" {
				remedy = "convert it, for example by " + s.is.line
			}
			return problem("", remedy, "holds %s, which is not read", s.is.name)
		}
	}
	text := strings.ToLower(string(bytes.TrimLeft(b[:min(len(b), 512)], "\ufeff \t\r\n")))
	switch {
	case strings.HasPrefix(text, "version https://git-lfs"):
		return problem("", "fetch the picture itself: git lfs pull", "a Git LFS pointer and no picture")
	case strings.HasPrefix(text, "<!doctype html"), strings.HasPrefix(text, "<html"), strings.HasPrefix(text, "<head"):
		return problem("", "download the picture again: the server sent a page, perhaps an error", "an HTML page and no picture")
	case strings.HasPrefix(text, "<svg"), strings.HasPrefix(text, "<?xml"):
		return problem("", "convert it to PNG", "an SVG or XML text, which is not read")
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		return problem("", "download the picture again: the server sent a message, perhaps an error", "a JSON text and no picture")
	case len(bytes.Trim(b[:min(len(b), 4096)], "\x00")) == 0:
		return problem("", "write the file again", "nothing but zeros: the file was not written to its end")
	}
	return problem("", "convert it to PNG or JPEG", "neither a PNG nor a JPEG image, nor of another type that is read")
}

// readTypes are the extensions of the files that are read.
var readTypes = map[string]bool{
	".png": true, ".jpg": true, ".jpeg": true, ".jpe": true, ".jfif": true, ".webp": true, ".tif": true, ".tiff": true, ".bmp": true,
	".ppm": true, ".pgm": true, ".pnm": true, ".npy": true,
}

// unreadProblem names the files of a type that lie below root, and how to convert them.
func unreadProblem(root, ext string, names []string) *Problem {
	t := unreadTypes[ext]
	first := filepath.FromSlash(names[0])
	message := "a file of type " + t.name + " (" + first + ") is not read"
	if len(names) > 1 {
		message = fmt.Sprintf("%d files of type ", len(names)) + t.name + " (such as " + first + ") are not read"
	}
	return problem(root, t.remedy(filepath.Join(root, filepath.Dir(first), "*"+filepath.Ext(first))), "%s", message)
}
