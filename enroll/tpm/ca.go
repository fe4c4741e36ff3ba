package tpm

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// CASet is a bundle of TPM manufacturers' certificates, roots and intermediates mixed.
type CASet struct {
	bySubject map[string][]*x509.Certificate // key: RawSubject
	seen      map[[sha256.Size]byte]bool
	skipped   []string
}

// NewCASet makes a bundle of certificates that are parsed already.
func NewCASet(certs ...*x509.Certificate) *CASet {
	s := &CASet{bySubject: map[string][]*x509.Certificate{}, seen: map[[sha256.Size]byte]bool{}}
	for _, c := range certs {
		s.add(c)
	}
	return s
}

// LoadCAs reads PEM files, DER files (one certificate or several, one after the other) and directories of them, with
// what is below. A file that is named must hold a certificate; in a directory, files that are not named .pem, .crt,
// .cer or .der are passed over. Certificates that crypto/x509 refuses are left out: see Skipped.
func LoadCAs(paths ...string) (*CASet, error) {
	s := NewCASet()
	for _, path := range paths {
		if err := s.load(path); err != nil {
			return nil, fmt.Errorf("EKCert CAs: %w", err)
		}
	}
	return s, nil
}

// Skipped says which certificates were left out and why, one line each.
func (s *CASet) Skipped() []string { return s.skipped }

// Len is the number of certificates.
func (s *CASet) Len() int { return len(s.seen) }

func (s *CASet) add(c *x509.Certificate) {
	sum := sha256.Sum256(c.Raw)
	if s.seen[sum] {
		return
	}
	s.seen[sum] = true
	s.bySubject[string(c.RawSubject)] = append(s.bySubject[string(c.RawSubject)], c)
}

func (s *CASet) load(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return s.loadDir(path)
	}
	left := len(s.skipped)
	found, err := s.loadFile(path)
	switch {
	case err != nil:
		return err
	case found == 0:
		return fmt.Errorf("%s: no certificate in it, neither PEM nor DER", path)
	case len(s.skipped)-left == found:
		return fmt.Errorf("no usable certificate: %s", s.skipped[left])
	}
	return nil
}

func (s *CASet) loadDir(dir string) error {
	all := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !certificateName(path) {
			return err
		}
		found, err := s.loadFile(path)
		if err == nil && found == 0 {
			s.skipped = append(s.skipped, path+": no certificate in it")
		}
		all += found
		return err
	})
	if err == nil && all == 0 {
		err = fmt.Errorf("%s: no certificate in this directory (looked at *.pem, *.crt, *.cer, *.der)", dir)
	}
	return err
}

func certificateName(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".pem", ".crt", ".cer", ".der":
		return true
	}
	return false
}

// loadFile returns how many certificates were found, those that were left out included.
func (s *CASet) loadFile(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if found := s.loadPEM(path, data); found > 0 {
		return found, nil
	}
	return s.loadDER(path, data), nil
}

func (s *CASet) loadPEM(path string, data []byte) int {
	found := 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return found
		}
		if block.Type == "CERTIFICATE" || block.Type == "TRUSTED CERTIFICATE" {
			found++
			s.parse(fmt.Sprintf("%s: certificate %d", path, found), block.Bytes)
		}
	}
}

func (s *CASet) loadDER(path string, data []byte) int {
	found := 0
	for len(data) > 0 {
		var element asn1.RawValue
		rest, err := asn1.Unmarshal(data, &element)
		if err != nil || element.Tag != asn1.TagSequence {
			return found
		}
		found++
		s.parse(fmt.Sprintf("%s: certificate %d", path, found), element.FullBytes)
		data = rest
	}
	return found
}

func (s *CASet) parse(what string, der []byte) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		s.skipped = append(s.skipped, what+": "+err.Error())
		return
	}
	s.add(c)
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

// Chain returns the certificates above cert, the direct issuer first, as far as the bundle has them. complete: the last
// one is a root.
func (s *CASet) Chain(cert *x509.Certificate) (chain []*x509.Certificate, complete bool) {
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
