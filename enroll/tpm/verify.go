package tpm

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"

	"fleetctl/enroll/tpm/wire"
)

// oidSubjectAltName is id-ce-subjectAltName (RFC 5280, section 4.2.1.6), which is critical in EK certificates, whose
// subject is empty, and which holds a name of a kind that crypto/x509 does not handle (TCG EK Credential Profile for TPM
// Family 2.0, section 3.2.9).
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// VerifyAsTeleport runs the very check that Teleport's server runs at a join: roots only, no intermediates, any EKU,
// the subject alternative name taken out of the unhandled critical extensions.
func VerifyAsTeleport(cert *x509.Certificate, roots []*x509.Certificate, now time.Time) error {
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	checked := *cert
	checked.UnhandledCriticalExtensions = nil
	for _, oid := range cert.UnhandledCriticalExtensions {
		if !oid.Equal(oidSubjectAltName) {
			checked.UnhandledCriticalExtensions = append(checked.UnhandledCriticalExtensions, oid)
		}
	}
	_, err := checked.Verify(x509.VerifyOptions{
		Roots:       pool,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// Judge forecasts the CA check for an EK certificate (nil: the TPM has none) with a token that holds its direct issuer
// from this bundle. All findings are marked CA: they do not matter to a token without ekcert_allowed_cas.
func (s *CASet) Judge(cert *x509.Certificate, now time.Time) []Finding {
	if cert == nil {
		return []Finding{{
			Code: "no-ekcert", Fatal: true, CA: true,
			Message: "the TPM presents no EK certificate, and the token requires one",
			Hint:    "put the host on a token without ekcert_allowed_cas (without_ekcert: hash-only)",
		}}
	}
	issuer := s.IssuerAt(cert, now)
	switch {
	case issuer == nil && unsupported(cert.SignatureAlgorithm):
		return []Finding{signatureFinding(cert)}
	case issuer == nil:
		return []Finding{s.unknownIssuer(cert)}
	}
	if err := VerifyAsTeleport(cert, []*x509.Certificate{issuer}, now); err != nil {
		return []Finding{chainFinding(cert, issuer, err, now)}
	}
	return nil
}

// IssuerAt is Issuer for a given time: of several certificates for one key it takes one with which the check passes.
func (s *CASet) IssuerAt(cert *x509.Certificate, now time.Time) *x509.Certificate {
	issuers := s.issuers(cert)
	if len(issuers) == 0 {
		return nil
	}
	if len(issuers) > 1 {
		for _, c := range issuers {
			if VerifyAsTeleport(cert, []*x509.Certificate{c}, now) == nil {
				return c
			}
		}
	}
	return issuers[0]
}

func (s *CASet) unknownIssuer(cert *x509.Certificate) Finding {
	if r := s.refusedIssuer(cert); r != nil {
		return refusedFinding(cert, r)
	}
	f := Finding{
		Code: "issuer-unknown", Fatal: true, CA: true,
		Message: "the bundle does not hold the certificate that issued the EK certificate: " +
			wire.Printable(nameOf(cert.RawIssuer), maxPropertyText),
		Hint: "add it to ekcert_cas",
	}
	if len(s.bySubject[string(cert.RawIssuer)]) > 0 {
		f.Message += " (there is one of this name, but its key did not sign)"
	}
	if url := aiaURL(cert); url != "" {
		f.Hint += "; it can be fetched from " + url
	}
	if root := s.rootOf(cert); root != nil {
		f.Code = "issuer-only-root"
		f.Message += "; its manufacturer's root alone is not enough"
	}
	return f
}

// refusedFinding is for an issuer that is there and of no use.
func refusedFinding(cert *x509.Certificate, r *refused) Finding {
	who := "the certificate that issued the EK certificate"
	if r.key == nil {
		who = "the certificate that by its name issued the EK certificate"
	}
	f := Finding{
		Code: "issuer-refused", Fatal: true, CA: true,
		Message: who + " (" + wire.Printable(nameOf(cert.RawIssuer), maxPropertyText) + ") is of no use: " +
			wire.Printable(r.String(), 2*maxPropertyText),
		Hint: "Teleport's server refuses it as well: ask the manufacturer for another certificate of this key, " +
			"or put the host on a token without ekcert_allowed_cas",
	}
	if url := aiaURL(cert); url != "" {
		f.Hint += "; see also " + url
	}
	return f
}

// signatureFinding is for an EK certificate whose issuer cannot be told by the signature.
func signatureFinding(cert *x509.Certificate) Finding {
	return Finding{
		Code: "ekcert-signature", Fatal: true, CA: true,
		Message: "the EK certificate is signed with an algorithm that Go does not know: " + signatureName(cert),
		Hint:    "put the host on a token without ekcert_allowed_cas",
	}
}

// rootOf guesses a root of the same manufacturer: without the certificate between them nothing links the two but the
// organisation's name.
func (s *CASet) rootOf(cert *x509.Certificate) *x509.Certificate {
	org := strings.Join(cert.Issuer.Organization, ",")
	if org == "" {
		return nil
	}
	for _, c := range s.Certificates() {
		if strings.Join(c.Subject.Organization, ",") == org && selfSigned(c) {
			return c
		}
	}
	return nil
}

// aiaURL is where a certificate says that its issuer can be fetched (RFC 5280, section 4.2.2.1), if it is printable.
func aiaURL(cert *x509.Certificate) string {
	for _, url := range cert.IssuingCertificateURL {
		if len(url) <= maxPropertyText && url == wire.Printable(url, maxPropertyText) {
			return url
		}
	}
	return ""
}

// chainFinding puts a failed check into words.
func chainFinding(cert, issuer *x509.Certificate, err error, now time.Time) Finding {
	f := Finding{Code: "chain", Fatal: true, CA: true,
		Message: "Teleport's check of the EK certificate fails: " + wire.Printable(err.Error(), maxPropertyText),
		Hint:    "put the host on a token without ekcert_allowed_cas"}
	var unhandled x509.UnhandledCriticalExtension
	var constraint x509.ConstraintViolationError
	switch {
	case now.After(cert.NotAfter) || now.Before(cert.NotBefore):
		f.Code = "ekcert-expired"
		f.Message = fmt.Sprintf("the EK certificate is valid from %s to %s only", day(cert.NotBefore), day(cert.NotAfter))
	case now.After(issuer.NotAfter) || now.Before(issuer.NotBefore):
		f.Code = "issuer-expired"
		f.Message = fmt.Sprintf("the certificate that issued the EK certificate is valid from %s to %s only",
			day(issuer.NotBefore), day(issuer.NotAfter))
	case insecure(cert.SignatureAlgorithm):
		f.Code = "ekcert-sha1"
		f.Message = "the EK certificate is signed with " + cert.SignatureAlgorithm.String() + ", which Go does not accept"
	case errors.As(err, &unhandled):
		f.Code = "ekcert-critical-extension"
		f.Message = "the EK certificate has a critical extension that Go does not know: " + unhandledOf(cert)
	case errors.As(cert.CheckSignatureFrom(issuer), &constraint):
		f.Message = "the certificate that issued the EK certificate is not marked as one that may: no CA, or no such key usage"
	}
	return f
}

// Dated says whether a finding is a judgement by the clock.
func (f Finding) Dated() bool { return f.Code == "ekcert-expired" || f.Code == "issuer-expired" }

// unhandledOf lists the extensions that the check fails for: the subject alternative name is let pass.
func unhandledOf(cert *x509.Certificate) string {
	var out []asn1.ObjectIdentifier
	for _, oid := range cert.UnhandledCriticalExtensions {
		if !oid.Equal(oidSubjectAltName) {
			out = append(out, oid)
		}
	}
	return wire.Printable(oids(out), maxPropertyText)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
