package tpm

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/hex"
	"iter"
	"slices"
	"time"

	"fleetctl/enroll/tpm/wire"
)

// IssuerInfo is one issuer of EK certificates, as a fleet has them.
type IssuerInfo struct {
	Subject     string            `json:"subject"`
	Hosts       int               `json:"hosts"`
	InBundle    bool              `json:"in_bundle"`
	ToRoot      bool              `json:"to_root"`                   // the bundle has the chain up to a root
	Fingerprint string            `json:"fingerprint,omitempty"`     // SHA-256, lower-case hex; where InBundle
	NotAfter    time.Time         `json:"not_after,omitzero"`        // where InBundle
	KeyID       string            `json:"authority_key_id,omitzero"` // lower-case hex, as the EK certificates name it
	AIA         string            `json:"aia,omitempty"`             // where the certificate can be fetched
	Certificate *x509.Certificate `json:"-"`                         // where InBundle
}

// IssuersOf lists who issued the EK certificates (nil ones are passed over), those with most hosts first. An issuer that
// the bundle does not hold is known by its name and key identifier alone. set may be nil.
func IssuersOf(set *CASet, certs iter.Seq[*x509.Certificate], now time.Time) []IssuerInfo {
	if set == nil {
		set = NewCASet()
	}
	found := map[string]*IssuerInfo{}
	for cert := range certs {
		if cert == nil {
			continue
		}
		issuer := set.IssuerAt(cert, now)
		key := "name\x00" + string(cert.RawIssuer) + "\x00" + string(cert.AuthorityKeyId)
		if issuer != nil {
			key = "certificate\x00" + string(issuer.Raw)
		}
		if found[key] == nil {
			found[key] = set.issuerInfo(cert, issuer)
		}
		found[key].Hosts++
	}
	out := make([]IssuerInfo, 0, len(found))
	for _, info := range found {
		out = append(out, *info)
	}
	slices.SortFunc(out, func(a, b IssuerInfo) int {
		return cmp.Or(cmp.Compare(b.Hosts, a.Hosts), cmp.Compare(a.Subject, b.Subject),
			cmp.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.KeyID, b.KeyID))
	})
	return out
}

func (s *CASet) issuerInfo(cert, issuer *x509.Certificate) *IssuerInfo {
	info := &IssuerInfo{
		Subject: wire.Printable(cert.Issuer.String(), maxPropertyText),
		KeyID:   hex.EncodeToString(cert.AuthorityKeyId),
		AIA:     aiaURL(cert),
	}
	if issuer == nil {
		return info
	}
	info.InBundle, info.Certificate = true, issuer
	info.Fingerprint, info.NotAfter = Fingerprint(issuer), issuer.NotAfter.UTC()
	_, info.ToRoot = s.Chain(cert)
	return info
}

// Issuers returns the certificates of the bundle that directly issued these EK certificates, without duplicates, ordered
// by subject: what a token for their hosts needs in ekcert_allowed_cas.
func (s *CASet) Issuers(certs iter.Seq[*x509.Certificate], now time.Time) []*x509.Certificate {
	var out []*x509.Certificate
	for cert := range certs {
		if cert == nil {
			continue
		}
		issuer := s.IssuerAt(cert, now)
		if issuer != nil && !slices.ContainsFunc(out, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, issuer.Raw) }) {
			out = append(out, issuer)
		}
	}
	sortCertificates(out)
	return out
}
