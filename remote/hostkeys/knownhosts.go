package hostkeys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

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
	// unreadable are @revoked lines whose key cannot be read: it may be any key of the hosts that they name.
	unreadable []*knownKey
	seen       map[string]int64 // how many bytes of whole lines of a file were read
}

// knownKey is one line.
type knownKey struct {
	kind      string // the key's type
	blob      string
	authority bool
	names     []string // patterns, lower case, as written
	salt, sum []byte   // of a hashed name
	file      string
	line      int
}

// Load reads files; those that are not there count as empty. Lines that cannot be read are skipped, as OpenSSH does, and
// told to logf; but a @revoked line among them refuses the hosts that it names (checkRevoked).
func Load(files []string, logf func(string, ...any)) (*KnownHosts, error) {
	k := newKnownHosts()
	for _, f := range files {
		if err := k.Read(f, logf); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// Read adds a file, as Load does.
func (k *KnownHosts) Read(file string, logf func(string, ...any)) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fault.Error{Kind: fault.ErrConfig, Err: fmt.Errorf("known_hosts: %w", err)}
	}
	k.parse(file, data, logf)
	k.seen[file] = wholeLines(data)
	return nil
}

// Add adds lines of a known_hosts file that are in none; where is what they came from.
func (k *KnownHosts) Add(where string, lines []byte, logf func(string, ...any)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.parse(where, lines, logf)
}

func newKnownHosts() *KnownHosts {
	return &KnownHosts{
		byName: map[string][]*knownKey{}, hashedKey: map[string][]*knownKey{}, revoked: map[string][]*knownKey{},
		seen: map[string]int64{},
	}
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
		k.revoked[blob] = append(k.revoked[blob], newKnownKey(pub, "*", file, n))
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
			if revokes(line) {
				k.unreadable = append(k.unreadable, unreadable(line, file, n))
			}
			logf("%s:%d: cannot be read: %v", file, n, err)
			continue
		}
		entry.file, entry.line = file, n
		k.add(entry, marker)
	}
}

// words splits a line where OpenSSH does.
func words(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
}

// revokes reports whether a line that cannot be read was meant to revoke a key.
func revokes(line string) bool {
	for _, w := range words(line) {
		if !strings.HasPrefix(w, "@") {
			return false
		}
		if strings.EqualFold(w, revokedMarker) {
			return true
		}
	}
	return false
}

// unreadable is a @revoked line without a key: about the hosts that it names, or about every one where it names none.
func unreadable(line, file string, n int) *knownKey {
	e := &knownKey{names: []string{"*"}, file: file, line: n}
	rest := slices.DeleteFunc(words(line), func(w string) bool { return strings.HasPrefix(w, "@") })
	if len(rest) == 0 {
		return e
	}
	if !strings.HasPrefix(rest[0], "|") {
		e.names = splitNames(rest[0])
	} else if salt, sum, err := parseHash(rest[0]); err == nil {
		e.salt, e.sum = salt, sum
	}
	return e
}

const revokedMarker = "@revoked"

// parseKnownLine reads "[@marker] names type base64 [comment]".
func parseKnownLine(line string) (entry *knownKey, marker string, err error) {
	fields := words(line)
	if len(fields) > 0 && strings.HasPrefix(fields[0], "@") {
		marker, fields = fields[0], fields[1:]
	}
	if marker != "" && marker != "@cert-authority" && marker != revokedMarker {
		return nil, "", fmt.Errorf("marker %s is not known", text.Clean(marker))
	}
	if len(fields) < 3 {
		return nil, "", errors.New("names, key type or key missing")
	}
	if strings.HasPrefix(fields[0], "@") {
		return nil, "", errors.New("a second marker")
	}
	e, err := parseKey(fields[1], fields[2])
	if err != nil {
		return nil, "", err
	}
	e.authority = marker == "@cert-authority"
	if strings.HasPrefix(fields[0], "|") {
		e.salt, e.sum, err = parseHash(fields[0])
		return e, marker, err
	}
	e.names = splitNames(fields[0])
	return e, marker, nil
}

func splitNames(s string) []string { return strings.Split(strings.ToLower(s), ",") }

// parseKey reads a key. One of a type that cannot be had here counts too: a host that it is known by has changed when it
// shows another one.
func parseKey(kind, encoded string) (*knownKey, error) {
	blob, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if !bytes.HasPrefix(blob, ssh.Marshal(struct{ Kind string }{kind})) {
		return nil, fmt.Errorf("key is not %s", text.Clean(kind))
	}
	key, err := ssh.ParsePublicKey(blob)
	switch {
	case err == nil:
		blob = key.Marshal()
	case slices.Contains(keyTypes(), kind):
		return nil, fmt.Errorf("key: %w", err)
	}
	return &knownKey{kind: kind, blob: string(blob)}, nil
}

// keyTypes are those that hosts and authorities can have here.
func keyTypes() []string {
	types := CAAlgorithms()
	for _, a := range slices.Concat(ssh.SupportedAlgorithms().HostKeys, ssh.InsecureAlgorithms().HostKeys) {
		types = append(types, underlyingType(a))
	}
	return types
}

// newKnownKey is a line that nobody wrote.
func newKnownKey(key ssh.PublicKey, name, file string, line int) *knownKey {
	return &knownKey{kind: key.Type(), blob: string(key.Marshal()), names: []string{name}, file: file, line: line}
}

// fingerprint is the key's, as ssh-keygen -l prints it.
func (e *knownKey) fingerprint() string {
	sum := sha256.Sum256([]byte(e.blob))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
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
	if len(sum) != sha1.Size || len(salt) != sha1.Size {
		return nil, nil, errors.New("hashed name: wrong length")
	}
	return salt, sum, nil
}

func (k *KnownHosts) add(e *knownKey, marker string) {
	switch {
	case marker == revokedMarker:
		k.revoked[e.blob] = append(k.revoked[e.blob], e)
	case e.sum != nil:
		k.hashed = append(k.hashed, e)
		k.hashedKey[e.blob] = append(k.hashedKey[e.blob], e)
		if !slices.Contains(k.hashedAlg, e.kind) {
			k.hashedAlg = append(k.hashedAlg, e.kind)
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
