package work

import (
	"context"
	"errors"
	"sync"
	"time"
)

// clock is a context with the time that one item may take. It can stand still.
type clock struct {
	parent context.Context
	inner  context.Context // ends when this one does
	end    context.CancelFunc

	mu    sync.Mutex
	err   error
	due   time.Time
	timer *time.Timer
	stood int // who lets it stand still
}

// clockKey is the key of a clock in a context.
type clockKey struct{}

// Limit is context.WithTimeout whose time can stand still: see StandStill.
func Limit(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	c := &clock{parent: parent, due: time.Now().Add(limit)}
	c.inner, c.end = context.WithCancel(context.Background())
	c.timer = time.AfterFunc(limit, func() { c.over(context.DeadlineExceeded) })
	stop := context.AfterFunc(parent, func() { c.over(parent.Err()) })
	if err := parent.Err(); err != nil {
		c.over(err)
	}
	return c, func() {
		stop()
		c.over(context.Canceled)
	}
}

// StandStill stops the time of the item that ctx belongs to until resume is called: what this machine lacks is not the item's
// fault.
func StandStill(ctx context.Context) (resume func()) {
	c, ok := ctx.Value(clockKey{}).(*clock)
	if !ok {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stood++
	since := time.Now()
	if c.stood == 1 {
		c.timer.Stop()
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.stood--; c.stood == 0 && c.err == nil {
			c.due = c.due.Add(time.Since(since))
			c.timer.Reset(time.Until(c.due))
		}
	})
}

// over ends it, once.
func (c *clock) over(err error) {
	c.mu.Lock()
	if c.err != nil || errors.Is(err, context.DeadlineExceeded) && c.stood > 0 {
		c.mu.Unlock()
		return
	}
	c.err = err
	c.timer.Stop()
	c.mu.Unlock()
	c.end()
}

// Deadline is when the time is over, as things are.
func (c *clock) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if due, ok := c.parent.Deadline(); ok && due.Before(c.due) {
		return due, true
	}
	return c.due, true
}

// Done is closed when it ends.
func (c *clock) Done() <-chan struct{} { return c.inner.Done() }

// Err is why it has ended.
func (c *clock) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Value is the parent's, and the clock itself.
func (c *clock) Value(key any) any {
	if key == (clockKey{}) {
		return c
	}
	return c.parent.Value(key)
}

// AfterFunc lets contexts that are made of it hear of its end without a goroutine each (context.afterFuncer).
func (c *clock) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.inner, f) }
