package tpm

import (
	"crypto/x509"
	"encoding/hex"

	"fleetctl/enroll/tpm/wire"
)

// MissingIssuer is the certificate that a bundle lacks for an EK certificate, as far as the latter names it.
type MissingIssuer struct {
	Name    string // the issuer's distinguished name (RFC 2253), printable ASCII
	KeyID   string // the authority key identifier (RFC 5280, section 4.2.1.1), lower-case hex; "" if it has none
	URL     string // where it says that the issuer can be fetched (section 4.2.2.1); "" if it does not
	Refused string // the bundle's file has it, but Go refuses it: "FILE:LINE: reason"; else ""
}

// Missing says which issuer an EK certificate needs and the bundle does not have; false: it has it.
func (s *CASet) Missing(cert *x509.Certificate) (MissingIssuer, bool) {
	if len(s.issuers(cert)) > 0 {
		return MissingIssuer{}, false
	}
	m := MissingIssuer{
		Name:  wire.Printable(nameOf(cert.RawIssuer), maxPropertyText),
		KeyID: wire.Printable(hex.EncodeToString(cert.AuthorityKeyId), maxPropertyText),
		URL:   aiaURL(cert),
	}
	if r := s.refusedIssuer(cert); r != nil {
		m.Refused = r.String()
	}
	return m, true
}

func (r *refused) String() string {
	if at := r.at.String(); at != "" {
		return at + ": " + r.reason
	}
	return r.reason
}
