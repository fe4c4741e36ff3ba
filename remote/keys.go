package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"fleetctl/remote/fault"
)

// keyRing holds the user's keys: files, each read (and its passphrase asked) once, and agents, each connected to once.
type keyRing struct {
	passphrase func(string) (string, error)
	logf       func(string, ...any)
	warn       func(about, text string)

	mu     sync.Mutex
	files  map[string]*keyFile
	agents map[string]*agentConn
	good   map[string]int    // public keys that hosts accepted, and how often
	from   map[string]string // where public keys come from
}

// keyFile is a private key, or only its public half when the private one is elsewhere or cannot be used.
type keyFile struct {
	once   sync.Once
	signer ssh.Signer
	public ssh.PublicKey
	cert   *ssh.Certificate // path-cert.pub
	err    error
}

func newKeyRing(opts Options, warn func(about, text string)) *keyRing {
	return &keyRing{
		passphrase: opts.Passphrase, logf: opts.Logf, warn: warn,
		files: map[string]*keyFile{}, agents: map[string]*agentConn{}, good: map[string]int{},
		from: map[string]string{},
	}
}

// file loads a key file once. inAgent tells whether an agent has a key, so that no passphrase is asked for it.
func (r *keyRing) file(path string, inAgent func(ssh.PublicKey) bool) *keyFile {
	r.mu.Lock()
	k := r.files[path]
	if k == nil {
		k = &keyFile{}
		r.files[path] = k
	}
	r.mu.Unlock()
	k.once.Do(func() {
		k.load(path, r.passphrase, inAgent)
		if fault.Short(k.err) { // the next one who asks reads it again
			r.mu.Lock()
			delete(r.files, path)
			r.mu.Unlock()
			return
		}
	})
	return k
}

func (k *keyFile) load(path string, ask func(string) (string, error), inAgent func(ssh.PublicKey) bool) {
	k.public = readPublic(path + ".pub")
	if cert, ok := readPublic(path + "-cert.pub").(*ssh.Certificate); ok {
		k.cert = cert
	}
	data, err := readKey(path)
	if err != nil {
		k.err = err
		return
	}
	if pub := parsePublic(data); pub != nil { // IdentityFile may name the public half of an agent's key
		k.public = pub
		return
	}
	k.signer, err = ssh.ParsePrivateKey(data)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		if locked.PublicKey != nil {
			k.public = locked.PublicKey
		}
		k.unlock(path, data, ask, inAgent)
		return
	}
	if err != nil {
		k.err = fmt.Errorf("cannot be used: %w", err)
		if k.public != nil && strings.HasPrefix(k.public.Type(), "sk-") {
			k.err = errors.New("a hardware key works through ssh-agent only: ssh-add it")
		}
		return
	}
	k.public = k.signer.PublicKey()
}

// readKey reads a key file. One that others may look into is not used, as OpenSSH does.
func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if ok && int(owner.Uid) == os.Getuid() && st.Mode().Perm()&0o077 != 0 && parsePublic(data) == nil {
		return nil, fmt.Errorf("%w (mode %04o): chmod 600 %s", errOpen, st.Mode().Perm(), Quote(path))
	}
	return data, nil
}

// errOpen is why a key that others may look into is not used.
var errOpen = errors.New("is open to others")

// maxKeyFile is more than any key file has, in bytes.
const maxKeyFile = 1 << 20

// CheckKey says why a file can be used as no private key, without asking for a passphrase.
func CheckKey(path string) error {
	_, err := readKey(path)
	return keyError(path, err)
}

// keyError names the file, which not every error does.
func keyError(path string, err error) error {
	var p *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return fmt.Errorf("%s: %w", path, p.Err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func (k *keyFile) unlock(path string, data []byte, ask func(string) (string, error), inAgent func(ssh.PublicKey) bool) {
	if k.public != nil && inAgent(k.public) {
		return
	}
	if ask == nil {
		k.err = errors.New("it has a passphrase: ssh-add it")
		return
	}
	phrase, err := ask(path)
	if err != nil {
		k.err = fmt.Errorf("passphrase: %w", err)
		return
	}
	if k.signer, err = ssh.ParsePrivateKeyWithPassphrase(data, []byte(phrase)); err != nil {
		k.err = errors.New("wrong passphrase")
		return
	}
	k.public = k.signer.PublicKey()
}

func readPublic(path string) ssh.PublicKey {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return parsePublic(data)
}

func parsePublic(data []byte) ssh.PublicKey {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----")) {
		return nil
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil
	}
	return pub
}

// agentConn is a connection to one ssh-agent, made when it is first needed.
type agentConn struct {
	path string

	lock    chan struct{} // full while somebody asks, so that whoever waits can give up
	conn    net.Conn
	client  agent.ExtendedAgent
	signers []ssh.Signer
	asked   bool
	err     error
}

func (r *keyRing) agent(path string) *agentConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.agents[path]
	if a == nil {
		a = &agentConn{path: path, lock: make(chan struct{}, 1)}
		r.agents[path] = a
	}
	return a
}

// keys lists the agent's keys, once. An agent that says nothing is left when ctx ends, and asked again by the next.
func (a *agentConn) keys(ctx context.Context) ([]ssh.Signer, error) {
	select {
	case a.lock <- struct{}{}:
		defer func() { <-a.lock }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.asked {
		return a.signers, a.err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", a.path)
	if err != nil {
		if ctx.Err() == nil && !fault.Short(err) {
			a.asked, a.err = true, fmt.Errorf("ssh-agent: %w", err)
		}
		return nil, err
	}
	client := agent.NewClient(conn)
	limited, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	stop := context.AfterFunc(limited, func() { _ = conn.Close() }) // nothing else ends a question
	signers, err := client.Signers()
	stop()
	switch {
	case ctx.Err() != nil: // another host may ask again
		_ = conn.Close()
		return nil, ctx.Err()
	case limited.Err() != nil:
		err = fmt.Errorf("ssh-agent: no answer in %s", agentTime)
	case err != nil:
		err = errors.Join(fmt.Errorf("ssh-agent: %w", err), conn.Close())
	default:
		a.conn, a.client = conn, client
	}
	a.asked, a.signers, a.err = true, signers, err
	return a.signers, a.err
}

// agentTime is how long an agent may take to list its keys: somebody may have to unlock it.
const agentTime = 30 * time.Second

func (r *keyRing) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, a := range r.agents {
		a.lock <- struct{}{}
		if a.conn != nil {
			errs = append(errs, a.conn.Close())
		}
		<-a.lock
	}
	return errors.Join(errs...)
}

// agentPath is where the agent of a host listens; "" for none.
func agentPath(s *settings) string {
	p := s.identityAgent
	switch {
	case p == "none":
		return ""
	case p == "", p == "SSH_AUTH_SOCK":
		return os.Getenv("SSH_AUTH_SOCK")
	case strings.HasPrefix(p, "$"):
		return os.Getenv(strings.Trim(p[1:], "{}"))
	}
	return p
}

// candidates are the keys to offer to a host, the likeliest first, since sshd counts each offer (MaxAuthTries): the
// named ones, then those that hosts of this run took, then the agent's, then OpenSSH's default files. unusable says which
// files cannot be used that were named, or are there, and why. The error is ErrShortage: this machine cannot read them now.
func (r *keyRing) candidates(ctx context.Context, s *settings) (keys []ssh.Signer, unusable []string, err error) {
	var inAgent []ssh.Signer
	if path := agentPath(s); path != "" {
		if inAgent, err = r.agent(path).keys(ctx); fault.Short(err) {
			return nil, nil, &Error{Kind: ErrShortage, Err: err}
		} else if err != nil {
			r.logf("%v", err)
		}
	}
	r.origin("ssh-agent", inAgent)
	var named, defaults []ssh.Signer
	for _, id := range s.identities {
		signers, keyErr := r.identity(id.path, inAgent, s.certs)
		if fault.Short(keyErr) {
			return nil, nil, &Error{Kind: ErrShortage, Err: keyErr}
		}
		r.origin(id.path, signers)
		switch {
		case keyErr == nil, len(signers) > 0, !id.explicit && errors.Is(keyErr, fs.ErrNotExist):
		case id.explicit, errors.Is(keyErr, errOpen), errors.Is(keyErr, fs.ErrPermission):
			unusable = append(unusable, r.unusable(id, keyErr))
		default: // one of OpenSSH's defaults, with a passphrase that nobody gives
			r.logf("key %v", keyError(id.path, keyErr))
		}
		if id.explicit {
			named = append(named, signers...)
		} else {
			defaults = append(defaults, signers...)
		}
	}
	rest := defaults
	if !s.identitiesOnly {
		rest = append(append([]ssh.Signer{}, inAgent...), defaults...)
	}
	var out []ssh.Signer
	for _, k := range distinct(append(named, r.goodFirst(rest)...)) {
		if k = s.algorithms.accepted(k); k != nil {
			out = append(out, k)
		}
	}
	return out, unusable, nil
}

// unusable says of a key file, once a run, why it cannot be used and who named it, and returns the first half of it.
func (r *keyRing) unusable(id identity, err error) string {
	said := keyError(id.path, err).Error()
	if id.place != "" {
		r.warn("key "+id.path, fmt.Sprintf("key %s (%s): other keys are tried", said, id.place))
	} else {
		r.warn("key "+id.path, fmt.Sprintf("key %s: other keys are tried", said))
	}
	return said
}

// identity returns the signers of one key file: with its certificates, and alone.
func (r *keyRing) identity(path string, inAgent []ssh.Signer, certFiles []string) ([]ssh.Signer, error) {
	find := func(pub ssh.PublicKey) ssh.Signer {
		for _, s := range inAgent {
			if bytes.Equal(s.PublicKey().Marshal(), pub.Marshal()) {
				return s
			}
		}
		return nil
	}
	k := r.file(path, func(pub ssh.PublicKey) bool { return find(pub) != nil })
	if fault.Short(k.err) {
		return nil, k.err
	}
	signer := k.signer
	if signer == nil && k.public != nil {
		signer = find(k.public)
	}
	if signer == nil {
		return nil, k.err
	}
	certs := []*ssh.Certificate{k.cert}
	for _, f := range certFiles {
		cert, _ := readPublic(f).(*ssh.Certificate)
		certs = append(certs, cert)
	}
	var out []ssh.Signer
	for _, cert := range certs {
		if cert == nil || !bytes.Equal(cert.Key.Marshal(), signer.PublicKey().Marshal()) {
			continue
		}
		if cs, err := ssh.NewCertSigner(cert, signer); err == nil {
			out = append(out, cs)
		}
	}
	return append(out, signer), nil
}

// origin remembers where keys come from.
func (r *keyRing) origin(from string, signers []ssh.Signer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range signers {
		if blob := string(s.PublicKey().Marshal()); r.from[blob] == "" {
			r.from[blob] = from
		}
	}
}

// describe names a key for people.
func (r *keyRing) describe(pub ssh.PublicKey) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%s %s (%s)", pub.Type(), ssh.FingerprintSHA256(pub), r.from[string(pub.Marshal())])
}

// goodFirst moves keys that were accepted before to the front, the most often accepted one first.
func (r *keyRing) goodFirst(signers []ssh.Signer) []ssh.Signer {
	r.mu.Lock()
	defer r.mu.Unlock()
	var good, rest []ssh.Signer
	for _, s := range signers {
		if r.good[string(s.PublicKey().Marshal())] > 0 {
			good = append(good, s)
		} else {
			rest = append(rest, s)
		}
	}
	return append(good, rest...)
}

// accepted remembers that a host took a key.
func (r *keyRing) accepted(pub ssh.PublicKey) {
	if pub == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.good[string(pub.Marshal())]++
}

func distinct(signers []ssh.Signer) []ssh.Signer {
	seen := map[string]bool{}
	var out []ssh.Signer
	for _, s := range signers {
		if blob := string(s.PublicKey().Marshal()); !seen[blob] {
			seen[blob] = true
			out = append(out, s)
		}
	}
	return out
}
