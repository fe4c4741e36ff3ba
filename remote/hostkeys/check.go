package hostkeys

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
)

// HostNames are the names by which a host may be known: with its port, and without. The name without a port counts only
// where nothing is known of the one with it; see Check.
func HostNames(host string, port int) []string {
	host = strings.ToLower(host)
	if port == 22 || port == 0 {
		return []string{host}
	}
	return []string{"[" + host + "]:" + strconv.Itoa(port), host}
}

// Error is a host key that was refused.
type Error struct {
	Kind  error
	Text  string
	Hint  string
	Retry []string // algorithms by which the host is known after all; nil: none

	Name  string   // by which the host is known, or would be
	Files []string // that have another key of the name itself
	Lines []string // file:line, that have another key for a pattern of names
}

func (e *Error) Error() string { return e.Text }

func (e *Error) Unwrap() error { return e.Kind }

// Check decides about the key that a host showed, as OpenSSH's check_host_key does; names are those of HostNames, or a
// HostKeyAlias alone. A nil error means that it is known. caAlgorithms are what an authority may have signed a host
// certificate with (CASignatureAlgorithms); none: OpenSSH's default, which is without SHA-1.
//
// It is stricter than OpenSSH in three things: a key that is revoked under any of the names is, a certificate's plain key
// gets no more from the name without a port than a plain key does, and a certificate must name the host (as since
// OpenSSH 10.3).
func (k *KnownHosts) Check(names []string, key ssh.PublicKey, caAlgorithms ...string) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.check(names, key, caAlgorithms)
}

func (k *KnownHosts) check(names []string, key ssh.PublicKey, caAlgorithms []string) error {
	if err := k.checkRevoked(names, key); err != nil {
		return err
	}
	var certErr error
	if cert, ok := key.(*ssh.Certificate); ok {
		if certErr = k.checkCert(names, cert, caAlgorithms); certErr == nil {
			return nil
		}
		key = cert.Key // OpenSSH too falls back to the plain key
	}
	blob := string(key.Marshal())
	if k.has(names[0], blob) {
		return nil
	}
	known := k.plainKeys(names[0])
	if len(known) == 0 && slices.ContainsFunc(names[1:], func(name string) bool { return k.has(name, blob) }) {
		return nil
	}
	return refusal(names[0], known, key, certErr)
}

// has reports whether a name is known by a plain key. It hashes the name once a hashed line with this key.
func (k *KnownHosts) has(name, blob string) bool {
	is := func(e *knownKey) bool { return !e.authority && e.blob == blob }
	return slices.ContainsFunc(k.plain(name), is) ||
		slices.ContainsFunc(k.hashedKey[blob], func(e *knownKey) bool { return is(e) && e.matches(name) })
}

// plainKeys are all lines with a plain key about a name. It looks at every line, which is fine where a run stops.
func (k *KnownHosts) plainKeys(name string) []*knownKey {
	return slices.DeleteFunc(k.all(name), func(e *knownKey) bool { return e.authority })
}

// checkRevoked refuses what is revoked under any of the names, and hosts of @revoked lines that cannot be read: the key
// may be theirs.
func (k *KnownHosts) checkRevoked(names []string, key ssh.PublicKey) error {
	for _, e := range k.unreadable {
		if slices.ContainsFunc(names, e.matches) {
			return &Error{
				Kind: fault.ErrHostKeyRevoked,
				Text: fmt.Sprintf("%s:%d revokes a key, but cannot be read, so that every key counts as revoked", e.file, e.line),
				Hint: "mend the line: @revoked NAMES TYPE KEY",
			}
		}
	}
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

// checkCert accepts a host certificate of an authority that is known for the host.
func (k *KnownHosts) checkCert(names []string, cert *ssh.Certificate, caAlgorithms []string) error {
	signer := string(cert.SignatureKey.Marshal())
	is := func(e *knownKey) bool { return e.authority && e.blob == signer }
	for _, name := range names {
		if slices.ContainsFunc(k.plain(name), is) ||
			slices.ContainsFunc(k.hashedKey[signer], func(e *knownKey) bool { return is(e) && e.matches(name) }) {
			if err := certFor(principal(names), cert, caAlgorithms); err != nil {
				return fmt.Errorf("host certificate: %w", err)
			}
			return nil
		}
	}
	return errors.New("host certificate: its authority is not known for this host")
}

// CAAlgorithms are OpenSSH's default of CASignatureAlgorithms (ssh_config(5)).
func CAAlgorithms() []string {
	return []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
}

// certFor checks all of a host certificate but whose authority's it is.
func certFor(host string, cert *ssh.Certificate, caAlgorithms []string) error {
	if len(caAlgorithms) == 0 {
		caAlgorithms = CAAlgorithms()
	}
	switch {
	case cert.CertType != ssh.HostCert:
		return errors.New("it is a user's")
	case len(cert.ValidPrincipals) == 0:
		return errors.New("it names no host, so that it would be good for every one")
	case !slices.Contains(caAlgorithms, cert.Signature.Format):
		return fmt.Errorf("its authority signed with %q, which is not allowed", cert.Signature.Format)
	}
	var checker ssh.CertChecker
	return checker.CheckCert(host, cert)
}

// principal is the host's name without a port: what host certificates name.
func principal(names []string) string { return names[len(names)-1] }

// refusal tells a changed key from an unknown host.
func refusal(name string, known []*knownKey, key ssh.PublicKey, certErr error) error {
	shown := fmt.Sprintf("%s key %s", key.Type(), ssh.FingerprintSHA256(key))
	if len(known) == 0 {
		text := "it shows " + shown
		if certErr != nil {
			text += "; " + certErr.Error()
		}
		return &Error{Kind: fault.ErrHostKeyUnknown, Text: text, Name: name}
	}
	e := &Error{
		Kind: fault.ErrHostKeyChanged, Name: name,
		Text: fmt.Sprintf("it shows %s, but %s:%d has %s %s", shown, known[0].file, known[0].line,
			known[0].kind, known[0].fingerprint()),
	}
	for _, k := range known {
		switch {
		case k.sum == nil && !slices.Contains(k.names, name):
			e.Lines = append(e.Lines, fmt.Sprintf("%s:%d", k.file, k.line))
		case !slices.Contains(e.Files, k.file):
			e.Files = append(e.Files, k.file)
		}
	}
	if !slices.ContainsFunc(known, func(e *knownKey) bool { return e.kind == key.Type() }) {
		for _, other := range known {
			e.Retry = append(e.Retry, keyAlgorithms(other)...)
		}
	}
	return e
}
