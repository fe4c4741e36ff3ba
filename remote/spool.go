package remote

import (
	"io"
	"sync"
)

// spool holds what was received and not read yet. Putting something in never blocks.
type spool struct {
	limit int // bytes

	mu   sync.Mutex
	more sync.Cond
	buf  []byte
	off  int   // of what is read
	err  error // what comes after it; nil: it goes on
}

func newSpool(limit int) *spool {
	s := &spool{limit: limit}
	s.more.L = &s.mu
	return s
}

// put appends p, or returns false when that is more than may wait. After the end it drops p.
func (s *spool) put(p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return true
	case len(s.buf)-s.off+len(p) > s.limit:
		return false
	}
	if s.off > 0 && len(s.buf)+len(p) > cap(s.buf) {
		s.buf = append(s.buf[:0], s.buf[s.off:]...)
		s.off = 0
	}
	s.buf = append(s.buf, p...)
	s.more.Signal()
	return true
}

// end lets reads end with err, io.EOF or not, once what was put in before is read; another cause than io.EOF ends them
// at once. The first end stays.
func (s *spool) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil && s.err != io.EOF { //nolint:errorlint // our own, never wrapped
		return
	}
	s.err = err
	if err != io.EOF { //nolint:errorlint // as above
		s.buf, s.off = nil, 0
	}
	s.more.Broadcast()
}

// Read waits until there is something, or the end.
func (s *spool) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.buf) == s.off && s.err == nil {
		s.more.Wait()
	}
	if len(s.buf) == s.off {
		return 0, s.err
	}
	n := copy(p, s.buf[s.off:])
	s.off += n
	if s.off == len(s.buf) {
		s.buf, s.off = s.buf[:0], 0
	}
	return n, nil
}
