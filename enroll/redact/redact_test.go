package redact

import (
	"regexp"
	"strings"
	"testing"
)

const (
	hash   = "1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c"
	serial = "5e:cd:5f:8e"
	id     = "0b7a0a4e-6f0b-4a0e-9f7a-0a1b2c3d4e5f"
)

func TestWhatMustNotLeaveIsGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, gone string }{
		{"a certificate", "x -----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE----- y", "MIIB"},
		{"a private key that is cut off", "-----BEGIN RSA PRIVATE KEY-----\nMIIB", "MIIB"},
		{"a password in YAML", "  password: hunter2", "hunter2"},
		{"a secret in a list", "- client_secret: hunter2", "hunter2"},
		{"a credential in a unit", "LoadCredentials=hunter2", "hunter2"},
		{"an authorization", "Authorization: Bearer hunter2", "hunter2"},
		{"a password in a URL", "https://me:hunter2@proxy.example.com", "hunter2"},
		{"a signed token", "token eyJhbGciOi.eyJzdWIi.c2ln end", "eyJzdWIi"},
		{"a long secret of another form", "key c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0Cg== end", "c2VjcmV0"},
		{"an EKPub hash", "EKPub Hash: " + hash, hash},
		{"a serial", "EKCert Serial: " + serial, serial},
		{"a UUID", "id=" + id, id},
		{"an IPv4 address", "dial tcp 10.1.2.3:443: refused", "10.1.2.3"},
		{"an IPv6 address", "dial tcp [2a01:4f8::1]:443: refused", "2a01:4f8::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := New().Text(c.text); strings.Contains(got, c.gone) {
				t.Errorf("%s", got)
			}
		})
	}
}

func TestStandInsHaveTheSameFormAndStayTheSame(t *testing.T) {
	t.Parallel()
	r := New()
	for value, form := range map[string]string{
		hash: `^[0-9a-f]{64}$`, serial: `^[0-9a-f]{2}(:[0-9a-f]{2}){3}$`, id: `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`,
		"10.1.2.3": `^192\.0\.2\.\d+$`, "2a01:4f8::1": `^2001:db8::[0-9a-f]+$`,
	} {
		first := r.Text(value)
		if !regexp.MustCompile(form).MatchString(first) || first == value || r.Text("again: "+value) != "again: "+first {
			t.Errorf("%s: %s, then %s", value, first, r.Text(value))
		}
		if New().Text(value) == first && strings.Contains(form, "0-9a-f]{64}") {
			t.Errorf("%s: the same for everybody", value)
		}
	}
}

func TestNamesAreReplacedWhereTheyStandAlone(t *testing.T) {
	t.Parallel()
	r := New()
	r.Name("web-01", "host-1")
	r.Name("web-01.example.com", "host-1.invalid")
	r.Name("db", "host-2") // too short to be looked for
	r.Name("", "nothing")
	for text, want := range map[string]string{
		"WEB-01 said":                  "host-1 said",
		"at web-01.example.com:22":     "at host-1.invalid:22",
		"web-010 and web-01":           "web-010 and host-1",
		"the db, and its debug output": "the db, and its debug output",
	} {
		if got := r.Text(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWhatSaysNothingOfAnybodyStays(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"Teleport v17.3.4 git:v17.3.4-0-g1234567 go1.23.7", "listening on 127.0.0.1:3001 and [::1]:3001 and 0.0.0.0:80",
		"2026-03-09T11:50:46.101Z INFO [TBOT:IDEN] Fetched new bot identity", "/var/lib/teleport/bot/some/long/path/to/a/file.pem",
		"ERROR: unknown long flag '--pid-file'", "at 12:34:56 it was 10% done", "version 17.5.3.1000",
	} {
		if got := New().Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a:b::c 1.2.3.4 -----BEGIN X-----")
	f.Fuzz(func(t *testing.T, s string) {
		r := New()
		r.Name("web-01", "host-1")
		if got := r.Text(s + " " + hash); strings.Contains(got, hash) && !strings.Contains(s, "-----BEGIN") {
			t.Errorf("%q", got)
		}
	})
}
