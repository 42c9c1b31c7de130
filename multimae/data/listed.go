package data

// Listed is a Named dataset that knows its files. The datasets of OpenFolder are of this kind.
type Listed interface {
	Named
	Files(i int) []string // paths, in the order of the modalities
}

// Files returns the paths of the files of sample i.
func (f *folder) Files(i int) []string {
	files := make([]string, len(f.inputs))
	for k := range files {
		files[k] = f.file(k, i)
	}
	return files
}
