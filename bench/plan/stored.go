package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/gomae/gomae/bench/internal/results"
)

var trainStep = regexp.MustCompile(`^TrainStep/model=([^/]+)/batch=(\d+)/threads=(\d+)`)

// noStepError reports that a file of results has no training step of a model.
type noStepError struct{ path, model string }

func (e *noStepError) Error() string {
	return fmt.Sprintf("%s has no TrainStep of model=%s; give another file, or -measure", e.path, e.model)
}

// session identifies measurements that belong together.
type session struct {
	batch, threads int
	date, commit   string
}

// readStep reads the step time of a model from stored results. Of several it takes the one with the
// most threads, then the nearest batch, then the latest date, and scales it to the batch.
func readStep(path, model string, batch, params int) (*measurement, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	good, broken, err := results.Read(f, path)
	if err = errors.Join(append(broken, err)...); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	type values struct{ seconds, memory []float64 }
	found := map[session]*values{}
	for _, r := range good {
		name := trainStep.FindSubmatch(r.Name)
		peer := cmp.Or(r.GetConfig("peer"), results.Own)
		if name == nil || string(name[1]) != model || peer != results.Own {
			continue
		}
		b, _ := strconv.Atoi(string(name[2])) // the pattern admits digits only
		t, _ := strconv.Atoi(string(name[3]))
		s := session{b, t, r.GetConfig("date"), r.GetConfig("commit")}
		if found[s] == nil {
			found[s] = &values{}
		}
		seconds, _ := r.Value("sec/op")
		memory, _ := r.Value("MiB-sys")
		found[s].seconds, found[s].memory = append(found[s].seconds, seconds), append(found[s].memory, memory)
	}
	var best *session
	for s := range found {
		if best == nil || s.betterThan(best, batch) {
			best = &s
		}
	}
	if best == nil || best.batch == 0 {
		return nil, &noStepError{path, model}
	}
	v := found[*best]
	scale := float64(batch) / float64(best.batch)
	m := &measurement{
		Batch: batch, Ranks: 1,
		From:    fmt.Sprintf("%s, commit %s, %s, median of %d", filepath.Base(path), best.commit, best.date, len(v.seconds)),
		Step:    results.Median(v.seconds) * scale,
		Threads: max(best.threads, 1),
	}
	// Weights, gradients and both moments do not grow with the batch.
	fixed := 16 * float64(params)
	m.MemoryBytes = results.Median(v.memory) * (1 << 20)
	if best.batch != batch {
		m.MemoryBytes = fixed + max(0, m.MemoryBytes-fixed)*scale
		m.Note = fmt.Sprintf("the step time and the memory for activations were measured with a batch of %d and scaled in proportion", best.batch)
	}
	return m, nil
}

// betterThan reports whether s predicts a step of batch images better than o does.
func (s *session) betterThan(o *session, batch int) bool {
	distance := func(s *session) int { return max(s.batch-batch, batch-s.batch) }
	return cmp.Or(
		cmp.Compare(s.threads, o.threads),
		cmp.Compare(distance(o), distance(s)),
		cmp.Compare(s.batch, o.batch),
		cmp.Compare(s.date, o.date),
	) > 0
}
