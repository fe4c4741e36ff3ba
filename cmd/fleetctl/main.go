// Command fleetctl enrolls a fleet of Linux hosts in a Teleport cluster with the tpm join method.
package main

import (
	"context"
	"io/fs"
	"os"

	"golang.org/x/term"

	"fleetctl/cmd/fleetctl/screen"
)

func main() {
	os.Exit(realMain(helperFiles()))
}

// realMain is main for the tests, too, which run it as a command of their scripts, with helpers of their own.
func realMain(helpers fs.FS) int {
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: isTerminal(os.Stderr), interactive: isTerminal(os.Stdin) && isTerminal(os.Stderr), helpers: helpers,
		secrets: takeSecrets(),
	}
	a.look(os.Stdout, os.Stderr, os.Getenv)
	ctx, stop := a.watchSignals(context.Background())
	defer stop()
	return a.run(ctx, os.Args)
}

// look looks at what the results and the words are shown on.
func (a *app) look(stdout, stderr *os.File, getenv func(string) string) {
	a.columns = func() int { return columns(stderr) }
	a.showing, a.saying = screen.StyleOf(columns(stdout), getenv), screen.StyleOf(columns(stderr), getenv)
	if a.terminal && getenv("TERM") != "dumb" {
		a.line = screen.NewLine(stderr)
		a.stderr = a.line
	}
}

// columns is how wide a terminal is; 0: f is none.
func columns(f *os.File) int {
	if !isTerminal(f) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 1 {
		return 80
	}
	return width
}
