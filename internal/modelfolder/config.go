package modelfolder

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
)

// Config is a pointer to the configuration C of a model.
type Config[C any] interface {
	*C
	Check() error
}

// LoadConfig is ParseConfig of a file, whose name its errors begin with.
func LoadConfig[C any, P Config[C]](fsys fs.FS, name, model string) (P, error) {
	b, err := regular.ReadFileFS(fsys, name, regular.ConfigLimit)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig[C, P](b, model)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// ParseConfig reads and checks the config.json of a model, whose key "model" must be model. Its
// errors name the key and, for an unknown key, the nearest known one.
func ParseConfig[C any, P Config[C]](b []byte, model string) (P, error) {
	c := P(new(C))
	err := strictjson.Unmarshal(b, model, c)
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return nil, strictjson.Short(err)
	}
	return c, nil
}

// FormatConfig returns the content of the config.json of a configuration that has been checked.
func FormatConfig(c any) []byte {
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		panic("modelfolder: the configuration cannot be written: " + err.Error()) // Check refuses NaN and infinities
	}
	return append(b, '\n')
}

// MaxNames is how many inputs or outputs a model may have.
const MaxNames = 256

// CheckNames returns an error unless names can be those of a model's inputs or outputs, as key
// says: from 1 to MaxNames different words.
func CheckNames(key string, names []string) error {
	if n := len(names); n == 0 || n > MaxNames {
		return fmt.Errorf("%s: got %d, want 1..%d", key, n, MaxNames)
	}
	for i, name := range names {
		if name == "" || strings.ContainsAny(name, "./\\ ") {
			return fmt.Errorf("%s.%s.name: %q must be a non-empty word without dots, slashes or spaces: it becomes part of checkpoint keys", key, name, name)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%s: %q is listed twice", key, name)
		}
	}
	return nil
}
