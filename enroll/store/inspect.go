package store

import (
	"context"
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

// read opens the file without writing. In a file that nobody has open, SQLite would make an index for its log, and leave it there:
// such a file is read as one that nobody changes.
func (h *Health) read(ctx context.Context) (err error) {
	mode := "mode=ro"
	if _, err := os.Stat(h.Path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		mode = "mode=ro&immutable=1"
	}
	db, err := openPool(h.Path, mode, "_pragma=query_only(1)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
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
