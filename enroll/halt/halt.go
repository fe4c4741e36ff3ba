// Package halt is how a run ends before its time. Somebody asks for it: then what changes nothing ends at once, nothing new
// begins, and what is being changed comes to its end. Or somebody insists: then that ends, too. Whose word it is, and what
// becomes of the process, is not its business.
package halt

import (
	"context"
	"sync"
	"time"
)

// Halt ends one run.
type Halt struct {
	ask    context.CancelFunc
	hard   context.Context
	insist context.CancelFunc

	mu    sync.Mutex
	open  int       // what is being changed
	asked bool      // somebody asked
	since time.Time // when something last was changed, or when somebody asked first
}

// key is the key of a Halt in a context.
type key struct{}

// New returns a context that ends when somebody asks, and what asks.
func New(parent context.Context) (context.Context, *Halt) {
	h := &Halt{}
	ctx, cancel := context.WithCancel(parent)
	h.ask = cancel
	h.hard, h.insist = context.WithCancel(context.WithoutCancel(parent))
	return context.WithValue(ctx, key{}, h), h
}

// Ask ends the context.
func (h *Halt) Ask() {
	h.mu.Lock()
	if !h.asked {
		h.asked, h.since = true, time.Now()
	}
	h.mu.Unlock()
	h.ask()
}

// Insist ends what Finish protects, too.
func (h *Halt) Insist() {
	h.Ask()
	h.insist()
}

// Open is how much is being changed now.
func (h *Halt) Open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

// Idle is for how long nothing has been changed since somebody asked; 0 while something is.
func (h *Halt) Idle() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open > 0 || !h.asked {
		return 0
	}
	return time.Since(h.since)
}

// Hold says that something is being changed, or told, until the function that comes back is called. It can be said
// to a nil Halt, which nobody asks.
func (h *Halt) Hold() (release func()) {
	if h == nil {
		return func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open++
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open--
		h.since = time.Now()
	})
}

// Finish returns a context for what has to come to its end once it has begun: a host that is changed, a write into the
// cluster. It goes on when somebody asks, and ends when somebody insists, or at the deadline of ctx. done has to be called.
// A ctx that is not of New ends both, as ever: then it comes back as it is. Look whether ctx has ended before you begin.
func Finish(ctx context.Context) (out context.Context, done func()) {
	h, ok := ctx.Value(key{}).(*Halt)
	if !ok {
		return ctx, func() {}
	}
	if due, ok := ctx.Deadline(); ok {
		return h.finish(ctx, due)
	}
	return h.finish(ctx, time.Time{})
}

// Outlive returns a context for what has to be done at the end, whatever ended ctx: it has a limit of its own, and ends when
// somebody insists. done has to be called.
func Outlive(ctx context.Context, limit time.Duration) (out context.Context, done func()) {
	h, ok := ctx.Value(key{}).(*Halt)
	if !ok {
		return context.WithTimeout(context.WithoutCancel(ctx), limit)
	}
	return h.finish(ctx, time.Now().Add(limit))
}

// finish is what outlives ctx until it is due, or until somebody insists.
func (h *Halt) finish(ctx context.Context, due time.Time) (out context.Context, done func()) {
	release := h.Hold()
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(h.hard, cancel)
	limit := func() {}
	if !due.IsZero() {
		out, limit = context.WithDeadline(out, due)
	}
	return out, func() {
		stop()
		limit()
		cancel()
		release()
	}
}
