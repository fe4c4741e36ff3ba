package remote

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

// What this machine lacks is neither told of the host nor remembered: the next one who asks may get it.
func TestAShortageIsNotRemembered(t *testing.T) {
	t.Parallel()
	if err := dialError(t.Context(), &Error{Kind: ErrUnreachable, Err: fmt.Errorf("dial: %w", syscall.EMFILE)}); !errors.Is(err, ErrShortage) ||
		errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := dialError(ctx, syscall.EMFILE); errors.Is(err, ErrShortage) {
		t.Errorf("got %v of a run that was ended", err)
	}
	if err := dialError(t.Context(), &Error{Kind: ErrUnreachable, Err: syscall.ECONNREFUSED}); errors.Is(err, ErrShortage) {
		t.Errorf("got %v of a host that refuses", err)
	}
	ring := newKeyRing(Options{Logf: func(string, ...any) {}}, func(string, string) {})
	path := filepath.Join(t.TempDir(), "id")
	ring.files[path] = &keyFile{err: fmt.Errorf("open: %w", syscall.EMFILE)}
	ring.files[path].once.Do(func() {}) // it was read when there was no descriptor
	if _, _, err := ring.candidates(t.Context(), &settings{identityAgent: "none", identities: []identity{{path: path}}}); !errors.Is(err, ErrShortage) {
		t.Errorf("got %v: the host would have been told that no key fits", err)
	}
}
