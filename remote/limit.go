package remote

import (
	"context"
	"sync"
	"time"
)

// limited is a context with a limit whose clock can stand still.
type limited struct {
	context.Context
	done chan struct{}

	mu    sync.Mutex
	err   error
	timer *time.Timer
	ends  time.Time
	left  time.Duration // of the limit, while the clock stands still
	waits int           // who waits
	after map[int]func()
	next  int
}

// limitKey finds a limited in a context.
type limitKey struct{}

// WithLimit is context.WithTimeout for one host, all in all. What is no fault of the host does not count: the time that Dial waits for
// others who log in to the same sshd through a jump host, and that for what this machine lacks (see StandStill).
func WithLimit(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	l := &limited{Context: parent, done: make(chan struct{}), ends: time.Now().Add(limit), after: map[int]func(){}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(limit, l.over)
	stop := context.AfterFunc(parent, func() { l.end(parent.Err()) })
	return l, func() {
		stop()
		l.end(context.Canceled)
	}
}

// Deadline is when the limit is over if nobody waits any more.
func (l *limited) Deadline() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends := l.ends
	if l.waits > 0 {
		ends = time.Now().Add(l.left)
	}
	if d, ok := l.Context.Deadline(); ok && d.Before(ends) {
		return d, true
	}
	return ends, true
}

// Done is closed when the limit or the parent is over.
func (l *limited) Done() <-chan struct{} { return l.done }

// Err says which of both.
func (l *limited) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Value finds the context itself for StandStill.
func (l *limited) Value(key any) any {
	if key == (limitKey{}) {
		return l
	}
	return l.Context.Value(key)
}

// AfterFunc lets the context package do without a goroutine for each context that is made of this one.
func (l *limited) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		go f()
		return func() bool { return false }
	}
	id := l.next
	l.next++
	l.after[id] = f
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, waits := l.after[id]
		delete(l.after, id)
		return waits
	}
}

// over ends it when its time is over, unless the clock was stopped just then.
func (l *limited) over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits == 0 {
		l.endLocked(context.DeadlineExceeded)
	}
}

func (l *limited) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(err)
}

func (l *limited) endLocked(err error) {
	if l.err != nil {
		return
	}
	l.err = err
	l.timer.Stop()
	close(l.done)
	for id, f := range l.after {
		delete(l.after, id)
		go f()
	}
}

// StandStill stops the clock of WithLimit, where ctx has one, until resume is called; once is enough.
func StandStill(ctx context.Context) (resume func()) {
	l, ok := ctx.Value(limitKey{}).(*limited)
	if !ok {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits++; l.waits == 1 {
		l.timer.Stop()
		l.left = max(0, time.Until(l.ends))
	}
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.waits--; l.waits == 0 && l.err == nil {
			l.ends = time.Now().Add(l.left)
			l.timer.Reset(l.left)
		}
	})
}
