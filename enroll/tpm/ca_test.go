package tpm

import (
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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var testNow = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// entity is a certificate with its key.
type entity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newEntity(t testing.TB, name string, parent *entity, change func(*x509.Certificate)) *entity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newEntityWithKey(t, name, key, parent, change)
}

func newEntityWithKey(t testing.TB, name string, key crypto.Signer, parent *entity, change func(*x509.Certificate)) *entity {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1234), Subject: pkix.Name{CommonName: name, Organization: []string{"Acme"}},
		NotBefore: testNow.AddDate(-2, 0, 0), NotAfter: testNow.AddDate(8, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	signer := &entity{cert: template, key: key}
	if parent != nil {
		signer = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &entity{cert: cert, key: key}
}

func asEK(change func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = false, false, x509.KeyUsageKeyEncipherment
		c.Subject = pkix.Name{}
		c.IssuingCertificateURL = []string{"http://example.com/issuer.cer"}
		if change != nil {
			change(c)
		}
	}
}

func pemFile(t testing.TB, path string, certs ...*x509.Certificate) {
	t.Helper()
	var out []byte
	for _, c := range certs {
		out = append(out, "# a comment\n"...)
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	writeFile(t, path, out)
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoadCAs(t *testing.T) {
	root := newEntity(t, "root", nil, nil)
	one, two := newEntity(t, "one", root, nil), newEntity(t, "two", root, nil)
	dir := t.TempDir()
	bundle := filepath.Join(dir, "bundle.pem")
	pemFile(t, bundle, root.cert, one.cert, one.cert)
	der := filepath.Join(dir, "two.der")
	writeFile(t, der, two.cert.Raw)
	both := filepath.Join(dir, "both.cer")
	writeFile(t, both, slices.Concat(one.cert.Raw, two.cert.Raw))
	tree := filepath.Join(dir, "tree")
	pemFile(t, filepath.Join(tree, "Acme", "Root", "root.PEM"), root.cert)
	writeFile(t, filepath.Join(tree, "Acme", "Intermediate", "two.crt"), two.cert.Raw)
	writeFile(t, filepath.Join(tree, "README.md"), []byte("no certificate"))
	broken := filepath.Join(dir, "broken.pem")
	writeFile(t, broken, slices.Concat(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("garbage")}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw})))
	garbage := filepath.Join(dir, "garbage.pem")
	writeFile(t, garbage, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("garbage")}))
	text := filepath.Join(dir, "text.pem")
	writeFile(t, text, []byte("hello"))
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		paths   []string
		want    int
		skipped int
		err     string
	}{
		{"no path is an empty bundle", nil, 0, 0, ""},
		{"a PEM file with comments and a duplicate", []string{bundle}, 2, 0, ""},
		{"a DER file", []string{der}, 1, 0, ""},
		{"a file with two certificates in DER", []string{both}, 2, 0, ""},
		{"a directory with what is below, whatever the case of the names", []string{tree}, 2, 0, ""},
		{"all together", []string{bundle, der, both, tree}, 3, 0, ""},
		{"a certificate that Go refuses is left out and told, as is a key", []string{broken}, 1, 2, ""},
		{"a file whose only certificate Go refuses", []string{garbage}, 0, 0, "no usable certificate"},
		{"a file without a certificate", []string{text}, 0, 0, "no certificate in it"},
		{"an empty directory", []string{empty}, 0, 0, "no certificate in this directory"},
		{"a path that is not there", []string{filepath.Join(dir, "none")}, 0, 0, "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := LoadCAs(test.paths...)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || set.Len() != test.want || len(set.Skipped()) != test.skipped || len(set.Certificates()) != test.want {
				t.Errorf("got %v, %+v", err, set)
			}
		})
	}
}

func TestIssuerGoesByTheKeyAndNotByTheNameAlone(t *testing.T) {
	root := newEntity(t, "root", nil, nil)
	issuer := newEntity(t, "EK CA", root, nil)
	namesake := newEntity(t, "EK CA", root, nil)
	ek := newEntity(t, "EK", issuer, asEK(nil))
	if got := NewCASet(root.cert, namesake.cert).Issuer(ek.cert); got != nil {
		t.Errorf("a namesake is taken for the issuer")
	}
	if got := NewCASet(root.cert, namesake.cert, issuer.cert).Issuer(ek.cert); got == nil || !got.Equal(issuer.cert) {
		t.Errorf("got %v", got)
	}
	chain, complete := NewCASet(root.cert, namesake.cert, issuer.cert).chain(ek.cert)
	if len(chain) != 2 || !complete || !chain[0].Equal(issuer.cert) || !chain[1].Equal(root.cert) {
		t.Errorf("chain of %d, %v", len(chain), complete)
	}
	if chain, complete := NewCASet(issuer.cert).chain(ek.cert); len(chain) != 1 || complete {
		t.Errorf("chain of %d, %v without the root", len(chain), complete)
	}
}

func TestOfSeveralCertificatesForOneKeyTheOneThatServesIsTaken(t *testing.T) {
	root := newEntity(t, "root", nil, nil)
	old := newEntity(t, "EK CA", root, func(c *x509.Certificate) { c.NotAfter = testNow.AddDate(0, -1, 0) })
	future := newEntityWithKey(t, "EK CA", old.key, root, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = testNow.AddDate(0, 1, 0), testNow.AddDate(30, 0, 0)
	})
	current := newEntityWithKey(t, "EK CA", old.key, root, nil)
	ek := newEntity(t, "EK", old, asEK(nil))
	for _, order := range [][]*x509.Certificate{{old.cert, future.cert, current.cert}, {current.cert, old.cert, future.cert}} {
		if got := NewCASet(order...).IssuerAt(ek.cert, testNow); !got.Equal(current.cert) {
			t.Errorf("got the one until %v", got.NotAfter)
		}
	}
	if got := NewCASet(old.cert).IssuerAt(ek.cert, testNow); !got.Equal(old.cert) {
		t.Error("an expired issuer is none")
	}
}

func TestJudgeSaysWhyTheServerRefuses(t *testing.T) {
	root := newEntity(t, "root", nil, nil)
	issuer := newEntity(t, "EK CA", root, nil)
	expired := newEntity(t, "old CA", root, func(c *x509.Certificate) { c.NotAfter = testNow.AddDate(0, 0, -1) })
	leaf := newEntity(t, "no CA", root, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	san := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: []byte("\x30\x02\x88\x00")}
	with := func(e pkix.Extension) func(*x509.Certificate) {
		return asEK(func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, e) })
	}
	stranger := newEntity(t, "stranger", nil, func(c *x509.Certificate) { c.Subject.Organization = []string{"Other"} })
	bundle := NewCASet(root.cert, issuer.cert, expired.cert, leaf.cert)
	tests := []struct {
		name string
		cert *x509.Certificate
		set  *CASet
		want string
	}{
		{"an EK certificate of an issuer in the bundle", newEntity(t, "", issuer, asEK(nil)).cert, bundle, ""},
		{"any extended key usage will do", newEntity(t, "", issuer, asEK(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
		})).cert, bundle, ""},
		{"a critical subject alternative name does not count", newEntity(t, "", issuer, with(san)).cert, bundle, ""},
		{"no certificate", nil, bundle, "no-ekcert"},
		{"the root alone", newEntity(t, "", issuer, asEK(nil)).cert, NewCASet(root.cert), "issuer-only-root"},
		{"an issuer that nobody knows", newEntity(t, "", stranger, asEK(nil)).cert, bundle, "issuer-unknown"},
		{"an empty bundle", newEntity(t, "", issuer, asEK(nil)).cert, NewCASet(), "issuer-unknown"},
		{"expired", newEntity(t, "", issuer, asEK(func(c *x509.Certificate) { c.NotAfter = testNow.AddDate(0, 0, -1) })).cert,
			bundle, "ekcert-expired"},
		{"not valid yet", newEntity(t, "", issuer, asEK(func(c *x509.Certificate) { c.NotBefore = testNow.AddDate(0, 0, 1) })).cert,
			bundle, "ekcert-expired"},
		{"issuer expired", newEntity(t, "", expired, asEK(nil)).cert, bundle, "issuer-expired"},
		{"issuer is no CA", newEntity(t, "", leaf, asEK(nil)).cert, bundle, "chain"},
		{"critical extension", newEntity(t, "", issuer, with(unknown)).cert, bundle, "ekcert-critical-extension"},
		{"SHA-1", signedWithSHA1(t), NewCASet(sha1Issuer(t).cert), "ekcert-sha1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got string
			findings := test.set.Judge(test.cert, testNow)
			if len(findings) > 1 {
				t.Errorf("findings %+v", findings)
			}
			for _, f := range findings {
				got = f.Code
				if !f.CA || !f.Fatal || f.Message == "" || f.Hint == "" {
					t.Errorf("finding %+v", f)
				}
				t.Log(f.Message, "|", f.Hint)
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

var sha1Entity *entity

// sha1Issuer is an RSA CA: x509.CreateCertificate signs nothing with SHA-1, so that it is done by hand.
func sha1Issuer(t testing.TB) *entity {
	t.Helper()
	if sha1Entity == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		sha1Entity = newEntityWithKey(t, "SHA-1 CA", key, nil, nil)
	}
	return sha1Entity
}

func signedWithSHA1(t testing.TB) *x509.Certificate {
	t.Helper()
	issuer := sha1Issuer(t)
	ek := newEntity(t, "", issuer, asEK(nil))
	oid := func(last byte) []byte { return []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last} }
	raw := []byte(strings.ReplaceAll(string(ek.cert.Raw), string(oid(0x0b)), string(oid(0x05))))
	sha1Cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(sha1Cert.RawTBSCertificate)
	signature, err := rsa.SignPKCS1v15(rand.Reader, issuer.key.(*rsa.PrivateKey), crypto.SHA1, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	copy(raw[len(raw)-len(signature):], signature)
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestVerifyAsTeleportLeavesTheCertificateAlone(t *testing.T) {
	root := newEntity(t, "root", nil, nil)
	ek := newEntity(t, "", root, asEK(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: []byte("\x30\x02\x88\x00")}}
	}))
	if err := VerifyAsTeleport(ek.cert, []*x509.Certificate{root.cert}, testNow); err != nil {
		t.Error(err)
	}
	if len(ek.cert.UnhandledCriticalExtensions) != 1 {
		t.Error("the certificate was changed")
	}
	if err := VerifyAsTeleport(ek.cert, nil, testNow); err == nil {
		t.Error("verified without roots")
	}
}

func BenchmarkIssuer(b *testing.B) {
	set := NewCASet()
	var issuer *entity
	for range 143 {
		issuer = newEntity(b, "EK CA "+newSerial(b), nil, nil)
		set.add(issuer.cert, place{})
	}
	ek := newEntity(b, "", issuer, asEK(nil))
	for b.Loop() {
		if set.IssuerAt(ek.cert, testNow) == nil {
			b.Fatal("no issuer")
		}
	}
}

func newSerial(t testing.TB) string {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return n.String()
}
