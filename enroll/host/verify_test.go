package host

import (
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tctl"
	"fleetctl/inventory"
)

func TestKnownCauses(t *testing.T) {
	for line, want := range map[string]outcome.Code{
		`ERROR: access denied: validated tpm attributes did not match any allow rules`:                        "no-rule",
		`ERROR: tpm joining: requires Teleport Enterprise`:                                                    "needs-enterprise",
		`ERROR: validating EKCert against allowed CAs: x509: certificate signed by unknown authority`:         "ekcert-refused",
		`ERROR: tpm did not provide an EKCert to validate against allowed CAs`:                                "no-ekcert",
		`ERROR: token expired or not found`:                                                                   "token-missing",
		`ERROR: opening tpm: open /dev/tpmrm0: permission denied`:                                             "tpm-permission",
		`ERROR: open /dev/tpm0: device or resource busy`:                                                      "tpm-busy",
		`ERROR: solving credential activation challenge: wrong solution`:                                      "activation-failed",
		`ERROR: x509: certificate has expired or is not yet valid: current time 1970-01-01 is before 2026`:    "clock",
		`ERROR: failed parsing config file /etc/tbot.yaml: field sevices not found in type config.BotConfig`:  "bad-config",
		`ERROR: validating merged bot config: services[0]: unrecognized service type "x"`:                     "bad-config",
		`ERROR: diagnostics: listen tcp 127.0.0.1:3001: bind: address already in use`:                         "address-in-use",
		`ERROR: failed dial to teleport.example.com:443: dial tcp 192.0.2.1:443: connect: connection refused`: "cluster-unreachable",
		`ERROR: tls: failed to verify certificate: x509: certificate signed by unknown authority`:             "cluster-certificate",
		`ERROR: mkdir /opt/machine-id: read-only file system`:                                                 "permission",
		`ERROR: access denied: lock targeting User:"bot-fleet" is in force: bye`:                              "locked",
		`INFO nothing of note`: "service-failed",
	} {
		h := Health{state: "restarting", lines: []string{"INFO starting", line}}
		if got := h.Explain(0); got.Code != want || got.Message == "" || got.Hint == "" {
			t.Errorf("%s: got %+v, want %s", line, got, want)
		}
	}
}

func TestAClockThatIsOffIsNamed(t *testing.T) {
	h := Health{state: "not-joined", lines: []string{"ERROR: tls: failed to verify certificate: x509: certificate has expired or is not yet valid"}}
	p := h.Explain(-3 * time.Hour)
	if p.Code != "clock" || !strings.Contains(p.Message, "3h0m0s") {
		t.Errorf("got %+v", p)
	}
}

func TestHealthIsReadStrictly(t *testing.T) {
	good := "state=joined\nby=readyz\nend=1\n"
	if h, err := parseHealth([]byte(good)); err != nil || !h.Joined() || h.By != "readyz" {
		t.Errorf("got %+v, %v", h, err)
	}
	for name, out := range map[string]string{
		"nothing at all":   "",
		"it is cut off":    "state=joined\nby=readyz\n",
		"an unknown state": "state=fine\nend=1\n",
		"an unknown key":   "state=joined\nmood=good\nend=1\n",
		"no key":           "hello\n",
	} {
		if h, err := parseHealth([]byte(out)); err == nil {
			t.Errorf("%s: got %+v", name, h)
		}
	}
}

func TestFactsAreReadStrictly(t *testing.T) {
	d := testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})
	for name, out := range map[string]string{
		"nothing at all":                    "",
		"it is cut off":                     "uid=0\n",
		"a key twice":                       "uid=0\nuid=1\nend=1\n",
		"an unknown key":                    "uid=0\nshell=zsh\nend=1\n",
		"a control character":               "os.id=deb\x1b[31mian\nend=1\n",
		"a file that was not asked for":     "file.99=file 644 root root 1\nend=1\n",
		"content without its file":          "data.0=00\nend=1\n",
		"content that is no hex":            "file.0=file 644 root root 1\ndata.0=zz\nend=1\n",
		"a mode that is none":               "file.0=file rw root root 1\nend=1\n",
		"a relative path":                   "tbot.path=tbot\nend=1\n",
		"a path with a blank":               "device.path=/dev/tpm rm0\nend=1\n",
		"too long a value":                  "os.id=" + strings.Repeat("x", 5000) + "\nend=1\n",
		"a directory that wasn't asked for": "dir.3=dir 755 root root 1\nend=1\n",
	} {
		if f, err := parseFacts([]byte(out), d); err == nil {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func FuzzParseFacts(f *testing.F) {
	f.Add([]byte("uid=0\narch=x86_64\nnow=1763900000\nfile.0=file 640 root teleport 3\ndata.0=616263\ndir.storage=dir 700 teleport teleport 4096\nend=1\n"))
	f.Add([]byte("device.path=/dev/tpmrm0\ndevice.type=char\ndevice.stat=660 root tss\nend=1\n"))
	f.Add([]byte("service.load=loaded\nservice.restarts=x\n"))
	d := Desired{Tbot: config.Tbot{Config: "/etc/tbot.yaml", Storage: "/var/lib/teleport/bot"}}
	f.Fuzz(func(t *testing.T, out []byte) {
		facts, err := parseFacts(out, d)
		if err != nil {
			return
		}
		for path, ff := range facts.files {
			if len(ff.content) > maxFileContent {
				t.Errorf("%s: %d bytes", path, len(ff.content))
			}
		}
		if facts.device.path != "" && !cleanPath(facts.device.path) {
			t.Errorf("device %q", facts.device.path)
		}
	})
}

func FuzzParseHealth(f *testing.F) {
	f.Add([]byte("state=joined\nby=readyz\nend=1\n"))
	f.Add([]byte("state=restarting\nlog.1=ERROR: x\nend=1\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		h, err := parseHealth(out)
		if err == nil && (len(h.lines) > maxJournal || len(h.Log) > maxShown) {
			t.Error("an endless journal")
		}
		h.Explain(0)
	})
}

func FuzzParseJoins(f *testing.F) {
	f.Add([]byte(`[{"spec":{"bot_name":"fleet","instance_id":"i"},"status":{"latest_authentications":[{"authenticated_at":"2026-11-23T07:00:00Z","join_attrs":{"tpm":{"ek_pub_hash":"ab"}}}]}}]`))
	f.Add([]byte(`{"spec":{}}`))
	f.Fuzz(func(_ *testing.T, out []byte) { _, _ = tctl.ParseJoins(out) })
}

func TestSecretsAreMasked(t *testing.T) {
	text := `onboarding:
  token: fleet
services:
- type: x
  password: hunter2
  client_secret: "s3cret"
  url: https://user:pa55@example.com/
  private_key: |
    -----BEGIN
    MIIE
  path: /opt
`
	got := maskSecrets(text, "fleet")
	for _, secret := range []string{"hunter2", "s3cret", "pa55", "MIIE", "BEGIN"} {
		if strings.Contains(got, secret) {
			t.Errorf("%s is shown:\n%s", secret, got)
		}
	}
	for _, plain := range []string{"token: fleet", "path: /opt", "type: x", "https://user:********@example.com"} {
		if !strings.Contains(got, plain) {
			t.Errorf("%s is gone:\n%s", plain, got)
		}
	}
	if got := maskSecrets("  token: 0123456789abcdef\n", "fleet"); strings.Contains(got, "0123") {
		t.Error("a join token is shown")
	}
}
