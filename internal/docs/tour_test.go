package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tourLimit is how many lines of code a reader gets through in an hour.
const tourLimit = 1000

// tourStop is a row of the table in CONTRIBUTING.md: a link to a file, the parts of it to read, and
// why.
var tourStop = regexp.MustCompile(`(?m)^\| \[([^\]]+\.go)\]\(([^)]+)\) \| ([^|]+) \|`)

// TestTour checks that the files and parts that the reading tour names exist, and that they are as
// short as the tour promises.
func TestTour(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	stops := tourStop.FindAllStringSubmatch(string(page), -1)
	if len(stops) < 8 {
		t.Fatalf("CONTRIBUTING.md: the reading tour has %d stops", len(stops))
	}
	total := 0
	for _, stop := range stops {
		t.Run(stop[1], func(t *testing.T) {
			n := tourLines(t, stop[2], strings.TrimSpace(stop[3]))
			t.Logf("%d lines", n)
			total += n
		})
	}
	t.Logf("%d lines in all", total)
	if total > tourLimit {
		t.Errorf("the tour has %d lines, more than %d: name parts of files, or shorten them", total, tourLimit)
	}
}

// tourLines counts the lines of the parts of a file: "all", "the comment at its head", or the names
// of declarations, `Name` or `Type.Method`.
func tourLines(t *testing.T, path, parts string) int {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	if parts == "all" {
		return strings.Count(string(source), "\n")
	}
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(n ast.Node, doc *ast.CommentGroup) int {
		from := n.Pos()
		if doc != nil {
			from = doc.Pos()
		}
		return files.Position(n.End()).Line - files.Position(from).Line + 1
	}
	if parts == "the comment at its head" {
		longest := 0
		for _, c := range f.Comments {
			longest = max(longest, lines(c, nil))
		}
		return longest
	}
	declared := map[string]int{}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				of := d.Recv.List[0].Type
				if star, ok := of.(*ast.StarExpr); ok {
					of = star.X
				}
				name = of.(*ast.Ident).Name + "." + name
			}
			declared[name] = lines(d, d.Doc)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok {
					declared[s.Name.Name] = lines(d, d.Doc)
				}
			}
		}
	}
	sum := 0
	for _, name := range strings.Split(parts, ", ") {
		name = strings.Trim(name, "`")
		n, ok := declared[name]
		if !ok {
			t.Errorf("%s declares no %s", path, name)
		}
		sum += n
	}
	return sum
}
