package host

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// Conn is what enroll needs of a connection; *remote.Conn is one.
type Conn interface {
	Run(ctx context.Context, cmd remote.Cmd) (remote.Output, error)
	WriteFile(ctx context.Context, f remote.File, become bool) error
	Close() error
}

// ApplyOptions of Apply.
type ApplyOptions struct {
	Pending bool          // mark on the host that a restart is due until Verify has seen it
	Jitter  time.Duration // the longest wait before tbot starts
	Journal Journal       // nil: nobody hears
}

// Journal hears of every step before it begins.
type Journal interface {
	Begin(ctx context.Context, s Step) error
}

func stepFailed(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

// Apply runs a plan's actions in order, as root, and nothing else. It stops at the first step that fails, which the error
// names. A plan with a problem is refused before anything is done. done is how many steps were.
func Apply(ctx context.Context, conn Conn, steps Steps, opts ApplyOptions) (done int, err error) {
	if bad := steps.Problems(); len(bad) > 0 {
		return 0, &outcome.Error{Reason: bad[0]}
	}
	if opts.Pending && steps.Changes() {
		if err := runScript(ctx, conn, ": >"+pendingPath); err != nil {
			return 0, stepFailed("begin", err)
		}
	}
	for i, s := range steps {
		if err := applyStep(ctx, conn, s, opts); err != nil {
			return i, stepFailed(s.Name, err)
		}
	}
	return len(steps), nil
}

func applyStep(ctx context.Context, conn Conn, s Step, opts ApplyOptions) error {
	if !s.Changes() {
		return nil
	}
	if opts.Journal != nil {
		if err := opts.Journal.Begin(ctx, s); err != nil {
			return err
		}
	}
	for _, a := range s.actions {
		if err := applyAction(ctx, conn, a, opts.Jitter); err != nil {
			return err
		}
	}
	return nil
}

func applyAction(ctx context.Context, conn Conn, a action, jitter time.Duration) error {
	if a.start && jitter > 0 {
		select {
		case <-time.After(rand.N(jitter)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	switch {
	case a.file != nil:
		return conn.WriteFile(ctx, *a.file, true)
	case a.push != nil:
		return a.push.send(ctx, conn)
	}
	return runScriptWith(ctx, conn, a.script, a.stdin)
}

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

// Rollback puts back what the steps that were done (results says how far) have replaced, last one first, and restarts
// the tbot that was there. It says what it did.
func Rollback(ctx context.Context, conn Conn, steps Steps, f *Facts) (string, error) {
	undone := 0
	for i := len(steps) - 1; i >= 0; i-- {
		for _, a := range steps[i].undo {
			if err := applyAction(ctx, conn, a, 0); err != nil {
				return "", fmt.Errorf("rollback of %s: %w", steps[i].Name, err)
			}
			undone++
		}
	}
	if undone == 0 {
		return "", nil
	}
	if f.Systemd == 0 {
		return "the previous files are back", nil
	}
	script := "systemctl daemon-reload\n"
	said := "the previous files are back"
	if f.service.active == "active" {
		script += "systemctl reset-failed " + UnitName + " 2>/dev/null || :\nsystemctl restart " + UnitName + "\n"
		said += ", and tbot was restarted with them"
	}
	script += "rm -f " + pendingPath
	if err := runScript(ctx, conn, script); err != nil {
		return "", fmt.Errorf("rollback: %w", err)
	}
	return said, nil
}
