package remote

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Conn is a connection to one host; safe for use by several goroutines.
type Conn struct {
	client   *ssh.Client
	opts     Options
	become   Become
	user     string
	release  func()
	stopKeep func()

	terminal atomic.Bool // become needs one

	mu     sync.Mutex
	closed bool
	cause  error // why the connection ended, when it was not Close
}

func newConn(d *Dialer, t Target, s *settings, client *ssh.Client, release func()) *Conn {
	c := &Conn{client: client, opts: d.opts, become: t.Become, user: s.user, release: release}
	interval := cmp.Or(d.opts.KeepAlive, s.aliveInterval, 15*time.Second)
	c.stopKeep = keepAlive(client, interval, func() {
		c.fail(&Error{Kind: ErrTimeout, Err: errors.New("the host no longer answers"), Hint: "see its network and load"})
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
	if errors.As(err, &own) {
		return err
	}
	return &Error{Kind: ErrDisconnected, Err: err}
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
	_ = c.client.Wait()
	c.release()
	return nil
}
