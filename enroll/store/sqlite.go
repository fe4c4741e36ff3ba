package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Options of OpenWith. The zero value is what Open uses.
type Options struct {
	Wait     time.Duration // how long BeginRun waits for another run to end; 0: ErrLocked at once
	Existing bool          // no file is ErrNoRecords: what the records lack would be taken out of files and tokens
	Actor    Actor         // who opens them
}

// sqlite is the Store in one SQLite file. One connection writes, others read what is committed.
type sqlite struct {
	path    string
	write   *sql.DB // one connection; its transactions are immediate
	read    *sql.DB // query_only
	put     putStatements
	queries sync.Map // of read, by their text: *sql.Stmt
	lock    *runLock
	actor   Actor
	run     atomic.Int64 // the latest that began or was resumed here; 0: none

	puts    chan putRequest
	closing chan struct{} // closed by Close
	closed  sync.Once
	writer  sync.WaitGroup
}

// Open opens the SQLite file, creates it where there is none, and migrates an older schema. Whatever would make a
// later write fail (a full disk, a directory or a file that is read-only, a damaged file, a newer schema) is an error
// here already, so that a run learns it before it contacts a host. A file that it refuses is left as it is.
func Open(ctx context.Context, path string) (Store, error) {
	return OpenWith(ctx, path, Options{})
}

// OpenWith is Open with options.
func OpenWith(ctx context.Context, path string, opts Options) (Store, error) {
	s, err := open(ctx, path, opts)
	if err != nil {
		return nil, explain(err)
	}
	return s, nil
}

func open(ctx context.Context, path string, opts Options) (*sqlite, error) {
	if err := checkPath(path, opts.Existing); err != nil {
		return nil, err
	}
	s := &sqlite{
		path:    path,
		lock:    &runLock{path: path + ".lock", wait: opts.Wait},
		puts:    make(chan putRequest),
		closing: make(chan struct{}),
		actor:   opts.Actor,
	}
	if err := s.connect(ctx, opts.Existing); err != nil {
		s.disconnect()
		return nil, err
	}
	s.writer.Go(s.writeLoop)
	return s, nil
}

// connect opens both pools and brings the schema up to date; a file without one (whoever made it was killed) is no
// records.
func (s *sqlite) connect(ctx context.Context, existing bool) error {
	var err error
	s.write, err = openPool(s.path, "_txlock=immediate", "_pragma=synchronous(full)", "_pragma=foreign_keys(1)")
	if err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := checkFile(ctx, s.write); err != nil {
		return err
	}
	if version, err := schemaVersion(ctx, s.write); err != nil || existing && version == 0 {
		return cmp.Or(err, ErrNoRecords)
	}
	if err := migrate(ctx, s.write, migrations); err != nil {
		return err
	}
	if err := probeWrite(ctx, s.write); err != nil {
		return err
	}
	if s.read, err = openPool(s.path, "_pragma=query_only(1)"); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(maxReaders)
	return s.put.prepare(ctx, s.write)
}

// maxReaders is how many read at once: a connection takes three descriptors, and as many hosts as a run works on may ask.
const maxReaders = 16

func (s *sqlite) disconnect() {
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			_ = db.Close() // what is committed is durable; there is nothing to lose here
		}
	}
}

// Close waits for the Puts that are under way. Runs that were not ended are found as interrupted by the next run.
func (s *sqlite) Close() error {
	s.closed.Do(func() {
		close(s.closing)
		s.writer.Wait()
		s.disconnect()
		s.lock.releaseAll()
	})
	return nil
}

// openPool returns connections to the file with the parameters that all of them share. A writer of another process
// is waited for: it holds the file for one short transaction.
func openPool(path string, params ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	dsn := "file:" + (&url.URL{Path: abs}).EscapedPath() + "?_pragma=busy_timeout(20000)"
	for _, p := range params {
		dsn += "&" + p
	}
	return sql.Open("sqlite", dsn)
}

// checkPath finds what would go wrong with the file before SQLite touches it, and creates it with mode 0600 unless it has
// to be there: it names every host of the fleet.
func checkPath(path string, existing bool) error {
	if _, err := os.Stat(path); existing && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNoRecords, err)
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%w; create the directory first", err)
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is no regular file", ErrForeign)
	}
	if err := checkFree(dir); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the user chose the path
	if err != nil {
		return err
	}
	return f.Close()
}

// checkFile refuses a file that is damaged or is not ours, before anything is written to it.
func checkFile(ctx context.Context, db *sql.DB) error {
	var result string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("%w: %s (%s)", ErrCorrupt, cureCorrupt, strings.Join(strings.Fields(result), " "))
	}
	var id, tables int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	if id != applicationID && (id != 0 || tables > 0) {
		return fmt.Errorf("%w: it is another program's SQLite file", ErrForeign)
	}
	return nil
}

// probeWrite commits something as large as a batch of observations and takes it back, so that a full disk shows now.
func probeWrite(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, "INSERT OR REPLACE INTO probe(id, data) VALUES (1, zeroblob(65536))"); err != nil {
		return err
	}
	_, err := db.ExecContext(ctx, "DELETE FROM probe")
	return err
}

// inTx runs fn in one transaction of the writing connection.
func (s *sqlite) inTx(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.closedOr(explain(err))
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := fn(tx); err != nil {
		return explain(err)
	}
	return explain(tx.Commit())
}

// closedOr replaces what database/sql says of a closed pool.
func (s *sqlite) closedOr(err error) error {
	select {
	case <-s.closing:
		return ErrClosed
	default:
		return err
	}
}

func isNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// fromUnix reads a time as it is stored: microseconds since 1970, UTC; 0 is no time.
func fromUnix(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func toUnix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
