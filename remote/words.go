package remote

import (
	"bytes"
	"cmp"
	"sync"
	"time"
)

// Bounds of what is kept of a host's words: the beginning and the end of each stream. A host may say more; nobody reads
// it.
const (
	keptHead = 8 << 10 // bytes
	keptTail = 8 << 10 // bytes
	maxLine  = 4 << 10 // bytes of a line that has not ended, as far as prompts and words of ours are looked for
)

// omitted stands between the head and the tail of a stream of which something was not kept.
const omitted = "\n[…]\n"

// headTail keeps the first keptHead, or so many as it is told, and the last keptTail bytes of what is written to it.
type headTail struct {
	first      int    // bytes of the head; 0: keptHead
	head, tail []byte // tail is a ring once it is full
	next       int    // where the ring goes on
	total      int64
}

// Write is write, for an io.Writer.
func (h *headTail) Write(p []byte) (int, error) {
	h.write(p)
	return len(p), nil
}

func (h *headTail) write(p []byte) {
	h.total += int64(len(p))
	n := min(len(p), cmp.Or(h.first, keptHead)-len(h.head))
	h.head, p = append(h.head, p[:n]...), p[n:]
	p = p[max(0, len(p)-keptTail):]
	n = min(len(p), keptTail-len(h.tail))
	h.tail, p = append(h.tail, p[:n]...), p[n:]
	for len(p) > 0 {
		n = copy(h.tail[h.next:], p)
		h.next, p = (h.next+n)%keptTail, p[n:]
	}
}

func (h *headTail) bytes() []byte {
	out := make([]byte, 0, len(h.head)+len(omitted)+len(h.tail))
	out = append(out, h.head...)
	if h.total > int64(len(h.head)+len(h.tail)) {
		out = append(out, omitted...)
	}
	return append(append(out, h.tail[h.next:]...), h.tail[:h.next]...)
}

// promptSettles is how long a line without an end has to stay as it is before it is taken for a question: the rest of
// a message that only looks like one is on its way.
const promptSettles = 100 * time.Millisecond

// listener hears what is said while a host becomes ready: it keeps some of it for errors, and finds the questions in it.
type listener struct {
	marker string

	mu    sync.Mutex
	kept  headTail // lines since the last word of ours that forgets
	line  []byte   // the one that has not ended
	began bool     // the become method runs: from here on, a question is its question
	ready bool     // the script runs: what follows is its own
	ask   *prompter
	timer *time.Timer // of a question that may turn out to be none
}

// hear takes what was said. It returns what belongs to the script: what comes after READY.
func (l *listener) hear(p []byte) (rest []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 && !l.ready {
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			l.add(p)
			l.look()
			return nil
		}
		l.add(p[:n])
		p = p[n:]
		l.endLine()
	}
	if l.ready {
		return p
	}
	l.look()
	return nil
}

// add lengthens the line. Of a long one the beginning is only kept, not looked at any more.
func (l *listener) add(p []byte) {
	for len(p) > 0 {
		n := min(len(p), maxLine)
		if len(l.line)+n > 2*maxLine {
			cut := len(l.line) - maxLine
			l.kept.write(l.line[:cut])
			l.line = append(l.line[:0], l.line[cut:]...)
		}
		l.line, p = append(l.line, p[:n]...), p[n:]
	}
}

// endLine looks for a word of ours in a line that has ended. Noise that did not end its own line may stand before it.
func (l *listener) endLine() {
	switch l.word() {
	case wordReady:
		l.ready = true
		l.kept, l.line = headTail{}, nil
	case wordAsks:
		l.began = true
		l.kept, l.line = headTail{}, l.line[:0]
	default:
		l.kept.write(l.line)
		l.line = l.line[:0]
	}
}

// word is the word of ours at the end of the line, or "".
func (l *listener) word() string {
	said := bytes.TrimRight(l.line, "\r\n")
	i := bytes.LastIndexByte(said, ' ')
	if i < 0 || !bytes.HasSuffix(said[:i], []byte(l.marker)) {
		return ""
	}
	return string(said[i+1:])
}

// look sees whether the line that has not ended is a question.
func (l *listener) look() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if l.ask == nil || len(l.line) == 0 {
		return
	}
	switch l.ask.judge(string(l.line), l.began) {
	case asksForSure:
		l.answer()
	case asksPerhaps:
		var timer *time.Timer
		timer = time.AfterFunc(promptSettles, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.timer == timer && l.ask != nil {
				l.answer()
			}
		})
		l.timer = timer
	}
}

// answer hands the line to who answers it; it is over then. What was said before a question that gets an answer (a
// lecture) explains nothing that comes behind it.
func (l *listener) answer() {
	said := string(l.line)
	if l.ask.password != "" && !l.ask.sent() {
		l.kept = headTail{}
	} else {
		l.kept.write(l.line)
	}
	l.line, l.timer = l.line[:0], nil
	l.ask.answer(said)
}

// unfinished is the line that has not ended.
func (l *listener) unfinished() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.line)
}

// watch lets a prompter hear the questions; nil ends that.
func (l *listener) watch(a *prompter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ask = a
	if a == nil && l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// text is what was said, as far as it was kept.
func (l *listener) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.kept.bytes()) + string(l.line)
}

// stderrSink keeps some of a script's stderr. What comes before the script runs is kept apart: it explains failures to
// log in or to become.
type stderrSink struct {
	*listener
	heard int64  // bytes that came before the script; only Write knows
	limit int64  // bytes that the script may write
	over  func() // it wrote more
	noise func() // more than maxNoise came before the script

	after headTail // under the listener's mutex
}

// Write never fails, so that the session goes on being read.
func (s *stderrSink) Write(p []byte) (int, error) {
	if s.heard > maxNoise {
		return len(p), nil
	}
	rest := s.hear(p)
	if s.heard += int64(len(p) - len(rest)); s.heard > maxNoise {
		s.noise()
	}
	if len(rest) == 0 {
		return len(p), nil
	}
	s.mu.Lock()
	before := s.after.total
	s.after.write(rest)
	over := before <= s.limit && s.after.total > s.limit
	s.mu.Unlock()
	if over {
		s.over()
	}
	return len(p), nil
}

// bytes is what the script wrote, as far as it was kept.
func (s *stderrSink) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.after.bytes()
}
