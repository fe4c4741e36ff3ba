package remotetest

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Fault is what goes wrong with a host. The zero value is a healthy host. Faults combine.
type Fault struct {
	CloseAtOnce     bool             // close each connection before a byte is sent, as MaxStartups does
	CloseFirst      *Countdown       // the same, for this many connections
	HangAfterAccept bool             // accept and say nothing
	HangInAuth      bool             // finish the key exchange, then never answer an authentication request
	DropAfter       int64            // close after the server has sent this many bytes; 0: never
	Garbage         []byte           // sent instead of SSH, endlessly; nil: none
	BytesPerSecond  int              // what the server sends at most; 0: no limit
	IgnoreKeepAlive bool             // never answer a global request
	OnByte          func(sent int64) // told after each write; for tests that need to know how long a session is

	// What follows lets a host do anything, at each layer; nil: it behaves. See Behaviours.
	Raw       func(ctx context.Context, c net.Conn)                        // has the connection to itself
	Config    func(ctx context.Context, c net.Conn, cfg *ssh.ServerConfig) // changes how it exchanges keys and lets in
	Connected func(ctx context.Context, c *ssh.ServerConn)                 // runs beside a connection that logged in
	Channel   func(ctx context.Context, ch ssh.NewChannel)                 // has each channel that is asked for to itself
	Exec      func(ctx context.Context, ch ssh.Channel, req *Request)      // has a session to itself from its command on
}

// Countdown counts down to zero; safe for use by several goroutines.
type Countdown struct {
	mu sync.Mutex
	n  int
}

// NewCountdown starts at n.
func NewCountdown(n int) *Countdown { return &Countdown{n: n} }

// Next reports whether the count was above zero, and takes one off.
func (c *Countdown) Next() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n <= 0 {
		return false
	}
	c.n--
	return true
}

// apply lets the faults of the transport happen. It returns false when nothing is left to serve.
func (f *Fault) apply(ctx context.Context, c net.Conn) (net.Conn, bool) {
	switch {
	case f.CloseAtOnce || f.CloseFirst.Next():
		return nil, false
	case f.Raw != nil:
		f.Raw(ctx, c)
		return nil, false
	case f.HangAfterAccept:
		waitClosed(ctx, c)
		return nil, false
	case f.Garbage != nil:
		for ctx.Err() == nil {
			if _, err := c.Write(f.Garbage); err != nil {
				break
			}
		}
		return nil, false
	case f.DropAfter > 0 || f.BytesPerSecond > 0 || f.OnByte != nil:
		return &faultyConn{Conn: c, fault: f}, true
	}
	return c, true
}

// waitClosed reads until the client goes away or the server ends (which closes c).
func waitClosed(_ context.Context, c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func (f *Fault) inAuth(ctx context.Context) {
	if f.HangInAuth {
		<-ctx.Done()
	}
}

// faultyConn drops, slows or watches what the server sends.
type faultyConn struct {
	net.Conn
	fault *Fault
	mu    sync.Mutex
	sent  int64
}

func (c *faultyConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for len(p) > 0 {
		n := len(p)
		if r := c.fault.BytesPerSecond; r > 0 {
			n = min(n, max(1, r/20))
			time.Sleep(time.Duration(n) * time.Second / time.Duration(r))
		}
		if d := c.fault.DropAfter; d > 0 {
			n = min(n, int(d-c.sent))
			if n <= 0 {
				c.drop()
				return total, net.ErrClosed
			}
		}
		w, err := c.Conn.Write(p[:n])
		total += w
		c.sent += int64(w)
		if c.fault.OnByte != nil {
			c.fault.OnByte(c.sent)
		}
		if err != nil {
			return total, err
		}
		p = p[n:]
	}
	return total, nil
}

// drop resets the connection, so that the client sees ECONNRESET rather than an orderly end.
func (c *faultyConn) drop() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Conn.Close()
}
