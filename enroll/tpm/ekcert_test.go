package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/tpm/wire"
)

// rsaKey is made once: it takes long.
var rsaKey *rsa.PrivateKey

func testRSAKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	if rsaKey == nil {
		var err error
		if rsaKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	return rsaKey
}

// withOAEP makes the key's type id-RSAES-OAEP (RFC 4055, section 4.1).
func withOAEP(der []byte) []byte {
	return bytes.Replace(der, []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"), []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"), 1)
}

// header5 and header7 are what TPM 1.2 put before certificates.
func header5(b []byte) []byte {
	return append([]byte{0x10, 0x01, 0x00, byte(len(b) >> 8), byte(len(b))}, b...)
}

func header7(b []byte) []byte { return header5(append([]byte{0x10, 0x02}, b...)) }

func TestParseEKCertReadsWhatTbotReads(t *testing.T) {
	issuer := newEntity(t, "EK CA", nil, nil)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ek := newEntityWithKey(t, "", testRSAKey(t), issuer, asEK(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0x7a) })).cert.Raw
	curve := newEntityWithKey(t, "", p384, issuer, asEK(nil)).cert.Raw
	negative := bytes.Replace(ek, []byte{2, 1, 0x7a}, []byte{2, 1, 0x8a}, 1)
	tests := []struct {
		name    string
		nv      []byte
		der     []byte
		err     error  // nil: there is an identity
		message string // of the error
		key     string
	}{
		{"plain", ek, ek, nil, "", "RSA-2048"},
		{"P-384", curve, curve, nil, "", "ECC-P384"},
		{"padded with zeros", slices.Concat(ek, make([]byte, 200)), ek, nil, "", "RSA-2048"},
		{"padded with 0xff", slices.Concat(ek, bytes.Repeat([]byte{0xff}, 200)), ek, nil, "", "RSA-2048"},
		{"padded with 0x11", slices.Concat(ek, bytes.Repeat([]byte{0x11}, 200)), ek, nil, "", "RSA-2048"},
		{"header of 5 bytes", header5(ek), ek, nil, "", "RSA-2048"},
		{"header of 5 bytes and padding", append(header5(ek), 0xff, 0xff), ek, nil, "", "RSA-2048"},
		{"header of 7 bytes", header7(ek), ek, errNotPresented, "7-byte header", ""},
		{"header of 7 bytes and padding", append(header7(ek), 0, 0), ek, errNotPresented, "7-byte header", ""},
		{"header of 7 bytes before garbage", header7([]byte("garbage")), nil, errAny, "EKCert", ""},
		{"header that promises more", header5(ek)[:100], nil, errAny, "header promises", ""},
		{"RSAES-OAEP", withOAEP(ek), withOAEP(ek), ErrIdentity, "key type RSAES-OAEP", ""},
		{"negative serial", negative, negative, errAny, "negative serial", ""},
		{"empty", nil, nil, errAny, "EKCert", ""},
		{"filled with 0xff", bytes.Repeat([]byte{0xff}, 100), nil, errAny, "EKCert", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, der, _ := parseEKCert(test.nv)
			if !bytes.Equal(der, test.der) {
				t.Errorf("certificate is %x", der)
			}
			id, err := EKCertIdentity(test.nv)
			if test.err == nil && (err != nil || id.KeyType != test.key || !bytes.Equal(id.CertDER, test.der)) {
				t.Errorf("got %v, %+v", err, id)
			}
			if test.err != nil && (err == nil || !strings.Contains(err.Error(), test.message)) {
				t.Errorf("got %v", err)
			}
			if !errors.Is(test.err, errAny) && !errors.Is(err, test.err) {
				t.Errorf("got %v", err)
			}
			sameAsScan(t, test.nv, id, err)
		})
	}
}

var errAny = errors.New("any")

// sameAsScan holds EKCertIdentity against a scan of a TPM with this content, where the EK is another key.
func sameAsScan(t *testing.T, nv []byte, id Identity, err error) {
	t.Helper()
	raw := &Raw{}
	raw.EKCert = wire.Area{Defined: true, Data: nv}
	report, _ := Judge(raw, ExamineOptions{Now: nil})
	if report.Identity.Hash != id.Hash || report.Identity.Serial != id.Serial {
		t.Errorf("a scan finds %+v", report.Identity)
	}
	unreadable := slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Code == "ekcert-key-unreadable" })
	if unreadable != errors.Is(err, ErrIdentity) {
		t.Errorf("findings of a scan: %+v", report.Findings)
	}
}
