package cluster_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/tbot"
)

// values differ from run to run.
var values = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "MILLIS"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "SECONDS"},
	{regexp.MustCompile(`id=[0-9a-f-]{36}`), "id=UUID"},
	{regexp.MustCompile(`generation=\d+`), "generation=N"},
	{regexp.MustCompile(`line \d+:`), "line N:"},
	{regexp.MustCompile(`\.go:\d+`), ".go:N"},
	{regexp.MustCompile(`(/tmp/\S*?)?/(bot|var/lib/teleport/bot)\b`), "STORAGE"},
	{regexp.MustCompile(`path \S+`), "path CONFIG"},
	{regexp.MustCompile(`(?m)^\t/go/src/.*\n`), ""},
	{regexp.MustCompile(`(EKCert Serial:) .*`), "$1 SERIAL"},
	{regexp.MustCompile(`[0-9a-f]{64}`), "HASH"},
	{regexp.MustCompile(`v(\d+\.\d+\.\d+) git:v\S+ go\S+`), "v$1 git:X goX"},
	{regexp.MustCompile(`(?m)^Cluster  .*$`), "Cluster  NAME"},
}

func normal(text string) string {
	for _, v := range values {
		text = v.pattern.ReplaceAllString(text, v.with)
	}
	return text
}

// same compares what a stand-in says with a sample: with its end, if the sample is the end only.
func same(t *testing.T, name, got string) {
	t.Helper()
	want, have := normal(sample(t, name)), normal(got)
	if whole := strings.HasPrefix(want, "MILLIS") || strings.HasPrefix(want, "SECONDS"); whole && !strings.Contains(name, "joined") &&
		!strings.Contains(name, "degraded") {
		_, want, _ = strings.Cut(want, "\n") // the line before the error
	}
	if !strings.HasSuffix(have, want) {
		t.Errorf("%s: the sample ends with\n%q\nand the stand-in says\n%q", name, want, have)
	}
}

// TestTheStandInsSayWhatTheSamplesSay makes the situation of every journal, but those that need a user who is not root
// (those are beside the code, in tbot), and the proxy's certificate, which is not played.
func TestTheStandInsSayWhatTheSamplesSay(t *testing.T) {
	s := newSite(t)
	ca, certified, bare := tpms(t)
	rule := "ek_public_hash: " + identify(t, certified)["EKPub Hash"]
	bareRule := "ek_public_hash: " + identify(t, bare)["EKPub Hash"]
	s.create(bot)
	s.create(token(t, "fleet-token", rule, "") + token(t, "wrong-ca", rule, ca.Root()) + token(t, "bare-ca", bareRule, ca.Issuer()) +
		token(t, "foreign", "ek_public_hash: "+strings.Repeat("f", 64), ""))
	const services = "services: [{type: identity, roles: [a], destination: {type: memory}}]\n"
	for _, c := range []struct {
		sample, tbot string
		server       cluster.Server
		token, extra string
		bare         bool
		flags        []string
	}{
		{sample: "journal-config-strict.txt", tbot: "17.2.7", token: "fleet-token", extra: "credential_ttl: 1h\n"},
		{sample: "journal-ekcert-chain-new.txt", tbot: "18.8.0", server: cluster.Server{Version: "18.8.0"}, token: "wrong-ca"},
		{sample: "journal-ekcert-chain-old.txt", tbot: "17.7.16", server: cluster.Server{Version: "18.4.0"}, token: "wrong-ca"},
		{sample: "journal-enterprise.txt", tbot: "18.8.0", server: cluster.Server{Version: "18.8.0", OSS: true}, token: "fleet-token"},
		{sample: "journal-joined-15.txt", tbot: "15.4.20", token: "fleet-token"},
		{sample: "journal-joined-18.txt", tbot: "18.1.0", token: "fleet-token"},
		{sample: "journal-no-ekcert.txt", tbot: "17.7.16", server: cluster.Server{Version: "17.7.16"}, token: "bare-ca", bare: true},
		{sample: "journal-no-rule.txt", tbot: "18.8.0", token: "foreign"},
		{sample: "journal-roles-19.txt", tbot: "19.0.0", token: "fleet-token", extra: services},
		{sample: "journal-service-16.0.txt", tbot: "16.0.4", token: "fleet-token", extra: services},
		{sample: "journal-token-missing.txt", tbot: "18.8.0", token: "gone"},
		{sample: "journal-flag.txt", tbot: "17.7.9", token: "fleet-token", flags: []string{"--pid-file", "x"}},
	} {
		if c.server.Version == "" {
			c.server.Version = "18.8.0"
		}
		s.play(c.server)
		t.Setenv("STANDIN_TPM", map[bool]string{true: bare.Socket, false: certified.Socket}[c.bare])
		_, said := s.host(c.token, c.extra).once(c.tbot, c.flags...)
		said = strings.Replace(strings.ReplaceAll(said, `"gone"`, `"fleet-token"`), "INFO [TBOT] Bot has completed one-shot mode tbot/tbot.go:200\n", "", 1)
		said = regexp.MustCompile(`\S+ INFO \[TBOT\] .*\n|(\S+Z $)`).ReplaceAllString(said, "")
		if c.sample == "journal-flag.txt" { // the usage text is shorter than the real one
			_, said, _ = strings.Cut(said, "\x1b")
			if want := sample(t, c.sample); !strings.HasSuffix(want, "\x1b"+said) {
				t.Errorf("%s: %q", c.sample, said)
			}
			continue
		}
		same(t, c.sample, said)
	}
	t.Run("no TPM", func(t *testing.T) {
		if left, _ := filepath.Glob("/dev/tpm*"); len(left) > 0 {
			t.Skip("this machine has a TPM")
		}
		site := *s
		site.t = t
		t.Setenv("STANDIN_TPM", "")
		_, said := site.host("fleet-token", "").once("18.8.0")
		same(t, "journal-no-tpm.txt", said)
	})
	t.Run("a wrong solution", func(t *testing.T) { // no TPM gives one
		refused := cluster.Server{Version: "18.4.0"}.Refuse(&cluster.Refusal{Why: cluster.ErrSolution}, "fleet-token")
		var out strings.Builder
		cli.Exit(&out, "tbot", cli.Wrap(refused, "joining with token"))
		same(t, "journal-activation.txt", out.String())
	})
	t.Run("a lock that is held", func(t *testing.T) {
		site := *s
		site.t = t
		site.play(cluster.Server{Version: "18.8.0"})
		t.Setenv("STANDIN_TPM", certified.Socket)
		h := site.host("fleet-token", "")
		r := h.start(t, "18.8.0")
		r.until("joined", r.says("Identity initialized successfully"))
		_, said := h.once("18.8.0")
		r.stop()
		same(t, "journal-lock-held.txt", said)
	})
	t.Run("a refused renewal", func(t *testing.T) {
		site := *s
		site.t = t
		h := site.host("fleet-token", "")
		if code, said := h.once("17.5.3"); code != 0 {
			t.Fatal(said)
		}
		site.create(token(t, "fleet-token", "ek_public_hash: "+strings.Repeat("f", 64), ""))
		r := h.start(t, "17.5.3")
		r.until("degraded", r.says("Waiting to retry"))
		said := r.journal()
		r.stop()
		same(t, "journal-degraded-17.5.3.txt", said[strings.Index(said, "Loaded existing")-len("2026-02-03T10:00:00.100Z INFO [TBOT:IDEN] "):])
	})
}

func TestTheStandInsPrintWhatTheSamplesPrint(t *testing.T) {
	s := newSite(t)
	_, certified, _ := tpms(t)
	t.Setenv("STANDIN_TPM", certified.Socket)
	tbotSays := func(version string, ent bool, args ...string) string {
		p := enterprise(version)
		p.Enterprise = ent
		var out strings.Builder
		tbot.Run(p, args, &out, &out)
		return out.String()
	}
	same(t, "tbot-version-oss.txt", tbotSays("17.5.4", false, "version"))
	same(t, "tbot-version-ent.txt", tbotSays("18.4.0", true, "version"))
	same(t, "tpm-identify-ekcert.txt", tbotSays("18.4.0", true, "tpm", "identify"))
	unit := tbotSays("18.4.0", true, "install", "systemd", "-c", "/etc/tbot.yaml", "--user=root", "--group=root", "--anonymous-telemetry")
	self, _ := os.Executable()
	unit = strings.ReplaceAll(unit, self, "/usr/local/bin/tbot")
	want := strings.Replace(sample(t, "tbot.service.teleport-update-18.4"), " --diag-socket-for-updater=/var/lib/teleport/bot/debug.sock", "", 1)
	if !strings.HasSuffix(want, "\n\n"+unit) {
		t.Errorf("the unit is\n%s", unit)
	}
	for name, args := range map[string]string{
		"tctl-get-token-missing.stderr": "get token/fleet-token", "tctl-get-bot-missing.stderr": "get bot/fleet", "tctl-status-2023-layout.txt": "status",
	} {
		s.play(cluster.Server{Version: "17.5.4"})
		out, errs, _ := s.as("17.5.4", "", strings.Fields(args)...)
		same(t, name, out+errs)
	}
	out, _, _ := s.as("17.5.4", token(t, "fleet-token", "ek_public_hash: "+abab, ""), "create", "-f")
	same(t, "tctl-create-token.stdout", out)
	s.play(cluster.Server{Version: "17.5.4", MFA: true})
	_, errs, _ := s.as("17.5.4", "", "get", "token/fleet")
	same(t, "tctl-mfa.stderr", errs)
}

// TestTheStandInsInstancesHaveTheSamplesShape compares the names of all fields and the types of their values.
func TestTheStandInsInstancesHaveTheSamplesShape(t *testing.T) {
	s := newSite(t)
	ca, certified, _ := tpms(t)
	s.create(bot + token(t, "fleet", "ek_public_hash: "+identify(t, certified)["EKPub Hash"], ca.Issuer()))
	if code, said := s.host("fleet", "").once("17.5.4"); code != 0 {
		t.Fatal(said)
	}
	for name, server := range map[string]cluster.Server{
		"bot_instance-16.4-no-join-attrs.UNSURE.json": {Version: "16.4.7", MetadataHash: true},
		"bot_instance-17.5.0.json":                    {Version: "17.5.0"},
		"bot_instance-17.5.1.json":                    {Version: "17.5.1"},
	} {
		s.play(server)
		out, errs, code := s.as(server.Version, "", "get", "bot_instance", "--format=json")
		if code != 0 {
			t.Fatal(errs)
		}
		got := paths(t, out)
		for _, path := range paths(t, sample(t, name)) {
			if !slices.Contains(got, path) && !strings.Contains(path, ".uptime") { // it is below a second here
				t.Errorf("%s: the stand-in has no %s:\n%s", name, path, out)
			}
		}
	}
}

// paths lists where a JSON document has values, and of which type: ".status.latest_heartbeats[].uptime string".
func paths(t *testing.T, text string) []string {
	t.Helper()
	var doc any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var all []string
	var walk func(any, string)
	walk = func(node any, path string) {
		switch n := node.(type) {
		case map[string]any:
			for key, value := range n {
				walk(value, path+"."+key)
			}
		case []any:
			for _, value := range n {
				walk(value, path+"[]")
			}
		default:
			all = append(all, fmt.Sprintf("%s %T", path, n))
		}
	}
	walk(doc, "")
	return all
}
