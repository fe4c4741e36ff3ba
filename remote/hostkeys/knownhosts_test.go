package hostkeys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	skeema "github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
)

func edKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	return signer(t, priv, err)
}

func rsaKey(t testing.TB) ssh.Signer {
	t.Helper()
	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	return signer(t, priv, err)
}

func ecKey(t testing.TB) ssh.Signer {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return signer(t, priv, err)
}

func signer(t testing.TB, key any, err error) ssh.Signer {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keyLine(names string, key ssh.PublicKey) string {
	return names + " " + key.Type() + " " + base64.StdEncoding.EncodeToString(key.Marshal())
}

func hostCert(t testing.TB, ca, host ssh.Signer, principal string, end time.Time) ssh.PublicKey {
	t.Helper()
	cert := &ssh.Certificate{
		Key: host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{principal},
		ValidAfter: uint64(time.Now().Add(-time.Hour).Unix()), ValidBefore: uint64(end.Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return cert
}

func loadLines(t testing.TB, lines ...string) *KnownHosts {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := Load([]string{file}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestHostKeysAreJudgedAsOpenSSHDoes(t *testing.T) {
	t.Parallel()
	a, b, r, ca, otherCA := edKey(t), edKey(t), rsaKey(t), edKey(t), edKey(t)
	later, earlier := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	for _, tt := range []struct {
		name  string
		lines []string
		host  string
		port  int
		key   ssh.PublicKey
		want  error
	}{
		{"a plain name", []string{keyLine("h", a.PublicKey())}, "h", 22, a.PublicKey(), nil},
		{"names are compared without case", []string{keyLine("Web.Example", a.PublicKey())}, "wEB.example", 22, a.PublicKey(), nil},
		{"one of several names", []string{keyLine("g,h,10.0.0.1", a.PublicKey())}, "10.0.0.1", 22, a.PublicKey(), nil},
		{"a hashed name", []string{keyLine(hashedName("h"), a.PublicKey())}, "h", 22, a.PublicKey(), nil},
		{"a port", []string{keyLine("[h]:2222", a.PublicKey())}, "h", 2222, a.PublicKey(), nil},
		{"a hashed port", []string{keyLine(hashedName("[h]:2222"), a.PublicKey())}, "h", 2222, a.PublicKey(), nil},
		{"another port of a known host", []string{keyLine("h", a.PublicKey())}, "h", 2222, a.PublicKey(), nil},
		{"another key on another port is unknown, not changed", []string{keyLine("h", a.PublicKey())}, "h", 2222, b.PublicKey(), fault.ErrHostKeyUnknown},
		{"a port's key does not count on 22", []string{keyLine("[h]:2222", a.PublicKey())}, "h", 22, a.PublicKey(), fault.ErrHostKeyUnknown},
		{"IPv6", []string{keyLine("2001:db8::1", a.PublicKey())}, "2001:db8::1", 22, a.PublicKey(), nil},
		{"IPv6 and a port", []string{keyLine("[2001:db8::1]:2222", a.PublicKey())}, "2001:db8::1", 2222, a.PublicKey(), nil},
		{"a wildcard", []string{keyLine("*.example", a.PublicKey())}, "h.example", 22, a.PublicKey(), nil},
		{"a wildcard on any port", []string{keyLine("*.example", a.PublicKey())}, "h.example", 2222, a.PublicKey(), nil},
		{"a negation", []string{keyLine("*.example,!h.example", a.PublicKey())}, "h.example", 22, a.PublicKey(), fault.ErrHostKeyUnknown},
		{"an empty file", nil, "h", 22, a.PublicKey(), fault.ErrHostKeyUnknown},
		{"comments and broken lines are skipped", []string{"# h", "h ssh-ed25519", "h ssh-foo AAAA", "@who h x y", keyLine("h", a.PublicKey()) + " c"}, "h", 22, a.PublicKey(), nil},
		{"a changed key", []string{keyLine("h", a.PublicKey())}, "h", 22, b.PublicKey(), fault.ErrHostKeyChanged},
		{"a changed key of a hashed name", []string{keyLine(hashedName("h"), a.PublicKey())}, "h", 22, b.PublicKey(), fault.ErrHostKeyChanged},
		{"another key type than known", []string{keyLine("h", r.PublicKey())}, "h", 22, a.PublicKey(), fault.ErrHostKeyChanged},
		{"the second of two keys", []string{keyLine("h", r.PublicKey()), keyLine("h", a.PublicKey())}, "h", 22, a.PublicKey(), nil},
		{"a revoked key", []string{keyLine("h", a.PublicKey()), "@revoked " + keyLine("*", a.PublicKey())}, "h", 22, a.PublicKey(), fault.ErrHostKeyRevoked},
		{"a key revoked for another host", []string{keyLine("h", a.PublicKey()), "@revoked " + keyLine("g", a.PublicKey())}, "h", 22, a.PublicKey(), nil},
		{"an authority", []string{"@cert-authority " + keyLine("*", ca.PublicKey())}, "h", 22, hostCert(t, ca, a, "h", later), nil},
		{"an authority and a port", []string{"@cert-authority " + keyLine("*", ca.PublicKey())}, "h", 2222, hostCert(t, ca, a, "h", later), nil},
		{"an authority with a hashed name", []string{"@cert-authority " + keyLine(hashedName("h"), ca.PublicKey())}, "h", 22, hostCert(t, ca, a, "h", later), nil},
		{"an authority of other hosts", []string{"@cert-authority " + keyLine("*.example", ca.PublicKey())}, "h", 22, hostCert(t, ca, a, "h", later), fault.ErrHostKeyUnknown},
		{"another authority", []string{"@cert-authority " + keyLine("*", ca.PublicKey())}, "h", 22, hostCert(t, otherCA, a, "h", later), fault.ErrHostKeyUnknown},
		{"a certificate of another host", []string{"@cert-authority " + keyLine("*", ca.PublicKey())}, "h", 22, hostCert(t, ca, a, "g", later), fault.ErrHostKeyUnknown},
		{"an expired certificate", []string{"@cert-authority " + keyLine("*", ca.PublicKey())}, "h", 22, hostCert(t, ca, a, "h", earlier), fault.ErrHostKeyUnknown},
		{"a revoked authority", []string{"@cert-authority " + keyLine("*", ca.PublicKey()), "@revoked " + keyLine("*", ca.PublicKey())}, "h", 22, hostCert(t, ca, a, "h", later), fault.ErrHostKeyRevoked},
		{"a revoked key in a certificate", []string{"@cert-authority " + keyLine("*", ca.PublicKey()), "@revoked " + keyLine("*", a.PublicKey())}, "h", 22, hostCert(t, ca, a, "h", later), fault.ErrHostKeyRevoked},
		{"an authority's key is no host key", []string{"@cert-authority " + keyLine("h", ca.PublicKey())}, "h", 22, ca.PublicKey(), fault.ErrHostKeyUnknown},
		{"a certificate whose plain key is known", []string{keyLine("h", a.PublicKey())}, "h", 22, hostCert(t, ca, a, "h", later), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := loadLines(t, tt.lines...).Check(HostNames(tt.host, tt.port), tt.key)
			if !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestAlgorithmsFollowWhatIsKnown(t *testing.T) {
	t.Parallel()
	ed, r, ec, ca := edKey(t), rsaKey(t), ecKey(t), edKey(t)
	for _, tt := range []struct {
		name  string
		lines []string
		first string
	}{
		{"RSA alone", []string{keyLine("h", r.PublicKey())}, ssh.KeyAlgoRSASHA512},
		{"ECDSA alone", []string{keyLine("h", ec.PublicKey()), keyLine("g", ed.PublicKey())}, ssh.KeyAlgoECDSA256},
		{"an authority", []string{"@cert-authority " + keyLine("*", ca.PublicKey())}, ssh.CertAlgoRSASHA256v01},
		{"a hashed RSA key alone", []string{keyLine(hashedName("h"), r.PublicKey())}, ssh.KeyAlgoRSASHA512},
	} {
		t.Run(tt.name, func(t *testing.T) {
			algs := loadLines(t, tt.lines...).Algorithms(HostNames("h", 22))
			want := underlyingType(tt.first)
			if strings.Contains(tt.first, "-cert-") != strings.Contains(algs[0], "-cert-") ||
				(!strings.Contains(tt.first, "-cert-") && underlyingType(algs[0]) != want) {
				t.Errorf("first is %s, want %s", algs[0], tt.first)
			}
			for _, a := range ssh.SupportedAlgorithms().HostKeys {
				if !slices.Contains(algs, a) {
					t.Errorf("%s is missing: a changed key could not be told", a)
				}
			}
		})
	}
}

func TestAKeyOfAnotherTypeSuggestsTheKnownOne(t *testing.T) {
	t.Parallel()
	ed, r, other := edKey(t), rsaKey(t), edKey(t)
	k := loadLines(t, keyLine(hashedName("h"), r.PublicKey()), keyLine(hashedName("g"), other.PublicKey()))
	var e *Error
	if err := k.Check([]string{"h"}, ed.PublicKey()); !errors.As(err, &e) || !slices.Contains(e.Retry, ssh.KeyAlgoRSASHA512) {
		t.Errorf("%v, retry %v", err, e.Retry)
	}
}

func TestAcceptedKeysAreRecordedSoThatOpenSSHFindsThem(t *testing.T) {
	t.Parallel()
	keygen := need(t, "ssh-keygen")
	file := filepath.Join(t.TempDir(), "new", "known_hosts")
	k, err := Load([]string{file}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	a, b := edKey(t), rsaKey(t)
	for _, e := range []struct {
		name   string
		key    ssh.PublicKey
		hashed bool
	}{{"plain", a.PublicKey(), false}, {"[hashed]:2222", b.PublicKey(), true}, {"plain", a.PublicKey(), false}} {
		if err := k.Accept(file, e.name, e.key, e.hashed); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(keygen, "-F", e.name, "-f", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", e.name, err, out)
		}
		if err := k.Check([]string{e.name}, e.key); err != nil {
			t.Error(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Count(string(data), "\n") != 2 || strings.Contains(string(data), "hashed") {
		t.Errorf("%q, %v", data, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// TestSameAnswersAsTheReference compares with skeema/knownhosts, which scans.
func TestSameAnswersAsTheReference(t *testing.T) {
	t.Parallel()
	var lines []string
	var keys []ssh.Signer
	for i := range 60 {
		k := edKey(t)
		name := fmt.Sprintf("h%d.example", i)
		switch i % 4 {
		case 1:
			name = hashedName(name)
		case 2:
			name = "[" + name + "]:2222"
		case 3:
			name = fmt.Sprintf("h%d.*,10.0.0.%d", i, i)
		}
		keys = append(keys, k)
		lines = append(lines, keyLine(name, k.PublicKey()))
	}
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ref, err := skeema.NewDB(file)
	if err != nil {
		t.Fatal(err)
	}
	ours := loadLines(t, lines...)
	for i := range 60 {
		for _, port := range []int{22, 2222} {
			host := fmt.Sprintf("h%d.example", i)
			got := ours.Check(HostNames(host, port), keys[i].PublicKey())
			want := ref.HostKeyCallback()(fmt.Sprintf("%s:%d", host, port), addr{}, keys[i].PublicKey())
			// On another port we accept the key that is known without one, as OpenSSH does.
			if (got == nil) != (want == nil) && (port == 22 || got != nil) {
				t.Errorf("%s:%d: %v, reference %v", host, port, got, want)
			}
		}
	}
}

type addr struct{}

func (addr) Network() string { return "tcp" }

func (addr) String() string { return "0.0.0.0:22" }

func FuzzKnownHosts(f *testing.F) {
	k := edKey(f)
	f.Add([]byte(keyLine("h,*.x,!y,[z]:22", k.PublicKey())), "h")
	f.Add([]byte("@revoked "+keyLine("*", k.PublicKey())), "h")
	f.Add([]byte(keyLine(hashedName("h"), k.PublicKey())), "h")
	f.Add([]byte("|1|a|b ssh-rsa AAAA\n@cert-authority\n\x00"), "")
	f.Fuzz(func(t *testing.T, data []byte, host string) {
		known := newKnownHosts()
		known.parse("f", data, func(string, ...any) {})
		names := HostNames(host, 2222)
		_ = known.Check(names, k.PublicKey())
		_ = known.Algorithms(names)
	})
}

func benchmarkKnownHosts(b *testing.B, name func(string) string) {
	var lines []string
	var keys []ssh.PublicKey
	for i := range 5000 {
		k := edKey(b).PublicKey()
		keys = append(keys, k)
		lines = append(lines, keyLine(name(fmt.Sprintf("h%d.example", i)), k))
	}
	k := loadLines(b, lines...)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		names := HostNames(fmt.Sprintf("h%d.example", i%5000), 22)
		k.Algorithms(names)
		if err := k.Check(names, keys[i%5000]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkKnownHostsPlain5000(b *testing.B) {
	benchmarkKnownHosts(b, func(n string) string { return n })
}

func BenchmarkKnownHostsHashed5000(b *testing.B) { benchmarkKnownHosts(b, hashedName) }

// BenchmarkKnownHostsReference5000 is skeema/knownhosts over golang.org/x/crypto on the same hashed lines.
func BenchmarkKnownHostsReference5000(b *testing.B) {
	var lines []string
	k := edKey(b).PublicKey()
	for i := range 5000 {
		lines = append(lines, keyLine(hashedName(fmt.Sprintf("h%d.example", i)), k))
	}
	file := filepath.Join(b.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		b.Fatal(err)
	}
	db, err := skeema.NewDB(file)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		host := fmt.Sprintf("h%d.example:22", i%5000)
		db.HostKeyAlgorithms(host)
		if err := db.HostKeyCallback()(host, addr{}, k); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// need finds a program; it skips a test where that is not installed, or fails it in CI. It is remotetest.NeedPeer for
// tests inside the package, which remotetest imports.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", program)
	}
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}
