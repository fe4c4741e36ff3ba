package host

import (
	"bytes"
	"cmp"
	"context"
	"fmt"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// Conn is what enroll needs of a connection; *remote.Conn is one.
type Conn interface {
	Run(ctx context.Context, cmd remote.Cmd) (remote.Output, error)
	WriteFile(ctx context.Context, f remote.File, become bool) error
	Close() error
}

func stepFailed(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

var errScript = outcome.NewError(outcome.StepFailed, "it failed on the host")

// runScript runs a step's script as root; any command of it that fails, fails it.
func runScript(ctx context.Context, conn Conn, script string) error {
	return runScriptWith(ctx, conn, script, nil)
}

func runScriptWith(ctx context.Context, conn Conn, script string, stdin []byte) error {
	cmd := remote.Cmd{Script: scriptPrelude + "umask 022\nset -e\n" + script + "\n", Become: true}
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	out, err := conn.Run(ctx, cmd)
	if err != nil {
		return err
	}
	if out.ExitCode != 0 {
		said := cmp.Or(remote.Tail(string(out.Stderr), 500), remote.Tail(string(out.Stdout), 500))
		return fmt.Errorf("%w (exit code %d): %s", errScript, out.ExitCode, cmp.Or(remote.Clean(said), "it said nothing"))
	}
	return nil
}
