package store

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestALockIsFreeWhileAnotherProcessIsBeingStarted(t *testing.T) {
	t.Parallel()
	l := &runLock{path: filepath.Join(t.TempDir(), "fleet.db.lock")}
	if _, err := l.acquire(t.Context(), "scan"); err != nil {
		t.Fatal(err)
	}
	child, err := unix.Dup(int(l.file.Fd())) // what a fork leaves with the child until its exec
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(child) }()
	l.release()
	if fresh, err := l.acquire(t.Context(), "enroll"); err != nil || !fresh {
		t.Errorf("the next run: %v, %v", fresh, err)
	}
	l.release()
}
