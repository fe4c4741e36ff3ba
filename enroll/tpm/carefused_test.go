package tpm

import (
	"bytes"
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
)

// refusedCases are issuers whose key signed, and which Go has something against.
func refusedCases(t *testing.T) map[string]struct {
	issuer *entity
	der    []byte // as the bundle has it
	why    string
} {
	t.Helper()
	serial := func(n int64) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) }
	}
	negative, long := newEntity(t, "negative CA", nil, serial(0x7a)), newEntity(t, "long CA", nil, serial(0x7f000005))
	rsaCA := newEntityWithKey(t, "OAEP CA", testRSAKey(t), nil, nil)
	critical := newEntity(t, "critical CA", nil, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	})
	return map[string]struct {
		issuer *entity
		der    []byte
		why    string
	}{
		"negative serial": {negative, bytes.Replace(negative.cert.Raw, []byte{2, 1, 0x7a}, []byte{2, 1, 0x8a}, 1),
			"Go refuses it: negative serial number"},
		"serial with leading zeros": {long, bytes.Replace(long.cert.Raw, []byte{2, 4, 0x7f, 0, 0, 5}, []byte{2, 4, 0, 0, 0, 5}, 1),
			"Go refuses it: malformed serial number"},
		"critical extension":          {critical, critical.cert.Raw, "it has a critical extension that Go does not know: 1.2.3.4"},
		"key that Go does not know":   {rsaCA, withOAEP(rsaCA.cert.Raw), "Go cannot read its key: key type RSAES-OAEP"},
		"key that is damaged as well": {rsaCA, bytes.Replace(rsaCA.cert.Raw, []byte{2, 3, 1, 0, 1}, []byte{2, 3, 0, 0, 1}, 1), "Go refuses it: "},
	}
}

func TestAnIssuerThatGoRefusesIsNamed(t *testing.T) {
	other := newEntity(t, "other", nil, nil)
	for name, test := range refusedCases(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cas.pem")
			writeFile(t, path, slices.Concat(
				pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.cert.Raw}),
				[]byte("# the issuer\n"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: test.der})))
			set, err := LoadCAs(path)
			if err != nil {
				t.Fatal(err)
			}
			line := bytes.Count(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.cert.Raw}), []byte("\n")) + 2
			left := set.LeftOut()
			if len(left) != 1 || left[0].File != path || left[0].Line != line || !strings.Contains(left[0].Reason, test.why) ||
				left[0].Subject != test.issuer.cert.Subject.String() || set.Len() != 1 {
				t.Errorf("left out %+v", left)
			}
			ek := newEntity(t, "", test.issuer, asEK(nil)).cert
			findings := set.Judge(ek, testNow)
			if len(findings) != 1 || findings[0].Code != "issuer-refused" || !findings[0].CA || !findings[0].Fatal ||
				!strings.Contains(findings[0].Message, left[0].Reason) || !strings.Contains(findings[0].Message, path+":") {
				t.Errorf("findings %+v", findings)
			}
			m, missing := set.Missing(ek)
			if !missing || !strings.Contains(m.Refused, test.why) || m.URL != "http://example.com/issuer.cer" {
				t.Errorf("missing %+v", m)
			}
			if err := os.WriteFile(path, test.der, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadCAs(path); err == nil || !strings.Contains(err.Error(), test.why) {
				t.Errorf("error of a file with nothing else: %v", err)
			}
		})
	}
}

func TestARefusedNamesakeIsNotTheIssuer(t *testing.T) {
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	namesake := newEntity(t, "EK CA", nil, func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknown} })
	issuer := newEntity(t, "EK CA", nil, func(c *x509.Certificate) { c.SubjectKeyId = []byte{0xab, 0xcd} })
	ek := newEntity(t, "", issuer, asEK(nil)).cert
	set := NewCASet(namesake.cert)
	if f := set.Judge(ek, testNow); len(f) != 1 || f[0].Code != "issuer-unknown" {
		t.Errorf("findings %+v", f)
	}
	m, missing := set.Missing(ek)
	if !missing || m.Refused != "" || m.KeyID != "abcd" || m.Name != "CN=EK CA,O=Acme" {
		t.Errorf("missing %+v", m)
	}
	if m, missing := NewCASet(issuer.cert).Missing(ek); missing {
		t.Errorf("missing %+v", m)
	}
}

func TestASignatureAlgorithmThatGoDoesNotKnowIsNamed(t *testing.T) {
	issuer := newEntity(t, "EK CA", nil, nil)
	ek := newEntity(t, "", issuer, asEK(nil)).cert
	raw := bytes.ReplaceAll(ek.Raw, []byte("\x2a\x86\x48\xce\x3d\x04\x03\x02"), []byte("\x2a\x86\x48\xce\x3d\x04\x03\x7f"))
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	f := NewCASet(issuer.cert).Judge(cert, testNow)
	if len(f) != 1 || f[0].Code != "ekcert-signature" || !strings.Contains(f[0].Message, "1.2.840.10045.4.3.127") {
		t.Errorf("findings %+v", f)
	}
}

func TestAnIssuerThatMayNotSignIsNamed(t *testing.T) {
	leaf := newEntity(t, "no CA", nil, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	f := NewCASet(leaf.cert).Judge(newEntity(t, "", leaf, asEK(nil)).cert, testNow)
	if len(f) != 1 || f[0].Code != "chain" || !strings.Contains(f[0].Message, "not marked as one that may") {
		t.Errorf("findings %+v", f)
	}
}

func TestNothingInADirectoryIsDroppedSilently(t *testing.T) {
	dir := t.TempDir()
	a, b := newEntity(t, "a", nil, nil), newEntity(t, "b", nil, nil)
	pemFile(t, filepath.Join(dir, "a.pem"), a.cert)
	pemFile(t, filepath.Join(dir, "copy-of-a.txt"), a.cert)
	pemFile(t, filepath.Join(dir, "b.pem.bak"), b.cert)
	writeFile(t, filepath.Join(dir, "README.md"), []byte("hello"))
	writeFile(t, filepath.Join(dir, "empty.crt"), nil)
	elsewhere := t.TempDir()
	pemFile(t, filepath.Join(elsewhere, "b.pem"), b.cert)
	if err := os.Symlink(elsewhere, filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	set, err := LoadCAs(dir)
	if err != nil || set.Len() != 1 {
		t.Fatalf("%v, %+v", err, set)
	}
	want := []string{
		dir + "/empty.crt: no certificate in it", dir + "/b.pem.bak: it holds 1 certificate", dir + "/linked: a link to a directory",
	}
	got := set.Skipped()
	if len(got) != len(want) {
		t.Fatalf("skipped %q", got)
	}
	for i, s := range got {
		if !strings.HasPrefix(s, want[i]) {
			t.Errorf("skipped %q, want %q", s, want[i])
		}
	}
}
