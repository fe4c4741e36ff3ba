package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"
)

// now is when the tests judge certificates.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// authority is a manufacturer: a root and the intermediate that issues EK certificates.
type authority struct {
	Root, Issuer       *x509.Certificate
	rootKey, issuerKey *rsa.PrivateKey
}

var manufacturer = sync.OnceValues(func() (*authority, error) {
	a := &authority{}
	var err error
	if a.rootKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if a.issuerKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	ca := func(name string, serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, Organization: []string{"Acme TPM"}},
			NotBefore: now.AddDate(-5, 0, 0), NotAfter: now.AddDate(20, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	if a.Root, err = sign(ca("Acme root", 1), nil, a.rootKey.Public(), a.rootKey); err != nil {
		return nil, err
	}
	a.Issuer, err = sign(ca("Acme EK CA 1", 2), a.Root, a.issuerKey.Public(), a.rootKey)
	return a, err
})

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// issue makes an EK certificate as manufacturers do, with changes.
func issue(t testing.TB, public crypto.PublicKey, change func(*x509.Certificate)) []byte {
	t.Helper()
	a, err := manufacturer()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(0x5ecd5f8e),
		NotBefore:             now.AddDate(-1, 0, 0),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageKeyEncipherment,
		UnknownExtKeyUsage:    []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
		IssuingCertificateURL: []string{"http://example.com/ek-ca-1.cer"},
		ExtraExtensions:       []pkix.Extension{directoryName()},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Issuer, public, a.issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// directoryName is the critical subject alternative name of EK certificates: manufacturer, model, version (EK Credential
// Profile, section 3.2.9).
func directoryName() pkix.Extension {
	name, err := asn1.Marshal(pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 23, 133, 2, 1}, Value: "id:00001014"},
		{Type: asn1.ObjectIdentifier{2, 23, 133, 2, 2}, Value: "swtpm"},
		{Type: asn1.ObjectIdentifier{2, 23, 133, 2, 3}, Value: "id:20191023"},
	}}.ToRDNSequence())
	if err != nil {
		panic(err)
	}
	san, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}})
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: san}
}

// certificate is the outermost layer (RFC 5280, section 4.1).
type certificate struct {
	TBS       asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

// resign alters the signed part of a certificate, and signs it again, with SHA-1 where that is asked for.
func resign(t testing.TB, der []byte, alter func(tbs []byte) []byte, hash crypto.Hash) []byte {
	t.Helper()
	a, err := manufacturer()
	if err != nil {
		t.Fatal(err)
	}
	var c certificate
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		t.Fatal(err)
	}
	tbs := alter(bytes.Clone(c.TBS.FullBytes))
	h := hash.New()
	h.Write(tbs)
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.issuerKey, hash, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	if hash == crypto.SHA1 {
		c.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}
	}
	c.TBS = asn1.RawValue{FullBytes: tbs}
	c.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	out, err := asn1.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// withSHA1 signs a certificate with SHA-1.
func withSHA1(t testing.TB, der []byte) []byte {
	sha256WithRSA := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b}
	sha1WithRSA := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05}
	_ = sha1.Size
	return resign(t, der, func(tbs []byte) []byte { return bytes.Replace(tbs, sha256WithRSA, sha1WithRSA, 1) }, crypto.SHA1)
}

// withSerial replaces the serial number, as it is encoded, by one of the same length.
func withSerial(t testing.TB, der, old, serial []byte) []byte {
	field := func(b []byte) []byte { return append([]byte{0x02, byte(len(b))}, b...) }
	return resign(t, der, func(tbs []byte) []byte { return bytes.Replace(tbs, field(old), field(serial), 1) }, crypto.SHA256)
}

// withOAEP makes the key's algorithm id-RSAES-OAEP, as some manufacturers do.
func withOAEP(t testing.TB, der []byte) []byte {
	rsaEncryption := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}
	rsaesOAEP := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07}
	return resign(t, der, func(tbs []byte) []byte { return bytes.Replace(tbs, rsaEncryption, rsaesOAEP, 1) }, crypto.SHA256)
}

func newECDSAKey(t testing.TB) crypto.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}
