package store

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// older writes a file of an older schema with a host in it.
func older(t *testing.T, version int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fleet.db")
	db, err := openPool(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := migrate(t.Context(), db, migrations[:version]); err != nil {
		t.Fatal(err)
	}
	hash := strings.Repeat("a", 64)
	for _, query := range []string{
		"INSERT INTO runs (command, started, state, hosts) VALUES ('scan', 1, 'done', 1)",
		"INSERT INTO identities (digest, ek_hash, ek_serial, proven, via) VALUES (x'00', '" + hash + "', '01', 1, 'helper')",
		"INSERT INTO hosts (name, accepted, last, token, token_ek) VALUES ('web-01', 1, 1, 'fleet', '" + hash + "')",
		"INSERT INTO observations (host, run, at, outcome, status, message, identity) VALUES (1, 1, 1000000, 'ok', '', '', 1)",
	} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestEveryOlderSchemaIsMigrated(t *testing.T) {
	t.Parallel()
	fresh := schemaOf(t, filepath.Join(t.TempDir(), "fresh.db"))
	for version := 1; version <= len(migrations); version++ {
		t.Run(fmt.Sprintf("from %d", version), func(t *testing.T) {
			t.Parallel()
			path := older(t, version)
			if got := schemaOf(t, path); got != fresh {
				t.Errorf("the schema is\n%s\ninstead of\n%s", got, fresh)
			}
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			r, err := s.Record(t.Context(), "web-01")
			if err != nil || r.Accepted == nil || r.Token != "fleet" || r.TokenEK != r.Accepted.EKHash || r.Last == nil ||
				!r.Last.At.Equal(time.Unix(1, 0)) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// schemaOf opens the records at a path, and returns their schema as SQLite has it then.
func schemaOf(t *testing.T, path string) string {
	t.Helper()
	s, err := open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var all strings.Builder
	for row, err := range stream(t.Context(), s, scanPair, "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name") {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, row[0], row[1])
	}
	return all.String()
}

func TestAMigrationThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	path := older(t, 1)
	db, err := openPool(path, "_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	broken := []string{schemaV1, "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1)"}
	if err := migrate(t.Context(), db, broken); err == nil || !strings.Contains(err.Error(), "migrate schema 1 to 2") {
		t.Errorf("got %v", err)
	}
	var version, half int
	scan(t, db, "PRAGMA user_version", &version)
	scan(t, db, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'", &half)
	if version != 1 || half != 0 {
		t.Errorf("version %d, %d halves of a migration", version, half)
	}
}

func scan(t *testing.T, db *sql.DB, query string, to any) {
	t.Helper()
	if err := db.QueryRowContext(context.WithoutCancel(t.Context()), query).Scan(to); err != nil {
		t.Fatal(err)
	}
}

func TestTwoProcessesMayMigrateAtOnce(t *testing.T) {
	t.Parallel()
	path := older(t, 1)
	errs := make(chan error)
	for range 8 {
		go func() {
			s, err := Open(t.Context(), path)
			if err == nil {
				err = s.Close()
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
