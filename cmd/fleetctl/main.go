// Command fleetctl enrolls a fleet of Linux hosts in a Teleport cluster with the tpm join method.
package main

import (
	"context"
	"io/fs"
	"os"
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
	ctx, stop := a.watchSignals(context.Background())
	defer stop()
	return a.run(ctx, os.Args)
}
