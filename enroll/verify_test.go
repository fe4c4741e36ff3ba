package enroll

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetctl/inventory"
)

func TestKnownCauses(t *testing.T) {
	for line, want := range map[string]Code{
		`ERROR: access denied: validated tpm attributes did not match any allow rules`:                        "no-rule",
		`ERROR: tpm joining: requires Teleport Enterprise`:                                                    "needs-enterprise",
		`ERROR: validating EKCert against allowed CAs: x509: certificate signed by unknown authority`:         "ekcert-refused",
		`ERROR: tpm did not provide an EKCert to validate against allowed CAs`:                                "ekcert-refused",
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
		h := Health{State: "restarting", Log: []string{"INFO starting", line}}
		if got := h.explain(0); got.Code != want || got.Message == "" || got.Hint == "" {
			t.Errorf("%s: got %+v, want %s", line, got, want)
		}
	}
}

func TestAClockThatIsOffIsNamed(t *testing.T) {
	h := Health{State: "not-joined", Log: []string{"tls: failed to verify certificate: x509: certificate has expired or is not yet valid"}}
	p := h.explain(-3 * time.Hour)
	if p.Code != "clock" || !strings.Contains(p.Message, "3h0m0s") {
		t.Errorf("got %+v", p)
	}
}

func TestHealthIsReadStrictly(t *testing.T) {
	good := "state=joined\nby=readyz\nready=200\nrestarts=0\nend=1\n"
	if h, err := parseHealth([]byte(good)); err != nil || h.State != "joined" || h.By != "readyz" {
		t.Errorf("got %+v, %v", h, err)
	}
	for name, out := range map[string]string{
		"nothing at all":        "",
		"it is cut off":         "state=joined\nby=readyz\n",
		"an unknown state":      "state=fine\nend=1\n",
		"an unknown key":        "state=joined\nmood=good\nend=1\n",
		"no key":                "hello\n",
		"a number that is none": "state=joined\nrestarts=many\nend=1\n",
	} {
		if h, err := parseHealth([]byte(out)); err == nil {
			t.Errorf("%s: got %+v", name, h)
		}
	}
}

func TestFactsAreReadStrictly(t *testing.T) {
	d := testDesired(t, testConfig(), inventory.Host{Name: "web-01"})
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
	d := Desired{Tbot: TbotConfig{Config: "/etc/tbot.yaml", Storage: "/var/lib/teleport/bot"}}
	f.Fuzz(func(t *testing.T, out []byte) {
		facts, err := parseFacts(out, d)
		if err != nil {
			return
		}
		for path, ff := range facts.Files {
			if len(ff.Content) > maxFileContent {
				t.Errorf("%s: %d bytes", path, len(ff.Content))
			}
		}
		if facts.Device.Path != "" && !cleanPath(facts.Device.Path) {
			t.Errorf("device %q", facts.Device.Path)
		}
	})
}

func FuzzParseHealth(f *testing.F) {
	f.Add([]byte("state=joined\nby=readyz\nready=200\nrestarts=0\nend=1\n"))
	f.Add([]byte("state=restarting\nlog.1=ERROR: x\nend=1\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		if h, err := parseHealth(out); err == nil && len(h.Log) > 20 {
			t.Error("an endless journal")
		}
	})
}

func FuzzParseJoins(f *testing.F) {
	f.Add([]byte(`[{"spec":{"bot_name":"fleet","instance_id":"i"},"status":{"latest_authentications":[{"authenticated_at":"2026-11-23T07:00:00Z","join_attrs":{"tpm":{"ek_pub_hash":"ab"}}}]}}]`))
	f.Add([]byte(`{"spec":{}}`))
	f.Fuzz(func(_ *testing.T, out []byte) { _, _ = parseJoins(out) })
}

func TestJoinsTakeTheLatest(t *testing.T) {
	joins, err := parseJoins([]byte(`[
 {"spec":{"bot_name":"fleet","instance_id":"old"},"status":{"latest_authentications":[
   {"authenticated_at":"2026-11-20T07:00:00Z","join_token":"fleet","join_attrs":{"tpm":{"ek_pub_hash":"aa"}}}]}},
 {"spec":{"bot_name":"fleet","instance_id":"new"},"status":{
   "initial_authentication":{"authenticated_at":"2026-11-21T07:00:00Z","join_attrs":{"tpm":{"ek_pub_hash":"aa"}}},
   "latest_authentications":[{"authenticated_at":"2026-11-23T07:00:00Z","join_token":"fleet-2","join_attrs":{"tpm":{"ek_pub_hash":"AA"}}}],
   "latest_heartbeats":[{"hostname":"web-01"}]}},
 {"spec":{"bot_name":"ci","instance_id":"x"},"status":{"latest_authentications":[{"join_attrs":{"meta":{}}}]}}]`))
	if err != nil {
		t.Fatal(err)
	}
	if j := joins["aa"]; len(joins) != 1 || j.Instance != "new" || j.Token != "fleet-2" || j.Hostname != "web-01" {
		t.Errorf("got %+v", joins)
	}
}

func TestVersionsThatFit(t *testing.T) {
	for _, c := range []struct {
		tbot, cluster string
		fits          bool
	}{
		{"17.2.1", "17.5.0", true}, {"16.4.0", "17.5.0", true}, {"15.4.0", "17.5.0", false}, {"18.0.0", "17.5.0", false},
		{"", "17.5.0", true}, {"17.2.1", "", true},
	} {
		if err := checkVersion(c.tbot, c.cluster); (err == nil) != c.fits {
			t.Errorf("tbot %s, cluster %s: %v", c.tbot, c.cluster, err)
		}
	}
}

// TestSystemdAcceptsTheUnit lets systemd itself read the unit and the drop-ins that a host gets.
func TestSystemdAcceptsTheUnit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		skipOrFail(t, err.Error())
	}
	for _, c := range []struct{ name, user string }{{"tbot as a user", "teleport"}, {"tbot as root", "root"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEnrollChroot(t)
			e.cfg.Tbot.User = c.user
			e.cfg.Tbot.Services = []map[string]any{identityIn("/opt/machine-id")}
			if r := e.enroll(nil); r.Outcome != Changed {
				t.Fatalf("%+v", r)
			}
			out := e.host.sh("systemd-analyze verify --man=no /etc/systemd/system/tbot.service 2>&1 || echo failed")
			for line := range strings.Lines(out) {
				if strings.Contains(line, "tbot") { // other units of this machine are not ours to judge
					t.Error(line)
				}
			}
			score := e.host.sh("systemd-analyze security --offline=yes --no-pager /etc/systemd/system/tbot.service 2>&1 | tail -n 1")
			t.Log(score)
			if !strings.Contains(score, "OK") && !strings.Contains(score, "MEDIUM") {
				t.Errorf("exposure: %s", score)
			}
		})
	}
}

func TestHooksGetTheHostAndCanStopIt(t *testing.T) {
	t.Parallel()
	e := newEnrollChroot(t)
	dir := t.TempDir()
	e.cfg.Rollout.Hooks = HooksConfig{
		BeforeRun: "cat >" + dir + "/before_run", AfterRun: "cat >" + dir + "/after_run",
		BeforeHost: "cat >" + dir + "/before_host; echo the load balancer says no >&2; exit 3", AfterHost: "cat >" + dir + "/after_host",
	}
	before := e.tree()
	if r := e.enroll(nil); r.Outcome != Failed || r.Code != "hook" || !strings.Contains(r.Message, "load balancer says no") {
		t.Errorf("got %+v", r)
	}
	if after := e.tree(); after != before {
		t.Errorf("the host was changed:\n%s", unified(before, after))
	}
	e.cfg.Rollout.Hooks.BeforeHost = "cat >" + dir + "/before_host"
	if r := e.enroll(nil); r.Outcome != Changed {
		t.Errorf("got %+v", r)
	}
	for name, want := range map[string]string{
		"before_run": `"hosts":["web-01"]`, "before_host": `"step":"/etc/tbot.yaml"`, "after_host": `"outcome":"changed"`,
		"after_run": `"changed":1`,
	} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%s: %v: %s", name, err, raw)
		}
	}
	raw, _ := os.ReadFile(filepath.Join(dir, "before_host"))
	if !strings.Contains(string(raw), simulatorHash) {
		t.Errorf("without the host's record: %s", raw)
	}
	e.cfg.Rollout.Hooks.BeforeHost = "false" // nothing will be changed: nothing has to be drained
	if r := e.enroll(nil); r.Outcome != OK {
		t.Errorf("got %+v", r)
	}
}

func TestOverridesOfTheInventory(t *testing.T) {
	for _, c := range []struct {
		name string
		vars map[string]any
		want string // in the error; "" for none
	}{
		{"a user of its own", map[string]any{"tbot": map[string]any{"user": "deploy", "group": "deploy"}}, ""},
		{"services of its own", map[string]any{"tbot": map[string]any{"services": []any{map[string]any{"type": "identity"}}}}, ""},
		{"an unknown key", map[string]any{"tbot": map[string]any{"usr": "deploy"}}, "usr"},
		{"no mapping", map[string]any{"tbot": "yes"}, "not a mapping"},
		{"a relative path", map[string]any{"tbot": map[string]any{"storage": "bot"}}, "storage"},
		{"a path that a unit can't hold", map[string]any{"tbot": map[string]any{"config": "/etc/my tbot.yaml"}}, "config"},
		{"a user that is none", map[string]any{"tbot": map[string]any{"user": "a b"}}, "account"},
		{"a device that is no path", map[string]any{"tpm_device": 5}, "tpm_device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckHosts([]inventory.Host{{Name: "web-01", Vars: c.vars}}, testConfig(), testDesired(t, testConfig(), inventory.Host{}).templates)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
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
