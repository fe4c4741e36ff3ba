package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"time"
)

// machineOf is the accepted EK of a host (ErrNotFound); one that has none has the zero Machine's EK.
func machineOf(ctx context.Context, tx *sql.Tx, host string) (m Machine, err error) {
	m.Host = host
	const query = `SELECT i.ek_hash, i.ek_serial FROM hosts h JOIN identities i ON i.id = h.accepted WHERE h.name = ? AND h.known = 1`
	err = tx.QueryRowContext(ctx, query, host).Scan(&m.EKHash, &m.EKSerial)
	if !isNoRows(err) {
		return m, err
	}
	var known bool
	err = tx.QueryRowContext(ctx, "SELECT known FROM hosts WHERE name = ? AND known = 1", host).Scan(&known)
	if isNoRows(err) {
		err = fmt.Errorf("%w: %s", ErrNotFound, host)
	}
	return m, err
}

// leave gives machines that no host has any more a state, and tells the journal of all of them. What was removed stays
// removed, by whom and why: nothing but a person's word to the contrary brings it back.
func (s *sqlite) leave(ctx context.Context, tx *sql.Tx, action, state string, machines []Machine) error {
	const others = `SELECT (SELECT count(*) FROM hosts h JOIN identities i ON i.id = h.accepted WHERE h.known = 1 AND i.ek_hash = ?1) +
		(SELECT count(*) FROM machines WHERE ek_hash = ?1 AND state = 'removed')`
	for _, m := range machines {
		var n int
		if m.EKHash != "" {
			if err := tx.QueryRowContext(ctx, others, m.EKHash).Scan(&n); err != nil {
				return err
			}
		}
		if m.EKHash != "" && n == 0 {
			m.State, m.Why = state, s.actor.Reason
			if err := s.setState(ctx, tx, m); err != nil {
				return err
			}
		}
		if err := s.note(ctx, tx, Entry{Action: action, Host: m.Host, EKHash: m.EKHash, Why: s.actor.Reason}); err != nil {
			return err
		}
	}
	return nil
}

// SetStates sets the state of machines, and notes each in the journal as an action; all of them or none. What a machine
// does not say of time, run and person is filled in.
func (s *sqlite) SetStates(ctx context.Context, action string, machines ...Machine) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		for _, m := range machines {
			m.Why = cmp.Or(m.Why, s.actor.Reason)
			if err := s.setState(ctx, tx, m); err != nil {
				return err
			}
			e := Entry{Run: m.Run, At: m.At, By: m.By, Action: action, Host: m.Host, EKHash: m.EKHash, Why: m.Why}
			if err := s.note(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// setState keeps what is known of a machine's joins, and its ways: nobody knows what is on the host of one that is out, and it may be
// let in again.
func (s *sqlite) setState(ctx context.Context, tx *sql.Tx, m Machine) error {
	if !ValidEKHash(m.EKHash) {
		return fmt.Errorf("machine %q without a valid EKPub hash", m.Host)
	}
	if m.At.IsZero() {
		m.At = time.Now()
	}
	const upsert = `INSERT INTO machines (ek_hash, state, host, serial, run, at, by, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (ek_hash) DO UPDATE SET state = excluded.state, host = excluded.host, serial = excluded.serial,
		run = excluded.run, at = excluded.at, by = excluded.by, why = excluded.why`
	_, err := tx.ExecContext(ctx, upsert, m.EKHash, m.State, m.Host, m.EKSerial, cmp.Or(m.Run, s.run.Load()), toUnix(m.At),
		cmp.Or(m.By, s.actor.By), m.Why)
	return err
}

// note appends to the journal.
func (s *sqlite) note(ctx context.Context, tx *sql.Tx, e Entry) error {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	const insert = "INSERT INTO journal (run, at, by, action, host, ek_hash, why) VALUES (?, ?, ?, ?, ?, ?, ?)"
	_, err := tx.ExecContext(ctx, insert, cmp.Or(e.Run, s.run.Load()), toUnix(e.At), cmp.Or(e.By, s.actor.By), e.Action, e.Host,
		e.EKHash, e.Why)
	return err
}

func (s *sqlite) Note(ctx context.Context, entries ...Entry) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		for _, e := range entries {
			if err := s.note(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *sqlite) Journal(ctx context.Context) iter.Seq2[Entry, error] {
	scan := func(rows *sql.Rows) (e Entry, err error) {
		var at int64
		err = rows.Scan(&e.ID, &e.Run, &at, &e.By, &e.Action, &e.Host, &e.EKHash, &e.Why)
		e.At = fromUnix(at)
		return e, err
	}
	return stream(ctx, s, scan, "SELECT id, run, at, by, action, host, ek_hash, why FROM journal ORDER BY id")
}

func (s *sqlite) Machines(ctx context.Context) iter.Seq2[Machine, error] {
	scan := func(rows *sql.Rows) (m Machine, err error) {
		var at, last int64
		err = rows.Scan(&m.EKHash, &m.State, &m.Host, &m.EKSerial, &m.Run, &at, &m.By, &m.Why, &m.Joined, &m.JoinedRun, &last, &m.LastRun)
		m.At, m.LastJoin = fromUnix(at), fromUnix(last)
		return m, err
	}
	const query = `SELECT ek_hash, state, host, serial, run, at, by, why, joined, joined_run, last_join, last_run
		FROM machines ORDER BY ek_hash`
	return stream(ctx, s, scan, query)
}

func (s *sqlite) Ways(ctx context.Context) iter.Seq2[Way, error] {
	scan := func(rows *sql.Rows) (w Way, err error) {
		err = rows.Scan(&w.EKHash, &w.Token, &w.Evidence, &w.Run)
		return w, err
	}
	return stream(ctx, s, scan, "SELECT ek_hash, token, evidence, run FROM ways ORDER BY ek_hash, token")
}

// AddWays notes that machines may be configured with tokens; the latest evidence counts.
func (s *sqlite) AddWays(ctx context.Context, ways ...Way) error {
	return s.inTx(ctx, func(tx *sql.Tx) error { return addWays(ctx, tx, ways) })
}

func addWays(ctx context.Context, tx *sql.Tx, ways []Way) error {
	const upsert = `INSERT INTO ways (ek_hash, token, evidence, run) VALUES (?, ?, ?, ?)
		ON CONFLICT (ek_hash, token) DO UPDATE SET evidence = excluded.evidence, run = excluded.run WHERE excluded.run >= run`
	return eachRule(ctx, tx, upsert, rulesOf(ways), func(r Rule) []any {
		w := ways[0]
		ways = ways[1:]
		return []any{r.EKHash, r.Token, w.Evidence, w.Run}
	})
}

// DropWays ends ways: by a join with another token that was verified, or by a person's word.
func (s *sqlite) DropWays(ctx context.Context, ways ...Way) error {
	return s.inTx(ctx, func(tx *sql.Tx) error { return dropWays(ctx, tx, ways) })
}

func dropWays(ctx context.Context, tx *sql.Tx, ways []Way) error {
	return eachRule(ctx, tx, "DELETE FROM ways WHERE ek_hash = ? AND token = ?", rulesOf(ways),
		func(r Rule) []any { return []any{r.EKHash, r.Token} })
}

func rulesOf(ways []Way) []Rule {
	rules := make([]Rule, len(ways))
	for i, w := range ways {
		rules[i] = Rule{Token: w.Token, EKHash: w.EKHash}
	}
	return rules
}

// Joined notes joins that a run has verified. That a machine has joined with a token says that it is configured with it.
func (s *sqlite) Joined(ctx context.Context, run int64, tokens map[string]string) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		const update = `INSERT INTO machines (ek_hash, joined, joined_run) VALUES (?, ?, ?)
			ON CONFLICT (ek_hash) DO UPDATE SET joined = excluded.joined, joined_run = excluded.joined_run`
		for ek, token := range tokens {
			if _, err := tx.ExecContext(ctx, update, ek, token, run); err != nil {
				return err
			}
			if err := addWays(ctx, tx, []Way{{EKHash: ek, Token: token, Evidence: ByInstall, Run: run}}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *sqlite) LookedAt(ctx context.Context, run int64, joins map[string]time.Time) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		st, err := tx.PrepareContext(ctx, "UPDATE machines SET last_join = ?, last_run = ? WHERE ek_hash = ?")
		if err != nil {
			return err
		}
		defer func() { _ = st.Close() }()
		for ek, at := range joins {
			if _, err := st.ExecContext(ctx, toUnix(at), run, ek); err != nil {
				return err
			}
		}
		return nil
	})
}

// Rename gives a host another name, with everything that is known of it. A name that was forgotten may be taken. When the
// new name has a record of the same EK already, the two become one: what was assigned and installed under the old name
// counts, unless something was under the new one.
func (s *sqlite) Rename(ctx context.Context, from, to string) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		var known bool
		err := tx.QueryRowContext(ctx, "SELECT known FROM hosts WHERE name = ?", to).Scan(&known)
		if err != nil && !isNoRows(err) {
			return err
		}
		recorded := err == nil
		m, err := machineOf(ctx, tx, from)
		if err != nil {
			return err
		}
		switch {
		case known:
			err = unite(ctx, tx, m, to)
		case recorded: // its observations are the new name's, too
			err = giveWay(ctx, tx, to, from)
			fallthrough
		default:
			if err == nil {
				err = mustChange(ctx, tx, from, "UPDATE hosts SET name = ? WHERE name = ? AND known = 1", to, from)
			}
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE rules SET host = ? WHERE host = ? AND ek_hash = ?", to, from, m.EKHash); err != nil {
			return err
		}
		if err := renameChosen(ctx, tx, from, to); err != nil {
			return err
		}
		why := "was " + from
		if s.actor.Reason != "" {
			why += ": " + s.actor.Reason
		}
		return s.note(ctx, tx, Entry{Action: "rename", Host: to, EKHash: m.EKHash, Why: why})
	})
}

// renameChosen gives a host its new name also among those that runs were begun over, so that --resume finds it.
func renameChosen(ctx context.Context, tx *sql.Tx, from, to string) error {
	lists, err := chosenLists(ctx, tx)
	if err != nil {
		return err
	}
	for run, text := range lists {
		names, err := chosenNames(run, text)
		if err != nil {
			return err
		}
		i := slices.Index(names, from)
		if i < 0 {
			continue
		}
		names[i] = to
		now, err := json.Marshal(names)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE runs SET chosen = ? WHERE id = ?", string(now), run); err != nil {
			return err
		}
	}
	return nil
}

// chosenLists are the hosts of runs that know them, as they are stored.
func chosenLists(ctx context.Context, tx *sql.Tx) (map[int64]string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, chosen FROM runs WHERE chosen <> ''")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	lists := map[int64]string{}
	for rows.Next() {
		var run int64
		var text string
		if err := rows.Scan(&run, &text); err != nil {
			return nil, err
		}
		lists[run] = text
	}
	return lists, rows.Err()
}

// unite makes the record of a machine's old name a part of that of its new one, which has to have the same EK (ErrTaken).
func unite(ctx context.Context, tx *sql.Tx, old Machine, name string) error {
	now, err := machineOf(ctx, tx, name)
	if err != nil {
		return err
	}
	if old.EKHash == "" || now.EKHash != old.EKHash || now.Host == old.Host {
		return fmt.Errorf("%w: %s", ErrTaken, name)
	}
	const (
		proof = `UPDATE hosts SET accepted = (SELECT accepted FROM hosts WHERE name = ?1) WHERE name = ?2
			AND (SELECT proven FROM identities WHERE id = accepted) <
			(SELECT i.proven FROM hosts h JOIN identities i ON i.id = h.accepted WHERE h.name = ?1)`
		assignment = `UPDATE hosts SET (token, token_ek) = (SELECT token, token_ek FROM hosts WHERE name = ?1)
			WHERE name = ?2 AND (token = '' OR installed IS NULL) AND (SELECT token FROM hosts WHERE name = ?1) <> ''`
		installed = `UPDATE hosts SET installed = (SELECT installed FROM hosts WHERE name = ?1) WHERE name = ?2 AND installed IS NULL`
		leave     = `UPDATE hosts SET known = 0, last = NULL WHERE name = ?1 AND ?2 <> ''`
	)
	for _, query := range []string{proof, assignment, installed, leave} {
		if _, err := tx.ExecContext(ctx, query, old.Host, name); err != nil {
			return err
		}
	}
	return giveWay(ctx, tx, old.Host, name)
}

// giveWay hands the observations of a forgotten name to the host that takes it over, and drops its row.
func giveWay(ctx context.Context, tx *sql.Tx, forgotten, heir string) error {
	const hand = `UPDATE observations SET host = (SELECT id FROM hosts WHERE name = ?) WHERE host = (SELECT id FROM hosts WHERE name = ?)`
	if _, err := tx.ExecContext(ctx, hand, heir, forgotten); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM hosts WHERE name = ? AND known = 0", forgotten)
	return err
}

func (s *sqlite) Bound(ctx context.Context) (b Bound, err error) {
	var policy, pins string
	err = s.read.QueryRowContext(ctx, "SELECT name, cluster, pins, policy, epoch FROM fleet").
		Scan(&b.Fleet, &b.Cluster, &pins, &policy, &b.Epoch)
	b.Pins = strings.Fields(pins)
	if policy != "" {
		b.Policy = json.RawMessage(policy)
	}
	return b, s.closedOr(explain(err))
}

func (s *sqlite) Bind(ctx context.Context, b Bound) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE fleet SET name = ?, cluster = ?, pins = ?, policy = ?", b.Fleet, b.Cluster,
			strings.Join(b.Pins, " "), string(b.Policy))
		return err
	})
}

// Backup writes a copy of the records as they are now, mode 0600. It never writes over a file.
func (s *sqlite) Backup(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the user chose the path
	if err != nil {
		return explain(err)
	}
	_ = f.Close() // it is empty: VACUUM INTO takes an empty file
	if _, err := s.write.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return errors.Join(explain(err), os.Remove(path))
	}
	return nil
}

// Snapshot writes a copy of the records to their file's name with ".backup" at the end. An earlier one is replaced when the
// new one is whole.
func (s *sqlite) Snapshot(ctx context.Context) error {
	temp := s.path + ".backup-new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain(err)
	}
	if err := s.Backup(ctx, temp); err != nil {
		return err
	}
	return explain(os.Rename(temp, s.path+".backup"))
}
