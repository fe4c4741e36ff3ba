package tpm

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"fleetctl/enroll/tpm/wire"
)

const someHash = "1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c"

func TestParseIdentifyText(t *testing.T) {
	tests := []struct {
		name, text   string
		hash, serial string
		err          string
	}{
		{"the old words", "TPM Information\nEKPub Hash: " + someHash + "\nEKCert Detected: true\nEKCert Serial: 5e:cd:5f:8e\n",
			someHash, "5e:cd:5f:8e", ""},
		{"the old words without a certificate", "EKPub Hash: " + someHash + "\nEKCert Detected: false\n", someHash, "", ""},
		{"the new words", "TPM Information\nEK Public Hash: " + someHash + "\nEK Certificate Detected: true\nEK Certificate Serial: 01\n",
			someHash, "01", ""},
		{"carriage returns, log lines around, no end of line", "2026-01-01T00:00:00Z INFO x: y\r\n  EK Public Hash: " + someHash +
			"\r\nEK Certificate Detected: false\r\nERROR: none", someHash, "", ""},
		{"a hash in capitals", "EKPub Hash: " + strings.ToUpper(someHash) + "\nEKCert Detected: false\n", "", "", "64 lower-case"},
		{"a short hash", "EKPub Hash: 1b5b\nEKCert Detected: false\n", "", "", "64 lower-case"},
		{"a certificate without serial", "EKPub Hash: " + someHash + "\nEKCert Detected: true\n", "", "", "serial"},
		{"a serial without certificate", "EKPub Hash: " + someHash + "\nEKCert Detected: false\nEKCert Serial: 01\n", "", "", "not clear"},
		{"a broken serial", "EKPub Hash: " + someHash + "\nEKCert Detected: true\nEKCert Serial: 1:2\n", "", "", "serial"},
		{"nothing about a certificate", "EKPub Hash: " + someHash + "\n", "", "", "not clear"},
		{"two hosts in one text", strings.Repeat("EKPub Hash: "+someHash+"\nEKCert Detected: false\n", 2), "", "", "twice"},
		{"nothing", "", "", "", "no line"},
		{"an error of tbot", "ERROR: TPM device not available\n", "", "", "no line"},
		{"too much", strings.Repeat("x", maxIdentify+1), "", "", "more than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := ParseIdentifyText([]byte(test.text))
			if test.err != "" {
				if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %+v, %v", id, err)
				}
				return
			}
			if err != nil || id.Hash != test.hash || id.Serial != test.serial {
				t.Errorf("got %+v, %v", id, err)
			}
		})
	}
}

func TestParseIdentifyTextTakesWhatDebugPrints(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	issuer := newEntity(t, "CA", nil, nil)
	cert := newEntityWithKey(t, "", key, issuer, asEK(nil)).cert
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	text := func(hash, serial string) []byte {
		return []byte("EK Public Hash: " + hash + "\nEK Certificate Detected: true\nEK Certificate Serial: " + serial + "\nEK Public:\n" +
			string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})) + "EK Certificate:\n" +
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})))
	}
	id, err := ParseIdentifyText(text(hex.EncodeToString(sum[:]), "12:34"))
	if err != nil || id.Certificate == nil || !bytes.Equal(id.PublicDER, der) || id.KeyType != "RSA-2048" {
		t.Errorf("%v, %+v", err, id)
	}
	if _, err := ParseIdentifyText(text(someHash, "12:34")); !errors.Is(err, ErrProtocol) {
		t.Errorf("a key that does not have the hash: %v", err)
	}
	if _, err := ParseIdentifyText(text(hex.EncodeToString(sum[:]), "12:35")); !errors.Is(err, ErrProtocol) {
		t.Errorf("a certificate that does not have the serial: %v", err)
	}
}

func factsLine() []byte {
	return wire.AppendJSON(nil, &Raw{
		Device: "/dev/tpmrm0", Found: wire.FoundSysfs, Hostname: "web-01",
		Properties: []wire.Property{{Tag: ptManufacturer, Value: 0x49465800}},
		NVIndices:  []uint32{1}, Persistent: []uint32{2},
		EKCert: wire.Area{Data: []byte{1}, Defined: true}, EK: wire.Key{Code: 0x18b},
		Timings: []wire.Timing{{Command: wire.CCNVRead, Took: 1000}},
	})
}

func TestParseIdentifyJSON(t *testing.T) {
	line := factsLine()
	facts, err := ParseIdentifyJSON(line)
	if err != nil || facts.Raw.Device != "/dev/tpmrm0" || facts.Raw.Hostname != "web-01" || !facts.Raw.EKCert.Defined ||
		facts.Raw.EK.Code != 0x18b || len(facts.Raw.Properties) != 1 || len(facts.Raw.Timings) != 1 {
		t.Errorf("%v, %+v", err, facts)
	}
	again := wire.AppendJSON(nil, facts.Raw)
	if !bytes.Equal(line, again) {
		t.Errorf("\n%s\n%s", line, again)
	}
	named := bytes.Replace(line, []byte("{"), []byte(`{"host":"db-01",`), 1)
	if facts, err := ParseIdentifyJSON(named); err != nil || facts.Host != "db-01" {
		t.Errorf("%v, %+v", err, facts)
	}
	for name, bad := range map[string]string{
		"nothing":            "",
		"another version":    `{"fleetctl_identify":2}`,
		"no version":         `{}`,
		"an unknown key":     `{"fleetctl_identify":1,"x":1}`,
		"two objects":        `{"fleetctl_identify":1}{}`,
		"hex that is none":   `{"fleetctl_identify":1,"ek":{"public":"xx"}}`,
		"a negative number":  `{"fleetctl_identify":1,"nv_indices":[-1]}`,
		"too long a list":    `{"fleetctl_identify":1,"nv_indices":[` + strings.Repeat("1,", maxListed) + `1]}`,
		"too long an area":   `{"fleetctl_identify":1,"ek_certificate":{"data":"` + strings.Repeat("00", maxBlob+1) + `"}}`,
		"more than a line":   strings.Repeat(" ", maxIdentify+1),
		"a text of tbot":     "EKPub Hash: " + someHash,
		"a string of nulls":  "\x00\x00",
		"an array of states": `[{"fleetctl_identify":1}]`,
	} {
		if _, err := ParseIdentifyJSON([]byte(bad)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// fixture is what a TPM or the helper really gave.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFactsOfARealTPMAreJudged(t *testing.T) {
	facts, err := ParseIdentifyJSON(fixture(t, "identify.json"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Judge(facts.Raw, ExamineOptions{CAs: NewCASet()})
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := parseEKCert(fixture(t, "swtpm-ekcert.der"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(report.Identity.CertDER, cert.Raw) || report.Identity.KeyType != "RSA-2048" || report.Proven ||
		report.Properties.Manufacturer != "IBM" || report.Properties.EKCertIssuer != "CN=swtpm-localca" {
		t.Errorf("%+v", report)
	}
	if len(report.Findings) != 1 || report.Findings[0].Code != "issuer-unknown" {
		t.Errorf("%+v", report.Findings)
	}
}

func TestJudgeWithoutATPMNeedsTheEKInTheFacts(t *testing.T) {
	report, err := Judge(&Raw{}, ExamineOptions{})
	if err == nil || report == nil || report.Identity.Hash != "" {
		t.Errorf("%v, %+v", err, report)
	}
}

func TestSerial(t *testing.T) {
	for n, want := range map[int64]string{0: "00", 1: "01", 255: "ff", 256: "01:00", 0x5ecd5f8e: "5e:cd:5f:8e"} {
		if got := Serial(big.NewInt(n)); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestPropertiesArePrintable(t *testing.T) {
	raw := &Raw{Device: "/dev/\x1b[31m", Properties: []wire.Property{
		{Tag: ptManufacturer, Value: 0x49465800}, {Tag: ptVendorFirst, Value: 0x534c4239}, {Tag: ptVendorFirst + 1, Value: 0x36373000},
		{Tag: ptRevision, Value: 138}, {Tag: ptFirmware1, Value: 7<<16 | 85}, {Tag: ptFirmware2, Value: 0x11CB02},
	}}
	p := newProperties(raw, Identity{KeyType: "RSA-2048"})
	want := Properties{Manufacturer: "IFX", Vendor: "SLB9670", Firmware: "7.85.17.51970", SpecRevision: "1.38", Device: "/dev/?[31m", KeyType: "RSA-2048"}
	if p != want {
		t.Errorf("%+v", p)
	}
	raw.Properties = []wire.Property{{Tag: ptManufacturer, Value: 0x1b5b3331}}
	if p := newProperties(raw, Identity{}); p.Manufacturer != "?[31" {
		t.Errorf("%q", p.Manufacturer)
	}
}

func TestShellScriptQuotesTheDevice(t *testing.T) {
	for _, device := range []string{"", "/dev/tpmrm0", "/dev/it's", "/dev/$(touch x)`touch x`", "/dev/a b\nc;\"d\"\\", "'", "''"} {
		script := ShellScript(device)
		end := strings.Index(script, "\n# Gives stdin")
		if end < 0 {
			t.Fatal("the script does not begin as it did")
		}
		out, err := exec.Command("sh", "-c", script[:end]+"\nprintf %s \"$fleetctl_device\"").Output()
		if err != nil || string(out) != device {
			t.Errorf("%q became %q, %v", device, out, err)
		}
	}
}

func FuzzIdentifyText(f *testing.F) {
	f.Add([]byte("TPM Information\nEKPub Hash: " + someHash + "\nEKCert Detected: true\nEKCert Serial: 5e:cd:5f:8e\n"))
	f.Add([]byte("EK Public Hash: " + someHash + "\r\nEK Certificate Detected: false\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := ParseIdentifyText(text)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%v", err)
			}
			return
		}
		if len(id.Hash) != 64 || strings.Trim(id.Hash, "0123456789abcdef") != "" || strings.Trim(id.Serial, "0123456789abcdef:") != "" {
			t.Errorf("%+v", id)
		}
	})
}

// Lines are short: what they hold is fuzzed beside, as bytes (FuzzIdentifyFacts). Of a long line in hex nearly every change is the
// same mistake, and Go spends its time on making it shorter.
func FuzzIdentifyJSON(f *testing.F) {
	f.Add(factsLine())
	f.Add([]byte(`{"fleetctl_identify":1,"ek":{"public":"0001000b","name":"00"},"ek_nonce":{"code":1,"defined":true,"attributes":2,"data":"ff"}}`))
	f.Add([]byte(`{"fleetctl_identify":1,"properties":[[1,2],[4294967295,0]],"nv_indices":[1],"persistent":[2]}`))
	f.Add([]byte(`{"fleetctl_identify":1,"host":"\u001b[31m"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		facts, err := ParseIdentifyJSON(line)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%v", err)
			}
			return
		}
		if facts.Host != wire.Printable(facts.Host, 1<<20) || facts.Raw.Hostname != wire.Printable(facts.Raw.Hostname, 1<<20) {
			t.Errorf("%q %q", facts.Host, facts.Raw.Hostname)
		}
		_, _ = Judge(facts.Raw, ExamineOptions{Now: nil})
	})
}

// What a line of identify -json holds, judged as an import does: whatever it is, it becomes an identity or an error, and what is said of
// it can be recorded.
func FuzzIdentifyFacts(f *testing.F) {
	facts, err := ParseIdentifyJSON(fixture(f, "identify.json"))
	if err != nil {
		f.Fatal(err)
	}
	r := facts.Raw
	f.Add("web-01", r.EKCert.Data, r.EK.Public, r.SRK.Public, r.Derived.Key.Public, uint32(0), uint32(ptManufacturer))
	f.Add("\x1b\u3164", []byte{0x30, 0}, tpm2.Marshal(tpm2.RSAEKTemplate), tpm2.Marshal(tpm2.ECCEKTemplate), []byte(nil), uint32(0x18b), uint32(ptPermanent))
	f.Fuzz(func(t *testing.T, host string, cert, ek, srk, derived []byte, code, tag uint32) {
		raw := &Raw{
			Device: host, Found: host, Hostname: host, Properties: []wire.Property{{Tag: tag, Value: code}}, NVIndices: []uint32{tag},
			EKCert: wire.Area{Code: code % 2, Defined: true, Attributes: tag, Data: cert}, EK: wire.Key{Public: ek, Name: cert}, SRK: wire.Key{Code: code, Public: srk},
			Derived: wire.Derived{Key: wire.Key{Public: derived}},
		}
		facts, err := ParseIdentifyJSON(wire.AppendJSON(nil, raw))
		if max(len(cert), len(ek), len(srk), len(derived)) > maxBlob {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		report, err := Judge(facts.Raw, ExamineOptions{})
		if err != nil && report == nil {
			return
		}
		if _, err := json.Marshal(Details{Properties: report.Properties, Findings: report.Findings}); err != nil {
			t.Error(err)
		}
		if id := report.Identity; err == nil && (len(id.Hash) != 64 || id.Serial != "" && !ValidSerial(id.Serial)) {
			t.Errorf("%+v", id)
		}
	})
}

func FuzzEKCert(f *testing.F) {
	root := newEntity(f, "root", nil, nil)
	ek := newEntity(f, "", root, asEK(nil))
	f.Add(ek.cert.Raw)
	f.Add(append([]byte{0x10, 0x01, 0x00, byte(len(ek.cert.Raw) >> 8), byte(len(ek.cert.Raw))}, append(ek.cert.Raw, 0, 0)...))
	f.Add(fixture(f, "swtpm-ekcert.der"))
	set := NewCASet(root.cert)
	f.Fuzz(func(t *testing.T, nv []byte) {
		cert, _, err := parseEKCert(nv)
		if err != nil {
			return
		}
		id, err := certifiedIdentity(cert)
		if err != nil && !errors.Is(err, ErrIdentity) {
			t.Errorf("%v", err)
		}
		if err == nil && (len(id.Hash) != 64 || id.Serial == "") {
			t.Errorf("%+v", id)
		}
		for _, finding := range set.Judge(cert, testNow) {
			if finding.Message != wire.Printable(finding.Message, 1<<20) {
				t.Errorf("%q", finding.Message)
			}
		}
		_, _ = set.chain(cert)
		_ = newProperties(&Raw{}, id)
	})
}

// A public area is what a host says: whatever it is, it becomes an error or a challenge.
func FuzzPublicArea(f *testing.F) {
	f.Add(tpm2.Marshal(tpm2.RSAEKTemplate))
	f.Add(tpm2.Marshal(tpm2.ECCEKTemplate))
	f.Add(tpm2.Marshal(tpm2.RSASRKTemplate))
	f.Fuzz(func(t *testing.T, area []byte) {
		p, err := parsePublic(area)
		if err != nil {
			return
		}
		_ = activatable(p.area)
		_ = checkName(wire.Key{Public: area, Name: []byte{0, 0x0b}}, "key")
		if checkEK(p.area) != nil {
			return
		}
		if _, err := newChallenge(wire.KeyDerived, p, []byte{0, 0x0b, 1}, make([]byte, secretSize)); err != nil && !errors.Is(err, ErrProof) {
			t.Errorf("%v", err)
		}
	})
}

func ExampleSerial() {
	fmt.Println(Serial(big.NewInt(0x5ecd5f8e)))
	// Output: 5e:cd:5f:8e
}
