package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

const identityColumns = `%[1]s.ek_hash, %[1]s.ek_serial, %[1]s.ek_pub, %[1]s.ek_cert, %[1]s.proven, %[1]s.via`

// observationColumns are read by scanObservation.
var observationColumns = `o.run, o.at, o.outcome, o.status, o.message, ` +
	fmt.Sprintf(identityColumns, "i") + `, d.json`

var recordQuery = `SELECT h.name, h.token, h.token_ek, h.installed, ` +
	fmt.Sprintf(identityColumns, "a") + `, ` + fmt.Sprintf(identityColumns, "p") + `, ` + observationColumns + `
FROM hosts h
LEFT JOIN identities a ON a.id = h.accepted
LEFT JOIN identities p ON p.id = h.pending
LEFT JOIN observations o ON o.id = h.last
LEFT JOIN identities i ON i.id = o.identity
LEFT JOIN details d ON d.id = o.detail
WHERE h.known = 1`

func (s *sqlite) Record(ctx context.Context, host string) (Record, error) {
	for r, err := range s.records(ctx, recordQuery+" AND h.name = ?", host) {
		return r, err
	}
	return Record{}, fmt.Errorf("%w: %s", ErrNotFound, host)
}

func (s *sqlite) Records(ctx context.Context) iter.Seq2[Record, error] {
	return s.records(ctx, recordQuery+" ORDER BY h.name")
}

func (s *sqlite) records(ctx context.Context, query string, args ...any) iter.Seq2[Record, error] {
	return stream(ctx, s, scanRecord, query, args...)
}

func (s *sqlite) History(ctx context.Context, host string) iter.Seq2[Observation, error] {
	scan := func(rows *sql.Rows) (Observation, error) {
		var o nullObservation
		if err := rows.Scan(o.targets()...); err != nil {
			return Observation{}, err
		}
		return *o.value(host), nil
	}
	return stream(ctx, s, scan, `SELECT `+observationColumns+`
FROM hosts h
JOIN observations o ON o.host = h.id
LEFT JOIN identities i ON i.id = o.identity
LEFT JOIN details d ON d.id = o.detail
WHERE h.name = ? ORDER BY o.id`, host)
}

func (s *sqlite) Seen(ctx context.Context, run int64) (map[string]string, error) {
	seen := map[string]string{}
	query := "SELECT h.name, o.outcome FROM observations o JOIN hosts h ON h.id = o.host WHERE o.run = ? ORDER BY o.id"
	for o, err := range stream(ctx, s, scanPair, query, run) {
		if err != nil {
			return nil, err
		}
		seen[o[0]] = o[1]
	}
	return seen, nil
}

func (s *sqlite) Chosen(ctx context.Context, run int64) (map[string]bool, error) {
	var text string
	err := s.read.QueryRowContext(ctx, "SELECT chosen FROM runs WHERE id = ?", run).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("run %d: %w", run, ErrNotFound)
	}
	if err != nil || text == "" {
		return nil, err
	}
	names, err := chosenNames(run, text)
	if err != nil {
		return nil, err
	}
	chosen := make(map[string]bool, len(names))
	for _, name := range names {
		chosen[name] = true
	}
	return chosen, nil
}

// chosenNames are the hosts of a run, from what is stored of them.
func chosenNames(run int64, text string) (names []string, err error) {
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return nil, fmt.Errorf("the hosts of run %d: %w", run, err)
	}
	return names, nil
}

func (s *sqlite) Duplicates(ctx context.Context) ([]Duplicate, error) {
	// Every (EK, host) that is accepted or pending, and of these the EKs that more than one host has.
	query := `WITH claims AS (
	SELECT i.ek_hash, h.name FROM hosts h JOIN identities i ON i.id = h.accepted WHERE h.known = 1
	UNION SELECT i.ek_hash, h.name FROM hosts h JOIN identities i ON i.id = h.pending WHERE h.known = 1)
SELECT ek_hash, name FROM claims
WHERE ek_hash IN (SELECT ek_hash FROM claims GROUP BY ek_hash HAVING count(*) > 1) ORDER BY ek_hash, name`
	var found []Duplicate
	for c, err := range stream(ctx, s, scanPair, query) {
		if err != nil {
			return nil, err
		}
		if n := len(found); n == 0 || found[n-1].EKHash != c[0] {
			found = append(found, Duplicate{EKHash: c[0]})
		}
		last := &found[len(found)-1]
		last.Hosts = append(last.Hosts, c[1])
	}
	return found, nil
}

func (s *sqlite) Firsts(ctx context.Context) (map[int64]int, error) {
	scan := func(rows *sql.Rows) (first [2]int64, err error) {
		err = rows.Scan(&first[0], &first[1])
		return first, err
	}
	// What a failed run kept as evidence identifies nobody.
	const query = `SELECT first, count(*) FROM (
	SELECT min(o.run) AS first FROM hosts h JOIN observations o ON o.host = h.id
	WHERE h.known = 1 AND o.identity IS NOT NULL AND o.outcome IN ('ok', 'changed') GROUP BY h.id)
GROUP BY first`
	firsts := map[int64]int{}
	for f, err := range stream(ctx, s, scan, query) {
		if err != nil {
			return nil, err
		}
		firsts[f[0]] = int(f[1])
	}
	return firsts, nil
}

func (s *sqlite) Runs(ctx context.Context, limit int) ([]Run, error) {
	scan := func(rows *sql.Rows) (r Run, err error) {
		var started, ended int64
		err = rows.Scan(&r.ID, &r.Command, &started, &ended, &r.State, &r.Hosts, &r.By, &r.Args, &r.Reason)
		r.Started, r.Ended = fromUnix(started), fromUnix(ended)
		return r, err
	}
	runs := []Run{}
	query := "SELECT id, command, started, ended, state, hosts, by, args, reason FROM runs ORDER BY id DESC LIMIT ?"
	for r, err := range stream(ctx, s, scan, query, limit) {
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// prepared is a query that was parsed once: every host asks the same ones. They go with the pool.
func (s *sqlite) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := s.queries.Load(query); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := s.read.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := s.queries.LoadOrStore(query, st); loaded {
		_ = st.Close() // another one was faster
		return first.(*sql.Stmt), nil
	}
	return st, nil
}

// stream yields a query's rows one by one; after an error it ends.
func stream[T any](
	ctx context.Context, s *sqlite, scan func(*sql.Rows) (T, error), query string, args ...any,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		st, err := s.prepared(ctx, query)
		if err != nil {
			yield(none, s.closedOr(explain(err)))
			return
		}
		rows, err := st.QueryContext(ctx, args...)
		if err != nil {
			yield(none, s.closedOr(explain(err)))
			return
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				yield(none, explain(err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, explain(err))
		}
	}
}

func scanPair(rows *sql.Rows) (pair [2]string, err error) {
	err = rows.Scan(&pair[0], &pair[1])
	return pair, err
}

// nullIdentity is an identity behind a LEFT JOIN.
type nullIdentity struct {
	hash, serial, via sql.NullString
	pub, cert         []byte
	proven            sql.NullBool
}

func (n *nullIdentity) targets() []any {
	return []any{&n.hash, &n.serial, &n.pub, &n.cert, &n.proven, &n.via}
}

func (n *nullIdentity) value() *Identity {
	if !n.hash.Valid {
		return nil
	}
	return &Identity{
		EKHash: n.hash.String, EKSerial: n.serial.String, EKPub: n.pub, EKCert: n.cert,
		Proven: n.proven.Bool, Via: n.via.String,
	}
}

// nullObservation is an observation behind a LEFT JOIN.
type nullObservation struct {
	run, at                          sql.NullInt64
	outcome, status, message, detail sql.NullString
	identity                         nullIdentity
}

func (n *nullObservation) targets() []any {
	targets := []any{&n.run, &n.at, &n.outcome, &n.status, &n.message}
	return append(append(targets, n.identity.targets()...), &n.detail)
}

func (n *nullObservation) value(host string) *Observation {
	if !n.outcome.Valid {
		return nil
	}
	o := &Observation{
		Host: host, Run: n.run.Int64, At: fromUnix(n.at.Int64), Outcome: n.outcome.String, Status: n.status.String,
		Message: n.message.String, Identity: n.identity.value(),
	}
	if n.detail.Valid {
		o.TPM = json.RawMessage(n.detail.String)
	}
	return o
}

func scanRecord(rows *sql.Rows) (Record, error) {
	var (
		r                 Record
		installed         sql.NullString
		accepted, pending nullIdentity
		last              nullObservation
	)
	targets := []any{&r.Host, &r.Token, &r.TokenEK, &installed}
	targets = append(append(append(targets, accepted.targets()...), pending.targets()...), last.targets()...)
	if err := rows.Scan(targets...); err != nil {
		return Record{}, err
	}
	r.Accepted, r.Pending, r.Last = accepted.value(), pending.value(), last.value(r.Host)
	if !installed.Valid {
		return r, nil
	}
	r.Installed = &Installed{}
	if err := json.Unmarshal([]byte(installed.String), r.Installed); err != nil {
		return Record{}, errors.Join(ErrCorrupt, err)
	}
	return r, nil
}
