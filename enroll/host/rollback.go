package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gopkg.in/yaml.v3"
)

// rollbackWatch is how long the tbot that comes back may take to join.
const rollbackWatch = 20 * time.Second

// Rolled is what a rollback came to.
type Rolled struct {
	Said   string  // for people; "" when there was nothing to take back
	Undone []Thing // what was made and is no more
}

// Rollback puts back what the steps of this Apply have replaced, and takes away what they have made, last one first, and
// brings the service back that was there: it is watched as a new one is. A step that did not come to replace anything is left
// alone, and one that cannot be undone doesn't keep the others from it: the error names each.
func Rollback(ctx context.Context, conn Conn, steps Steps, f *Facts, d Desired) (r Rolled, err error) {
	started, armed, begun := false, false, false
	for _, s := range steps {
		begun = begun || s.armed
		armed = armed || s.armed && len(s.undo) > 0
		started = started || s.armed && Steps{s}.Starts()
	}
	switch {
	case !begun && f.Systemd > 0 && !f.pending: // nothing is pending, either
		return Rolled{}, runScript(ctx, conn, "rm -f "+pendingPath)
	case !armed:
		return Rolled{}, nil
	}
	var errs []error
	if started && f.Systemd > 0 {
		errs = append(errs, runScript(ctx, conn, "systemctl stop "+UnitName)) // as whoever it runs, who may go
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if !steps[i].armed || len(steps[i].undo) == 0 {
			continue
		}
		if err := undoStep(ctx, conn, steps[i]); err != nil {
			errs = append(errs, fmt.Errorf("rollback of %s: %w", steps[i].Name, err))
			continue
		}
		r.Undone = append(r.Undone, steps[i].Things()...)
	}
	r.Said = "the previous files are back"
	if f.Systemd == 0 {
		return r, errors.Join(errs...)
	}
	if err := runScript(ctx, conn, f.service.again(started)); err != nil {
		errs = append(errs, fmt.Errorf("rollback: %w", err))
	}
	if errors.Join(errs...) == nil && f.service.lives() {
		said, err := watchAgain(ctx, conn, f, d)
		r.Said += said
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

func undoStep(ctx context.Context, conn Conn, s Step) error {
	for _, a := range s.undo {
		if a.whole && !s.whole {
			continue
		}
		if err := applyAction(ctx, conn, a, 0); err != nil {
			return err
		}
	}
	return nil
}

// lives says whether the service runs, or would again in a moment.
func (s serviceFacts) lives() bool {
	return s.active == "active" || s.active == "activating" || s.active == "reloading"
}

// again brings the service to where it was.
func (s serviceFacts) again(started bool) string {
	script := "systemctl daemon-reload\n"
	switch {
	case s.lives() && started:
		script += restartScript + "\n"
	case s.lives():
		script += "systemctl start " + UnitName + "\n"
	}
	return script + "rm -f " + pendingPath
}

// watchAgain watches the service that was there before, and says how it does.
func watchAgain(ctx context.Context, conn Conn, f *Facts, d Desired) (string, error) {
	d.Tbot.DiagAddr = f.diagBefore(d)
	h, err := Verify(ctx, conn, f, d, VerifyOptions{Limit: rollbackWatch})
	switch {
	case err != nil:
		return "", fmt.Errorf("rollback: %w", err)
	case h.Joined():
		return ", and tbot was restarted with them and has joined", nil
	case h.state == "active" || h.state == "not-joined":
		return ", and the service that was there runs with them; nothing says that it has joined", nil
	case f.service.active != "active":
		return "; the service that was there did not keep running before, and doesn't now", nil
	}
	return "", fmt.Errorf("rollback: the previous files are back, but what was there doesn't keep running with them: %s",
		h.Explain(f.Skew).Message)
}

// diagBefore is where the tbot that was there says how it does, by its own configuration.
func (f *Facts) diagBefore(d Desired) string {
	var config struct {
		DiagAddr string `yaml:"diag_addr"`
	}
	if yaml.Unmarshal([]byte(f.files[string(d.Tbot.Config)].content), &config) != nil {
		return ""
	}
	return config.DiagAddr
}
