package main

import (
	"context"
	"errors"
	"fmt"

	"fleetctl/enroll/outcome"
)

// Exit codes.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2 // usage or bad input
	exitHostsFailed = 3
	exitChanges     = 4 // --check found changes to make
	exitInterrupted = 130
)

// exitCode is the one table from error to exit code.
func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, new(*usageErr)), errors.Is(err, outcome.ErrInput):
		return exitUsage
	case errors.Is(err, outcome.ErrHostsFailed):
		return exitHostsFailed
	case errors.Is(err, outcome.ErrChanges):
		return exitChanges
	}
	return exitError
}

// exit reports the error that ended the run, once, with what to do about it.
func (a *app) exit(ctx context.Context, err error) int {
	code := exitCode(ctx, err)
	switch code {
	case exitOK, exitChanges:
	case exitInterrupted:
		a.say("interrupted: what was finished is recorded; the same command with --resume goes on")
	case exitHostsFailed:
		a.say("%v", err)
	default:
		for _, e := range flatten(err) {
			a.say("error: %v", e)
			if hint := hintOf(e); hint != "" {
				a.say("hint: %s", hint)
			}
		}
		if errors.As(err, new(*usageErr)) {
			a.say("hint: \"fleetctl COMMAND --help\" lists the flags")
		}
	}
	return code
}

// say writes one line to stderr.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, "fleetctl: "+format+"\n", args...)
}

// flatten takes joined errors apart, so that each is a line of its own.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || fmt.Sprintf("%T", err) != "*errors.joinError" {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

func hintOf(err error) string {
	if e := (*outcome.InputError)(nil); errors.As(err, &e) {
		return e.Hint
	}
	if e := (*outcome.HintError)(nil); errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
