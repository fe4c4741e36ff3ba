package enroll

import (
	"errors"
	"fmt"
)

// What ends a run with another exit code than 1.
var (
	ErrInput       = errors.New("bad input")       // exit 2: the user has to correct something
	ErrHostsFailed = errors.New("hosts failed")    // exit 3
	ErrChanges     = errors.New("changes to make") // exit 4: --check found some
)

// HintError is a failure with what to do about it.
type HintError struct {
	Err  error
	Hint string // without a full stop
}

func (e *HintError) Error() string { return e.Err.Error() }
func (e *HintError) Unwrap() error { return e.Err }

// withHint adds what to do to an error.
func withHint(err error, format string, args ...any) error {
	return &HintError{Err: err, Hint: fmt.Sprintf(format, args...)}
}

// InputError is something that the user wrote and has to correct. It is an ErrInput.
type InputError struct {
	File   string
	Line   int // 0: the file as a whole
	Column int
	Msg    string
	Hint   string
}

func (e *InputError) Error() string {
	switch {
	case e.File == "":
		return e.Msg
	case e.Line == 0:
		return e.File + ": " + e.Msg
	case e.Column == 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	default:
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
	}
}

func (e *InputError) Unwrap() error { return ErrInput }
