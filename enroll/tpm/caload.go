package tpm

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fleetctl/enroll/tpm/cabundle"
)

// LoadCAs reads files of certificates, in any form that package cabundle knows (PEM, base64, DER, PKCS#7), and
// directories of them, with what is below. A file that is named must hold a usable certificate; in a directory, files
// that are not named as certificates are (.pem, .crt, .cer, .der, .p7b, .p7c) are not taken. Whatever holds or looks
// like a certificate and is not in the bundle is named by Skipped.
func LoadCAs(paths ...string) (*CASet, error) {
	s := NewCASet()
	for _, path := range paths {
		if err := s.load(path); err != nil {
			return nil, fmt.Errorf("EKCert CAs: %w", err)
		}
	}
	return s, nil
}

// place is where a certificate was found.
type place struct {
	file         string
	line, offset int // line 0: a binary file
}

func (p place) String() string {
	switch {
	case p.file == "":
		return ""
	case p.line > 0:
		return fmt.Sprintf("%s:%d", p.file, p.line)
	case p.offset > 0:
		return fmt.Sprintf("%s (byte %d)", p.file, p.offset)
	}
	return p.file
}

func (s *CASet) load(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return s.loadDir(path)
	}
	left := len(s.leftOut)
	parts, usable, err := s.loadFile(path)
	switch {
	case err != nil:
		return err
	case parts == 0:
		return fmt.Errorf("%s: no certificate in it: neither PEM, base64, DER nor PKCS#7", path)
	case usable == 0:
		return fmt.Errorf("no usable certificate: %s%s", s.leftOut[left], andMore(len(s.leftOut)-left-1))
	}
	return nil
}

func andMore(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n)
}

func (s *CASet) loadDir(dir string) error {
	all := 0
	var others []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !certificateName(path) {
			others = append(others, path)
			return nil
		}
		parts, _, err := s.loadFile(path)
		if err == nil && parts == 0 {
			s.leaveOut(place{file: path}, nil, "no certificate in it")
		}
		all += parts
		return err
	})
	if err == nil && all == 0 {
		err = fmt.Errorf("%s: no certificate in this directory (looked at %s)", dir, "*"+strings.Join(certificateNames, ", *"))
	}
	for _, path := range others {
		s.passOver(path)
	}
	return err
}

var certificateNames = []string{".pem", ".crt", ".cer", ".der", ".p7b", ".p7c"}

func certificateName(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	for _, name := range certificateNames {
		if ext == name {
			return true
		}
	}
	return false
}

// maxPassedOver bounds what is looked at of files that are passed over.
const maxPassedOver = 4 << 20

// passOver says what is lost with a file that is not named as certificates are.
func (s *CASet) passOver(path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return
	case info.IsDir(): // filepath.WalkDir follows no links
		s.leaveOut(place{file: path}, nil, "a link to a directory, which is not followed")
		return
	case !info.Mode().IsRegular() || info.Size() > maxPassedOver:
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	lost := 0
	for _, part := range cabundle.Read(data) {
		if part.DER != nil && !s.seen[sha256.Sum256(part.DER)] {
			lost++
		}
	}
	if lost > 0 {
		s.leaveOut(place{file: path}, nil, fmt.Sprintf("it holds %d certificates that are nowhere else, but is not named *%s",
			lost, strings.Join(certificateNames, ", *")))
	}
}

// loadFile returns how many parts a file has, those that were left out included, and how many certificates are usable.
func (s *CASet) loadFile(path string) (parts, usable int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	found := cabundle.Read(data)
	for _, part := range found {
		at := place{path, part.Line, part.Offset}
		if part.DER == nil {
			s.leaveOut(at, nil, part.Reason)
			continue
		}
		c, err := x509.ParseCertificate(part.DER)
		if err != nil {
			s.refuse(part.DER, at, goRefuses(err))
			continue
		}
		s.add(c, at)
		if s.seen[sha256.Sum256(c.Raw)] {
			usable++
		}
	}
	return len(found), usable, nil
}
