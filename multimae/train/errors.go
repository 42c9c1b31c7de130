package train

import (
	"errors"
	"fmt"
	"strings"
)

// The reasons for which a folder is refused. A FolderError wraps them.
var (
	ErrNoRun    = errors.New("holds no run")
	ErrOtherRun = errors.New("holds a run already")
	ErrBusy     = errors.New("another process is training there")
)

// FolderError is the error of a folder that cannot hold the run: it holds another run or none, or
// the system does not let this process read it or write to it.
type FolderError struct {
	Dir string
	Err error // names the file
}

func (e *FolderError) Error() string { return e.Err.Error() }
func (e *FolderError) Unwrap() error { return e.Err }

// StopError is the error of a run that ended between its first and its last step. Run with Resume
// goes on from the last checkpoint. If Err is neither a FolderError nor a DivergedError and does not
// wrap ErrDiffer, that checkpoint is of the last step done. Ranks other than 0 write no checkpoints:
// theirs is the last one that all ranks agreed on, and rank 0 may have saved a later one.
type StopError struct {
	Err        error
	Step       int    // of the last checkpoint; −1 if there is none
	Checkpoint string // its path
}

func (e *StopError) Error() string {
	if e.Step < 0 {
		return fmt.Sprintf("%v; no checkpoint has been saved", e.Err)
	}
	return fmt.Sprintf("%v; the checkpoint of step %d is kept in %s", e.Err, e.Step, e.Checkpoint)
}

func (e *StopError) Unwrap() error { return e.Err }

// DivergedError says where a training step lost its numbers, or after which step validation found
// them lost.
type DivergedError struct {
	Step  int    // counted from 1
	What  string // "the loss is NaN"
	First string // the first tensor that went bad, in the order of computation; "" if validation found it
}

// badInput begins First if the data are to blame.
const badInput = "input "

// inData reports whether the data are to blame.
func (e *DivergedError) inData() bool { return strings.HasPrefix(e.First, badInput) }

func (e *DivergedError) Error() string {
	if e.First == "" { // What has the remedy
		return fmt.Sprintf("step %d: %s", e.Step, e.What)
	}
	remedy := "start another run with a lower optim.lr, or limit train.clip_grad"
	if e.inData() {
		remedy = "look for the sample with this value"
	}
	return fmt.Sprintf("step %d: %s; first bad: %s; %s", e.Step, e.What, e.First, remedy)
}
