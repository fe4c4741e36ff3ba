package store

import (
	"context"
	"database/sql"
	"fmt"
)

// applicationID marks a SQLite file as ours (PRAGMA application_id): "flct".
const applicationID = 0x666c6374

// migrations lead from each schema version to the next; PRAGMA user_version holds the version of a file, which is the
// number of migrations that it has seen. What stands here was released: never change one, append another.
//
// Times are microseconds since 1970 in UTC; 0 is no time.
var migrations = []string{schemaV1, schemaV2}

// Hosts stay as rows when they are forgotten (known = 0), because the observations of them stay. Identities and TPM
// details hardly change from scan to scan, so that an observation refers to them by content.
const schemaV1 = `
CREATE TABLE runs (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	command TEXT    NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER NOT NULL DEFAULT 0,
	state   TEXT    NOT NULL,
	hosts   INTEGER NOT NULL
) STRICT;
CREATE TABLE identities (
	id        INTEGER PRIMARY KEY,
	digest    BLOB    NOT NULL UNIQUE, -- SHA-256 of the other columns
	ek_hash   TEXT    NOT NULL,
	ek_serial TEXT    NOT NULL,
	ek_pub    BLOB,
	ek_cert   BLOB,
	proven    INTEGER NOT NULL,
	via       TEXT    NOT NULL
) STRICT;
CREATE INDEX identities_ek_hash ON identities (ek_hash);
CREATE TABLE details (
	id     INTEGER PRIMARY KEY,
	digest BLOB NOT NULL UNIQUE, -- SHA-256 of json
	json   TEXT NOT NULL
) STRICT;
CREATE TABLE hosts (
	id        INTEGER PRIMARY KEY,
	name      TEXT    NOT NULL UNIQUE,
	known     INTEGER NOT NULL DEFAULT 1,
	accepted  INTEGER REFERENCES identities (id),
	pending   INTEGER REFERENCES identities (id),
	last      INTEGER,                 -- observations.id
	token     TEXT    NOT NULL DEFAULT '',
	token_ek  TEXT    NOT NULL DEFAULT '', -- the EK hash that was accepted when the token was assigned
	installed TEXT                     -- JSON
) STRICT;
CREATE INDEX hosts_accepted ON hosts (accepted);
CREATE INDEX hosts_pending ON hosts (pending);
CREATE TABLE observations (
	id       INTEGER PRIMARY KEY,
	host     INTEGER NOT NULL REFERENCES hosts (id),
	run      INTEGER NOT NULL,
	at       INTEGER NOT NULL,
	outcome  TEXT    NOT NULL,
	status   TEXT    NOT NULL,
	message  TEXT    NOT NULL,
	identity INTEGER REFERENCES identities (id),
	detail   INTEGER REFERENCES details (id)
) STRICT;
CREATE INDEX observations_host ON observations (host);
CREATE INDEX observations_run ON observations (run);
CREATE TABLE probe (id INTEGER PRIMARY KEY, data BLOB) STRICT; -- see probeWrite
`

// What was written into which token: rules of hosts that are forgotten stay, until they are taken out of the cluster.
const schemaV2 = `
CREATE TABLE tokens (
	name TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	bot  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE rules (
	token     TEXT NOT NULL,
	ek_hash   TEXT NOT NULL,
	ek_serial TEXT NOT NULL,
	host      TEXT NOT NULL,
	PRIMARY KEY (token, ek_hash, ek_serial)
) STRICT, WITHOUT ROWID;
`

// migrate brings the schema to the newest version in one transaction a step. Two processes may do it at once: the
// version is read inside the transaction.
func migrate(ctx context.Context, db *sql.DB, steps []string) error {
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("%w: schema %d, this one knows %d", ErrNewerSchema, version, len(steps))
	}
	// WAL is a property of the file; it cannot be set inside a transaction.
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	for ; version < len(steps); version++ {
		if err := migrateOne(ctx, db, version, steps[version]); err != nil {
			return fmt.Errorf("migrate schema %d to %d: %w", version, version+1, err)
		}
	}
	return nil
}

func migrateOne(ctx context.Context, db *sql.DB, from int, step string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	version, err := schemaVersion(ctx, tx)
	if err != nil || version > from { // another process was faster
		return err
	}
	if _, err := tx.ExecContext(ctx, step); err != nil {
		return err
	}
	mark := fmt.Sprintf("PRAGMA user_version = %d; PRAGMA application_id = %d", from+1, applicationID)
	if _, err := tx.ExecContext(ctx, mark); err != nil {
		return err
	}
	return tx.Commit()
}

type rowQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func schemaVersion(ctx context.Context, q rowQuerier) (version int, err error) {
	err = q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}
