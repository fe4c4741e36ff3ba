package host

import (
	"context"
	"fleetctl/enroll/outcome"
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
	s.whole = true
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
