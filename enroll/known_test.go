package enroll

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/sshfp"
)

func TestRecordsOfDNSCountWithDNSSECAlone(t *testing.T) {
	t.Parallel()
	blob := []byte("a key")
	digest := sha256.Sum256(blob)
	right := sshfp.Record{Algorithm: 4, SHA256: digest[:]}
	wrong := sshfp.Record{Algorithm: 4, SHA256: make([]byte, 32)}
	other := sshfp.Record{Algorithm: 1, SHA256: make([]byte, 32)}
	for _, tt := range []struct {
		name    string
		answer  sshfp.Answer
		vouched string
		against bool
		noted   bool
	}{
		{"none", sshfp.Answer{Authentic: true}, "", false, false},
		{"of another type", sshfp.Answer{Authentic: true, Records: []sshfp.Record{other}}, "", false, false},
		{"the right one, authenticated", sshfp.Answer{Authentic: true, Records: []sshfp.Record{wrong, right, other}}, ByDNS, false, false},
		{"the right one, insecure", sshfp.Answer{Records: []sshfp.Record{right}}, "", false, true},
		{"a wrong one, authenticated", sshfp.Answer{Authentic: true, Records: []sshfp.Record{wrong}}, "", true, true},
		{"a wrong one, insecure", sshfp.Answer{Records: []sshfp.Record{wrong}}, "", false, true},
	} {
		k := KnownKey{Type: "ssh-ed25519", key: remote.HostKey{Blob: blob}}
		k.compareDNS(tt.answer)
		if k.Vouched != tt.vouched || k.Against != tt.against || (k.Note != "") != tt.noted {
			t.Errorf("%s: %+v", tt.name, k)
		}
	}
}

func TestAFileVouchesForWhatItHas(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "prints")
	text := "# from the consoles\n\n256 SHA256:aaa web-01 (ED25519)\nWEB-02,[10.0.0.2]:2222 SHA256:bbb=\nSHA256:ccc 10.0.0.3\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := ReadFingerprints(path)
	want := Fingerprints{
		"web-01": {"SHA256:aaa"}, "web-02": {"SHA256:bbb"}, "[10.0.0.2]:2222": {"SHA256:bbb"}, "10.0.0.3": {"SHA256:ccc"},
	}
	if err != nil || !reflect.DeepEqual(file, want) {
		t.Errorf("%v, %v", file, err)
	}
	for _, tt := range []struct {
		fingerprint, before string
		names               []string
		vouched             string
		against             bool
	}{
		{"SHA256:aaa", "", []string{"web-01"}, ByFile, false},
		{"SHA256:bbb", "", []string{"x", "[10.0.0.2]:2222"}, ByFile, false},
		{"SHA256:aaa", "", []string{"web-02"}, "", true},
		{"SHA256:aaa", ByDNS, []string{"nobody"}, ByDNS, true}, // who names a file wants it to count
	} {
		k := KnownKey{Fingerprint: tt.fingerprint, Vouched: tt.before}
		k.compareFile(file, tt.names...)
		if k.Vouched != tt.vouched || k.Against != tt.against {
			t.Errorf("%+v: %+v", tt, k)
		}
		h := KnownHost{Status: HostNew, Keys: []KnownKey{k}}
		if (len(h.toWrite()) == 0) != tt.against {
			t.Errorf("%+v is recorded: %v", tt, h.toWrite())
		}
	}
	if got := (KnownHost{Status: HostNew, Keys: []KnownKey{{Vouched: ByDNS}, {}}}).toWrite(); len(got) != 1 {
		t.Errorf("beside a key that something vouches for, %d are recorded", len(got))
	}
	if got := (KnownHost{Status: HostChanged, Keys: []KnownKey{{Vouched: ByDNS}}}).toWrite(); len(got) != 0 {
		t.Error("a changed key is recorded")
	}
}
