// Package cli is what the stand-ins for Teleport's command lines have in common: how they end with an error, and how
// they read flags. It knows no command.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"fleetctl/test/cluster/versions"
)

// CodeUnscripted is the exit code for what the stand-ins are asked and do not play. Teleport's programs end with 1.
const CodeUnscripted = 99

// tree is an error that was wrapped: a message, and what it was made of.
type tree struct {
	message string
	cause   error
}

// Wrap puts a message above an error. People read it as a tree over several lines: each inner message stands on a line
// of its own behind one more tab (versions.md, A: trace.UserMessage in lib/utils/cli.go).
func Wrap(cause error, format string, args ...any) error {
	if cause == nil {
		return nil
	}
	return &tree{fmt.Sprintf(format, args...), cause}
}

func (t *tree) Unwrap() error { return t.cause }

func (t *tree) Error() string {
	indent := "\n" + versions.Text("cli_errors.indent")
	return t.message + indent + strings.ReplaceAll(t.cause.Error(), "\n", indent)
}

// unscripted is an error of the test that asked, not of a program that is played.
type unscripted struct{ what string }

func (u *unscripted) Error() string { return u.what }

// Unscripted is the error for a question that a stand-in does not play: the real program may know the answer.
func Unscripted(format string, args ...any) error { return &unscripted{fmt.Sprintf(format, args...)} }

// IsUnscripted says whether an error is one of Unscripted's.
func IsUnscripted(err error) bool {
	u := (*unscripted)(nil)
	return errors.As(err, &u)
}

// Exit ends a program with its error as Teleport's programs do: red whether or not anybody sees it, an empty line behind
// it (versions.md, A: FatalError). What is not played has an exit code of its own. It returns the exit code.
func Exit(stderr io.Writer, program string, err error) int {
	if u := (*unscripted)(nil); errors.As(err, &u) {
		fmt.Fprintf(stderr, "STAND-IN FOR %s: NOT SCRIPTED: %s\n", strings.ToUpper(program), u.what)
		return CodeUnscripted
	}
	if err == nil {
		return 0
	}
	if misused := (*Misuse)(nil); errors.As(err, &misused) {
		fmt.Fprintf(stderr, "%s\n", misused.Usage)
	}
	fmt.Fprintf(stderr, "%s%v\n\n", versions.Text("cli_errors.ansi_prefix"), err)
	return 1
}
