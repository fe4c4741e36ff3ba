package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/remote"
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
	case errors.Is(err, token.ErrLostRace):
		return exitError
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
		a.interrupted()
	case exitHostsFailed:
		a.say("%v", err)
	default:
		for _, e := range flatten(err) {
			a.say("error: %v", e)
			if hint := hintOf(e); hint != "" {
				a.say("hint: %s", hint)
			}
		}
		if e := (*usageErr)(nil); errors.As(err, &e) && e.hint == "" {
			a.say("hint: \"%s --help\" says how it is used", commandName(a.words))
		}
	}
	return code
}

// interrupted says how a run that was interrupted has ended.
func (a *app) interrupted() {
	goesOn := ""
	if a.canResume.Load() {
		goesOn = "; the same command with --resume goes on"
	}
	a.say("interrupted: what was finished is recorded%s", goesOn)
}

// say writes to stderr. Lines behind the first one are marked, since somebody else's words could pass for ours.
func (a *app) say(format string, args ...any) {
	before := "fleetctl: "
	var b strings.Builder
	for line := range strings.Lines(fmt.Sprintf(format, args...) + "\n") {
		b.WriteString(before + a.saying.Say(remote.Escape(strings.TrimSuffix(line, "\n"))) + "\n")
		before = "fleetctl: | "
	}
	_, _ = io.WriteString(a.stderr, b.String()) // there is nobody else to tell
}

// forChildren is stderr for programs that are started.
func (a *app) forChildren() io.Writer {
	if a.line != nil {
		return a.line.Terminal()
	}
	return a.stderr
}

// flatten takes joined errors apart, so that each is a line of its own. An error that wraps several others and has words
// of its own stays whole.
func flatten(err error) []error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	var texts []string
	for _, e := range several.Unwrap() {
		all = append(all, flatten(e)...)
		texts = append(texts, e.Error())
	}
	if err.Error() != strings.Join(texts, "\n") {
		return []error{err}
	}
	return all
}

// hintOf says what to do about an error that ended the run.
func hintOf(err error) string {
	if e := (*usageErr)(nil); errors.As(err, &e) {
		return e.hint
	}
	for kind, hint := range map[error]string{
		store.ErrLocked:       "wait for its end, or give --wait",
		store.ErrNewerSchema:  "use that fleetctl, or a file of its own with --db",
		store.ErrReadOnly:     "make it writable, or name another file with --db",
		store.ErrForeign:      "name another file with --db",
		store.ErrCorrupt:      "put a backup in its place, move it away, or name another file with --db",
		enroll.ErrUnconfirmed: "--yes confirms it; where a pattern chooses machines, with --allow-removals and their number",
		enroll.ErrUnconfirmedKeys: "compare the fingerprints with the hosts' own, then say so at a terminal, or with --yes; " +
			"--fingerprints FILE compares them",
		enroll.ErrRemovalsDiffer: "look at what goes with --check, then give that number to --allow-removals",
		token.ErrRemovals: "find out why (the records, the inventory, the CA files, the clock?); " +
			"when it is meant: --allow-removals with just that number",
		enroll.ErrNewerFiles: "fleetctl records recover, or fleetctl tokens --diff, which looks at the cluster first; " +
			"files that are of no use any more: move them away",
		enroll.ErrPins: "if its CAs were rotated and it is the same cluster: fleetctl tokens --diff --accept-policy; " +
			"else log tctl in to the right one",
		enroll.ErrPolicy:      "hosts keep their old rules until they have joined anew; when it is meant: --accept-policy",
		records.ErrClaim:      "scan the host with the proof; --unproven accepts the claim all the same",
		token.ErrForeignRules: "take them over (fleetctl tokens --adopt), remove them (--prune), or raise token.max_bytes",
	} {
		if errors.Is(err, kind) {
			return hint
		}
	}
	return outcome.HintOf(err)
}
