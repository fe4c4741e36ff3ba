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
var migrations = []string{schemaV1, schemaV2, schemaV3, schemaV4, schemaV5, schemaV6}

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

// The life of a rule. A machine is an EK: the row of one says whether somebody took it out, and outlives its names. Ways
// are the tokens that a machine may be configured with, besides the one that is planned for it: its rules stay there.
// What was published before this schema may be configured anywhere, and what was installed is.
const schemaV3 = `
CREATE TABLE machines (
	ek_hash TEXT PRIMARY KEY,
	state   TEXT    NOT NULL DEFAULT '', -- '', disabled, removed, replaced, forgotten
	host    TEXT    NOT NULL DEFAULT '', -- its name, when somebody took it out
	serial  TEXT    NOT NULL DEFAULT '',
	run     INTEGER NOT NULL DEFAULT 0,
	at      INTEGER NOT NULL DEFAULT 0,
	by      TEXT    NOT NULL DEFAULT '',
	why     TEXT    NOT NULL DEFAULT '',
	joined  TEXT    NOT NULL DEFAULT '', -- the token of the latest join that was verified
	joined_run INTEGER NOT NULL DEFAULT 0,
	last_join  INTEGER NOT NULL DEFAULT 0, -- the latest join that the cluster had, by its own clock
	last_run   INTEGER NOT NULL DEFAULT 0  -- the run that looked
) STRICT, WITHOUT ROWID;
INSERT INTO machines (ek_hash) SELECT DISTINCT i.ek_hash FROM hosts h JOIN identities i ON i.id = h.accepted;
CREATE TRIGGER hosts_machine AFTER UPDATE OF accepted ON hosts WHEN NEW.accepted IS NOT NULL AND NEW.accepted IS NOT OLD.accepted BEGIN
	INSERT OR IGNORE INTO machines (ek_hash) SELECT ek_hash FROM identities WHERE id = NEW.accepted;
	UPDATE machines SET state = '' WHERE state = 'forgotten' AND ek_hash = (SELECT ek_hash FROM identities WHERE id = NEW.accepted);
END;
CREATE TABLE ways (
	ek_hash  TEXT    NOT NULL,
	token    TEXT    NOT NULL,
	evidence TEXT    NOT NULL, -- installed, published, cluster
	run      INTEGER NOT NULL, -- when that was seen last
	PRIMARY KEY (ek_hash, token)
) STRICT, WITHOUT ROWID;
ALTER TABLE tokens ADD COLUMN cas    TEXT;                        -- JSON list of PEM; NULL: not known
ALTER TABLE tokens ADD COLUMN epoch  INTEGER NOT NULL DEFAULT 0;  -- of its content; 0: it was never given one
ALTER TABLE tokens ADD COLUMN digest TEXT    NOT NULL DEFAULT ''; -- of its content
ALTER TABLE tokens ADD COLUMN writes TEXT    NOT NULL DEFAULT ''; -- the id of our latest write
ALTER TABLE tokens ADD COLUMN seen   INTEGER NOT NULL DEFAULT 0;  -- the latest epoch that the cluster was seen to have
ALTER TABLE tokens ADD COLUMN behind INTEGER NOT NULL DEFAULT 0;  -- 1: the cluster had newer content than these records
ALTER TABLE rules  ADD COLUMN seen   INTEGER NOT NULL DEFAULT 0;  -- 1: it was seen in the cluster
UPDATE rules SET seen = 1;
INSERT INTO ways (ek_hash, token, evidence, run) SELECT DISTINCT ek_hash, token, 'published', 0 FROM rules;
INSERT OR REPLACE INTO ways (ek_hash, token, evidence, run)
	SELECT i.ek_hash, json_extract(h.installed, '$.token'), 'installed', 0 FROM hosts h JOIN identities i ON i.id = h.accepted
	WHERE coalesce(json_extract(h.installed, '$.token'), '') <> '';
CREATE TABLE fleet (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	name    TEXT    NOT NULL DEFAULT '', -- fleet: of fleet.yaml
	cluster TEXT    NOT NULL DEFAULT '',
	policy  TEXT    NOT NULL DEFAULT '', -- JSON, as it was confirmed last
	epoch   INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO fleet (id) VALUES (1);
CREATE TABLE journal (
	id      INTEGER PRIMARY KEY,
	run     INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	by      TEXT    NOT NULL,
	action  TEXT    NOT NULL,
	host    TEXT    NOT NULL,
	ek_hash TEXT    NOT NULL,
	why     TEXT    NOT NULL
) STRICT;
ALTER TABLE runs ADD COLUMN by     TEXT NOT NULL DEFAULT ''; -- user@host
ALTER TABLE runs ADD COLUMN args   TEXT NOT NULL DEFAULT ''; -- the command line, without secrets
ALTER TABLE runs ADD COLUMN reason TEXT NOT NULL DEFAULT '';
`

// Version 4 knows a cluster by more than its name.
const schemaV4 = `
ALTER TABLE fleet ADD COLUMN pins TEXT NOT NULL DEFAULT ''; -- of the cluster's CAs, a blank between
`

// Version 5 knows which hosts a run was over, so that who goes on with it leaves the others alone.
const schemaV5 = `
ALTER TABLE runs ADD COLUMN chosen TEXT NOT NULL DEFAULT ''; -- JSON list of names, of the latest run of a command; '': not known
`

// Version 6 knows a write of ours again that the cluster has although a newer one was planned or made since.
const schemaV6 = `
ALTER TABLE tokens ADD COLUMN recent TEXT NOT NULL DEFAULT ''; -- ids of writes and digests of contents, newest first, a blank between
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
