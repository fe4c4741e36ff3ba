package remote

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// idleTimer calls expired when nothing moved for a time; nil-safe when there is no limit.
type idleTimer struct {
	after time.Duration
	timer atomic.Pointer[time.Timer]
}

func newIdleTimer(after time.Duration, expired func()) *idleTimer {
	t := &idleTimer{after: after}
	if after > 0 {
		t.timer.Store(time.AfterFunc(after, expired))
	}
	return t
}

func (t *idleTimer) touch() {
	if timer := t.timer.Load(); timer != nil {
		timer.Reset(t.after)
	}
}

func (t *idleTimer) stop() {
	if timer := t.timer.Swap(nil); timer != nil {
		timer.Stop()
	}
}

type idleReader struct {
	io.Reader
	idle *idleTimer
}

func (r *idleReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.idle.touch()
	return n, err
}

// idleWriter is a session's stdin. A channel's EOF must neither be sent twice nor while data is being sent.
type idleWriter struct {
	w    io.WriteCloser
	idle *idleTimer

	mu     sync.Mutex
	closed bool
}

// Write sends data; it blocks while the host takes none.
func (w *idleWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, io.ErrClosedPipe
	}
	n, err := w.w.Write(p)
	w.idle.touch()
	return n, err
}

// Close sends EOF.
func (w *idleWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closeLocked()
}

// tryClose sends EOF unless data is being sent.
func (w *idleWriter) tryClose() {
	if w.mu.TryLock() {
		defer w.mu.Unlock()
		_ = w.closeLocked()
	}
}

func (w *idleWriter) closeLocked() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.w.Close()
}
