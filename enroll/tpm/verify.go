package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1" // to recognise who signed with it, not to accept it
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"

	"fleetctl/enroll/tpm/wire"
)

// VerifyAsTeleport runs the very check that Teleport's server runs at a join: roots only, no intermediates, any EKU,
// the subject alternative name taken out of the unhandled critical extensions.
func VerifyAsTeleport(cert *x509.Certificate, roots []*x509.Certificate, now time.Time) error {
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	san := asn1.ObjectIdentifier{2, 5, 29, 17}
	checked := *cert
	checked.UnhandledCriticalExtensions = nil
	for _, oid := range cert.UnhandledCriticalExtensions {
		if !oid.Equal(san) {
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
	if issuer == nil {
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
	f := Finding{
		Code: "issuer-unknown", Fatal: true, CA: true,
		Message: "the bundle does not hold the certificate that issued the EK certificate: " +
			wire.Printable(cert.Issuer.String(), maxPropertyText),
		Hint: "add it to ekcert_cas",
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
		f.Message = "the EK certificate has a critical extension that Go does not know"
	}
	return f
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func insecure(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		return true
	}
	return false
}

// signed says whether issuer's key signed cert. Other than crypto/x509 it recognises SHA-1, so that the finding can be
// "signed with SHA-1" instead of "issuer unknown".
func signed(issuer, cert *x509.Certificate) bool {
	err := issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	var refused x509.InsecureAlgorithmError
	if !errors.As(err, &refused) {
		return err == nil
	}
	h := crypto.SHA1.New()
	h.Write(cert.RawTBSCertificate)
	switch key := issuer.PublicKey.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA1, h.Sum(nil), cert.Signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, h.Sum(nil), cert.Signature)
	}
	return false
}
