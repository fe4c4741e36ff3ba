package tpm_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// state is one state that a TPM can be in.
type state struct {
	name     string
	from     base
	change   func(testing.TB, transport.TPM)
	findings []string // codes, without those about CAs
	noProof  string   // code of the ProofError; "": proven
	noEK     bool     // there is no identity at all
}

// certify writes an EK certificate that was made for the TPM's own EK to 0x01C00002.
func certify(make func(testing.TB, *rsa.PublicKey) []byte) func(testing.TB, transport.TPM) {
	return func(t testing.TB, tpm transport.TPM) {
		t.Helper()
		define(t, tpm, index{handle: indexEKCert, data: make(t, derivedEK(t, tpm)), attrs: readable()})
	}
}

// changed is a certificate with changes to its template.
func changed(change func(*x509.Certificate)) func(testing.TB, transport.TPM) {
	return certify(func(t testing.TB, ek *rsa.PublicKey) []byte { return issue(t, ek, change) })
}

// wrapped is a certificate with bytes around it.
func wrapped(around func(der []byte) []byte) func(testing.TB, transport.TPM) {
	return certify(func(t testing.TB, ek *rsa.PublicKey) []byte { return around(issue(t, ek, nil)) })
}

func header(der []byte, size int) []byte {
	return append([]byte{0x10, 0x01, 0x00, byte(size >> 8), byte(size)}, der...)
}

func pad(der []byte, with byte) []byte { return append(der, bytes.Repeat([]byte{with}, 300)...) }

func content(handle tpm2.TPMHandle, data []byte) func(testing.TB, transport.TPM) {
	return func(t testing.TB, tpm transport.TPM) {
		t.Helper()
		define(t, tpm, index{handle: handle, data: data, attrs: readable()})
	}
}

func all(changes ...func(testing.TB, transport.TPM)) func(testing.TB, transport.TPM) {
	return func(t testing.TB, tpm transport.TPM) {
		t.Helper()
		for _, change := range changes {
			change(t, tpm)
		}
	}
}

func password(h tpm2.TPMHandle) func(testing.TB, transport.TPM) {
	return func(t testing.TB, tpm transport.TPM) { setPassword(t, tpm, h) }
}

func disabled(h tpm2.TPMHandle) func(testing.TB, transport.TPM) {
	return func(t testing.TB, tpm transport.TPM) { disable(t, tpm, h) }
}

func persisted(parent tpm2.TPMHandle, template tpm2.TPMTPublic, at tpm2.TPMHandle) func(testing.TB, transport.TPM) {
	return func(t testing.TB, tpm transport.TPM) { persist(t, tpm, parent, template, at) }
}

func evicted(at tpm2.TPMHandle) func(testing.TB, transport.TPM) {
	return func(t testing.TB, tpm transport.TPM) { evict(t, tpm, at) }
}

func certificateStates() []state {
	small := func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) }
	long := func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(0xff), 144) }
	odd := func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0x100) }
	unparseable := []string{"ekcert-unparseable"}
	return []state{
		{name: "certificate and EK as manufactured", from: certified},
		{name: "nothing but the seed", from: bare},
		{name: "certificate with a critical directoryName", from: bare, change: changed(nil)},
		{name: "certificate behind a 5-byte header", from: bare,
			change: wrapped(func(der []byte) []byte { return header(der, len(der)) })},
		{name: "certificate behind a header, then padding", from: bare,
			change: wrapped(func(der []byte) []byte { return pad(header(der, len(der)), 0xff) })},
		{name: "header that promises more than there is", from: bare, findings: unparseable,
			change: wrapped(func(der []byte) []byte { return header(der, len(der)+1) })},
		{name: "header that cuts the certificate", from: bare, findings: unparseable,
			change: wrapped(func(der []byte) []byte { return header(der, len(der)-1) })},
		{name: "7-byte header", from: bare, findings: unparseable,
			change: wrapped(func(der []byte) []byte { return append([]byte{0x10, 0x01, 0x00, 0x00, 0x00, 0x10, 0x01}, der...) })},
		{name: "certificate padded with zeros", from: bare, change: wrapped(func(der []byte) []byte { return pad(der, 0) })},
		{name: "certificate padded with ones", from: bare, change: wrapped(func(der []byte) []byte { return pad(der, 0xff) })},
		{name: "certificate padded with letters", from: bare, change: wrapped(func(der []byte) []byte { return pad(der, 'x') })},
		{name: "certificate that is cut", from: bare, findings: unparseable,
			change: wrapped(func(der []byte) []byte { return der[:len(der)-10] })},
		{name: "garbage", from: bare, change: content(indexEKCert, bytes.Repeat([]byte("garbage"), 150)), findings: unparseable},
		{name: "zeros", from: bare, change: content(indexEKCert, make([]byte, 1200)), findings: unparseable},
		{name: "index as large as swtpm makes one", from: bare, change: wrapped(func(der []byte) []byte {
			return append(der, make([]byte, 2048-len(der))...)
		})},
		{name: "serial 1", from: bare, change: changed(small)},
		{name: "serial with an odd number of digits", from: bare, change: changed(odd)},
		{name: "serial of 20 bytes with the high bit set", from: bare, change: changed(long)},
		{name: "serial 0", from: bare, change: certify(func(t testing.TB, ek *rsa.PublicKey) []byte {
			return withSerial(t, issue(t, ek, small), []byte{1}, []byte{0})
		})},
		{name: "negative serial", from: bare, findings: unparseable,
			change: certify(func(t testing.TB, ek *rsa.PublicKey) []byte {
				return withSerial(t, issue(t, ek, small), []byte{1}, []byte{0x81})
			})},
		{name: "non-minimal serial", from: bare, findings: unparseable,
			change: certify(func(t testing.TB, ek *rsa.PublicKey) []byte {
				return withSerial(t, issue(t, ek, odd), []byte{1, 0}, []byte{0, 1})
			})},
		{name: "expired certificate", from: bare,
			change: changed(func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, -1) })},
		{name: "certificate that is not valid yet", from: bare,
			change: changed(func(c *x509.Certificate) { c.NotBefore = now.AddDate(0, 0, 1) })},
		{name: "certificate signed with SHA-1", from: bare,
			change: certify(func(t testing.TB, ek *rsa.PublicKey) []byte { return withSHA1(t, issue(t, ek, nil)) })},
		{name: "critical extension that nobody knows", from: bare, change: changed(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions,
				pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999}, Critical: true, Value: []byte{5, 0}})
		})},
		{name: "no URL of the issuer", from: bare, change: changed(func(c *x509.Certificate) { c.IssuingCertificateURL = nil })},
		{name: "RSAES-OAEP key", from: bare, noEK: true, findings: []string{"ekcert-key-unreadable"},
			change: certify(func(t testing.TB, ek *rsa.PublicKey) []byte { return withOAEP(t, issue(t, ek, nil)) })},
		{name: "certificate of an ECC key where the RSA one belongs", from: bare, noProof: "ekcert-mismatch",
			findings: []string{"ekcert-mismatch"}, change: func(t testing.TB, tpm transport.TPM) {
				define(t, tpm, index{handle: indexEKCert, data: issue(t, newECDSAKey(t), nil), attrs: readable()})
			}},
		{name: "ECC certificate alone, at its own index", from: bare, change: func(t testing.TB, tpm transport.TPM) {
			define(t, tpm, index{handle: indexECCEKCert, data: issue(t, newECDSAKey(t), nil), attrs: readable()})
		}},
		{name: "RSA-3072 EK and certificate, at their own places", from: rsa3072},
		{name: "certificate of another TPM", from: certified, noProof: "ekcert-mismatch", findings: []string{"ekcert-mismatch"},
			change: func(t testing.TB, tpm transport.TPM) {
				foreign, err := rsa.GenerateKey(zeroReader{}, 2048)
				if err != nil {
					t.Fatal(err)
				}
				define(t, tpm, index{handle: indexEKCert, data: issue(t, foreign.Public(), nil), attrs: readable()})
			}},
	}
}

func indexStates() []state {
	secret := readable()
	lockable := readable()
	lockable.ReadSTClear = true
	platformOnly := tpm2.TPMANV{PPWrite: true, PPRead: true, NoDA: true, PlatformCreate: true}
	notForOwner := tpm2.TPMANV{PPWrite: true, PPRead: true, AuthRead: true, NoDA: true, PlatformCreate: true}
	nonce := bytes.Repeat([]byte{0xA5}, 256)
	unreadable := []string{"ekcert-unreadable"}
	define := func(x index) func(testing.TB, transport.TPM) {
		return func(t testing.TB, tpm transport.TPM) {
			t.Helper()
			if x.handle == indexEKCert && x.data == nil {
				x.data = issue(t, derivedEK(t, tpm), nil)
			}
			define(t, tpm, x)
		}
	}
	lock := func(t testing.TB, tpm transport.TPM) { lockReading(t, tpm, indexEKCert) }
	return []state{
		{name: "certificate index without content", from: bare, findings: unreadable,
			change: define(index{handle: indexEKCert, size: 1000, blank: true, data: []byte{0}, attrs: readable()})},
		{name: "certificate index locked for reading", from: bare, findings: unreadable,
			change: all(define(index{handle: indexEKCert, attrs: lockable}), lock)},
		{name: "certificate index that only the platform may read", from: bare, findings: unreadable,
			change: define(index{handle: indexEKCert, attrs: platformOnly})},
		{name: "certificate index with a password", from: bare, findings: unreadable,
			change: define(index{handle: indexEKCert, attrs: secret, password: []byte("secret")})},
		{name: "nonce of full length", from: bare, change: define(index{handle: indexNonce, data: nonce, attrs: readable()})},
		{name: "short nonce", from: bare, change: define(index{handle: indexNonce, data: nonce[:20], attrs: readable()})},
		{name: "nonce that is too long", from: bare,
			change: define(index{handle: indexNonce, data: append(bytes.Clone(nonce), nonce...), attrs: readable()})},
		{name: "nonce that the owner may not read", from: bare,
			change: define(index{handle: indexNonce, data: nonce, attrs: notForOwner})},
		{name: "nonce without content", from: bare,
			change: define(index{handle: indexNonce, data: nonce, blank: true, attrs: readable()})},
		{name: "template, which tbot ignores", from: bare,
			change: define(index{handle: indexTemplate, data: tpm2.Marshal(tpm2.ECCEKTemplate), attrs: readable()})},
		{name: "nonce and template", from: bare,
			change: all(define(index{handle: indexNonce, data: nonce, attrs: readable()}),
				define(index{handle: indexTemplate, data: tpm2.Marshal(tpm2.ECCEKTemplate), attrs: readable()}))},
		{name: "nonce beside a certificate for another key", from: bare, noProof: "ekcert-mismatch",
			findings: []string{"ekcert-mismatch"},
			change:   all(changed(nil), define(index{handle: indexNonce, data: nonce, attrs: readable()}))},
	}
}

func keyStates() []state {
	withNonce := tpm2.RSAEKTemplate
	withNonce.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{7}, 256)})
	signing := tpm2.ECCSRKTemplate
	signing.ObjectAttributes.Decrypt, signing.ObjectAttributes.SignEncrypt = false, true
	signing.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Scheme:  tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
		CurveID: tpm2.TPMECCNistP256,
	})
	endorsement, owner := tpm2.TPMRHEndorsement, tpm2.TPMRHOwner
	keys := all(persisted(endorsement, tpm2.RSAEKTemplate, handleEK), persisted(owner, tpm2.RSASRKTemplate, handleSRK))
	return []state{
		{name: "EK persistent, no certificate", from: bare, change: persisted(endorsement, tpm2.RSAEKTemplate, handleEK)},
		{name: "EK evicted, certificate there", from: certified, change: evicted(handleEK)},
		{name: "another key at 0x81010001, no certificate", from: bare, findings: []string{"ek-handle"},
			change: persisted(endorsement, withNonce, handleEK)},
		{name: "another key at 0x81010001 beside a certificate", from: certified, findings: []string{"ek-handle"},
			change: persisted(endorsement, withNonce, handleEK)},
		{name: "storage key at 0x81010001", from: bare, findings: []string{"ek-handle"},
			change: persisted(owner, tpm2.RSASRKTemplate, handleEK)},
		{name: "RSA storage root key", from: certified, change: persisted(owner, tpm2.RSASRKTemplate, handleSRK)},
		{name: "ECC storage root key", from: certified, change: persisted(owner, tpm2.ECCSRKTemplate, handleSRK)},
		{name: "signing key at 0x81000001", from: certified, change: persisted(owner, signing, handleSRK), findings: []string{"srk"}},
		{name: "owner password, keys not persistent", from: bare, change: password(owner), findings: []string{"owner-auth"}},
		{name: "owner password, EK persistent alone", from: certified, change: password(owner), findings: []string{"owner-auth"}},
		{name: "owner password, both keys persistent", from: bare, change: all(keys, password(owner))},
		{name: "owner password hides the nonce", from: bare, change: all(keys,
			content(indexNonce, bytes.Repeat([]byte{9}, 64)), password(owner))},
		{name: "endorsement password, certificate there", from: certified, change: password(endorsement),
			findings: []string{"endorsement-auth"}, noProof: "endorsement-auth"},
		{name: "endorsement password, no certificate", from: bare, change: password(endorsement),
			findings: []string{"endorsement-auth"}, noEK: true},
		{name: "lockout password", from: certified, change: password(tpm2.TPMRHLockout)},
		{name: "lockout", from: certified, change: lockOut, findings: []string{"lockout"}},
		{name: "lockout, no certificate", from: bare, change: lockOut, findings: []string{"lockout"}},
		{name: "endorsement hierarchy disabled, certificate there", from: certified, change: disabled(endorsement),
			findings: []string{"endorsement-disabled"}, noProof: "derive"},
		{name: "endorsement hierarchy disabled, no certificate", from: bare, change: disabled(endorsement),
			findings: []string{"endorsement-disabled"}, noEK: true},
		{name: "owner hierarchy disabled", from: certified, change: disabled(owner), findings: []string{"owner-disabled"}},
	}
}

// zeroReader makes a key generation repeatable enough: crypto/rsa may ignore it, which does no harm.
type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
