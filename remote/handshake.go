package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/hostkeys"
)

// phase is how far a handshake came, for its errors and its time limits.
type phase struct {
	mu      sync.Mutex
	auth    bool // the host key was accepted
	hostKey *hostkeys.Error
	again   bool   // at once: the passwords are withheld now
	timeout string // the limit that passed
}

// handshake does the key exchange and the login over conn. It ends conn when ctx or a limit does.
func (d *Dialer) handshake(
	ctx context.Context, conn net.Conn, t Target, s *settings, l *login, algs []string,
) (*ssh.Client, *attemptError) {
	ph := &phase{}
	guarded := guard(conn)
	conn = guarded
	expire := func(what string) func() {
		return func() {
			ph.mu.Lock()
			ph.timeout = what
			ph.mu.Unlock()
			_ = conn.Close()
		}
	}
	kexTimer := time.AfterFunc(d.handshakeLimit(s), expire("no key exchange"))
	defer kexTimer.Stop()
	var authTimer *time.Timer
	inAuth := func() {
		kexTimer.Stop()
		authTimer = time.AfterFunc(d.authLimit(s), expire("no answer to the authentication"))
		ph.mu.Lock()
		ph.auth = true
		ph.mu.Unlock()
	}
	cfg, err := d.clientConfig(ctx, t, s, l, algs, ph, inAuth)
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
		c, chans, reqs, err := ssh.NewClientConn(conn, s.addr(), cfg)
		if authTimer != nil {
			authTimer.Stop()
		}
		if err != nil {
			done <- result{err: err}
			return
		}
		guarded.admitted()
		done <- result{client: newClient(c, chans, reqs)}
	}()
	r := waitResult(ctx, done, d.handshakeLimit(s)+d.authLimit(s)+time.Second)
	if r == nil {
		return nil, ph.failure(l, guarded.words(), context.DeadlineExceeded)
	}
	switch {
	case r.err != nil && guarded.talksTooMuch():
		return nil, &attemptError{err: errTooLong("the connection, before the login")}
	case r.err != nil:
		return nil, ph.failure(l, guarded.words(), r.err)
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

// failure sorts the error of a handshake, as one place that knows what a retry can help. words are what the host said
// before its version.
func (p *phase) failure(l *login, words string, err error) *attemptError {
	p.mu.Lock()
	defer p.mu.Unlock()
	var algorithms *ssh.AlgorithmNegotiationError
	switch {
	case p.hostKey != nil:
		e := &Error{Kind: p.hostKey.Kind, Err: errors.New(p.hostKey.Text), Hint: p.hostKey.Hint}
		return &attemptError{err: e, algs: p.hostKey.Retry, again: p.again}
	case p.timeout != "":
		kind := ErrConnectTimeout
		if p.auth {
			kind = ErrLoginTimeout
		}
		return &attemptError{err: &Error{Kind: kind, Err: withWords(p.timeout, words)}, retry: !p.auth, verified: p.auth}
	case p.auth:
		fail := l.sort(err)
		fail.verified = true
		return fail
	case isDrop(err), strings.Contains(err.Error(), "ssh: disconnect"):
		return dropped(words, err)
	case errors.As(err, &algorithms):
		return &attemptError{lacks: algorithms.What == "host key", err: &Error{
			Kind: ErrConfig, Hint: "let its sshd offer one of ours, or the OpenSSH configuration allow one that is known here",
			Err: fmt.Errorf("no common algorithm for %s: it offers %s; we offer %s", algorithms.What,
				list(algorithms.RequestedAlgorithms), list(algorithms.SupportedAlgorithms)),
		}}
	}
	return &attemptError{err: &Error{
		Kind: ErrUnreachable, Err: withWords("no SSH server: "+Line(err.Error()), words), Hint: "is this the SSH port?",
	}}
}

func list(names []string) string { return Line(Head(strings.Join(names, ", "), 1000)) }

// withWords adds what a host said to what was noticed.
func withWords(noticed, words string) error {
	if words == "" {
		return errors.New(noticed)
	}
	return fmt.Errorf("%s; it said %q", noticed, words)
}

// dropped sorts a connection that the host ended before its key was seen, by what it said instead of its version.
func dropped(words string, err error) *attemptError {
	e := &Error{Kind: ErrDisconnected, Err: withWords("before authentication: "+Line(err.Error()), words)}
	switch {
	case penalised(words):
		e.Kind = ErrUnreachable
		e.Hint = "its sshd holds failed logins or abandoned connections against this machine (PerSourcePenalties): mend those, and wait"
		return &attemptError{err: e, paced: true}
	case strings.Contains(words, "MaxStartups"):
		e.Hint = "its sshd drops connections beyond its MaxStartups: fewer hosts at once may help"
	case speaksElse(words):
		e.Kind, e.Hint = ErrUnreachable, "is this the SSH port?"
		e.Err = withWords("no SSH server", words)
		return &attemptError{err: e}
	case words == "":
		e.Hint = "sshd drops connections beyond its MaxStartups: fewer hosts at once may help"
	}
	return &attemptError{err: e, retry: true}
}

// speaksElse recognises the greetings of other servers: HTTP, SMTP and FTP, POP, IMAP, RFB, TLS's refusal.
func speaksElse(words string) bool {
	for _, greeting := range []string{"HTTP/", "<", "+OK", "-ERR", "* OK", "* BYE", "RFB ", `\x15\x03`} {
		if strings.HasPrefix(words, greeting) {
			return true
		}
	}
	return len(words) > 3 && strings.Trim(words[:3], "0123456789") == "" && (words[3] == ' ' || words[3] == '-')
}

// sort sorts errors of the authentication.
func (l *login) sort(err error) *attemptError {
	text := err.Error()
	dropped := isDrop(err)
	disconnect := strings.Contains(text, "ssh: disconnect")
	switch {
	case disconnect && l.started():
		return &attemptError{err: l.failure(err), again: l.left()}
	case (dropped || disconnect) && !l.answered():
		l.forgetOffers()
		return &attemptError{err: &Error{
			Kind: ErrDisconnected, Err: fmt.Errorf("during authentication: %s", Line(text)),
		}, retry: true}
	case dropped:
		what := "a key was used"
		if l.sentPassword() {
			what = "the password was sent"
		}
		return &attemptError{err: &Error{
			Kind: ErrDisconnected, Err: fmt.Errorf("during authentication, after %s", what),
		}}
	}
	return &attemptError{err: l.failure(err)}
}

// clientConfig builds what the handshake needs. inAuth is called when the host key is accepted.
func (d *Dialer) clientConfig(
	ctx context.Context, t Target, s *settings, l *login, algs []string, ph *phase, inAuth func(),
) (*ssh.ClientConfig, error) {
	known, err := d.knownHosts(s)
	if err != nil {
		return nil, err
	}
	names := s.knownNames()
	if err := d.ask(ctx, s, known, "ORDER", names[0], nil); err != nil {
		return nil, err
	}
	if algs == nil {
		algs = known.Algorithms(names)
	}
	if algs = restrict(algs, s.algorithms.hostKeys); len(algs) == 0 { // which would mean any
		return nil, &Error{Kind: ErrConfig, Err: errors.New("HostKeyAlgorithms allows none that the host is known by")}
	}
	can := ssh.SupportedAlgorithms() // all of which OpenSSH offers, too
	return &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: orAll(s.algorithms.kex, can.KeyExchanges), MACs: orAll(s.algorithms.macs, can.MACs),
			Ciphers: cipherOrder(s.algorithms.ciphers),
		},
		User:              s.user,
		Auth:              l.methods(),
		HostKeyAlgorithms: algs,
		ClientVersion:     "SSH-2.0-fleetctl",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if l.look != nil {
				l.look(key)
				return ph.refuse(errLooked, false)
			}
			err := d.ask(ctx, s, known, "HOSTNAME", names[0], key)
			if err == nil {
				err = d.checkHostKey(t, s, known, names, key)
			}
			if err == nil {
				if !ph.auth {
					inAuth()
				}
				return nil
			}
			if d.opts.HostKeyChecking == "off" && errors.Is(err, ErrHostKeyChanged) {
				if !l.withhold(ph.auth, hintOf(err)) {
					inAuth()
					return nil
				}
				return ph.refuse(err, true)
			}
			return ph.refuse(err, false)
		},
	}, nil
}

// knownNames are the names by which the host may be known.
func (s *settings) knownNames() []string {
	if s.keyAlias != "" {
		return hostkeys.HostNames(s.keyAlias, 22)
	}
	return hostkeys.HostNames(s.host, s.port)
}

// refuse notes why a host key was, and whether the same host is tried again at once.
func (p *phase) refuse(err error, again bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = again
	if !errors.As(err, &p.hostKey) {
		p.hostKey = &hostkeys.Error{Kind: ErrConfig, Text: cause(err).Error()}
	}
	return err
}
