package multimae

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies holds what a program that imports the library has to download: two modules, for
// the CPU's features. Its `go mod tidy` also reads the tests of whatever it imports, so they need
// no others either, except those of the models in the box, which validate them on pictures.
func TestDependencies(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go on the PATH: ", err)
	}
	const module = "github.com/gomae/gomae/"
	list := func(args ...string) []string {
		t.Helper()
		out, err := exec.Command(goTool, append([]string{"list", "-deps"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, out)
		}
		return strings.Fields(string(out))
	}
	needed := func(path string) bool {
		return strings.HasPrefix(path+"/", "github.com/klauspost/cpuid/v2/") || strings.HasPrefix(path+"/", "golang.org/x/sys/")
	}
	var own []string
	models := 0
	for _, p := range list("-f", "{{if not .Standard}}{{.ImportPath}}{{end}}",
		module+"multimae", module+"multimae/images", module+"multimae/heads", module+"multimae/models/photos", module+"multimae/models/rooms",
		module+"vit", module+"nn", module+"tensor") {
		switch {
		case strings.HasPrefix(p, module+"multimae/models/"):
			models++
		case strings.HasPrefix(p, module):
			own = append(own, p)
			switch name := strings.TrimPrefix(p, module); name {
			case "asm", "tensor", "nn", "nn/weights", "vit", "multimae", "multimae/images", "multimae/heads",
				"internal/atomicfile", "internal/modelfolder", "internal/poison", "internal/regular", "internal/strictjson",
				"internal/sysmem", "internal/imagehead", "internal/sizes", "internal/bfloat16":
			default:
				t.Errorf("the library imports %s of this module, which stands above it", name)
			}
		case !needed(p):
			t.Errorf("the library imports %s, want nothing but the standard library, klauspost/cpuid/v2 and golang.org/x/sys", p)
		}
	}
	if len(own) != 17 || models != 2 {
		t.Fatalf("go list names %v of this module and %d models, want the 17 packages that the library consists of and 2 models", own, models)
	}
	tests := 0
	for _, p := range list(append([]string{"-test", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}"}, own...)...) {
		switch {
		case strings.HasPrefix(p, module):
			if strings.HasSuffix(p, ".test") {
				tests++
			}
		case strings.HasPrefix(p, "["): // for which test the package before it is compiled
		case !needed(p):
			t.Errorf("tests of the library import %s, want nothing but the standard library, klauspost/cpuid/v2 and golang.org/x/sys (internal/stattest may use more)", p)
		}
	}
	if tests < 7 {
		t.Errorf("go list names the tests of %d packages, want those of the library", tests)
	}
}
