package remote

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Bounds of what a host may send unasked, in bytes. They bound memory: x/crypto queues up to 32 packets of 256 KiB of a
// connection while somebody behind it cannot go on.
const (
	maxBeforeLogin = 64 << 10 // until we are logged in; 100 keys that are refused make 10 KiB
	maxWhileStuck  = 64 << 10 // while the host takes nothing of what we send
)

// Paced reads: a host that sends as fast as it can fills our queues before those behind them get their turn.
const (
	paceRead      = 16 << 10
	paceReadPause = 4 * time.Millisecond
)

// stuckAfter is how long a write has to wait for the host to count as stuck.
const stuckAfter = 100 * time.Millisecond

// errTalksTooMuch is what reads fail with when a host said too much before it let us in.
var errTalksTooMuch = errors.New("too much before the login")

// guardedConn is a connection whose host cannot make us hold more than we asked for.
//
// While one of our writes waits for the host, little is read: a host that makes us answer and does not take the answers
// fills our queues otherwise. Hosts that read and write at the same time, as SSH demands, don't notice.
type guardedConn struct {
	net.Conn

	mu      sync.Mutex
	changed sync.Cond
	admit   bool      // we are logged in
	left    int       // that may be read: before the login, or while a write is stuck
	over    bool      // the host said more than it may before the login
	writing int       // writes that are under way
	since   time.Time // of the first of them
	closed  bool
	unpaced int // bytes since the last pause; the reader's alone

	first []byte // what the host said first, until it said which SSH it speaks
	named bool   // it did
}

// maxFirst bounds what is kept of the words before the version, in bytes.
const maxFirst = 1 << 10

// hear keeps what comes before the version.
func (g *guardedConn) hear(p []byte) {
	if g.named || len(g.first) >= maxFirst {
		return
	}
	g.first = append(g.first, p[:min(len(p), maxFirst-len(g.first))]...)
	before, _, named := bytes.Cut(append([]byte("\n"), g.first...), []byte("\nSSH-"))
	if g.named = named; named {
		g.first = before
	}
}

// words are what the host said before its version, for people.
func (g *guardedConn) words() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Line(strings.TrimSpace(string(g.first)))
}

func guard(c net.Conn) *guardedConn {
	g := &guardedConn{Conn: c, left: maxBeforeLogin}
	g.changed.L = &g.mu
	return g
}

// admitted lifts the bound of what is said before the login.
func (g *guardedConn) admitted() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.admit, g.left = true, maxWhileStuck
}

// talksTooMuch reports whether the bound before the login was passed.
func (g *guardedConn) talksTooMuch() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over
}

func (g *guardedConn) Read(p []byte) (int, error) {
	if err := g.mayRead(); err != nil {
		return 0, err
	}
	n, err := g.Conn.Read(p[:min(len(p), paceRead)])
	if g.unpaced += n; g.unpaced >= paceRead {
		g.unpaced = 0
		time.Sleep(paceReadPause)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hear(p[:max(0, n)])
	if !g.admit || g.stuck() {
		g.left -= n
	}
	return n, err
}

// mayRead waits while a write is stuck and enough was read meanwhile.
func (g *guardedConn) mayRead() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.left <= 0 && !g.closed {
		if !g.admit {
			g.over = true
			return errTalksTooMuch
		}
		if g.writing == 0 {
			g.left = maxWhileStuck
			break
		}
		g.changed.Wait()
	}
	if g.closed {
		return net.ErrClosed
	}
	return nil
}

func (g *guardedConn) stuck() bool { return g.writing > 0 && time.Since(g.since) > stuckAfter }

func (g *guardedConn) Write(p []byte) (int, error) {
	g.mu.Lock()
	if g.writing++; g.writing == 1 {
		g.since = time.Now()
	}
	g.mu.Unlock()
	n, err := g.Conn.Write(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.writing--; g.writing == 0 && g.admit {
		g.left = maxWhileStuck
	}
	g.changed.Broadcast()
	return n, err
}

// Close ends reads that wait, too.
func (g *guardedConn) Close() error {
	g.mu.Lock()
	g.closed = true
	g.changed.Broadcast()
	g.mu.Unlock()
	return g.Conn.Close()
}

// Global requests and channels that a host may ask for unasked: keep-alives and the news of its keys are all that hosts
// have a use for.
const (
	requestBurst = 16
	requestEvery = 100 * time.Millisecond // one more
)

// newClient is ssh.NewClient for a host that may flood us with requests: it hangs up then.
func newClient(c ssh.Conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) *ssh.Client {
	b := &requestBudget{left: requestBurst, last: time.Now(), over: func() { _ = c.Close() }}
	return ssh.NewClient(c, counted(b, chans), counted(b, reqs))
}

// counted passes on what comes, as long as the budget lasts.
func counted[T any](b *requestBudget, in <-chan T) <-chan T {
	out := make(chan T)
	go func() { // ends with the connection
		defer close(out)
		for v := range in {
			if b.take() {
				out <- v
			}
		}
	}()
	return out
}

// requestBudget is a token bucket.
type requestBudget struct {
	over func()

	mu   sync.Mutex
	left int
	last time.Time
}

func (b *requestBudget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if more := int(time.Since(b.last) / requestEvery); more > 0 {
		b.left = min(requestBurst, b.left+more)
		b.last = b.last.Add(time.Duration(more) * requestEvery)
	}
	if b.left == 0 {
		go b.over()
		return false
	}
	b.left--
	return true
}
