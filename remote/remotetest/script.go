package remotetest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Reply is the scripted answer to one command.
type Reply struct {
	Stdout, Stderr string
	Status         int
	ReadStdin      bool // read stdin to its end first
}

// Script answers commands that were foreseen, and fails the test on any other.
type Script struct {
	Replies map[string]Reply // by the exact command
	Failf   func(format string, args ...any)

	mu   sync.Mutex
	seen []string
}

// Handler answers from the script. A command that is not in it ends with status 127 and a call of Failf.
func (s *Script) Handler(_ context.Context, req *Request) int {
	s.mu.Lock()
	s.seen = append(s.seen, req.Command)
	s.mu.Unlock()
	r, ok := s.Replies[req.Command]
	if !ok {
		s.Failf("unscripted command %q", req.Command)
		_, _ = fmt.Fprintln(req.Stderr, "remotetest: unscripted command")
		return 127
	}
	if r.ReadStdin {
		_, _ = io.Copy(io.Discard, req.Stdin)
	}
	_, _ = io.Copy(req.Stdout, strings.NewReader(r.Stdout))
	_, _ = io.Copy(req.Stderr, strings.NewReader(r.Stderr))
	return r.Status
}

// Seen returns the commands in the order they came.
func (s *Script) Seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}
