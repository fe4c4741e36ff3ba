package tpm

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// CASet is a bundle of TPM manufacturers' certificates, roots and intermediates mixed.
type CASet struct {
	bySubject map[string][]*x509.Certificate // key: RawSubject
	seen      map[[sha256.Size]byte]bool
	leftOut   []LeftOut
	refused   map[string][]refused // key: RawSubject
}

// NewCASet makes a bundle of certificates that are parsed already. Those that Skipped names are not in it.
func NewCASet(certs ...*x509.Certificate) *CASet {
	s := &CASet{
		bySubject: map[string][]*x509.Certificate{}, seen: map[[sha256.Size]byte]bool{}, refused: map[string][]refused{},
	}
	for _, c := range certs {
		s.add(c, place{})
	}
	return s
}

// Len is the number of certificates.
func (s *CASet) Len() int { return len(s.seen) }

// add takes a certificate, unless Teleport's server could accept nothing from it: then it is among the refused ones.
func (s *CASet) add(c *x509.Certificate, at place) {
	sum := sha256.Sum256(c.Raw)
	if s.seen[sum] {
		return
	}
	if why := uselessIssuer(c); why != "" {
		s.refuse(c.Raw, at, why)
		return
	}
	s.seen[sum] = true
	s.bySubject[string(c.RawSubject)] = append(s.bySubject[string(c.RawSubject)], c)
}

// Issuer returns the certificate that directly issued cert (by signature, not by name alone), or nil. Of several for
// one key it prefers one with which Teleport's server admits cert now, then the one that expires last.
func (s *CASet) Issuer(cert *x509.Certificate) *x509.Certificate { return s.IssuerAt(cert, time.Now()) }

// issuers returns all certificates of the bundle that issued cert, in the order of preference.
func (s *CASet) issuers(cert *x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range s.bySubject[string(cert.RawIssuer)] {
		if signed(c, cert) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *x509.Certificate) int {
		if a.IsCA != b.IsCA {
			if a.IsCA {
				return -1
			}
			return 1
		}
		if c := b.NotAfter.Compare(a.NotAfter); c != 0 {
			return c
		}
		return bytes.Compare(a.Raw, b.Raw)
	})
	return out
}

// selfSigned says whether a certificate is a root.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && signed(c, c)
}

// chain returns the certificates above cert, the direct issuer first, as far as the bundle has them. complete: the last
// one is a root.
func (s *CASet) chain(cert *x509.Certificate) (chain []*x509.Certificate, complete bool) {
	for range 10 { // longer chains are loops
		if selfSigned(cert) {
			return chain, true
		}
		issuer := s.Issuer(cert)
		if issuer == nil {
			return chain, false
		}
		chain = append(chain, issuer)
		cert = issuer
	}
	return chain, false
}

// Fingerprint is the SHA-256 of a certificate, in lower-case hex.
func Fingerprint(c *x509.Certificate) string { return fmt.Sprintf("%x", sha256.Sum256(c.Raw)) }

// Fingerprints are those of all certificates, sorted.
func (s *CASet) Fingerprints() []string {
	var all []string
	for _, c := range s.Certificates() {
		all = append(all, Fingerprint(c))
	}
	slices.Sort(all)
	return all
}

// Certificates returns the whole bundle, ordered by subject and then by content.
func (s *CASet) Certificates() []*x509.Certificate {
	out := make([]*x509.Certificate, 0, len(s.seen))
	for _, certs := range s.bySubject {
		out = append(out, certs...)
	}
	sortCertificates(out)
	return out
}

func sortCertificates(certs []*x509.Certificate) {
	slices.SortFunc(certs, func(a, b *x509.Certificate) int {
		if c := bytes.Compare(a.RawSubject, b.RawSubject); c != 0 {
			return c
		}
		return bytes.Compare(a.Raw, b.Raw)
	})
}
