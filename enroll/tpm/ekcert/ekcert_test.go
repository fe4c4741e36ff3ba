package ekcert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"testing"
	"time"
)

// reference does with crypto/x509 what Parse does by itself.
func reference(nv []byte) (*x509.Certificate, error) {
	if len(nv) > 5 && bytes.HasPrefix(nv, []byte{0x10, 0x01, 0x00}) {
		size := int(nv[3])<<8 | int(nv[4])
		if len(nv)-5 < size {
			return nil, errors.New("short")
		}
		nv = nv[5 : 5+size]
	}
	if c, err := x509.ParseCertificate(nv); err == nil {
		return c, nil
	}
	var first struct{ Raw asn1.RawContent }
	if _, err := asn1.Unmarshal(nv, &first); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(first.Raw)
}

// compare reports where Parse and crypto/x509 differ.
func compare(t *testing.T, nv []byte) error {
	t.Helper()
	got, err := Parse(nv)
	want, wantErr := reference(nv)
	switch {
	case errors.Is(err, ErrUnsure):
	case errors.Is(err, ErrUnparseable) != (wantErr != nil):
		t.Errorf("Parse says %v, crypto/x509 %v\n%x", err, wantErr, nv)
	case wantErr != nil:
	case errors.Is(err, ErrKeyUnreadable) != (want.PublicKey == nil):
		t.Errorf("Parse says %v, crypto/x509 has a key of type %T\n%x", err, want.PublicKey, nv)
	case want.PublicKey != nil:
		public, err := x509.MarshalPKIXPublicKey(want.PublicKey)
		if err != nil || !bytes.Equal(public, got.PublicDER) {
			t.Errorf("key is\n%x, crypto/x509 says %v\n%x", got.PublicDER, err, public)
		}
		if new(big.Int).SetBytes(got.Serial).Cmp(want.SerialNumber) != 0 {
			t.Errorf("serial is %x, crypto/x509 says %x", got.Serial, want.SerialNumber)
		}
	}
	return err
}

func certificate(t testing.TB, change func(*x509.Certificate), key any) []byte {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if key == nil {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key = k.Public()
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x5ecd5f8e),
		Issuer:       pkix.Name{CommonName: "EK CA"},
		Subject:      pkix.Name{CommonName: "EK", Organization: []string{"Ä"}},
		NotBefore:    time.Unix(1700000000, 0),
		NotAfter:     time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:     x509.KeyUsageKeyEncipherment,
	}
	if change != nil {
		change(template)
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "EK CA"}, SubjectKeyId: []byte{1, 2, 3}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// corpus holds certificates with everything that EK certificates have, and with what they should not.
func corpus(t testing.TB) map[string][]byte {
	full := func(c *x509.Certificate) {
		c.BasicConstraintsValid = true
		c.CRLDistributionPoints = []string{"http://example.com/crl"}
		c.IssuingCertificateURL = []string{"http://example.com/ca.cer"}
		c.OCSPServer = []string{"http://example.com/ocsp"}
		c.SubjectKeyId = []byte{1, 2, 3, 4}
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
		c.Policies = []x509.OID{mustOID(t, 2, 23, 133, 11, 1)}
		c.DNSNames = []string{"ek.example.com"}
		c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)}
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{1}}}
	}
	directoryName := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true,
			Value: []byte("\x30\x13\xa4\x11\x30\x0f\x31\x0d\x30\x0b\x06\x05\x67\x81\x05\x02\x01\x0c\x02id")}}
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain := certificate(t, nil, nil)
	padded := append(bytes.Clone(plain), make([]byte, 200)...)
	wrapped := append([]byte{0x10, 0x01, 0x00, byte(len(plain) >> 8), byte(len(plain))}, plain...)
	short := append([]byte{0x10, 0x01, 0x00, 0xff, 0xff}, plain...)
	oaep := bytes.Replace(plain, []byte(oidRSA), []byte(oidRSA[:8]+"\x07"), 1)
	uri := func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "http", Host: "example.com"}} }
	long := func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(0xff), 150) }
	return map[string][]byte{
		"plain": plain, "padded with zeros": padded, "header": wrapped, "header and padding": append(wrapped, 0xff, 0xff),
		"header promises more": short, "RSAES-OAEP key": oaep, "empty": nil, "one byte": {0x30},
		"every extension":      certificate(t, full, nil),
		"critical SAN":         certificate(t, directoryName, nil),
		"ECC key":              certificate(t, nil, curve.Public()),
		"URI in the SAN":       certificate(t, uri, nil),
		"serial with high bit": certificate(t, long, nil),
		"small serial":         certificate(t, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) }, nil),
		"certificate of a CA": certificate(t, func(c *x509.Certificate) {
			c.BasicConstraintsValid, c.IsCA, c.MaxPathLen = true, true, 1
		}, nil),
	}
}

func mustOID(t testing.TB, arcs ...uint64) x509.OID {
	t.Helper()
	oid, err := x509.OIDFromInts(arcs)
	if err != nil {
		t.Fatal(err)
	}
	return oid
}

func TestParseSaysWhatX509Says(t *testing.T) {
	for name, der := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			err := compare(t, der)
			t.Log(err)
		})
	}
}

func TestParseIsSureOfRealisticCertificates(t *testing.T) {
	c := corpus(t)
	for _, name := range []string{"plain", "padded with zeros", "header", "every extension", "critical SAN"} {
		if _, err := Parse(c[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every byte of a certificate altered in several ways: each lands in another check.
func TestParseSaysWhatX509SaysOfAlteredCertificates(t *testing.T) {
	for name, der := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := mathrand.New(mathrand.NewPCG(1, uint64(len(der))))
			for i := range der {
				for _, b := range []byte{0, 0xff, der[i] ^ 0x80, der[i] + 1, der[i] - 1, der[i] ^ 0x20, byte(random.Uint32())} {
					altered := bytes.Clone(der)
					altered[i] = b
					_ = compare(t, altered)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

func TestParseRejectsANegativeSerial(t *testing.T) {
	der := certificate(t, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0x7a) }, nil)
	altered := bytes.Replace(der, []byte{0x02, 0x01, 0x7a}, []byte{0x02, 0x01, 0x8a}, 1)
	if err := compare(t, altered); !errors.Is(err, ErrUnparseable) {
		t.Errorf("got %v", err)
	}
}

func TestRSAPublicDERIsPKIX(t *testing.T) {
	for _, exponent := range []int{3, 17, 65537, 1<<31 - 1} {
		for _, bits := range []int{1, 8, 1023, 2047, 2048, 3072} {
			n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(bits)), big.NewInt(1))
			want, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: exponent})
			if err != nil {
				t.Fatal(err)
			}
			if got := RSAPublicDER(append([]byte{0}, n.Bytes()...), uint32(exponent)); !bytes.Equal(got, want) {
				t.Errorf("%d bits, exponent %d:\n%x\n%x", bits, exponent, got, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, der := range corpus(f) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) <= 16<<10 {
			_ = compare(t, der)
		}
	})
}
