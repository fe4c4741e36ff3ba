package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a waiting run tries again. flock(2) cannot wait with a context.
const lockPoll = 100 * time.Millisecond

// lockGrace is how long a lock is waited for whose holder is dead. A process that was killed while it started another
// one leaves the lock with that one until its exec closes the file.
const lockGrace = 5 * time.Second

// runLock keeps two runs apart: one process at a time writes what scans and rollouts find. It is a flock(2) on a file
// of its own beside the records, which the kernel releases when the process dies, however it dies. Reading records,
// accepting and forgetting need no lock. Runs of one Store share it.
type runLock struct {
	path string
	wait time.Duration

	mu   sync.Mutex
	file *os.File
	runs int
}

// holder is what the lock file says about who holds it. It is information for people: the lock is the kernel's.
type holder struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// acquire takes the lock, or shares it with another run of this Store. It reports whether it was taken anew.
func (l *runLock) acquire(ctx context.Context, command string) (fresh bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs > 0 {
		l.runs++
		return false, nil
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, explain(err)
	}
	if err := l.flock(ctx, f); err != nil {
		_ = f.Close()
		return false, err
	}
	l.file, l.runs = f, 1
	writeHolder(f, holder{PID: os.Getpid(), Command: command, Since: time.Now().UTC().Truncate(time.Second)})
	return true, nil
}

func (l *runLock) flock(ctx context.Context, f *os.File) error {
	start := time.Now()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", l.path, err)
		}
		h := readHolder(f)
		patience := l.wait
		if h.dead() {
			patience = max(patience, lockGrace)
		}
		if time.Since(start) >= patience {
			return fmt.Errorf("%w%s", ErrLocked, h)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w%s: %w", ErrLocked, h, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// release ends one run's share.
func (l *runLock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs > 0 {
		l.runs--
	}
	if l.runs == 0 {
		l.unlock()
	}
}

func (l *runLock) releaseAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = 0
	l.unlock()
}

// unlock leaves the file where it is: removing it would let a third run lock a file that a second still waits for. To
// close it is not enough: a process that we are starting just now has the file, too, until its exec closes it.
func (l *runLock) unlock() {
	if l.file == nil {
		return
	}
	_ = l.file.Truncate(0)
	_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN) // closing it unlocks it, too
	_ = l.file.Close()
	l.file = nil
}

func writeHolder(f *os.File, h holder) {
	data, err := json.Marshal(h)
	if err != nil {
		return
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt(append(data, '\n'), 0)
}

// readHolder reads who holds the lock; a file that does not tell is a holder without a process.
func readHolder(f *os.File) (h holder) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	if err != nil || json.Unmarshal(data, &h) != nil {
		return holder{}
	}
	return h
}

// String describes the holder for an error message.
func (h holder) String() string {
	if h.PID == 0 {
		return ""
	}
	return fmt.Sprintf(" (%q, process %d, since %s)", h.Command, h.PID, h.Since.Format(time.RFC3339))
}

// dead reports whether the holder is known and is no process any more.
func (h holder) dead() bool {
	return h.PID > 0 && errors.Is(unix.Kill(h.PID, 0), unix.ESRCH)
}
