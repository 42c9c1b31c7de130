package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// floor is a line of a file of floors. The benchmarks that match the pattern must reach at least
// this share of peak, or the peer's time must be at least this multiple of ours.
type floor struct {
	simd    string   // the level it is for; empty for any
	on      []string // the machines it is for; nil for any
	pattern string   // * matches anything
	match   *regexp.Regexp
	what    string // "%peak" or "ratio"
	peer    string
	least   float64
}

// floorSum is the outcome of a comparison with floors.
type floorSum struct {
	Held       int      `json:"held"` // figures at or above their floor
	Below      []string `json:"below"`
	Unmeasured int      `json:"unmeasured"` // floors that no measurement matches
}

// readFloors reads a file of lines
//
//	PATTERN %peak LOWEST
//	PATTERN ratio PEER LOWEST
//	simd LEVEL [MACHINE...]
//
// and comments that begin with #. The floors below a line "simd" are for that level and, if it names
// any, for those machines. Patterns must begin with one of the known names of benchmark functions: any
// other would never be checked.
func readFloors(path string, known []string) ([]floor, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-floors: %w", err)
	}
	defer f.Close()
	return parseFloors(f, path, known)
}

// floorError reports a line that is no floor.
type floorError struct {
	path    string
	line    int
	problem string // with the value
}

func (e *floorError) Error() string { return fmt.Sprintf("%s:%d: %s", e.path, e.line, e.problem) }

func parseFloors(r io.Reader, path string, known []string) (floors []floor, err error) {
	lines := bufio.NewScanner(r)
	var simd string
	var on []string
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		fail := func(format string, args ...any) error {
			return &floorError{path, n, fmt.Sprintf(format, args...)}
		}
		fl := floor{simd: simd, on: on, pattern: words[0]}
		switch {
		case len(words) > 1 && words[0] == "simd":
			if simd = words[1]; !slices.Contains(simdOrder, simd) {
				return nil, fail("level %q, want avx512, avx2 or generic", simd)
			}
			on = words[2:]
			continue
		case len(words) == 3 && words[1] == "%peak":
			fl.what = words[1]
		case len(words) == 4 && words[1] == "ratio":
			fl.what, fl.peer = words[1], words[2]
		default:
			return nil, fail("got %q, want PATTERN %%peak LOWEST, PATTERN ratio PEER LOWEST or simd LEVEL [MACHINE...]", strings.TrimSpace(text))
		}
		least := words[len(words)-1]
		if fl.least, err = strconv.ParseFloat(least, 64); err != nil || !(fl.least > 0) {
			return nil, fail("floor %q, want a number above 0", least)
		}
		if first, _, _ := strings.Cut(fl.pattern, "/"); !strings.Contains(first, "*") && !slices.Contains(known, first) {
			return nil, fail("%s matches no benchmark; the benchmarks are %s", fl.pattern, strings.Join(known, ", "))
		}
		fl.match = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(fl.pattern), `\*`, ".*") + "$")
		floors = append(floors, fl)
	}
	return floors, lines.Err()
}

// benchmarkNames returns the names of package bench's benchmark functions, without "Benchmark".
func benchmarkNames(root string) (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(root, "bench", "*_test.go"))
	if err != nil {
		return nil, err
	}
	function := regexp.MustCompile(`(?m)^func Benchmark(\w+)\(`)
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	return names, nil
}

// check compares the tables with floors.
func (r *report) check(floors []floor) *floorSum {
	s := &floorSum{Below: []string{}}
	for _, fl := range floors {
		measured := false
		judge := func(t *table, name, what string, v *float64) {
			if v == nil {
				return
			}
			measured = true
			if *v >= fl.least {
				s.Held++
				return
			}
			s.Below = append(s.Below, fmt.Sprintf("%s (%s): %s is %.4g, want at least %.4g", name, t.title(), what, *v, fl.least))
		}
		for _, t := range r.Tables {
			if fl.simd != "" && t.SIMD != fl.simd || len(fl.on) > 0 && !slices.Contains(fl.on, t.Machine) {
				continue
			}
			for _, row := range t.Rows {
				if !fl.match.MatchString(row.Name) {
					continue
				}
				if fl.what == "%peak" && row.Ours != nil {
					judge(t, row.Name, "% of peak", row.Ours.Share)
				}
				for _, f := range row.Peers {
					if fl.what == "ratio" && f.Peer == fl.peer {
						judge(t, row.Name, "the time of "+f.who()+" over ours", f.Ratio)
					}
				}
			}
		}
		if !measured {
			s.Unmeasured++
		}
	}
	return s
}

func (s *floorSum) text(w io.Writer) {
	for _, b := range s.Below {
		fmt.Fprintln(w, "below the floor:", b)
	}
	fmt.Fprintf(w, "floors: %d at or above, %d below, %d not measured\n", s.Held, len(s.Below), s.Unmeasured)
}
