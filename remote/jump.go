package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
)

// jumpHosts are the connections to jump hosts, one each, by how they are reached.
type jumpHosts struct {
	mu     sync.Mutex
	hosts  map[string]*jumpHost
	slots  map[string]chan struct{} // what is not logged in yet, by jump host and address
	closed bool
}

// jumpHost is one jump host with its connection, which is made when it is needed and made again when it died.
type jumpHost struct {
	lock   chan struct{} // full while somebody connects or looks, so that there is one attempt at a time
	client *ssh.Client
	end    func()
	dead   chan struct{}
	failed error     // the last attempt's; stands for jumpFailureStands
	since  time.Time // of failed
}

// jumpFailureStands is how long a failed connection to a jump host is not tried again, so that a thousand hosts behind
// a jump host that is down don't wait for a thousand time-outs.
const jumpFailureStands = 10 * time.Second

func (h *jumpHost) acquire(ctx context.Context) error {
	select {
	case h.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (j *jumpHosts) get(key string) (*jumpHost, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, net.ErrClosed
	}
	h := j.hosts[key]
	if h == nil {
		h = &jumpHost{lock: make(chan struct{}, 1)}
		j.hosts[key] = h
	}
	return h, nil
}

// slot waits until fewer than limit connections to one address behind a jump host are not logged in yet: what the sshd there
// bears (MaxStartups). Others never wait for them: a dead host holds up its own names alone.
func (j *jumpHosts) slot(ctx context.Context, key string, limit int) (release func(), err error) {
	j.mu.Lock()
	slots := j.slots[key]
	if slots == nil {
		slots = make(chan struct{}, limit)
		j.slots[key] = slots
	}
	j.mu.Unlock()
	defer StandStill(ctx)()
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return sync.OnceFunc(func() { <-slots }), nil
}

func (j *jumpHosts) close() error {
	j.mu.Lock()
	j.closed = true
	hosts := j.hosts
	j.hosts = map[string]*jumpHost{}
	j.mu.Unlock()
	for _, h := range hosts {
		h.lock <- struct{}{}
		if h.client != nil {
			_ = h.client.Close()
			h.end()
			<-h.dead
			h.client = nil
		}
		<-h.lock
	}
	return nil
}

// viaJump opens a channel to addr through the last hop of a ProxyJump chain; the hops before it lead to that one.
func (d *Dialer) viaJump(
	ctx context.Context, s *settings, addr string, timeout time.Duration,
) (net.Conn, func(), error) {
	chain := s.proxyJump
	key := s.config + "\x00" + chain
	h, err := d.jumps.get(key)
	if err != nil {
		return nil, nil, err
	}
	release, err := d.jumps.slot(ctx, key+"\x00"+addr, max(1, d.opts.JumpDials))
	if err != nil {
		return nil, nil, err
	}
	conn, err := d.openThrough(ctx, h, chain, s.config, addr, timeout)
	if err != nil {
		release()
		return nil, nil, err
	}
	return sever(conn), release, nil
}

// openThrough opens the channel; when the jump host's connection turns out dead it is made again, once.
func (d *Dialer) openThrough(
	ctx context.Context, h *jumpHost, chain, config, addr string, timeout time.Duration,
) (net.Conn, error) {
	for try := 0; ; try++ {
		client, dead, err := d.jumpClient(ctx, h, chain, config)
		if err != nil {
			return nil, jumpFailure(chain, err)
		}
		dialCtx, cancel := context.WithTimeout(ctx, timeout)
		conn, err := client.DialContext(dialCtx, "tcp", addr)
		cancel()
		if err == nil {
			return conn, nil
		}
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) {
			return nil, jumpRefusal(chain, refused)
		}
		if dialCtx.Err() != nil && ctx.Err() == nil {
			e := &Error{Kind: ErrConnectTimeout, Err: fmt.Errorf("no connection through jump host %s", Clean(chain))}
			return nil, &attemptError{err: e, retry: true}
		}
		select {
		case <-dead:
		case <-time.After(time.Second):
			_ = client.Close()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if try > 0 {
			return nil, fmt.Errorf("jump host %s: %w", Clean(chain), err)
		}
	}
}

// jumpFailure says that it was the jump host, not the host.
func jumpFailure(chain string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("jump host %s: %w", Clean(chain), err)
	}
	return &Error{Kind: e.Kind, Hint: e.Hint, Err: fmt.Errorf("jump host %s: %w", Clean(chain), firstError(e.Err, e.Kind))}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// jumpRefusal sorts what a jump host says when it cannot or will not connect.
func jumpRefusal(chain string, refused *ssh.OpenChannelError) error {
	e := &Error{
		Kind: ErrUnreachable, Err: fmt.Errorf("jump host %s: %s", Clean(chain), Line(refused.Message)),
	}
	if refused.Reason == ssh.Prohibited {
		e.Hint = "the jump host's sshd forbids it: AllowTcpForwarding, PermitOpen"
	}
	return &attemptError{err: e, retry: refused.Reason != ssh.Prohibited}
}

// jumpClient returns the live connection to a jump host.
func (d *Dialer) jumpClient(
	ctx context.Context, h *jumpHost, chain, config string,
) (*ssh.Client, <-chan struct{}, error) {
	if err := h.acquire(ctx); err != nil {
		return nil, nil, err
	}
	defer func() { <-h.lock }()
	if h.client != nil {
		select {
		case <-h.dead:
			h.end()
			h.client = nil
		default:
			return h.client, h.dead, nil
		}
	}
	if h.failed != nil && time.Since(h.since) < jumpFailureStands {
		return nil, nil, h.failed
	}
	client, end, interval, err := d.connectJump(ctx, chain, config)
	if err != nil {
		if ctx.Err() == nil && !fault.Short(err) {
			h.failed, h.since = err, time.Now()
		}
		return nil, nil, err
	}
	h.client, h.end, h.dead, h.failed = client, end, make(chan struct{}), nil
	go watchJump(client, h.dead, interval)
	return h.client, h.dead, nil
}

// connectJump connects to the last hop of a chain.
func (d *Dialer) connectJump(
	ctx context.Context, chain, config string,
) (*ssh.Client, func(), time.Duration, error) {
	t, before, err := parseHop(chain)
	if err != nil {
		return nil, nil, 0, &Error{Kind: ErrConfig, Err: err}
	}
	if config != "" {
		t.SSHArgs = append(t.SSHArgs, "-F", config)
	}
	s, err := d.resolve(ctx, t)
	if err != nil {
		return nil, nil, 0, err
	}
	if before != "" {
		s.proxyJump, s.proxyCommand = before, ""
	}
	l, err := d.connect(ctx, t, s)
	if err != nil {
		return nil, nil, 0, err
	}
	return l.client, l.end, cmp.Or(d.opts.KeepAlive, s.aliveInterval, 15*time.Second), nil
}

// watchJump keeps a jump host's connection alive and tells when it has died.
func watchJump(client *ssh.Client, dead chan<- struct{}, interval time.Duration) {
	stop := keepAlive(client, interval, func() {})
	_ = client.Wait()
	stop()
	close(dead)
}

// parseHop splits "[user@]a[:port],ssh://b:2222,c" into its last hop and the chain before it.
func parseHop(chain string) (Target, string, error) {
	before, last := "", chain
	if i := strings.LastIndexByte(chain, ','); i >= 0 {
		before, last = chain[:i], chain[i+1:]
	}
	last = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(last), "ssh://"), "/")
	t := Target{}
	if i := strings.LastIndexByte(last, '@'); i >= 0 {
		t.User, last = last[:i], last[i+1:]
	}
	t.Host = last
	if host, port, err := net.SplitHostPort(last); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return t, "", fmt.Errorf("ProxyJump: port %q", Clean(port))
		}
		t.Host, t.Port = host, n
	} else {
		t.Host = strings.TrimSuffix(strings.TrimPrefix(last, "["), "]")
	}
	if t.Host == "" {
		return t, "", fmt.Errorf("ProxyJump: %q names no host", Clean(chain))
	}
	t.Name = "jump host " + t.Host
	return t, before, nil
}

// commandConn is a ProxyCommand's stdin and stdout as a connection.
type commandConn struct {
	io.WriteCloser
	io.Reader
	cmd   *exec.Cmd
	once  sync.Once
	ended chan struct{}
	said  *tail
}

// proxyCommand starts a command line with the user's shell, as OpenSSH does, in a process group of its own.
func proxyCommand(line string) (net.Conn, error) {
	shell := cmp.Or(os.Getenv("SHELL"), "/bin/sh")
	cmd := exec.Command(shell, "-c", "exec "+line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c := &commandConn{cmd: cmd, ended: make(chan struct{}), said: &tail{}}
	cmd.Stderr = c.said
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = w
	c.WriteCloser, c.Reader = stdin, out
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(&Error{Kind: ErrConfig, Err: fmt.Errorf("ProxyCommand: %w", err)}, out.Close(), w.Close())
	}
	_ = w.Close()
	go func() {
		_ = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// Close ends the command and what it started.
func (c *commandConn) Close() error {
	c.once.Do(func() {
		_ = c.WriteCloser.Close()
		if r, ok := c.Reader.(io.Closer); ok { // first, so that reads end at once
			_ = r.Close()
		}
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-c.ended:
		case <-time.After(500 * time.Millisecond):
		}
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		<-c.ended
	})
	return nil
}

// explain replaces an end of the connection by what the command said; it must be closed.
func (c *commandConn) explain(fail *attemptError) {
	said := Line(c.said.String())
	if said == "" || !errors.Is(fail.err, ErrDisconnected) {
		return
	}
	fail.err = &Error{Kind: ErrUnreachable, Err: fmt.Errorf("ProxyCommand: %s", said)}
}

// LocalAddr returns a placeholder: a command has no address.
func (c *commandConn) LocalAddr() net.Addr { return commandAddr{} }

// RemoteAddr returns a placeholder: a command has no address.
func (c *commandConn) RemoteAddr() net.Addr { return commandAddr{} }

// SetDeadline does nothing: limits close the connection.
func (c *commandConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: limits close the connection.
func (c *commandConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: limits close the connection.
func (c *commandConn) SetWriteDeadline(time.Time) error { return nil }

type commandAddr struct{}

func (commandAddr) Network() string { return "proxycommand" }

func (commandAddr) String() string { return "0.0.0.0:0" }

// tail keeps the last kilobyte of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	said := len(p)
	p = p[max(0, said-1024):]
	if over := len(t.buf) + len(p) - 1024; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	t.buf = append(t.buf, p...)
	return said, nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
