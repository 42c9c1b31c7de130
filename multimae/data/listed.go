package data

// Listed is a Dataset that knows the names and files of its samples without reading them. The
// datasets of OpenFolder are of this kind.
type Listed interface {
	Dataset
	Name(i int) string    // that of the Sample
	Files(i int) []string // paths, in the order of the modalities
}

// Name returns the name of sample i.
func (f *folder) Name(i int) string { return f.names[i] }

// Files returns the paths of the files of sample i.
func (f *folder) Files(i int) []string {
	files := make([]string, len(f.inputs))
	for k := range files {
		files[k] = f.file(k, i)
	}
	return files
}
