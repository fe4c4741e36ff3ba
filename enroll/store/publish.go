package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Assign notes the token of each host; "" takes it away. Hosts that are not known are an error (ErrNotFound).
func (s *sqlite) Assign(ctx context.Context, tokens map[string]string) error {
	return s.Publish(ctx, Publication{Assign: tokens})
}

// Publish notes everything of p or, after an error, nothing.
func (s *sqlite) Publish(ctx context.Context, p Publication) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		if err := assignAll(ctx, tx, p.Assign); err != nil {
			return err
		}
		for _, t := range p.Tokens {
			if err := putToken(ctx, tx, t); err != nil {
				return err
			}
		}
		const upsert = `INSERT INTO rules (token, ek_hash, ek_serial, host) VALUES (?, ?, ?, ?)
			ON CONFLICT (token, ek_hash, ek_serial) DO UPDATE SET host = excluded.host`
		err := eachRule(ctx, tx, upsert, p.Rules, func(r Rule) []any { return []any{r.Token, r.EKHash, r.EKSerial, r.Host} })
		if err != nil {
			return err
		}
		if err := errors.Join(addWays(ctx, tx, p.Ways), dropWays(ctx, tx, p.Drop)); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE fleet SET epoch = max(epoch, ?)", p.Epoch)
		return err
	})
}

// putToken notes a token with its content's epoch; what the cluster was seen to have stays as it is.
func putToken(ctx context.Context, tx *sql.Tx, t Token) error {
	var cas any
	if t.CAsKnown {
		raw, err := json.Marshal(t.CAs)
		if err != nil {
			return err
		}
		cas = string(raw)
	}
	const upsert = `INSERT INTO tokens (name, kind, bot, cas, epoch, digest, behind) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, bot = excluded.bot, cas = coalesce(excluded.cas, cas),
		epoch = excluded.epoch, digest = excluded.digest, behind = excluded.behind`
	if _, err := tx.ExecContext(ctx, upsert, t.Name, t.Kind, t.Bot, cas, t.Epoch, t.Digest, t.Behind); err != nil || t.Digest == "" {
		return err
	}
	return remember(ctx, tx, t.Name, t.Digest)
}

// remember notes what a write of a token may be known by. Of all that were noted the newest stay, thirty or so.
func remember(ctx context.Context, tx *sql.Tx, token, id string) error {
	const prepend = `UPDATE tokens SET recent = substr(?2 || ' ' || recent, 1, 2000)
		WHERE name = ?1 AND instr(' ' || recent || ' ', ' ' || ?2 || ' ') = 0`
	_, err := tx.ExecContext(ctx, prepend, token, id)
	return err
}

// Wrote notes the id of a write into the cluster, before it is made.
func (s *sqlite) Wrote(ctx context.Context, token, id string) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		if err := mustChange(ctx, tx, "token "+token, "UPDATE tokens SET writes = ? WHERE name = ?", id, token); err != nil {
			return err
		}
		return remember(ctx, tx, token, id)
	})
}

// Saw notes that the cluster has a token with content of that epoch (0: it is not known which), and these of our rules.
func (s *sqlite) Saw(ctx context.Context, token string, epoch int64, rules []Rule) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE tokens SET seen = max(seen, ?) WHERE name = ?", epoch, token); err != nil {
			return err
		}
		return eachRule(ctx, tx, "UPDATE rules SET seen = 1 WHERE token = ? AND ek_hash = ? AND ek_serial = ? AND seen = 0",
			rules, func(r Rule) []any { return []any{r.Token, r.EKHash, r.EKSerial} })
	})
}

// Retract forgets rules that are no longer in the cluster, and tokens that have none left.
func (s *sqlite) Retract(ctx context.Context, rules []Rule) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		err := eachRule(ctx, tx, "DELETE FROM rules WHERE token = ? AND ek_hash = ? AND ek_serial = ?",
			rules, func(r Rule) []any { return []any{r.Token, r.EKHash, r.EKSerial} })
		if err == nil {
			err = eachRule(ctx, tx, `DELETE FROM ways WHERE token = ? AND ek_hash IN
				(SELECT ek_hash FROM machines WHERE ek_hash = ? AND state = 'forgotten')`,
				rules, func(r Rule) []any { return []any{r.Token, r.EKHash} })
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM tokens WHERE name NOT IN (SELECT token FROM rules)")
		return err
	})
}

func assignAll(ctx context.Context, tx *sql.Tx, assign map[string]string) error {
	st, err := tx.PrepareContext(ctx, `UPDATE hosts SET token = ?1, token_ek = iif(?1 = '', '',
	coalesce((SELECT ek_hash FROM identities WHERE id = accepted), '')) WHERE name = ?2 AND known = 1`)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	for host, token := range assign {
		res, err := st.ExecContext(ctx, token, host)
		if err := changedOne(res, err, host); err != nil {
			return err
		}
	}
	return nil
}

func eachRule(ctx context.Context, tx *sql.Tx, query string, rules []Rule, args func(Rule) []any) error {
	st, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	for _, r := range rules {
		if r.Token == "" || !ValidEKHash(r.EKHash) {
			return fmt.Errorf("rule of token %q without a valid EKPub hash", r.Token)
		}
		if _, err := st.ExecContext(ctx, args(r)...); err != nil {
			return err
		}
	}
	return nil
}

func (s *sqlite) Tokens(ctx context.Context) ([]Token, error) {
	var tokens []Token
	scan := func(rows *sql.Rows) (t Token, err error) {
		var cas sql.NullString
		var recent string
		err = rows.Scan(&t.Name, &t.Kind, &t.Bot, &cas, &t.Epoch, &t.Digest, &t.Write, &t.Seen, &t.Behind, &recent)
		if recent != "" {
			t.Recent = strings.Fields(recent)
		}
		if err != nil || !cas.Valid {
			return t, err
		}
		t.CAsKnown = true
		return t, json.Unmarshal([]byte(cas.String), &t.CAs)
	}
	const query = "SELECT name, kind, bot, cas, epoch, digest, writes, seen, behind, recent FROM tokens ORDER BY name"
	for t, err := range stream(ctx, s, scan, query) {
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

func (s *sqlite) Rules(ctx context.Context) iter.Seq2[Rule, error] {
	scan := func(rows *sql.Rows) (r Rule, err error) {
		err = rows.Scan(&r.Token, &r.EKHash, &r.EKSerial, &r.Host, &r.Seen)
		return r, err
	}
	return stream(ctx, s, scan, "SELECT token, ek_hash, ek_serial, host, seen FROM rules ORDER BY token, ek_hash, ek_serial")
}
