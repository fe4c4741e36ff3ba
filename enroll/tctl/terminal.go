package tctl

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"sync/atomic"
)

// turns lets one tctl at a time ask on the terminal. Once one that reads a bot or a token has asked nothing, others
// that read run side by side: where the cluster wants a second factor, it wants it of each (docs/compatibility.md).
type turns struct {
	mu   sync.RWMutex
	calm atomic.Bool
}

// take waits for the turn of a run of tctl. The function that comes back ends it. A nil turns lets everybody go.
func (t *turns) take(args []string, shown *promptWriter) func() {
	reads := len(args) > 1 && args[0] == "get" || len(args) == 1
	switch {
	case t == nil:
		return func() {}
	case reads && t.calm.Load():
		t.mu.RLock()
		return t.mu.RUnlock
	}
	t.mu.Lock()
	return func() {
		if len(args) > 1 && args[0] == "get" && (strings.HasPrefix(args[1], "token/") || strings.HasPrefix(args[1], "bot/")) {
			t.calm.Store(!shown.any)
		}
		t.mu.Unlock()
	}
}

// promptWriter shows what tctl says at once, for prompts, but for its last words: the error, which the caller words.
type promptWriter struct {
	w      io.Writer // nil: nowhere
	any    bool      // something was shown
	silent bool
}

// Write shows what stands before an error.
func (p *promptWriter) Write(b []byte) (int, error) {
	n := len(b)
	if p.silent {
		return n, nil
	}
	if i := errorStart(b); i >= 0 {
		b, p.silent = b[:i], true
	}
	if len(b) > 0 {
		p.any = true
	}
	if len(b) > 0 && p.w != nil {
		_, _ = p.w.Write(b) // a terminal that is gone is no reason to end tctl
	}
	return n, nil
}

// errorStart is where an error begins; -1 for nowhere.
func errorStart(b []byte) int {
	red := bytes.Index(b, []byte(redPrefix))
	at := 0
	for line := range bytes.Lines(b) {
		if bytes.HasPrefix(line, []byte(errorPrefix)) && (red < 0 || at < red) {
			return at
		}
		at += len(line)
	}
	return red
}
