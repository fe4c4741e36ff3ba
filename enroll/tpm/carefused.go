package tpm

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"

	"fleetctl/enroll/tpm/wire"
)

// LeftOut is something in the files of a bundle that is not in the bundle.
type LeftOut struct {
	File    string // "" if it came from no file
	Line    int    // from 1; 0 in a binary file
	Subject string // of the certificate, where that much can be read; printable ASCII
	Reason  string // printable ASCII

	at place
}

// String is "FILE:LINE: SUBJECT: REASON".
func (l LeftOut) String() string {
	var parts []string
	for _, s := range []string{l.at.String(), l.Subject, l.Reason} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// LeftOut says what was left out and why, in the order of the files.
func (s *CASet) LeftOut() []LeftOut { return s.leftOut }

// Skipped is LeftOut as text, one line each.
func (s *CASet) Skipped() []string {
	var out []string
	for _, l := range s.leftOut {
		out = append(out, l.String())
	}
	return out
}

// leaveOut notes what is not taken; rawSubject may be nil.
func (s *CASet) leaveOut(at place, rawSubject []byte, reason string) {
	l := LeftOut{File: at.file, Line: at.line, Reason: wire.Printable(reason, maxPropertyText), at: at}
	if len(rawSubject) > 0 {
		l.Subject = wire.Printable(nameOf(rawSubject), maxPropertyText)
	}
	s.leftOut = append(s.leftOut, l)
}

// refused is a certificate that Go, and so Teleport's server, does not accept as an issuer.
type refused struct {
	at     place
	key    crypto.PublicKey // nil: it cannot be read either
	reason string
}

// refuse leaves a certificate out, and remembers whom it could have issued for.
func (s *CASet) refuse(der []byte, at place, reason string) {
	subject, spki := outline(der)
	s.leaveOut(at, subject, reason)
	if subject == nil {
		return
	}
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		key = nil
	}
	s.refused[string(subject)] = append(s.refused[string(subject)], refused{at, key, reason})
}

// refusedIssuer returns the refused certificate that issued cert: by its signature, or, where its key cannot be read, by
// its name alone.
func (s *CASet) refusedIssuer(cert *x509.Certificate) *refused {
	var named *refused
	for i, r := range s.refused[string(cert.RawIssuer)] {
		switch {
		case r.key == nil:
			named = &s.refused[string(cert.RawIssuer)][i]
		case signedBy(r.key, cert):
			return &r
		}
	}
	return named
}

// uselessIssuer says why nothing can be verified with a certificate that crypto/x509 parses: the two things that
// Certificate.Verify holds against a root whatever it issued. Its own signature, for instance with SHA-1, is not among
// them: nobody checks that of a root. Names and dates are for chainFinding, which knows the other certificate.
func uselessIssuer(c *x509.Certificate) string {
	switch {
	case len(c.UnhandledCriticalExtensions) > 0:
		return "it has a critical extension that Go does not know: " + oids(c.UnhandledCriticalExtensions)
	case c.PublicKey == nil:
		return "Go cannot read its key: " + keyAlgorithm(c)
	}
	return ""
}

func goRefuses(err error) string {
	return "Go refuses it: " + strings.TrimPrefix(err.Error(), "x509: ")
}

func oids(list []asn1.ObjectIdentifier) string {
	var out []string
	for _, oid := range list {
		out = append(out, oid.String())
	}
	return strings.Join(out, ", ")
}

// outline reads a certificate's subject and key (RFC 5280, section 4.1) without minding anything else, so that one which
// crypto/x509 refuses can be named. Both are nil where that fails.
func outline(der []byte) (subject, spki []byte) {
	outer := elements(der)
	if len(outer) == 0 {
		return nil, nil
	}
	cert := elements(outer[0].Bytes)
	if len(cert) == 0 {
		return nil, nil
	}
	tbs := elements(cert[0].Bytes)
	if len(tbs) > 0 && tbs[0].Class == asn1.ClassContextSpecific { // version
		tbs = tbs[1:]
	}
	if len(tbs) < 6 || tbs[4].Tag != asn1.TagSequence {
		return nil, nil
	}
	return tbs[4].FullBytes, tbs[5].FullBytes
}

func elements(b []byte) []asn1.RawValue {
	var out []asn1.RawValue
	for len(b) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(b, &v)
		if err != nil {
			return out
		}
		out, b = append(out, v), rest
	}
	return out
}

// nameOf writes a name (RFC 2253), or its bytes where it is malformed.
func nameOf(raw []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 || bytes.Equal(raw, []byte{0x30, 0}) {
		return fmt.Sprintf("subject %x", raw)
	}
	return name.String()
}
