package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// States of a run.
const (
	StateRunning     = "running"
	StateDone        = "done"
	StateFailed      = "failed"
	StateInterrupted = "interrupted"
)

// BeginRun takes the lock that keeps runs apart (ErrLocked when another process has it) and notes the run. Runs that
// were never ended, because their process died, are marked as interrupted.
func (s *sqlite) BeginRun(ctx context.Context, command string, hosts int) (id int64, err error) {
	fresh, err := s.lock.acquire(ctx, command)
	if err != nil {
		return 0, err
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		if err := abandon(ctx, tx, fresh); err != nil {
			return err
		}
		const insert = "INSERT INTO runs (command, started, state, hosts, by, args, reason) VALUES (?, ?, ?, ?, ?, ?, ?)"
		a := s.actor
		res, err := tx.ExecContext(ctx, insert, command, toUnix(time.Now()), StateRunning, hosts, a.By, a.Args, a.Reason)
		if err != nil {
			return err
		}
		id, err = res.LastInsertId()
		return err
	})
	if err != nil {
		s.lock.release()
		return 0, err
	}
	s.run.Store(id)
	return id, nil
}

// ResumeRun takes the lock and goes on with an earlier run, which EndRun ends again.
func (s *sqlite) ResumeRun(ctx context.Context, run int64) error {
	fresh, err := s.lock.acquire(ctx, fmt.Sprintf("run %d, resumed", run))
	if err != nil {
		return err
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		if err := abandon(ctx, tx, fresh); err != nil {
			return err
		}
		const update = "UPDATE runs SET state = ?, ended = 0 WHERE id = ?"
		return mustChange(ctx, tx, fmt.Sprintf("run %d", run), update, StateRunning, run)
	})
	if err != nil {
		s.lock.release()
		return err
	}
	s.run.Store(run)
	return nil
}

// Choose notes the hosts that a run is over. Those of earlier runs of the command are dropped: nobody goes on with them.
func (s *sqlite) Choose(ctx context.Context, run int64, hosts []string) error {
	names, err := json.Marshal(hosts)
	if err != nil {
		return err
	}
	return s.inTx(ctx, func(tx *sql.Tx) error {
		const drop = "UPDATE runs SET chosen = '' WHERE chosen <> '' AND command = (SELECT command FROM runs WHERE id = ?)"
		if _, err := tx.ExecContext(ctx, drop, run); err != nil {
			return err
		}
		return mustChange(ctx, tx, fmt.Sprintf("run %d", run), "UPDATE runs SET chosen = ? WHERE id = ?", string(names), run)
	})
}

// abandon marks runs whose process has died, once this one has the lock.
func abandon(ctx context.Context, tx *sql.Tx, fresh bool) error {
	if !fresh {
		return nil
	}
	_, err := tx.ExecContext(ctx, "UPDATE runs SET state = ? WHERE state = ?", StateInterrupted, StateRunning)
	return err
}

func (s *sqlite) EndRun(ctx context.Context, run int64, state string) error {
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		const update = "UPDATE runs SET ended = ?, state = ? WHERE id = ? AND state = ?"
		return mustChange(ctx, tx, fmt.Sprintf("running run %d", run), update, toUnix(time.Now()), state, run, StateRunning)
	})
	if err == nil {
		s.lock.release()
	}
	return err
}

// Accept makes the pending identity of each host the accepted one; of all hosts or, when one of them has none
// (ErrNotPending), of none. An EK that no host has any more is replaced from then on.
func (s *sqlite) Accept(ctx context.Context, hosts ...string) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		var old []Machine
		for _, host := range hosts {
			m, err := machineOf(ctx, tx, host)
			if err != nil {
				return err
			}
			old = append(old, m)
			const update = "UPDATE hosts SET accepted = pending, pending = NULL WHERE name = ? AND known = 1 AND pending IS NOT NULL"
			if err := mustChange(ctx, tx, host, update, host); errors.Is(err, ErrNotFound) {
				return fmt.Errorf("%w: %s", ErrNotPending, host)
			} else if err != nil {
				return err
			}
			const back = `UPDATE machines SET state = '' WHERE state = 'replaced' AND ek_hash =
				(SELECT i.ek_hash FROM hosts h JOIN identities i ON i.id = h.accepted WHERE h.name = ?)`
			if _, err := tx.ExecContext(ctx, back, host); err != nil {
				return err
			}
		}
		return s.leave(ctx, tx, "accept", Replaced, old)
	})
}

// Forget drops what is known of each host: identities, assignment and installed state. Its observations stay, as they
// are what happened. All hosts or, when one is not known (ErrNotFound), none. An EK that no host has any more is
// forgotten, too: its rules go.
func (s *sqlite) Forget(ctx context.Context, hosts ...string) error {
	const update = `UPDATE hosts SET known = 0, accepted = NULL, pending = NULL, last = NULL, token = '', token_ek = '',
installed = NULL WHERE name = ? AND known = 1`
	return s.inTx(ctx, func(tx *sql.Tx) error {
		var old []Machine
		for _, host := range hosts {
			m, err := machineOf(ctx, tx, host)
			if err != nil {
				return err
			}
			old = append(old, m)
			if err := mustChange(ctx, tx, host, update, host); err != nil {
				return err
			}
		}
		return s.leave(ctx, tx, "forget", Forgotten, old)
	})
}

// SetInstalled notes what is installed on a host; nil: nothing any more.
func (s *sqlite) SetInstalled(ctx context.Context, host string, i *Installed) error {
	var value any
	if i != nil {
		data, err := json.Marshal(i)
		if err != nil {
			return err
		}
		value = string(data)
	}
	return s.inTx(ctx, func(tx *sql.Tx) error {
		return mustChange(ctx, tx, host, "UPDATE hosts SET installed = ? WHERE name = ? AND known = 1", value, host)
	})
}

// mustChange runs an update and reports ErrNotFound for what when it changed nothing.
func mustChange(ctx context.Context, tx *sql.Tx, what, query string, args ...any) error {
	res, err := tx.ExecContext(ctx, query, args...)
	return changedOne(res, err, what)
}

func changedOne(res sql.Result, err error, what string) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%w: %s", ErrNotFound, what)
	}
	return nil
}
