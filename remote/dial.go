package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
	"fleetctl/remote/hostkeys"
	"fleetctl/remote/sshconfig"
)

// Dialer makes connections. It holds what connections share: the agent, key files, known_hosts, jump hosts.
type Dialer struct {
	opts     Options
	resolver *sshconfig.Resolver
	keys     *keyRing
	jumps    jumpHosts
	commands atomic.Bool // a target that was preloaded has a ProxyCommand

	mu     sync.Mutex
	known  map[string]*knownFiles // by list of files
	warned map[string]bool        // by what it was about

	accepting sync.Mutex        // a new host key is recorded
	unwritten map[string]string // keys that this run trusted and could not record, by name; under accepting

	penalties penalties
	system    system
}

// warn tells a person something once.
func (d *Dialer) warn(about, text string) {
	d.mu.Lock()
	said := d.warned[about]
	d.warned[about] = true
	d.mu.Unlock()
	if said {
		return
	}
	if d.opts.Warn != nil {
		d.opts.Warn(text)
		return
	}
	d.opts.Logf("%s", text)
}

// knownFiles are known_hosts files that were read once.
type knownFiles struct {
	once  sync.Once
	hosts *hostkeys.KnownHosts
	err   error
}

// NewDialer reads what all connections share.
func NewDialer(opts Options) (*Dialer, error) {
	switch opts.HostKeyChecking {
	case "":
		opts.HostKeyChecking = "strict"
	case "strict", "accept-new", "off":
	default:
		return nil, &Error{
			Kind: ErrConfig, Err: fmt.Errorf("host key checking %q", opts.HostKeyChecking),
			Hint: "it is strict, accept-new or off",
		}
	}
	if opts.Logf == nil {
		opts.Logf = func(string, ...any) {}
	}
	if opts.Debugf == nil {
		opts.Debugf = func(string, ...any) {}
	}
	opts.PenaltyPause = orDefault(opts.PenaltyPause, 5*time.Second)
	opts.Retries = orDefault(opts.Retries, 3)
	opts.JumpDials = orDefault(opts.JumpDials, 8)
	d := &Dialer{
		opts: opts, resolver: sshconfig.NewResolver(opts.SSH), known: map[string]*knownFiles{}, warned: map[string]bool{},
		unwritten: map[string]string{}, penalties: penalties{until: map[string]time.Time{}},
		system: system{"/etc/nsswitch.conf", "getent"},
	}
	d.keys = newKeyRing(opts, d.warn)
	d.jumps.hosts, d.jumps.slots = map[string]*jumpHost{}, map[string]chan struct{}{}
	return d, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Close ends the shared connections to jump hosts and to the agent.
func (d *Dialer) Close() error { return errors.Join(d.jumps.close(), d.keys.close()) }

// Preload resolves targets and loads their keys, so that every passphrase is asked before the run. It returns the first
// error, which need not concern every target.
func (d *Dialer) Preload(ctx context.Context, targets []Target) error {
	var first error
	for _, t := range targets {
		s, err := d.resolve(ctx, t)
		if err == nil {
			if s.proxyCommand != "" && s.proxyCommand != "none" {
				d.commands.Store(true)
			}
			_, _ = d.prepare(ctx, t, s) // what it is short of may be there when the host is dialled
		} else if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return first
}

// Commands says whether a target that was preloaded is reached by a ProxyCommand, which needs a process and its pipes.
func (d *Dialer) Commands() bool { return d.commands.Load() }

// Dial connects and authenticates to a target. Drops before authentication, refusals and time-outs are tried again with
// a growing, jittered pause; everything else fails at once.
func (d *Dialer) Dial(ctx context.Context, t Target) (*Conn, error) {
	s, err := d.resolve(ctx, t)
	if err != nil {
		return nil, dialError(ctx, err)
	}
	l, err := d.connect(ctx, t, s)
	if err != nil {
		return nil, dialError(ctx, err)
	}
	return newConn(d, t, s, l), nil
}

// dialError is ctxError that knows what is no fault of the host.
func dialError(ctx context.Context, err error) error {
	if fault.Short(err) && ctx.Err() == nil && !errors.Is(err, ErrShortage) {
		var e *Error
		if errors.As(err, &e) && e.Err != nil {
			err = e.Err // of what kind it would be of a host, it isn't
		}
		return &Error{Kind: ErrShortage, Err: err, Hint: "raise its limits (ulimit -n, ulimit -u), or work on fewer hosts at once"}
	}
	return ctxError(ctx, err)
}

// ctxError prefers the context's end to what it caused: a deadline is ErrTimeout, a cancellation stays what it is.
func ctxError(ctx context.Context, err error) error {
	cause := ctx.Err()
	var e *Error
	switch {
	case cause == nil, errors.As(err, &e) && !errors.Is(e.Kind, ErrDisconnected):
		return err
	case errors.Is(cause, context.DeadlineExceeded):
		return &Error{Kind: ErrTimeout, Err: cause}
	}
	return cause
}

// attemptError is a failed attempt, and what may help.
type attemptError struct {
	err   *Error
	retry bool     // after a pause
	lacks bool     // the host has none of the host key algorithms that were asked for
	paced bool     // after a long pause: sshd penalises this machine
	again bool     // at once: with other keys
	algs  []string // at once: asking for these host keys

	verified bool // it failed after the host key was accepted
}

func (a *attemptError) Error() string { return a.err.Error() }

func (a *attemptError) Unwrap() error { return a.err }

// link is a connection that is logged in.
type link struct {
	client   *ssh.Client
	end      func() // ends what is below it
	withheld bool   // its host key is not the known one: it gets no passwords
}

// connect tries until a client is there or nothing more can help. A host key that was refused stays the error, whatever
// happens when the host is asked for the keys that it is known by.
func (d *Dialer) connect(ctx context.Context, t Target, s *settings) (*link, error) {
	l, err := d.prepare(ctx, t, s)
	if err != nil {
		return nil, err
	}
	var algs []string
	var alarm *Error
	tries, penalised := 0, 0
	for range 64 { // a bound for what is tried at once
		made, fail := d.attempt(ctx, t, s, l, algs)
		if fail == nil {
			return made, nil
		}
		if alarm != nil && !fail.verified {
			fail.err = alarm
		}
		switch {
		case ctx.Err() != nil:
			return nil, fail.err
		case fail.algs != nil && algs == nil:
			algs, alarm = fail.algs, fail.err
		case fail.again:
		case fail.paced:
			if !d.penalties.add(ctx, s.addr(), d.opts.PenaltyPause, &penalised) {
				return nil, fail.err
			}
			d.opts.Logf("%s: %v; waiting until it may be over", t.Name, fail.err)
		case fail.retry && tries < d.opts.Retries:
			tries++
			d.opts.Logf("%s: %v; try %d of %d follows", t.Name, fail.err, tries, d.opts.Retries)
			if err := pause(ctx, tries); err != nil {
				return nil, fail.err
			}
		default:
			return nil, fail.err
		}
	}
	return nil, l.failure(errors.New("too many attempts"))
}

// pause waits 0.25 s, doubled with each try up to 8 s, of which a random half is kept.
func pause(ctx context.Context, try int) error {
	full := min(250*time.Millisecond<<min(try-1, 6), 8*time.Second)
	timer := time.NewTimer(full/2 + rand.N(full/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt makes one connection and logs in.
func (d *Dialer) attempt(ctx context.Context, t Target, s *settings, l *login, algs []string) (*link, *attemptError) {
	if err := d.penalties.wait(ctx, s.addr()); err != nil {
		return nil, connectFailure(err)
	}
	conn, release, err := d.transport(ctx, s)
	if err != nil {
		return nil, s.at(connectFailure(err))
	}
	defer release()
	client, fail := d.handshake(ctx, conn, t, s, l, algs)
	d.tell(t, s, l, client)
	if fail != nil {
		_ = conn.Close()
		if command, ok := conn.(*commandConn); ok {
			command.explain(fail)
		}
		return nil, s.at(fail)
	}
	d.keys.accepted(l.signed)
	made := &link{client: client, end: func() { _ = conn.Close() }, withheld: l.isWithheld()}
	if made.withheld {
		d.opts.Logf("%s: %s: the host key has changed: no password is sent", t.Name, s.addr())
	}
	return made, nil
}

// connectLimit is the time for a connection; Options explain it.
func (d *Dialer) connectLimit(s *settings) time.Duration {
	return cmp.Or(d.opts.ConnectTimeout, s.timeout, s.connectTimeout, 10*time.Second)
}

// handshakeLimit is the time for the version and the key exchange.
func (d *Dialer) handshakeLimit(s *settings) time.Duration {
	return cmp.Or(d.opts.HandshakeTimeout, max(20*time.Second, d.connectLimit(s)))
}

// authLimit is the time for a login, and for a become. Whoever gives a connection more time knows of something slow, which
// most often is the login.
func (d *Dialer) authLimit(s *settings) time.Duration {
	return cmp.Or(d.opts.AuthTimeout, max(20*time.Second, d.connectLimit(s)))
}

// addr is what is dialled.
func (s *settings) addr() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// at names the address that was dialled where an error doesn't.
func (s *settings) at(fail *attemptError) *attemptError {
	e := fail.err
	if e.Err == nil || strings.Contains(e.Err.Error(), s.addr()) {
		return fail
	}
	named := *fail
	named.err = &Error{Kind: e.Kind, Hint: e.Hint, Err: fmt.Errorf("%s: %w", s.addr(), e.Err)}
	return &named
}

// transport opens the byte stream to the host: TCP, a command's stdin and stdout, or a channel of a jump host. release
// must be called when the handshake is over.
func (d *Dialer) transport(ctx context.Context, s *settings) (net.Conn, func(), error) {
	timeout := d.connectLimit(s)
	addr := s.addr()
	nothing := func() {}
	switch {
	case s.proxyCommand != "" && s.proxyCommand != "none":
		conn, err := proxyCommand(s.proxyCommand)
		return conn, nothing, err
	case s.proxyJump != "" && s.proxyJump != "none":
		return d.viaJump(ctx, s, addr, timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dialer := net.Dialer{KeepAlive: 30 * time.Second}
	if s.bindAddress != "" {
		if ip := net.ParseIP(s.bindAddress); ip != nil {
			dialer.LocalAddr = &net.TCPAddr{IP: ip}
		}
	}
	network := "tcp"
	switch s.family {
	case "inet":
		network = "tcp4"
	case "inet6":
		network = "tcp6"
	}
	conn, err := d.system.dial(ctx, &dialer, network, s)
	if errors.Is(err, syscall.EADDRNOTAVAIL) && s.bindAddress == "" && portsUsedUp(ctx, network, addr) {
		err = &Error{Kind: ErrShortage, Err: err, Hint: "work on fewer hosts at once, or widen net.ipv4.ip_local_port_range"}
	}
	return conn, nothing, err
}

// portsUsedUp tells the two meanings of EADDRNOTAVAIL apart: no local port is left for TCP, or no local address leads there.
func portsUsedUp(ctx context.Context, network, addr string) bool {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, strings.Replace(network, "tcp", "udp", 1), addr) // it sends nothing
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// connectFailure sorts the errors of transport.
func connectFailure(err error) *attemptError {
	var own *attemptError
	var ready *Error
	var dns *net.DNSError
	var netErr net.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &ready):
		return &attemptError{err: ready}
	case errors.As(err, &dns):
		return &attemptError{
			err:   &Error{Kind: ErrUnreachable, Err: dns, Hint: "check the name, or set ansible_host"},
			retry: dns.IsTemporary || dns.IsTimeout,
		}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		e := &Error{Kind: ErrConnectTimeout, Err: errors.New("no connection"), Hint: "is the host up, and its port open?"}
		return &attemptError{err: e, retry: true}
	case errors.Is(err, syscall.ECONNREFUSED):
		e := &Error{Kind: ErrUnreachable, Err: errors.New("connection refused"), Hint: "is sshd running on this port?"}
		return &attemptError{err: e, retry: true}
	}
	if isDrop(err) {
		e := &Error{Kind: ErrDisconnected, Err: fmt.Errorf("before authentication: %w", err)}
		return &attemptError{err: e, retry: true}
	}
	return &attemptError{err: &Error{Kind: ErrUnreachable, Err: err}}
}

// isDrop recognises a connection that the other side ended: how MaxStartups looks from here.
func isDrop(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNABORTED) ||
		errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) // a ProxyCommand that has ended, a jump host's channel
}
