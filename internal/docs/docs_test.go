// Package docs_test checks the Markdown files of the repository.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`^#{1,6} +(.+)$`)
)

// prose returns the lines of a Markdown file outside of code blocks.
func prose(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	code := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
		} else if !code {
			lines = append(lines, strings.TrimRight(line, "\r\n"))
		}
	}
	return lines
}

// anchors returns the fragments of links to a Markdown file's headings, as GitHub makes them.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, line := range prose(t, path) {
		if m := heading.FindStringSubmatch(line); m != nil {
			all[strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
					return r
				}
				return -1
			}, strings.ToLower(m[1]))] = true
		}
	}
	return all
}

// TestLinks checks that the file of every relative link exists, and the heading if the link names one.
func TestLinks(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		files++
		t.Run(filepath.ToSlash(path[len(root)+1:]), func(t *testing.T) {
			// A link may be broken between lines.
			for _, m := range link.FindAllStringSubmatch(strings.Join(prose(t, path), "\n"), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				name, fragment, _ := strings.Cut(m[1], "#")
				target := filepath.Join(filepath.Dir(path), filepath.FromSlash(name))
				if name == "" {
					target = path
				}
				if _, err := os.Stat(target); err != nil {
					t.Errorf("link to %s: %v", m[1], err)
				} else if fragment != "" && !anchors(t, target)[fragment] {
					t.Errorf("link to %s: %s has no such heading", m[1], name)
				}
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 8 {
		t.Errorf("%d Markdown files, want those of the whole repository", files)
	}
}
