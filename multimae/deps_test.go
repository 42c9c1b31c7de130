package multimae

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies holds what a program that imports the library has to
// download: two modules, for the CPU's features.
func TestDependencies(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go on the PATH: ", err)
	}
	const module = "github.com/gomae/gomae/"
	out, err := exec.Command(goTool, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}",
		module+"multimae", module+"multimae/heads", module+"multimae/images", module+"vit", module+"nn", module+"tensor").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	packages := strings.Fields(string(out))
	own := 0
	for _, p := range packages {
		switch {
		case strings.HasPrefix(p, module):
			own++
			switch name := strings.TrimPrefix(p, module); name {
			case "asm", "tensor", "nn", "vit", "multimae", "multimae/heads", "multimae/images", "multimae/internal/strictjson":
			default:
				t.Errorf("the library imports %s of this module, which stands above it", name)
			}
		case strings.HasPrefix(p, "github.com/klauspost/cpuid/v2"), strings.HasPrefix(p, "golang.org/x/sys/"):
		default:
			t.Errorf("the library imports %s, want nothing but the standard library, klauspost/cpuid/v2 and golang.org/x/sys", p)
		}
	}
	if own != 8 {
		t.Errorf("go list names %v, want the eight packages of the library among them", packages)
	}
}
