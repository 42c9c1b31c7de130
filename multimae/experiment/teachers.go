package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/teacher"
)

// teachers are fine-tuned models that make maps from colour, by modality.
type teachers map[string]*teacher.Teacher

// openTeacher opens the model in the folder name of dir. It describes it there, so that gomae
// pseudolabel can use it likewise.
func openTeacher(dir, name, task string) (*teacher.Teacher, error) {
	d := teacher.Description{Model: name, Output: teacher.OutputSpec{Kind: teacher.KindMetres}}
	if task == heads.TaskSemseg {
		d.Output.Kind, d.Confidence = teacher.KindLogits, 0.5
	}
	path := filepath.Join(dir, name+".json")
	if err := atomicfile.ReplaceJSON(path, d); err != nil {
		return nil, err
	}
	return teacher.Open([]string{path}, teacher.Options{})
}

// label makes the maps from the colour of a sample.
func (t teachers) label(s *data.Sample) (map[string]*data.Map, error) {
	photo, made := s.Maps["rgb"], map[string]*data.Map{}
	if photo == nil {
		return nil, errors.New("has no rgb to label")
	}
	for modality, teacher := range t {
		job, err := teacher.Prepare(photo)
		if err != nil {
			return nil, err
		}
		if err := job.Run(context.Background()); err != nil {
			job.Close()
			return nil, err
		}
		if made[modality], err = job.Map(photo.W, photo.H); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (t teachers) close() {
	for _, x := range t {
		x.Close()
	}
}

// plain is the pre-training of teachers, and taught what they are fine-tuned for where there is the truth.
var (
	plain  = &Pretraining{Name: "MAE", Model: "mae", Change: mae}
	taught = []*Column{{[]string{"rgb"}, heads.TaskSemseg}, {[]string{"rgb"}, heads.TaskDepth}}
)

func teacherName(task string, seed int) string { return fmt.Sprintf("teacher-%s-seed%d", task, seed) }

// sameTeachers returns an error if the folder of models has other teachers than this experiment trains,
// or if the model in dir was pre-trained with others: its own configuration does not tell them apart.
func (r *run) sameTeachers(dir string, seed int) error {
	const remedy = "keep these models in another folder"
	_, err := os.Stat(filepath.Join(dir, multimae.ConfigFile))
	begun := err == nil
	for _, c := range taught {
		folder := filepath.Join(r.Models, teacherName(c.Task, seed))
		has, err := heads.LoadConfig(os.DirFS(folder), multimae.ConfigFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", folder, err)
		}
		switch truth := r.hasTruth(c.Task); {
		case has != nil && !truth:
			return fmt.Errorf("%s: holds a teacher of %s, of which %s has no truth; %s", folder, c.Task, r.Labelled, remedy)
		case has == nil && truth && begun:
			return fmt.Errorf("%s: holds a run without a teacher of %s, of which %s has the truth; %s", dir, c.Task, r.Labelled, remedy)
		case has == nil:
			continue
		}
		want, err := r.finetuneConfig(plain, c, seed)
		if err != nil {
			return err
		}
		has.Train.From = want.Train.From // by whatever path, it is the one beside it
		if key, asked, is := strictjson.Difference(want.JSON(), has.JSON()); key != "" {
			return fmt.Errorf("%s: holds a teacher with %s %s and not %s; %s", folder, key, is, asked, remedy)
		}
	}
	return nil
}

// teachers fine-tunes a plain MAE for each truth of the labelled data.
func (r *run) teachers(ctx context.Context, seed int) (teachers, error) {
	if err := r.pretrain(ctx, plain, seed); err != nil {
		return nil, err
	}
	found := teachers{}
	for _, c := range taught {
		task := c.Task
		if !r.hasTruth(task) {
			continue
		}
		r.Log("training the teacher of %s, seed %d", task, seed)
		name := teacherName(task, seed)
		if _, err := r.fit(ctx, plain, c, seed, filepath.Join(r.Models, name)); err != nil {
			found.close()
			return nil, err
		}
		t, err := openTeacher(r.Models, name, task)
		if err != nil {
			found.close()
			return nil, err
		}
		found[task] = t // tasks have the names of modalities
	}
	return found, nil
}
