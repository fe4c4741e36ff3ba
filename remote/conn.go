package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Conn is a connection to one host; safe for use by several goroutines.
type Conn struct {
	client    *ssh.Client
	opts      Options
	become    Become
	user      string
	addr      string        // what was dialled
	authLimit time.Duration // for a become
	withheld  bool          // the host key is not the known one: no password goes to this host
	release   func()
	stopKeep  func()
	ended     chan struct{} // closed when the connection has ended, whoever ended it

	terminal atomic.Bool // become needs one

	mu     sync.Mutex
	closed bool
	cause  error // why the connection ended, when it was not Close
}

func newConn(d *Dialer, t Target, s *settings, l *link) *Conn {
	c := &Conn{
		client: l.client, opts: d.opts, become: t.Become, user: s.user, addr: s.addr(), withheld: l.withheld, release: l.end,
		authLimit: d.authLimit(s), ended: make(chan struct{}),
	}
	if c.withheld {
		c.become.Password = ""
	}
	go func() {
		_ = c.client.Wait()
		close(c.ended)
	}()
	interval := cmp.Or(d.opts.KeepAlive, s.aliveInterval, 15*time.Second)
	c.stopKeep = keepAlive(l.client, interval, func() {
		c.fail(&Error{
			Kind: ErrTimeout, Err: fmt.Errorf("%s: the host no longer answers", c.addr), Hint: "see its network and load",
		})
	})
	return c
}

// keepAlive asks the host for an answer every interval. When three intervals pass without one it calls lost and closes
// the client. stop ends it.
func keepAlive(client *ssh.Client, interval time.Duration, lost func()) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			timer := time.AfterFunc(3*interval, func() {
				lost()
				_ = client.Close()
			})
			_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
			timer.Stop()
			if err != nil {
				return
			}
		}
	}()
	return func() {
		cancel()
		_ = client.Close() // ends a request that waits
		<-ended
	}
}

func (c *Conn) fail(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil && !c.closed {
		c.cause = cause
	}
}

// lastWords is how long the last words to a session may take.
const lastWords = time.Second

// send says the last words to a session. Where the host, or what lies between, takes nothing any more they would wait for
// ever behind what was written before, and the connection is ended instead.
func (c *Conn) send(words func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		words()
	}()
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		c.fail(&Error{Kind: ErrDisconnected, Err: fmt.Errorf("%s: nothing that is sent gets through", c.addr)})
		_ = c.client.Close()
		<-done
	}
}

// lost says why a session ended without an exit status.
func (c *Conn) lost(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
		return c.cause
	case c.closed:
		return &Error{Kind: ErrDisconnected, Err: errors.New("closed on our side")}
	}
	var own *Error
	if errors.As(err, &own) && own.Err != nil {
		return &Error{Kind: own.Kind, Err: fmt.Errorf("%s: %w", c.addr, own.Err), Hint: own.Hint}
	}
	if err == nil {
		return &Error{Kind: ErrDisconnected, Err: errors.New(c.addr)}
	}
	return &Error{Kind: ErrDisconnected, Err: fmt.Errorf("%s: %w", c.addr, err)}
}

// Close ends the connection and everything that runs over it. What ran cleans up after itself within about a second.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	_ = c.client.Close()
	c.stopKeep()
	<-c.ended
	c.release()
	return nil
}
