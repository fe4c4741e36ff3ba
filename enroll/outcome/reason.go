package outcome

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fleetctl/remote"
)

// Reason says why something is as it is, and what to do about it.
type Reason struct {
	Code    Code   `json:"status,omitempty"`
	Message string `json:"message,omitempty"` // for people; free of control characters
	Hint    string `json:"hint,omitempty"`    // what to do, without a full stop

	Limit Limit `json:"-"` // of Timeout: which one passed
}

// Limit is a limit of time.
type Limit string

// Limits; "" is one that nobody sets.
const (
	LimitHost    Limit = "host"    // of one host, all in all
	LimitConnect Limit = "connect" // of one connection
	LimitLogin   Limit = "login"   // of a login
)

// Because makes a Reason of an error that has none: its text, cleaned and on one line, and what the list of codes says to do.
func Because(code Code, message string) Reason {
	return Reason{Code: code, Message: remote.Line(message), Hint: Lookup(code).Do}
}

// words are an error's words on one line, without those that only programmers have.
func words(err error) string {
	return strings.ReplaceAll(remote.Line(err.Error()), context.DeadlineExceeded.Error(), "its time is over")
}

// limitOf is the limit of time that an error is about.
func limitOf(err error) Limit {
	switch {
	case errors.Is(err, remote.ErrConnectTimeout):
		return LimitConnect
	case errors.Is(err, remote.ErrLoginTimeout):
		return LimitLogin
	case errors.Is(err, context.DeadlineExceeded):
		return LimitHost
	}
	return ""
}

// Error is a failure that knows its code. It serves as a sentinel, too: wrapped with %w it gives its code to what wraps
// it.
type Error struct {
	Reason
	Err error // the cause; may be nil
}

// NewError makes a failure of a code; the hint is that of the list.
func NewError(code Code, message string) *Error { return &Error{Reason: Because(code, message)} }

// Error is the message and the cause.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Message
	case e.Message == "":
		return e.Err.Error()
	}
	return e.Message + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// What ends a run with another exit code than 1.
var (
	ErrInput       = errors.New("bad input")       // exit 2: the user has to correct something
	ErrHostsFailed = errors.New("hosts failed")    // exit 3
	ErrChanges     = errors.New("changes to make") // exit 4: a dry run found some
)

// Mark makes an error one of a kind (ErrInput, ErrHostsFailed) for errors.Is, and leaves its text as it is.
func Mark(err, kind error) error { return &marked{err, kind} }

type marked struct{ err, kind error }

func (m *marked) Error() string   { return m.err.Error() }
func (m *marked) Unwrap() []error { return []error{m.err, m.kind} }

// HintError is a failure with what to do about it.
type HintError struct {
	Err  error
	Hint string // without a full stop
}

func (e *HintError) Error() string { return e.Err.Error() }

func (e *HintError) Unwrap() error { return e.Err }

// WithHint adds what to do to an error.
func WithHint(err error, format string, args ...any) error {
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
