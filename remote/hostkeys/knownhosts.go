package hostkeys

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	skeema "github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
	"fleetctl/remote/sshconfig"
	"fleetctl/remote/text"
)

// KnownHosts is the content of some known_hosts files (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), indexed: plain names by
// name, hashed names by key, since a hash can only be compared, never looked up. So the good case, where a host shows a
// key that it is known by, costs one HMAC however many hashed entries there are.
type KnownHosts struct {
	mu        sync.RWMutex
	byName    map[string][]*knownKey // entries whose names are all plain, by each of them
	patterns  []*knownKey            // entries with * ? or !
	hashed    []*knownKey
	hashedKey map[string][]*knownKey // the hashed ones by key blob
	hashedAlg []string               // key types of the hashed ones, by first appearance
	revoked   map[string][]*knownKey // @revoked, by key blob
}

// knownKey is one line.
type knownKey struct {
	key       ssh.PublicKey
	blob      string
	authority bool
	names     []string // patterns, lower case, as written
	salt, sum []byte   // of a hashed name
	file      string
	line      int
}

// Load reads files; those that are not there count as empty. Lines that cannot be read are skipped, as
// OpenSSH does, and told to logf.
func Load(files []string, logf func(string, ...any)) (*KnownHosts, error) {
	k := &KnownHosts{
		byName: map[string][]*knownKey{}, hashedKey: map[string][]*knownKey{}, revoked: map[string][]*knownKey{},
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &fault.Error{Kind: fault.ErrConfig, Err: fmt.Errorf("known_hosts: %w", err)}
		}
		k.parse(f, data, logf)
	}
	return k, nil
}

// Revoke reads a RevokedHostKeys file (ssh_config(5)): one public key a line, revoked for every host. As with OpenSSH,
// a file that cannot be read refuses every host; so does a binary key revocation list, which is not understood.
func (k *KnownHosts) Revoke(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return &fault.Error{Kind: fault.ErrConfig, Err: fmt.Errorf("RevokedHostKeys: %w", err)}
	}
	n := 0
	for raw := range bytes.Lines(data) {
		n++
		line := bytes.TrimSpace(raw)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		pub, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			return &fault.Error{
				Kind: fault.ErrConfig, Err: fmt.Errorf("RevokedHostKeys: %s:%d: not a public key", file, n),
				Hint: "list public keys, one a line; binary revocation lists are not understood",
			}
		}
		blob := string(pub.Marshal())
		k.revoked[blob] = append(k.revoked[blob], &knownKey{key: pub, blob: blob, names: []string{"*"}, file: file, line: n})
	}
	return nil
}

func (k *KnownHosts) parse(file string, data []byte, logf func(string, ...any)) {
	n := 0
	for raw := range bytes.Lines(data) {
		n++
		line := strings.Trim(string(raw), " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		entry, marker, err := parseKnownLine(line)
		if err != nil {
			logf("%s:%d: skipped: %v", file, n, err)
			continue
		}
		entry.file, entry.line = file, n
		k.add(entry, marker)
	}
}

// parseKnownLine reads "[@marker] names type base64 [comment]".
func parseKnownLine(line string) (entry *knownKey, marker string, err error) {
	fields := strings.Fields(line)
	if len(fields) > 0 && strings.HasPrefix(fields[0], "@") {
		marker, fields = fields[0], fields[1:]
	}
	if marker != "" && marker != "@cert-authority" && marker != "@revoked" {
		return nil, "", fmt.Errorf("marker %s is not known", marker)
	}
	if len(fields) < 3 {
		return nil, "", errors.New("names, key type or key missing")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		return nil, "", fmt.Errorf("key: %w", err)
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, "", fmt.Errorf("key: %w", err)
	}
	if key.Type() != fields[1] {
		return nil, "", fmt.Errorf("key is %s, line says %s", key.Type(), text.Clean(fields[1]))
	}
	e := &knownKey{key: key, blob: string(key.Marshal()), authority: marker == "@cert-authority"}
	if strings.HasPrefix(fields[0], "|") {
		e.salt, e.sum, err = parseHash(fields[0])
		return e, marker, err
	}
	e.names = strings.Split(strings.ToLower(fields[0]), ",")
	return e, marker, nil
}

// parseHash reads "|1|base64(salt)|base64(HMAC-SHA1(salt, name))".
func parseHash(s string) (salt, sum []byte, err error) {
	parts := strings.Split(s, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return nil, nil, errors.New("hashed name: only |1|salt|hash is known")
	}
	if salt, err = base64.StdEncoding.DecodeString(parts[2]); err != nil {
		return nil, nil, fmt.Errorf("hashed name: %w", err)
	}
	if sum, err = base64.StdEncoding.DecodeString(parts[3]); err != nil {
		return nil, nil, fmt.Errorf("hashed name: %w", err)
	}
	if len(sum) != sha1.Size || len(salt) == 0 || len(salt) > sha1.BlockSize {
		return nil, nil, errors.New("hashed name: wrong length")
	}
	return salt, sum, nil
}

func (k *KnownHosts) add(e *knownKey, marker string) {
	switch {
	case marker == "@revoked":
		k.revoked[e.blob] = append(k.revoked[e.blob], e)
	case e.sum != nil:
		k.hashed = append(k.hashed, e)
		k.hashedKey[e.blob] = append(k.hashedKey[e.blob], e)
		if !slices.Contains(k.hashedAlg, e.key.Type()) {
			k.hashedAlg = append(k.hashedAlg, e.key.Type())
		}
	case slices.ContainsFunc(e.names, func(n string) bool { return strings.ContainsAny(n, "*?!") }):
		k.patterns = append(k.patterns, e)
	default:
		for _, n := range e.names {
			k.byName[n] = append(k.byName[n], e)
		}
	}
}

// matches reports whether a line is about a name ("host" or "[host]:port", lower case).
func (e *knownKey) matches(name string) bool {
	if e.sum != nil {
		return hmac.Equal(hashName(e.salt, name), e.sum)
	}
	return sshconfig.MatchPatterns(e.names, name)
}

// hashName is HMAC-SHA1 (RFC 2104) written out: crypto/hmac allocates, which counts when 5,000 lines are compared.
func hashName(salt []byte, name string) []byte {
	var inner, outer [sha1.BlockSize + 256]byte
	if len(name) > 256 {
		m := hmac.New(sha1.New, salt)
		m.Write([]byte(name))
		return m.Sum(nil)
	}
	copy(inner[:], salt)
	copy(outer[:], salt)
	for i := range sha1.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	n := copy(inner[sha1.BlockSize:], name)
	first := sha1.Sum(inner[:sha1.BlockSize+n])
	n = copy(outer[sha1.BlockSize:], first[:])
	sum := sha1.Sum(outer[:sha1.BlockSize+n])
	return sum[:]
}

// plain returns the lines about a name that can be found without hashing.
func (k *KnownHosts) plain(name string) []*knownKey {
	found := slices.Clone(k.byName[name])
	for _, e := range k.patterns {
		if e.matches(name) {
			found = append(found, e)
		}
	}
	return found
}

// all returns every line about a name; it hashes the name once a hashed line.
func (k *KnownHosts) all(name string) []*knownKey {
	found := k.plain(name)
	for _, e := range k.hashed {
		if e.matches(name) {
			found = append(found, e)
		}
	}
	return found
}

// HostNames are the names by which a host may be known: with its port, and without, which OpenSSH accepts too but does
// not hold against a host.
func HostNames(host string, port int) []string {
	host = strings.ToLower(host)
	name := skeema.Normalize(net.JoinHostPort(host, strconv.Itoa(port)))
	if port == 22 || port == 0 {
		return []string{name}
	}
	return []string{name, host}
}

// Error is a host key that was refused.
type Error struct {
	Kind  error
	Text  string
	Hint  string
	Retry []string // algorithms by which the host is known after all; nil: none
}

func (e *Error) Error() string { return e.Text }

func (e *Error) Unwrap() error { return e.Kind }

// Check decides about the key that a host showed. A nil error means that it is known.
func (k *KnownHosts) Check(names []string, key ssh.PublicKey) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.checkRevoked(names, key); err != nil {
		return err
	}
	var certErr error
	if cert, ok := key.(*ssh.Certificate); ok {
		if certErr = k.checkCert(names, cert); certErr == nil {
			return nil
		}
		key = cert.Key // OpenSSH too falls back to the plain key
	}
	blob := string(key.Marshal())
	for _, name := range names {
		for _, e := range k.plain(name) {
			if !e.authority && e.blob == blob {
				return nil
			}
		}
		for _, e := range k.hashedKey[blob] {
			if !e.authority && e.matches(name) {
				return nil
			}
		}
	}
	return k.refusal(names, key, certErr)
}

func (k *KnownHosts) checkRevoked(names []string, key ssh.PublicKey) error {
	keys := []ssh.PublicKey{key}
	if cert, ok := key.(*ssh.Certificate); ok {
		keys = append(keys, cert.Key, cert.SignatureKey)
	}
	for _, key := range keys {
		for _, e := range k.revoked[string(key.Marshal())] {
			if slices.ContainsFunc(names, e.matches) {
				return &Error{
					Kind: fault.ErrHostKeyRevoked,
					Text: fmt.Sprintf("%s key %s is revoked in %s:%d", key.Type(), ssh.FingerprintSHA256(key), e.file, e.line),
				}
			}
		}
	}
	return nil
}

// checkCert accepts a host certificate of an authority that is known for the host. The certificate must name it.
func (k *KnownHosts) checkCert(names []string, cert *ssh.Certificate) error {
	err := errors.New("host certificate: its authority is not known for this host")
	signer := string(cert.SignatureKey.Marshal())
	for _, name := range names {
		for _, e := range append(k.plain(name), k.hashedKey[signer]...) {
			if !e.authority || e.blob != signer || !e.matches(name) {
				continue
			}
			if cert.CertType != ssh.HostCert {
				return errors.New("host certificate: it is a user's")
			}
			var checker ssh.CertChecker
			if err = checker.CheckCert(principal(names), cert); err == nil {
				return nil
			}
			err = fmt.Errorf("host certificate: %w", err)
		}
	}
	return err
}

// principal is the host's name without a port: what host certificates name.
func principal(names []string) string { return names[len(names)-1] }

// refusal tells a changed key from an unknown host. It looks at every line, which is fine where a run stops.
func (k *KnownHosts) refusal(names []string, key ssh.PublicKey, certErr error) error {
	shown := fmt.Sprintf("%s key %s", key.Type(), ssh.FingerprintSHA256(key))
	var known []*knownKey
	for _, e := range k.all(names[0]) {
		if !e.authority {
			known = append(known, e)
		}
	}
	if len(known) == 0 {
		text := "it shows " + shown
		if certErr != nil {
			text += "; " + certErr.Error()
		}
		return &Error{
			Kind: fault.ErrHostKeyUnknown, Text: text,
			Hint: "compare the fingerprint with the host's own, then add it: ssh-keyscan -H HOST >> ~/.ssh/known_hosts",
		}
	}
	e := &Error{
		Kind: fault.ErrHostKeyChanged,
		Text: fmt.Sprintf("it shows %s, but %s:%d has %s %s", shown, known[0].file, known[0].line,
			known[0].key.Type(), ssh.FingerprintSHA256(known[0].key)),
		Hint: "someone may be in the middle; if the host was reinstalled, remove the old key: ssh-keygen -R HOST",
	}
	if !slices.ContainsFunc(known, func(e *knownKey) bool { return e.key.Type() == key.Type() }) {
		for _, other := range known {
			e.Retry = append(e.Retry, keyAlgorithms(other)...)
		}
	}
	return e
}

// Algorithms returns the host key algorithms to ask for: those the host is known by first, then, because a hashed line
// does not tell whose it is, those of the hashed lines, then the others, so that a changed key is seen as changed.
func (k *KnownHosts) Algorithms(names []string) []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var algs []string
	add := func(list []string) {
		for _, a := range list {
			if !slices.Contains(algs, a) {
				algs = append(algs, a)
			}
		}
	}
	for _, name := range names {
		for _, e := range k.plain(name) {
			add(keyAlgorithms(e))
		}
	}
	supported := ssh.SupportedAlgorithms().HostKeys
	for _, a := range supported {
		if slices.Contains(k.hashedAlg, underlyingType(a)) && !strings.Contains(a, "-cert-") {
			add([]string{a})
		}
	}
	add(supported)
	return algs
}

// keyAlgorithms are the algorithms that prove possession of a known key, strongest first.
func keyAlgorithms(e *knownKey) []string {
	var algs []string
	switch e.key.Type() {
	case ssh.KeyAlgoRSA:
		algs = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	default:
		algs = []string{e.key.Type()}
	}
	if e.authority { // it signs certificates for keys of any type
		var certs []string
		for _, a := range ssh.SupportedAlgorithms().HostKeys {
			if strings.Contains(a, "-cert-") {
				certs = append(certs, a)
			}
		}
		return certs
	}
	return algs
}

func underlyingType(alg string) string {
	if alg == ssh.KeyAlgoRSASHA256 || alg == ssh.KeyAlgoRSASHA512 {
		return ssh.KeyAlgoRSA
	}
	return alg
}

// Accept records a key in memory and, unless file is empty, at the end of a file that is made when it is not there.
func (k *KnownHosts) Accept(file, name string, key ssh.PublicKey, hashed bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	blob := string(key.Marshal())
	if slices.ContainsFunc(k.byName[name], func(e *knownKey) bool { return !e.authority && e.blob == blob }) {
		return nil // somebody else just did
	}
	k.add(&knownKey{key: key, blob: blob, names: []string{name}, file: file}, "")
	if file == "" {
		return nil
	}
	written := name
	if hashed {
		written = hashedName(name)
	}
	line := written + " " + key.Type() + " " + base64.StdEncoding.EncodeToString(key.Marshal()) + "\n"
	return appendLine(file, line)
}

func hashedName(name string) string {
	salt := make([]byte, sha1.Size)
	_, _ = rand.Read(salt) // never fails: crypto/rand
	b64 := base64.StdEncoding.EncodeToString
	return "|1|" + b64(salt) + "|" + b64(hashName(salt, name))
}

// appendLine writes one line with one write, so that other writers' lines stay whole, and mends a missing newline.
func appendLine(file, line string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if st, err := f.Stat(); err == nil && st.Size() > 0 && st.Mode().IsRegular() {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, st.Size()-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}
