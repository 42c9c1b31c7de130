package teacher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"

	"github.com/gomae/gomae/internal/regular"
)

// LibraryVariable is the environment variable with the path of ONNX Runtime's shared library, or of
// the folder that holds it.
const LibraryVariable = "GOMAE_ONNXRUNTIME"

const installHint = "pip install onnxruntime"

// ErrNoRuntime is the error of an .onnx file where no ONNX Runtime is installed.
var ErrNoRuntime = errors.New("ONNX Runtime is not installed; this installs it: " + installHint + "; for one elsewhere, set " + LibraryVariable + " to its file or folder")

// patterns are the file names of the library on this system, newest kind of name first.
func patterns() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"onnxruntime.dll"}
	case "darwin":
		return []string{"libonnxruntime.dylib", "libonnxruntime.*.dylib"}
	}
	return []string{"libonnxruntime.so", "libonnxruntime.so.*"}
}

// libraryAt returns the library at a path, which may also be that of its folder. The result is
// absolute: the system's loader looks for a name without a slash in the folders of the system only.
func libraryAt(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return path, regular.Check(path, info)
	}
	if found := in(path); len(found) > 0 {
		return found[0], nil
	}
	return "", fmt.Errorf("%s: no %s in this folder", path, patterns()[0])
}

// in lists the libraries in the folders that match a pattern, of several versions the last first.
func in(folder string) (files []string) {
	for _, name := range patterns() {
		found, _ := filepath.Glob(filepath.Join(folder, name)) // errs on bad patterns only: then nothing is there
		slices.SortStableFunc(found, func(a, b string) int { return slices.Compare(versionOf(b), versionOf(a)) })
		files = append(files, found...)
	}
	return files
}

var digits = regexp.MustCompile("[0-9]+")

// versionOf returns the numbers in a version, or in a path with versions: "1.9" is before "1.20".
func versionOf(s string) (list []int) {
	for _, text := range digits.FindAllString(s, -1) {
		n, _ := strconv.Atoi(text) // of too many digits the largest
		list = append(list, n)
	}
	return list
}

// candidates lists where the library may be, in the order in which it is looked for: the active
// environment of Python, the loader's own folders, the Pythons of the search path, and where packages
// are installed.
func candidates() (files []string) {
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if dir := os.Getenv(name); dir != "" {
			files = append(files, below(dir)...)
		}
	}
	files = append(files, systemNames()...)
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		for _, python := range []string{"python3", "python", "python.exe"} {
			if _, err := os.Stat(filepath.Join(dir, python)); err == nil && filepath.IsAbs(dir) {
				files = append(files, below(dir)...)               // Windows: python.exe lies in the prefix
				files = append(files, below(filepath.Dir(dir))...) // elsewhere, and in its virtual environments
				break
			}
		}
	}
	home, _ := os.UserHomeDir()
	prefixes := []string{filepath.Join(home, ".local"), "/usr/local", "/usr"}
	switch runtime.GOOS {
	case "windows":
		prefixes = []string{filepath.Join(os.Getenv("LOCALAPPDATA"), "Programs", "Python", "Python3*"), filepath.Join(os.Getenv("APPDATA"), "Python", "Python3*")}
	case "darwin":
		prefixes = append(prefixes, filepath.Join(home, "Library", "Python", "3*"), "/opt/homebrew")
	}
	for _, prefix := range prefixes {
		files = append(files, below(prefix)...)
	}
	return files
}

// below lists the libraries below the prefix of an installation: in the package onnxruntime of
// Python, and among the prefix's libraries.
func below(prefix string) (files []string) {
	for _, packages := range []string{"lib/python3*/site-packages", "lib64/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages", "Lib/site-packages", "site-packages"} {
		files = append(files, in(filepath.Join(prefix, filepath.FromSlash(packages), "onnxruntime", "capi"))...)
	}
	for _, libraries := range []string{"lib", "lib64"} {
		files = append(files, in(filepath.Join(prefix, libraries))...)
	}
	return files
}

// systemNames are the names by which the system's loader finds an installed library.
func systemNames() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"onnxruntime.dll"}
	case "darwin":
		return []string{"libonnxruntime.dylib", "libonnxruntime.1.dylib"}
	}
	return []string{"libonnxruntime.so.1", "libonnxruntime.so"}
}
