package cabundle

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// newCertificate makes a small CA certificate.
func newCertificate(t testing.TB, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("CA %d", serial)},
		NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(2700000000, 0), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func block(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

func tlv(tag byte, parts ...[]byte) []byte {
	content := slices.Concat(parts...)
	n := len(content)
	return append([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, content...)
}

// indefinite is an element of indefinite length, as streaming writers make it.
func indefinite(tag byte, parts ...[]byte) []byte {
	return slices.Concat([]byte{tag, 0x80}, slices.Concat(parts...), []byte{0, 0})
}

type wrapper func(tag byte, parts ...[]byte) []byte

// pkcs7 is a degenerate SignedData (RFC 2315, section 9.1) with what the fields hold.
func pkcs7(wrap wrapper, fields ...[]byte) []byte {
	oid := func(last byte) []byte { return append([]byte{tagOID, 9}, oidPKCS7+string(last)...) }
	data := slices.Concat([]byte{tagInteger, 1, 1}, []byte{0x31, 0}, wrap(tagSequence, oid(1)), slices.Concat(fields...), []byte{0x31, 0})
	return wrap(tagSequence, oid(2), wrap(tagContext0, wrap(tagSequence, data)))
}

func toUTF16(text string, big, mark bool) []byte {
	if mark {
		text = "\ufeff" + text
	}
	var out []byte
	for _, u := range utf16.Encode([]rune(text)) {
		if big {
			out = append(out, byte(u>>8), byte(u))
		} else {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return out
}

// example is a file. What it holds is A, B and C, in this order.
type example struct {
	name    string
	data    []byte
	want    string   // which certificates, "AB"
	left    []string // "place: reason" of what is left out
	openssl bool     // openssl reads what is wanted
}

var certificates = map[byte][]byte{}

func examples(t testing.TB) []example {
	t.Helper()
	for i, name := range []byte("ABC") {
		if certificates[name] == nil {
			certificates[name] = newCertificate(t, 0x5ecd5f8e+int64(i))
		}
	}
	return append(pemExamples(), otherExamples()...)
}

func pemExamples() []example {
	a, b, c := certificates['A'], certificates['B'], certificates['C']
	pa, pb, pc := block("CERTIFICATE", a), block("CERTIFICATE", b), block("CERTIFICATE", c)
	text := func(s ...string) []byte { return []byte(strings.Join(s, "")) }
	damaged := func(p string) string { return p[:200] + "*" + p[201:] }
	noEnd := strings.Replace(pb, "-----END CERTIFICATE-----\n", "", 1)
	lines := strings.Count(pa, "\n")
	at := func(line int, reason string) []string { return []string{fmt.Sprintf("%d: %s", line, reason)} }
	key := block("PRIVATE KEY", []byte("secret"))
	indent := func(p, by string) string { return by + strings.ReplaceAll(strings.TrimSpace(p), "\n", "\n"+by) + "\n" }
	cr := func(p, end string) string { return strings.ReplaceAll(p, "\n", end) }
	trust := []byte{tagSequence, 4, tagSequence, 2, 0x0c, 0}
	return []example{
		{"PEM", text(pa, pb), "AB", nil, true},
		{"a byte order mark before the first block", text("\xef\xbb\xbf", pa, pb), "AB", nil, true},
		{"comments and names between the blocks", text("# Acme\n", pa, "\nsubject=/CN=Acme\n", pb, "# end\n"), "AB", nil, true},
		{"CR LF", text(cr(pa+pb, "\r\n")), "AB", nil, true},
		{"CR alone", text(cr(pa+pb, "\r")), "AB", nil, false},
		{"white space at the ends of lines", text(cr(pa, "  \t\n")), "A", nil, true},
		{"no newline at the end", text(pa, strings.TrimSpace(pb)), "AB", nil, true},
		{"X509 CERTIFICATE", text(block("X509 CERTIFICATE", a), pb), "AB", nil, true},
		{"TRUSTED CERTIFICATE without trust data", text(block(labelTrusted, a), pb), "AB", nil, true},
		{"TRUSTED CERTIFICATE with trust data", text(block(labelTrusted, append(bytes.Clone(a), trust...))), "A", nil, false},
		{"indented in YAML", text("cas:\n- |\n", indent(pa, "    "), "- |\n", indent(pb, "\t")), "AB", nil, false},
		{"in a quoted string of YAML or JSON", text(`["`, cr(pa, `\n`), `", "`, cr(pb, `\r\n`), `"]`), "AB", nil, false},
		{"everything on one line", text(cr(pa, " "), cr(pb, " ")), "AB", nil, false},
		{"the base64 on one line", text("-----BEGIN CERTIFICATE-----\n", base64.StdEncoding.EncodeToString(a), "\n-----END CERTIFICATE-----\n", pb),
			"AB", nil, true},
		{"no padding", text(strings.ReplaceAll(pa+pb+pc, "=", "")), "ABC", nil, false},
		{"headers", text(strings.Replace(pa, "-----\n", "-----\nProc-Type: 4,CLEAR\n\n", 1)), "A", nil, false},
		{"one damaged block", text(pa, damaged(pb), pc), "AC", at(lines+1, `"CERTIFICATE" is damaged: '*' is no base64 (line `), false},
		{"END is missing, and what it ends is whole", text(pa, noEnd, pc), "ABC", nil, false},
		{"END is missing, and what it ends is not", text(pa, noEnd[:200], "\n", pc), "AC",
			at(lines+1, `"CERTIFICATE" has no END line before the next`), false},
		{"END is missing at the end", text(pa, noEnd), "AB", nil, false},
		{"everything is missing from the middle on", text(pa, noEnd[:200]), "A", at(lines+1, `"CERTIFICATE" has no END line`), false},
		{"END of something else", text(pa, strings.Replace(pb, "END CERT", "END X509 CERT", 1), pc), "AC",
			at(lines+1, `"CERTIFICATE" ends as "X509 CERTIFICATE"`), false},
		{"END with fewer dashes", text(pa, strings.Replace(pb, "CERTIFICATE-----\n--", "CERTIFICATE-----\n", 1), pc), "ABC", nil, false},
		{"END lost its last dashes", text(pa, strings.TrimSuffix(pb, "---\n"), "\n", pc), "ABC", nil, false},
		{"END lost its last dashes, and the base64 a part", text(pa, pb[:100], strings.TrimSuffix(pb[110:], "---\n"), "\n", pc), "AC",
			at(lines+1, `"CERTIFICATE" has a damaged END line (line `), false},
		{"BEGIN with fewer dashes", text("---", strings.TrimLeft(pa, "-"), pb), "AB", nil, false},
		{"typographic dashes, and nothing below", text(pa, "—BEGIN CERTIFICATE—\n"), "A", at(lines+1, "a BEGIN line that is not written"), false},
		{"END alone", text("-----END CERTIFICATE-----\n", pa), "A", at(1, "an END line without a BEGIN line"), false},
		{"commented out", text(indent(pa, "# "), pb), "B", at(1, `"CERTIFICATE" is in a comment`), false},
		{"a key beside it", text(key, pa), "A", at(1, `"PRIVATE KEY" is no X.509 certificate`), true},
		{"cut off in the middle", text(block("CERTIFICATE", a[:100]), pb), "B", at(1, `damaged: the certificate is cut off`), false},
		{"not DER", text(block("CERTIFICATE", []byte("hello, world")), pb), "B", at(1, `damaged: what it holds is no ASN.1`), false},
		{"padding behind the certificate", text(block("CERTIFICATE", append(bytes.Clone(a), 0, 0, 0)), pb), "AB",
			at(1, "3 bytes after the certificate"), false},
		{"nothing", nil, "", nil, false},
		{"a text", text("hello, world\n-- \nthat is all\n"), "", nil, false},
	}
}

func otherExamples() []example {
	a, b, c := certificates['A'], certificates['B'], certificates['C']
	p7 := pkcs7(tlv, tlv(tagContext0, a, b))
	enc := base64.StdEncoding.EncodeToString
	var wrapped strings.Builder
	for line := range slices.Chunk([]byte(enc(b)), 64) {
		wrapped.Write(append(line, '\n'))
	}
	pa := block("CERTIFICATE", a)
	return []example{
		{"UTF-16, little endian", toUTF16(pa+block("CERTIFICATE", b), false, true), "AB", nil, false},
		{"UTF-16, big endian", toUTF16(pa, true, true), "A", nil, false},
		{"UTF-16 without mark", toUTF16(pa, false, false), "A", nil, false},
		{"UTF-16 without mark, big endian", toUTF16(pa, true, false), "A", nil, false},
		{"DER", a, "A", nil, true},
		{"DER, several", slices.Concat(a, b, c), "ABC", nil, false},
		{"DER with padding", slices.Concat(a, make([]byte, 50), []byte{0xff, 0xff}), "A", nil, false},
		{"DER with something behind it", slices.Concat(a, []byte("hello")), "A", []string{"byte " + fmt.Sprint(len(a)) + ": 5 bytes that"}, false},
		{"DER and PEM in one file", slices.Concat(a, []byte(block("CERTIFICATE", b))), "AB", nil, false},
		{"DER, cut off", a[:200], "", []string{"byte 0: damaged: the certificate is cut off"}, false},
		{"DER of something else", slices.Concat(tlv(tagSequence, []byte{tagInteger, 1, 0}), a), "A", []string{"byte 0: an ASN.1 structure"}, false},
		{"PKCS#7, DER", p7, "AB", nil, true},
		{"PKCS#7, BER", pkcs7(indefinite, indefinite(tagContext0, a, b)), "AB", nil, true},
		{"PKCS#7, PEM", []byte(block("PKCS7", p7)), "AB", nil, true},
		{"PKCS#7 that calls itself CMS", []byte(block("CMS", p7)), "AB", nil, false},
		{"PKCS#7 that calls itself a certificate", []byte(block("CERTIFICATE", p7)), "AB", nil, true},
		{"PKCS#7 with a revocation list", pkcs7(tlv, tlv(tagContext0, a), tlv(tagContext1, []byte{tagSequence, 0})), "A",
			[]string{"byte 0: a revocation list"}, false},
		{"PKCS#7 with an attribute certificate", pkcs7(tlv, tlv(tagContext0, a, []byte{0xa1, 0})), "A", []string{"byte 0: an attribute"}, false},
		{"PKCS#7 without certificates", pkcs7(tlv), "", []string{"byte 0: PKCS#7 without certificates"}, false},
		{"base64 on one line", []byte(enc(a)), "A", nil, false},
		{"base64 in lines", []byte("# B\n" + wrapped.String() + "\n" + enc(a)), "BA", nil, false},
		{"base64 in lines, one after the other", []byte(enc(a) + "\n" + wrapped.String() + enc(c)), "ABC", nil, false},
		{"base64 of PKCS#7", []byte(enc(pkcs7(indefinite, indefinite(tagContext0, a, b)))), "AB", nil, false},
		{"base64 in YAML and JSON", []byte("ca: " + enc(a) + "\nx5c: [\"" + enc(b) + "\",\"" + enc(c) + "\"]\n"), "ABC", nil, false},
		{"base64 that is cut off", []byte(enc(a)[:160] + "\n" + pa), "A", []string{"1: base64 without BEGIN line: the certificate is cut off"}, false},
		{"base64 of something else", []byte(enc(tlv(tagSequence, make([]byte, 100))) + "\n" + pa), "A",
			[]string{"1: base64 that holds no"}, false},
		{"base64 before a BEGIN line on the same line", []byte(enc(b) + " " + pa), "BA", nil, false},
		{"base64 whose BEGIN line got lost", []byte(strings.SplitAfterN(pa, "\n", 2)[1]), "A", nil, false},
	}
}

func TestReadFindsOrNamesEverything(t *testing.T) {
	for _, e := range examples(t) {
		t.Run(e.name, func(t *testing.T) {
			var got string
			var left []string
			for _, p := range Read(e.data) {
				if p.DER == nil {
					left = append(left, place(p)+": "+p.Reason)
					continue
				}
				got += nameOf(p.DER)
			}
			if got != e.want || len(left) != len(e.left) {
				t.Fatalf("got %q, left out %q", got, left)
			}
			for i, l := range left {
				where, reason, _ := strings.Cut(e.left[i], ": ")
				if !strings.HasPrefix(l, where+": ") || !strings.Contains(l, reason) {
					t.Errorf("left out %q, want %q", l, e.left[i])
				}
			}
		})
	}
}

func place(p Part) string {
	if p.Line > 0 {
		return fmt.Sprint(p.Line)
	}
	return fmt.Sprintf("byte %d", p.Offset)
}

func nameOf(der []byte) string {
	for name, c := range certificates {
		if bytes.Equal(c, der) {
			return string(name)
		}
	}
	return "?"
}
