package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// SchemaVersion is the schema that this program writes.
func SchemaVersion() int { return len(migrations) }

// Health is how a records file is.
type Health struct {
	Path   string
	Bytes  int64
	Schema int    // the file's; SchemaVersion is the newest that can be read
	Hosts  int    // that it has records of
	Holder string // the run that has it now, for people; "" for none
}

// Inspect looks at a records file and changes nothing, not even its schema. It reads all of it: a damaged file is ErrCorrupt, one
// that is not there ErrNoRecords, one of another program ErrForeign, and one that is newer than this program ErrNewerSchema.
func Inspect(ctx context.Context, path string) (h Health, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return h, fmt.Errorf("%w: %w", ErrNoRecords, err)
	case err != nil:
		return h, explain(err)
	case !info.Mode().IsRegular():
		return h, fmt.Errorf("%w: it is no regular file", ErrForeign)
	}
	h = Health{Path: path, Bytes: info.Size(), Holder: heldBy(path)}
	return h, explain(h.read(ctx))
}

// openReading opens a file without writing. For one that nobody has open, SQLite would make an index of its log, and leave it there:
// such a file is read as one that nobody changes.
func openReading(path string) (*sql.DB, error) {
	mode := "mode=ro"
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		mode = "mode=ro&immutable=1"
	}
	db, err := openPool(path, mode, "_pragma=query_only(1)")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func (h *Health) read(ctx context.Context) error {
	db, err := openReading(h.Path)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	if err := checkFile(ctx, db); err != nil {
		return err
	}
	if h.Schema, err = schemaVersion(ctx, db); err != nil || h.Schema == 0 {
		return err
	}
	if h.Schema > SchemaVersion() {
		return fmt.Errorf("%w: schema %d, this one knows %d", ErrNewerSchema, h.Schema, SchemaVersion())
	}
	return db.QueryRowContext(ctx, "SELECT count(*) FROM hosts WHERE known = 1").Scan(&h.Hosts)
}

// HostNames are the hosts that a records file knows, in order. The file is read as Inspect reads it, but not looked through.
func HostNames(ctx context.Context, path string) (names []string, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	db, err := openReading(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // it was only read
	rows, err := db.QueryContext(ctx, "SELECT name FROM hosts WHERE known = 1 ORDER BY name")
	if err != nil {
		return nil, explain(err)
	}
	defer func() { _ = rows.Close() }() // its errors are those of Err
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, explain(err)
		}
		names = append(names, name)
	}
	return names, explain(rows.Err())
}

// heldBy says which run has the records, by the file of its lock, which is not touched. Whoever was killed left its name there.
func heldBy(path string) string {
	f, err := os.Open(path + ".lock") //nolint:gosec // the user chose the path
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	h := readHolder(f)
	if h.dead() {
		return ""
	}
	return strings.Trim(h.String(), " ()")
}
