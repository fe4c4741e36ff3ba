package host

import (
	"context"
	"fleetctl/enroll/outcome"
	"fmt"
	"math/rand/v2"
	"time"
)

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

// Apply runs a plan's actions in order, as root, and nothing else. It stops at the first step that fails, which the error
// names. A plan with a problem is refused before anything is done. done is how many steps were. It marks in steps which of
// them may have replaced something, for Rollback.
func Apply(ctx context.Context, conn Conn, steps Steps, opts ApplyOptions) (done int, err error) {
	if bad := steps.Problems(); len(bad) > 0 {
		return 0, &outcome.Error{Reason: bad[0]}
	}
	if opts.Pending && steps.Changes() {
		if err := runScript(ctx, conn, ": >"+pendingPath); err != nil {
			return 0, stepFailed("begin", err)
		}
	}
	for i := range steps {
		if err := applyStep(ctx, conn, &steps[i], opts); err != nil {
			return i, stepFailed(steps[i].Name, err)
		}
	}
	return len(steps), nil
}

func applyStep(ctx context.Context, conn Conn, s *Step, opts ApplyOptions) error {
	if !s.Changes() {
		return nil
	}
	if opts.Journal != nil {
		if err := opts.Journal.Begin(ctx, *s); err != nil {
			return err
		}
	}
	for i, a := range s.actions {
		s.armed = i == len(s.actions)-1
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

// Rollback puts back what the steps of this Apply have replaced, and nothing else, last one first, and restarts the tbot
// that was there. A step that did not come to replace anything is left alone. It says what it did.
func Rollback(ctx context.Context, conn Conn, steps Steps, f *Facts) (string, error) {
	undone := 0
	for i := len(steps) - 1; i >= 0; i-- {
		if !steps[i].armed {
			continue
		}
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
