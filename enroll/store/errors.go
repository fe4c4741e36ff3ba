package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// minFree is the space that must be free before a run begins: some tens of thousands of observations, and SQLite's
// own log.
const minFree = 8 << 20

const cureCorrupt = "restore the file from a backup, or move it away and scan again"

// explain turns what SQLite and the system say into this package's errors, with what to do.
func explain(err error) error {
	var e *driver.Error
	if errors.As(err, &e) {
		return explainSQLite(e)
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: free some space on its file system (%w)", ErrNoSpace, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: give yourself write permission on the file and its directory (%w)", ErrReadOnly, err)
	}
	return err
}

func explainSQLite(e *driver.Error) error {
	switch e.Code() & 0xff { // the low byte is the primary result code (sqlite.org/rescode.html)
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: free some space on its file system (%w)", ErrNoSpace, e)
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		return fmt.Errorf("%w: give yourself write permission on the file and its directory (%w)", ErrReadOnly, e)
	case lib.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %s (%w)", ErrCorrupt, cureCorrupt, e)
	case lib.SQLITE_NOTADB:
		return fmt.Errorf("%w: it is no SQLite file, or its first page is damaged (%w)", ErrCorrupt, e)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fmt.Errorf("%w: it has held the file for 20 s (%w)", ErrLocked, e)
	case lib.SQLITE_IOERR:
		return fmt.Errorf("the disk of the records failed: %w", e)
	}
	return e
}
