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
	"slices"
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

	mu    sync.Mutex
	known map[string]*knownFiles // by list of files
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
	opts.HandshakeTimeout = orDefault(opts.HandshakeTimeout, 20*time.Second)
	opts.AuthTimeout = orDefault(opts.AuthTimeout, 20*time.Second)
	opts.Retries = orDefault(opts.Retries, 3)
	opts.JumpDials = orDefault(opts.JumpDials, 8)
	d := &Dialer{
		opts: opts, resolver: sshconfig.NewResolver(opts.SSH), keys: newKeyRing(opts), known: map[string]*knownFiles{},
	}
	d.jumps.hosts = map[string]*jumpHost{}
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
	client, release, err := d.connect(ctx, t, s)
	if err != nil {
		return nil, dialError(ctx, err)
	}
	return newConn(d, t, s, client, release), nil
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
	again bool     // at once: with other keys
	algs  []string // at once: asking for these host keys
}

func (a *attemptError) Error() string { return a.err.Error() }

func (a *attemptError) Unwrap() error { return a.err }

// connect tries until a client is there or nothing more can help.
func (d *Dialer) connect(ctx context.Context, t Target, s *settings) (*ssh.Client, func(), error) {
	l, err := d.prepare(ctx, t, s)
	if err != nil {
		return nil, nil, err
	}
	var algs []string
	tries := 0
	for range 64 { // a bound for what is tried at once
		client, release, fail := d.attempt(ctx, t, s, l, algs)
		switch {
		case fail == nil:
			return client, release, nil
		case ctx.Err() != nil:
			return nil, nil, fail.err
		case fail.algs != nil && algs == nil:
			algs = fail.algs
		case fail.again:
		case fail.retry && tries < d.opts.Retries:
			tries++
			d.opts.Logf("%s: %v; try %d of %d follows", t.Name, fail.err, tries, d.opts.Retries)
			if err := pause(ctx, tries); err != nil {
				return nil, nil, fail.err
			}
		default:
			return nil, nil, fail.err
		}
	}
	return nil, nil, l.failure(errors.New("too many attempts"))
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
func (d *Dialer) attempt(
	ctx context.Context, t Target, s *settings, l *login, algs []string,
) (*ssh.Client, func(), *attemptError) {
	conn, release, err := d.transport(ctx, s)
	if err != nil {
		return nil, nil, s.at(connectFailure(err))
	}
	client, fail := d.handshake(ctx, conn, t, s, l, algs)
	if fail != nil {
		_ = conn.Close()
		if command, ok := conn.(*commandConn); ok {
			command.explain(fail)
		}
		release()
		return nil, nil, s.at(fail)
	}
	release()
	d.keys.accepted(l.signed)
	return client, func() { _ = conn.Close() }, nil
}

// at names the address that was dialled where the network failed and its words don't say where.
func (s *settings) at(fail *attemptError) *attemptError {
	e := fail.err
	ofNetwork := errors.Is(e.Kind, ErrUnreachable) || errors.Is(e.Kind, ErrTimeout) || errors.Is(e.Kind, ErrDisconnected)
	if !ofNetwork || e.Err == nil || strings.Contains(e.Err.Error(), s.host) {
		return fail
	}
	named := *fail
	named.err = &Error{Kind: e.Kind, Hint: e.Hint, Err: fmt.Errorf("%s: %w", net.JoinHostPort(s.host, strconv.Itoa(s.port)), e.Err)}
	return &named
}

// transport opens the byte stream to the host: TCP, a command's stdin and stdout, or a channel of a jump host. release
// must be called when the handshake is over.
func (d *Dialer) transport(ctx context.Context, s *settings) (net.Conn, func(), error) {
	timeout := cmp.Or(d.opts.ConnectTimeout, s.connectTimeout, 10*time.Second)
	addr := net.JoinHostPort(s.host, strconv.Itoa(s.port))
	nothing := func() {}
	switch {
	case s.proxyCommand != "" && s.proxyCommand != "none":
		conn, err := proxyCommand(s.expand(s.proxyCommand))
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
	conn, err := dialer.DialContext(ctx, network, addr)
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
		e := &Error{Kind: ErrTimeout, Err: errors.New("no connection"), Hint: "is the host up, and its port open?"}
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
		errors.Is(err, os.ErrClosed) // a ProxyCommand that has ended
}

// phase is how far a handshake came, for its errors and its time limits.
type phase struct {
	mu      sync.Mutex
	auth    bool // the host key was accepted
	hostKey *hostkeys.Error
	timeout string // the limit that passed
}

// handshake does the key exchange and the login over conn. It ends conn when ctx or a limit does.
func (d *Dialer) handshake(
	ctx context.Context, conn net.Conn, t Target, s *settings, l *login, algs []string,
) (*ssh.Client, *attemptError) {
	ph := &phase{}
	expire := func(what string) func() {
		return func() {
			ph.mu.Lock()
			ph.timeout = what
			ph.mu.Unlock()
			_ = conn.Close()
		}
	}
	kexTimer := time.AfterFunc(d.opts.HandshakeTimeout, expire("no key exchange"))
	defer kexTimer.Stop()
	var authTimer *time.Timer
	inAuth := func() {
		kexTimer.Stop()
		authTimer = time.AfterFunc(d.opts.AuthTimeout, expire("no answer to the authentication"))
		ph.mu.Lock()
		ph.auth = true
		ph.mu.Unlock()
	}
	cfg, err := d.clientConfig(t, s, l, algs, ph, inAuth)
	if err != nil {
		return nil, connectFailure(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	type result struct {
		client *ssh.Client
		err    error
	}
	done := make(chan result, 1)
	go func() { // an agent that waits for a touch cannot be interrupted
		c, chans, reqs, err := ssh.NewClientConn(conn, net.JoinHostPort(s.host, strconv.Itoa(s.port)), cfg)
		if authTimer != nil {
			authTimer.Stop()
		}
		if err != nil {
			done <- result{err: err}
			return
		}
		done <- result{client: ssh.NewClient(c, chans, reqs)}
	}()
	r := waitResult(ctx, done, d.opts.HandshakeTimeout+d.opts.AuthTimeout+time.Second)
	if r == nil {
		return nil, ph.failure(l, context.DeadlineExceeded)
	}
	if r.err != nil {
		return nil, ph.failure(l, r.err)
	}
	return r.client, nil
}

// waitResult waits for a handshake; when ctx ends, only as long as closing a connection takes.
func waitResult[T any](ctx context.Context, done <-chan T, limit time.Duration) *T {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		return &r
	case <-timer.C:
		return nil
	case <-ctx.Done():
	}
	timer.Reset(300 * time.Millisecond)
	select {
	case r := <-done:
		return &r
	case <-timer.C:
		return nil
	}
}

// failure sorts the error of a handshake, as one place that knows what a retry can help.
func (p *phase) failure(l *login, err error) *attemptError {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.hostKey != nil:
		e := &Error{Kind: p.hostKey.Kind, Err: errors.New(p.hostKey.Text), Hint: p.hostKey.Hint}
		return &attemptError{err: e, algs: p.hostKey.Retry}
	case p.timeout != "":
		return &attemptError{err: &Error{Kind: ErrTimeout, Err: errors.New(p.timeout)}, retry: !l.started()}
	case p.auth:
		return l.sort(err)
	case isDrop(err), strings.Contains(err.Error(), "ssh: disconnect"):
		return &attemptError{err: &Error{
			Kind: ErrDisconnected, Err: fmt.Errorf("before authentication: %s", Line(err.Error())),
			Hint: "sshd drops connections beyond its MaxStartups: fewer hosts at once may help",
		}, retry: true}
	case strings.Contains(err.Error(), "no common algorithm"):
		return &attemptError{err: &Error{Kind: ErrConfig, Err: errors.New(Line(err.Error()))}}
	}
	return &attemptError{err: &Error{
		Kind: ErrUnreachable, Err: fmt.Errorf("no SSH server: %s", Line(err.Error())), Hint: "is this the SSH port?",
	}}
}

// sort sorts errors of the authentication.
func (l *login) sort(err error) *attemptError {
	text := err.Error()
	dropped := isDrop(err)
	disconnect := strings.Contains(text, "ssh: disconnect")
	switch {
	case disconnect && l.started():
		return &attemptError{err: l.failure(err), again: l.left()}
	case (dropped || disconnect) && !l.sentPassword():
		l.forgetOffers()
		return &attemptError{err: &Error{
			Kind: ErrDisconnected, Err: fmt.Errorf("during authentication: %s", Line(text)),
		}, retry: true}
	case dropped:
		return &attemptError{err: &Error{
			Kind: ErrDisconnected, Err: errors.New("during authentication, after the password was sent"),
		}}
	}
	return &attemptError{err: l.failure(err)}
}

// clientConfig builds what the handshake needs. inAuth is called when the host key is accepted.
func (d *Dialer) clientConfig(
	t Target, s *settings, l *login, algs []string, ph *phase, inAuth func(),
) (*ssh.ClientConfig, error) {
	known, err := d.knownHosts(s)
	if err != nil {
		return nil, err
	}
	names := hostkeys.HostNames(s.host, s.port)
	if s.keyAlias != "" {
		names = hostkeys.HostNames(s.keyAlias, 22)
	}
	if algs == nil {
		algs = known.Algorithms(names)
	}
	cfg := &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: supported(s.kex, allKex()), Ciphers: ciphers(s.ciphers), MACs: supported(s.macs, allMACs()),
		},
		User:              s.user,
		Auth:              l.methods(),
		HostKeyAlgorithms: restrict(algs, s.hostKeyAlgorithms),
		ClientVersion:     "SSH-2.0-fleetctl",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			err := d.checkHostKey(t, s, known, names, key)
			if err == nil {
				if !ph.auth {
					inAuth()
				}
				return nil
			}
			ph.mu.Lock()
			defer ph.mu.Unlock()
			if !errors.As(err, &ph.hostKey) {
				ph.hostKey = &hostkeys.Error{Kind: ErrConfig, Text: err.Error()}
			}
			return err
		},
	}
	return cfg, nil
}

// knownHosts returns the index of a host's known_hosts files.
func (d *Dialer) knownHosts(s *settings) (*hostkeys.KnownHosts, error) {
	files := slices.Concat(s.userKnown, s.globalKnown)
	id := strings.Join(append(files, s.revokedKeys), "\x00")
	d.mu.Lock()
	k := d.known[id]
	if k == nil {
		k = &knownFiles{}
		d.known[id] = k
	}
	d.mu.Unlock()
	k.once.Do(func() {
		k.hosts, k.err = hostkeys.Load(files, d.opts.Logf)
		if k.err == nil && s.revokedKeys != "" && s.revokedKeys != "none" {
			k.err = k.hosts.Revoke(s.path(s.revokedKeys))
		}
	})
	if fault.Short(k.err) { // the next host reads them again
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.known, id)
	}
	return k.hosts, k.err
}

// checkHostKey applies the policy. accept-new trusts hosts that are not known, never a key that changed.
func (d *Dialer) checkHostKey(t Target, s *settings, known *hostkeys.KnownHosts, names []string, key ssh.PublicKey) error {
	err := known.Check(names, key)
	switch {
	case err == nil || errors.Is(err, ErrHostKeyRevoked):
		return err
	case d.opts.HostKeyChecking == "off":
		return nil
	case d.opts.HostKeyChecking != "accept-new" || !errors.Is(err, ErrHostKeyUnknown):
		return err
	}
	file := ""
	if len(s.userKnown) > 0 && s.userKnown[0] != os.DevNull {
		file = s.userKnown[0]
	}
	if err := known.Accept(file, names[0], key, s.hashKnown); err != nil {
		return fmt.Errorf("cannot record the host key: %w", err)
	}
	fingerprint := ssh.FingerprintSHA256(key)
	d.opts.Logf("%s: trusted on first use: %s %s", t.Name, key.Type(), fingerprint)
	if d.opts.Accepted != nil {
		d.opts.Accepted(t.Name, fingerprint)
	}
	return nil
}

// ciphers puts AES-GCM first, which costs half of what ChaCha20-Poly1305 does where the processor knows AES.
func ciphers(user []string) []string {
	if user != nil {
		return supported(user, slices.Concat(ssh.SupportedAlgorithms().Ciphers, ssh.InsecureAlgorithms().Ciphers))
	}
	out := []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	for _, c := range ssh.SupportedAlgorithms().Ciphers {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

func allKex() []string {
	return slices.Concat(ssh.SupportedAlgorithms().KeyExchanges, ssh.InsecureAlgorithms().KeyExchanges)
}

func allMACs() []string {
	return slices.Concat(ssh.SupportedAlgorithms().MACs, ssh.InsecureAlgorithms().MACs)
}

// supported keeps what the user asked for and we can do; nil means our defaults.
func supported(user, can []string) []string {
	var out []string
	for _, a := range user {
		if slices.Contains(can, a) {
			out = append(out, a)
		}
	}
	return out
}

// restrict keeps the algorithms that the user allows.
func restrict(algs, allowed []string) []string {
	if allowed == nil {
		return algs
	}
	out := supported(algs, allowed)
	return append(out, supported(allowed, ssh.InsecureAlgorithms().HostKeys)...)
}
