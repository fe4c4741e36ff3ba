package token

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// tokenName is what a key of Teleport's backend may hold and what is safe as a file's name. A colon or a slash would
// be allowed there, but not in the second.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,199}$`)

// lint refuses what today's servers refuse, and what they take but would never match: it runs before anything is
// written.
func (s *Set) lint() error {
	var errs []error
	files := map[string]string{}
	claim := func(what, name string) {
		file := strings.ToLower(name) // some file systems see no case
		if other, ok := files[file]; ok {
			errs = append(errs, fmt.Errorf("%s: %s has the same file, %s", what, other, name))
		}
		files[file] = what
	}
	for _, b := range s.Bots {
		if err := lintName(b.Name); err != nil {
			errs = append(errs, fmt.Errorf("bot %q: %w", b.Name, err))
		}
		claim("bot "+b.Name, s.botFile(b))
	}
	holders := map[string]string{}
	for _, t := range s.Tokens {
		claim("token "+t.Name, fileOf(t.Name))
		if err := t.lint(s.maxBytes, holders); err != nil {
			errs = append(errs, fmt.Errorf("token %s: %w", t.Name, err))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", outcome.ErrInput, errors.Join(errs...))
	}
	return nil
}

func lintName(name string) error {
	if !validName.MatchString(name) || strings.Contains(name, "..") {
		return errors.New("this name would be refused by Teleport or a file system; " +
			"use letters, digits, '-', '_' and single dots")
	}
	return nil
}

// lint checks one token; holders notes which token has a rule for a hash.
func (t Token) lint(maxBytes int, holders map[string]string) error {
	if err := lintName(t.Name); err != nil {
		return err
	}
	switch {
	case t.Kind != KindBot && t.Kind != KindNode:
		return fmt.Errorf("unknown kind %q", t.Kind)
	case (t.Kind == KindBot) != (t.Bot != ""):
		return errors.New("a bot's name must be there if and only if the role is Bot")
	case len(t.Rules) == 0:
		return errors.New("has no rule; the server wants one at least")
	}
	for i, text := range t.CAs {
		if err := lintCA(text); err != nil {
			return fmt.Errorf("CA %d: %w", i+1, err)
		}
	}
	for _, r := range t.Rules {
		if err := r.lint(); err != nil {
			return fmt.Errorf("%s: %w", r.Host, err)
		}
		if r.Kept {
			continue
		}
		if other, ok := holders[r.EKHash]; ok {
			return fmt.Errorf("%s: token %s has a rule for the same EK", r.Host, other)
		}
		holders[r.EKHash] = t.Name
	}
	planned := t
	planned.Rules = slices.DeleteFunc(slices.Clone(t.Rules), func(r Rule) bool { return r.Kept })
	if size := storedBytes(planned); maxBytes > 0 && size > maxBytes {
		return fmt.Errorf("is %d bytes in the cluster, more than token.max_bytes (%d)", size, maxBytes)
	}
	return nil
}

func lintCA(text string) error {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return errors.New("is not one PEM certificate")
	}
	_, err := x509.ParseCertificate(block.Bytes)
	return err
}

func (r Rule) lint() error {
	switch {
	case !store.ValidEKHash(r.EKHash):
		return errors.New("its EKPub hash is not 64 lower-case hex digits")
	case r.EKSerial != "" && !tpm.ValidSerial(r.EKSerial):
		return fmt.Errorf("its EKCert serial %q is not in the form 5e:cd:5f:8e", r.EKSerial)
	case r.Description == "" || strings.ContainsFunc(r.Description, func(c rune) bool { return !unicode.IsPrint(c) }):
		return errors.New("its description is empty or has characters that do not print")
	}
	return nil
}
