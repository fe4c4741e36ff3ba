package softtpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// CA issues EK certificates, as a manufacturer does.
type CA struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a root with that name, valid for ten years around now.
func NewCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{name}},
		NotBefore: now.AddDate(-5, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	return &CA{Cert: cert, key: key}, nil
}

// PEM is the CA's certificate, for ekcert_allowed_cas.
func (c *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Cert.Raw})
}

// Certify gives the EK that a TPM shows a certificate. Its serial number is the EK's number, counted from 0x1000.
func (c *CA) Certify(t *TPM) error {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(0x1000 + t.shown().Number)), NotBefore: c.Cert.NotBefore, NotAfter: c.Cert.NotAfter,
		KeyUsage: x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.Cert, &t.shown().Key.PublicKey, c.key)
	if err != nil {
		return fmt.Errorf("enrolltest: %w", err)
	}
	t.Cert = der
	return nil
}
