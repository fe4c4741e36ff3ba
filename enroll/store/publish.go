package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
)

// Assign notes the token of each host; "" takes it away. Hosts that are not known are an error (ErrNotFound).
func (s *sqlite) Assign(ctx context.Context, tokens map[string]string) error {
	return s.Publish(ctx, tokens, nil, nil)
}

func (s *sqlite) Publish(ctx context.Context, assign map[string]string, tokens []Token, rules []Rule) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		if err := assignAll(ctx, tx, assign); err != nil {
			return err
		}
		for _, t := range tokens {
			const upsert = "INSERT OR REPLACE INTO tokens (name, kind, bot) VALUES (?, ?, ?)"
			if _, err := tx.ExecContext(ctx, upsert, t.Name, t.Kind, t.Bot); err != nil {
				return err
			}
		}
		return eachRule(ctx, tx, "INSERT OR REPLACE INTO rules (token, ek_hash, ek_serial, host) VALUES (?, ?, ?, ?)",
			rules, func(r Rule) []any { return []any{r.Token, r.EKHash, r.EKSerial, r.Host} })
	})
}

// Retract forgets rules that are no longer in the cluster, and tokens that have none left.
func (s *sqlite) Retract(ctx context.Context, rules []Rule) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		err := eachRule(ctx, tx, "DELETE FROM rules WHERE token = ? AND ek_hash = ? AND ek_serial = ?",
			rules, func(r Rule) []any { return []any{r.Token, r.EKHash, r.EKSerial} })
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
		err = rows.Scan(&t.Name, &t.Kind, &t.Bot)
		return t, err
	}
	for t, err := range stream(ctx, s, scan, "SELECT name, kind, bot FROM tokens ORDER BY name") {
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

func (s *sqlite) Rules(ctx context.Context) iter.Seq2[Rule, error] {
	scan := func(rows *sql.Rows) (r Rule, err error) {
		err = rows.Scan(&r.Token, &r.EKHash, &r.EKSerial, &r.Host)
		return r, err
	}
	return stream(ctx, s, scan, "SELECT token, ek_hash, ek_serial, host FROM rules ORDER BY token, ek_hash, ek_serial")
}
