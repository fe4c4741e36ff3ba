//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// ca is a TPM manufacturer's CA: a root and the certificate below it that issues EK certificates, as most have.
type ca struct {
	Root, Issuer []byte // DER
	IssuerKey    []byte // PKCS #8 DER
}

func newCA(name string) (ca, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ca{}, err
	}
	issuerKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ca{}, err
	}
	root, err := caTemplate(name + " root CA")
	if err != nil {
		return ca{}, err
	}
	issuer, err := caTemplate(name + " EK CA")
	if err != nil {
		return ca{}, err
	}
	c := ca{}
	if c.Root, err = x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey); err != nil {
		return ca{}, err
	}
	if c.Issuer, err = x509.CreateCertificate(rand.Reader, issuer, root, issuerKey.Public(), rootKey); err != nil {
		return ca{}, err
	}
	c.IssuerKey, err = x509.MarshalPKCS8PrivateKey(issuerKey)
	return c, err
}

func caTemplate(name string) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{"fleetsim"}},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
}

// pem returns the whole bundle, the root first.
func (c ca) pem() []byte {
	var b bytes.Buffer
	for _, der := range [][]byte{c.Root, c.Issuer} {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

// issue signs an EK certificate as the TCG EK Credential Profile 2.4 §3.2 wants it: no subject, the TPM's make in a
// critical subject alternative name.
func (c ca) issue(ek *rsa.PublicKey) ([]byte, error) {
	issuer, err := x509.ParseCertificate(c.Issuer)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(c.IssuerKey)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	san, err := tpmName()
	if err != nil {
		return nil, fmt.Errorf("subject alternative name: %w", err)
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageKeyEncipherment,
		UnknownExtKeyUsage:    []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}, // tcg-kp-EKCertificate
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{san},
	}, issuer, ek, key)
}

// tpmName is the subject alternative name: manufacturer, model and version as a directory name.
func tpmName() (pkix.Extension, error) {
	name := pkix.RDNSequence{}
	for i, v := range []string{"id:00001014", "swtpm", "id:20191023"} {
		oid := asn1.ObjectIdentifier{2, 23, 133, 2, i + 1}
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: v}})
	}
	der, err := asn1.Marshal(name)
	if err != nil {
		return pkix.Extension{}, err
	}
	directoryName := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: der}
	value, err := asn1.Marshal([]asn1.RawValue{directoryName})
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: value}, err
}
