package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// login is the authentication to one host. It lives over several connections: when the host closes one because too
// many keys were offered, the next goes on with the keys that were not.
type login struct {
	keys     []ssh.Signer
	unusable []string // key files, and why
	password string
	settings *settings
	look     func(ssh.PublicKey) // sees the host key, and it comes to no login

	mu           sync.Mutex
	tried        map[string]bool // public keys offered so far
	offered      []ssh.PublicKey // the same, in order, on this connection
	signed       ssh.PublicKey   // the last one that the host let us sign with
	signing      bool            // a key was used on this connection
	offers       int             // keys and passwords offered on this connection
	passwordSent bool            // on any connection: a password is sent once
	withheld     bool            // the host showed another key than is known: it gets no password
	mend         string          // what to do about that key
	refused      error           // what the keyboard-interactive dialogue ended with
}

var (
	errPasswordExpired = errors.New("the host demands a new password")
	errPasswordTwice   = errors.New("the host asked for the password again")
)

func newLogin(keys []ssh.Signer, unusable []string, password string, s *settings) *login {
	return &login{keys: keys, unusable: unusable, password: password, settings: s, tried: map[string]bool{}}
}

// withhold keeps passwords from a host whose key has changed, as OpenSSH does where the key is not checked. It reports
// whether this connection must end, because it could send one.
func (l *login) withhold(loggedIn bool, mend string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	must := !l.withheld && (l.password != "" || loggedIn)
	l.withheld, l.password, l.mend = true, "", mend
	return must
}

func (l *login) isWithheld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.withheld
}

// methods are what is tried on one connection, in the order of PreferredAuthentications.
func (l *login) methods() []ssh.AuthMethod {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offers, l.signing, l.offered = 0, false, nil
	order := l.settings.preferredAuth
	if order == nil {
		order = []string{"publickey", "password", "keyboard-interactive"}
	}
	var out []ssh.AuthMethod
	for _, m := range order {
		switch {
		case m == "publickey" && l.settings.pubkeyAuth && len(l.keys) > 0:
			out = append(out, ssh.PublicKeysCallback(l.untried))
		case m == "password" && l.settings.passwordAuth && l.password != "":
			out = append(out, ssh.PasswordCallback(l.sendPassword))
		case m == "keyboard-interactive" && l.settings.keyboardAuth && l.password != "":
			out = append(out, ssh.KeyboardInteractive(l.answer))
		}
	}
	return out
}

// untried wraps the keys that were not offered yet.
func (l *login) untried() ([]ssh.Signer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []ssh.Signer
	for _, k := range l.keys {
		if !l.tried[string(k.PublicKey().Marshal())] {
			out = append(out, l.watch(k))
		}
	}
	return out, nil
}

// left reports whether another connection could offer something new.
func (l *login) left() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	untried := slices.ContainsFunc(l.keys, func(k ssh.Signer) bool { return !l.tried[string(k.PublicKey().Marshal())] })
	return untried || (l.password != "" && !l.passwordSent)
}

// started reports whether anything was offered on this connection.
func (l *login) started() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offers > 0
}

func (l *login) sentPassword() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passwordSent
}

// answered reports whether the host has what it asked for: a signature on this connection, or the password. What it does
// then (a push to a phone) is not to be done again.
func (l *login) answered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passwordSent || l.signing
}

// forgetOffers lets the next connection offer everything again, after one that broke.
func (l *login) forgetOffers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.tried)
}

func (l *login) sendPassword() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.passwordSent {
		return "", errPasswordTwice
	}
	l.passwordSent = true
	l.offers++
	return l.password, nil
}

// answer answers one round of keyboard-interactive (RFC 4256): the password to the one question that hides its answer.
// What is asked stands in the last line: sshd puts what PAM has to say before it.
func (l *login) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	last := make([]string, len(questions))
	for i, q := range questions {
		q = strings.TrimSpace(q)
		last[i] = strings.ToLower(q[strings.LastIndexAny(q, "\r\n")+1:])
	}
	text := strings.Join(last, " ")
	err := errPasswordTwice
	switch {
	case asksNewPassword(text):
		err = errPasswordExpired
	case len(questions) != 1 || echos[0] || !strings.Contains(text, "password"):
		err = fmt.Errorf("the host asks %q, which cannot be answered", Line(text))
	default:
		if pw, again := l.sendPassword(); again == nil {
			return []string{pw}, nil
		}
	}
	l.mu.Lock()
	l.refused = err
	l.mu.Unlock()
	return nil, err
}

// asksNewPassword recognises the questions of an expired password (Linux-PAM, pam_unix; OpenSSH's change request), in lower
// case.
func asksNewPassword(question string) bool {
	for _, s := range []string{"new password", "new unix password", "current password", "(current) unix password", "old password"} {
		if strings.Contains(question, s) {
			return true
		}
	}
	return false
}

// watched is a key that tells the login when it is offered and when it is used.
type watched struct {
	ssh.AlgorithmSigner
	login *login
}

// watchedMulti is the same for signers that restrict their algorithms.
type watchedMulti struct {
	watched
	algorithms []string
}

func (w watchedMulti) Algorithms() []string { return w.algorithms }

func (l *login) watch(k ssh.Signer) ssh.Signer {
	as, ok := k.(ssh.AlgorithmSigner)
	if !ok {
		as = plainSigner{k}
	}
	w := watched{as, l}
	if m, ok := k.(ssh.MultiAlgorithmSigner); ok {
		return watchedMulti{w, m.Algorithms()}
	}
	return w
}

// plainSigner is a signer that knows its key's own algorithm only.
type plainSigner struct{ ssh.Signer }

func (p plainSigner) SignWithAlgorithm(rand io.Reader, data []byte, _ string) (*ssh.Signature, error) {
	return p.Sign(rand, data)
}

func (w watched) PublicKey() ssh.PublicKey {
	pub := w.AlgorithmSigner.PublicKey()
	w.login.mu.Lock()
	defer w.login.mu.Unlock()
	if blob := string(pub.Marshal()); !w.login.tried[blob] {
		w.login.tried[blob] = true
		w.login.offered = append(w.login.offered, pub)
		w.login.offers++
	}
	return pub
}

func (w watched) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	w.used()
	return w.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
}

func (w watched) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	w.used()
	return w.AlgorithmSigner.Sign(rand, data)
}

func (w watched) used() {
	pub := w.AlgorithmSigner.PublicKey()
	w.login.mu.Lock()
	defer w.login.mu.Unlock()
	w.login.signed, w.login.signing = pub, true
}

// failure says why the host let nobody in.
func (l *login) failure(err error) *Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &Error{Kind: ErrAuth, Err: err}
	switch {
	case errors.Is(l.refused, errPasswordExpired):
		e.Err, e.Hint = l.refused, "log in by hand once and change the password"
	case l.refused != nil && !errors.Is(l.refused, errPasswordTwice):
		e.Err = l.refused
	case l.passwordSent:
		e.Err = fmt.Errorf("the password of %s was rejected", Clean(l.settings.user))
		e.Hint = "check the user and the password"
	case l.withheld:
		e.Err = fmt.Errorf("%s: none of %d keys was accepted, and no password is sent to a host whose key has changed",
			Clean(l.settings.user), len(l.tried))
		e.Hint = l.mend
	case len(l.tried) == 0:
		e.Err = errors.New("there is no key or password to offer")
		e.Hint = "start ssh-agent, set ansible_ssh_private_key_file, or give a password"
	default:
		e.Err = fmt.Errorf("%s: none of %d keys was accepted", Clean(l.settings.user), len(l.tried))
		e.Hint = "check the user, and that the key is in its authorized_keys"
	}
	if len(l.unusable) > 0 && l.refused == nil {
		e.Err = fmt.Errorf("%w; key %s", e.Err, Clean(strings.Join(l.unusable, "; key ")))
		e.Hint = "mend the key's file, or the setting that names it"
	}
	return e
}

// prepare loads what a host's login needs, so that passphrases are asked for now.
// The error is ErrShortage: this machine cannot read them now.
func (d *Dialer) prepare(ctx context.Context, t Target, s *settings) (*login, error) {
	keys, unusable, err := d.keys.candidates(ctx, s)
	return newLogin(keys, unusable, t.Password, s), err
}
