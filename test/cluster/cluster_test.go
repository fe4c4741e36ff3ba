package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/tbot"
	"fleetctl/test/cluster/tctl"
	"fleetctl/test/swtpm"
)

// site is a cluster of stand-ins in one process.
type site struct {
	t      *testing.T
	store  *cluster.Store
	config string // tctl's
	addr   string // the auth service's
}

func newSite(t *testing.T) *site {
	dir := t.TempDir()
	store, err := cluster.OpenStore(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "teleport.yaml")
	write(t, config, "teleport: {data_dir: "+filepath.Join(dir, "data")+"}\n")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	auth := cluster.Auth{Store: store, Log: slog.New(slog.NewTextHandler(testLog{t}, nil))}
	go func() { done <- auth.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &site{t: t, store: store, config: config, addr: l.Addr().String()}
}

// testLog writes the auth service's log to the test's, as long as the test runs.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// tctl runs the stand-in for tctl with a file on stdin.
func (s *site) tctl(stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs strings.Builder
	code = tctl.Run(tctl.Env{
		Args:   args,
		Getenv: func(name string) string { return map[string]string{"TELEPORT_CONFIG_FILE": s.config}[name] },
		Stdin:  strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
	})
	return out.String(), errs.String(), code
}

func (s *site) create(yaml string, args ...string) {
	s.t.Helper()
	if _, stderr, code := s.tctl(yaml, append([]string{"create", "-f"}, args...)...); code != 0 {
		s.t.Fatalf("tctl create: %s", stderr)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const bot = `
kind: bot
version: v1
metadata: {name: fleet}
spec: {roles: [access]}
`

// token writes a token; cas is a PEM file or "".
func token(t *testing.T, name, rule, cas string) string {
	text := "---\nkind: token\nversion: v2\nmetadata: {name: " + name + "}\nspec:\n  roles: [Bot]\n  join_method: tpm\n" +
		"  bot_name: fleet\n  tpm:\n    allow: [{" + rule + "}]\n"
	if cas != "" {
		pem, err := os.ReadFile(cas)
		if err != nil {
			t.Fatal(err)
		}
		quoted, _ := json.Marshal(string(pem))
		text += "    ekcert_allowed_cas: [" + string(quoted) + "]\n"
	}
	return text
}

// made is the directory with the states of two TPMs, one with an EK certificate (a) and one without (b), and their CA.
var made = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "tpm"); err != nil { // t.TempDir is too long for a unix socket
		return "", err
	}
	madeIn = dir
	ca, err := swtpm.NewCA(filepath.Join(dir, "ca"))
	if err != nil {
		return dir, err
	}
	ctx := context.Background()
	return dir, errors.Join(ca.Make(ctx, filepath.Join(dir, "a"), "a"), swtpm.MakeBare(ctx, filepath.Join(dir, "b")))
})

var madeIn string

func TestMain(m *testing.M) {
	code := m.Run()
	if madeIn != "" {
		_ = os.RemoveAll(madeIn)
	}
	os.Exit(code)
}

// tpms starts copies of the two TPMs.
func tpms(t *testing.T) (ca *swtpm.CA, certified, bare *swtpm.TPM) {
	t.Helper()
	if err := swtpm.Find(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	start := func(name string) *swtpm.TPM {
		own, err := os.MkdirTemp(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(own), swtpm.Clone(filepath.Join(dir, name), own)); err != nil {
			t.Fatal(err)
		}
		tpm, err := swtpm.Start(own)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tpm.Stop)
		return tpm
	}
	if ca, err = swtpm.NewCA(filepath.Join(dir, "ca")); err != nil {
		t.Fatal(err)
	}
	return ca, start("a"), start("b")
}

// identify returns what `tbot tpm identify` says of a TPM, by its keys.
func identify(t *testing.T, tpm *swtpm.TPM) map[string]string {
	t.Helper()
	t.Setenv("STANDIN_TPM", tpm.Socket)
	var out, errs strings.Builder
	if code := tbot.Main([]string{"tpm", "identify"}, &out, &errs); code != 0 {
		t.Fatal(errs.String())
	}
	said := map[string]string{}
	for line := range strings.Lines(out.String()) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		said[key] = value
	}
	return said
}

// join runs `tbot start --oneshot` and returns what it says when it fails.
func (s *site) join(tpm *swtpm.TPM, token, extra string) string {
	s.t.Helper()
	s.t.Setenv("STANDIN_TPM", tpm.Socket)
	dir := s.t.TempDir()
	path := filepath.Join(dir, "tbot.yaml")
	write(s.t, path, "version: v2\nauth_server: "+s.addr+"\nonboarding: {join_method: tpm, token: "+token+"}\n"+
		"storage: {type: directory, path: \""+filepath.Join(dir, "bot")+"\"}\n"+extra)
	var errs strings.Builder
	if code := tbot.Main([]string{"start", "-c", path, "--oneshot"}, io.Discard, &errs); code == 0 {
		return ""
	}
	return errs.String()
}

func TestJoins(t *testing.T) {
	s := newSite(t)
	ca, certified, bare := tpms(t)
	cert, hash := identify(t, certified), identify(t, bare)
	if cert["EKCert Detected"] != "true" || hash["EKCert Detected"] != "false" {
		t.Fatalf("EKCerts: %v %v", cert, hash)
	}
	byHash := "ek_public_hash: " + cert["EKPub Hash"]
	bareHash := "ek_public_hash: " + hash["EKPub Hash"]
	s.create(bot)
	s.create(token(t, "hash", byHash, "") + token(t, "ca", byHash, ca.Issuer()) + token(t, "root", byHash, ca.Root()) +
		token(t, "upper", "ek_public_hash: "+strings.ToUpper(cert["EKPub Hash"]), "") +
		token(t, "bare", bareHash, "") + token(t, "bare-ca", bareHash, ca.Issuer()) +
		token(t, "serial", byHash+`, ek_certificate_serial: "`+cert["EKCert Serial"]+`"`, "") +
		token(t, "bare-serial", bareHash+`, ek_certificate_serial: "01"`, ""))
	for _, c := range []struct {
		name  string
		tpm   *swtpm.TPM
		token string
		want  string // part of the reason; "" joins
	}{
		{"a rule with the hash admits the TPM", certified, "hash", ""},
		{"the EKCert's issuer as allowed CA admits it", certified, "ca", ""},
		{"the root alone does not, there are no intermediates", certified, "root", "verifying EK cert"},
		{"hashes are compared case by case", certified, "upper", "did not match any allow rules"},
		{"hash and serial must both match", certified, "serial", ""},
		{"a TPM without EKCert joins by its hash", bare, "bare", ""},
		{"a TPM without EKCert cannot join where CAs are set", bare, "bare-ca", "did not provide an EKCert"},
		{"a TPM without EKCert never matches a serial", bare, "bare-serial", "did not match any allow rules"},
		{"another TPM's rule does not admit it", bare, "hash", "did not match any allow rules"},
		{"a token that is not there admits nobody", bare, "none", "expired or not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := *s
			site.t = t
			got := site.join(c.tpm, c.token, "")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("join said %q, want %q", got, c.want)
			}
		})
	}
	joined, err := s.store.JoinedHashes("fleet")
	if err != nil || len(joined) != 2 {
		t.Errorf("joined: %v, %v", joined, err)
	}
	out, _, _ := s.tctl("", "get", "bot_instance", "--format", "json")
	if !strings.Contains(out, `"ek_pub_hash": "`+cert["EKPub Hash"]+`"`) {
		t.Errorf("bot_instance does not name the TPM:\n%s", out)
	}
}

func TestActivationFailsWithTheCertificateOfAnotherTPM(t *testing.T) {
	s := newSite(t)
	_, certified, bare := tpms(t)
	cert, err := certified.ReadCert()
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.WriteCert(cert); err != nil {
		t.Fatal(err)
	}
	said := identify(t, bare)
	if said["EKPub Hash"] != identify(t, certified)["EKPub Hash"] {
		t.Fatal("the TPM does not present the other's certificate")
	}
	s.create(bot)
	s.create(token(t, "fleet", "ek_public_hash: "+said["EKPub Hash"], ""))
	if got := s.join(bare, "fleet", ""); !strings.Contains(got, "asking client to perform credential activation") {
		t.Errorf("join said %q", got)
	}
}

func TestRenewalKeepsTheInstanceAndFailsOnceTheRuleIsGone(t *testing.T) {
	s := newSite(t)
	_, certified, _ := tpms(t)
	rule := "ek_public_hash: " + identify(t, certified)["EKPub Hash"]
	s.create(bot)
	s.create(token(t, "fleet", rule, ""))
	dir := t.TempDir()
	path := filepath.Join(dir, "tbot.yaml")
	write(t, path, "version: v2\nproxy_server: "+s.addr+"\nonboarding: {join_method: tpm, token: fleet}\n"+
		"storage: {type: directory, path: \""+filepath.Join(dir, "bot")+"\"}\n"+
		"services:\n- type: identity\n  destination: {type: directory, path: "+filepath.Join(dir, "out")+"}\n")
	for range 2 {
		var errs strings.Builder
		if code := tbot.Main([]string{"start", "-c", path, "--oneshot"}, io.Discard, &errs); code != 0 {
			t.Fatal(errs.String())
		}
	}
	instances, err := s.store.Instances("fleet")
	if err != nil || len(instances) != 1 || len(instances[0].Status.LatestAuthentications) != 2 {
		t.Fatalf("want one instance with two joins: %v, %v", instances, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "identity")); err != nil {
		t.Error(err)
	}
	s.create(token(t, "fleet", "ek_public_hash: "+strings.Repeat("f", 64), ""))
	var errs strings.Builder
	if code := tbot.Main([]string{"start", "-c", path, "--oneshot"}, io.Discard, &errs); code != 1 ||
		!strings.Contains(errs.String(), "did not match any allow rules") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

func TestTctl(t *testing.T) {
	s := newSite(t)
	rule := "description: a, ek_public_hash: " + strings.Repeat("a", 64)
	good := token(t, "good", rule, "")
	for _, c := range []struct {
		name, file, want string
		args             []string
	}{
		{"a bot is created", bot, "", nil},
		{"a bot that is there is an error without -f", bot, "already exists", nil},
		{"a bot that is there is overwritten with -f", bot, "", []string{"-f"}},
		{"a token is created", good, "", nil},
		{"a token is replaced without -f", good, "", nil},
		{"an unknown field of the token", good + "    alow: []\n", "unknown field", nil},
		{"an unknown field of a rule", token(t, "x", rule+", color: red", ""), "unknown field", nil},
		{"an unknown field of the bot", bot + "color: red\n", "unknown field", nil},
		{"a token without rules", strings.Replace(good, "allow: [{"+rule+"}]", "allow: []", 1), "at least one rule", nil},
		{"a rule without hash and serial", token(t, "x", "description: a", ""), "must be set", nil},
		{"a token for bots without bot_name", strings.Replace(good, "  bot_name: fleet\n", "", 1), "must set bot_name", nil},
		{"bot_name without the role Bot", strings.Replace(good, "[Bot]", "[Node]", 1), "can only set bot_name", nil},
		{"a serial alone in a new rule", token(t, "x", `ek_certificate_serial: "01"`, ""), "", nil}, // up to 18.10.0
		{"a name with a slash", strings.Replace(good, "name: good", "name: a/b", 1), "invalid key", nil},
		{"an empty file", "", "no resources found", nil},
		{"a kind that is not known", "kind: role\n", "NOT SCRIPTED", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, stderr, code := s.tctl(c.file, append([]string{"create"}, c.args...)...)
			if (code == 0) != (c.want == "") || !strings.Contains(stderr, c.want) {
				t.Errorf("exit %d: %s", code, stderr)
			}
		})
	}
}

func TestTctlStopsAtTheFirstError(t *testing.T) {
	s := newSite(t)
	rule := "ek_public_hash: " + strings.Repeat("a", 64)
	_, stderr, code := s.tctl(token(t, "one", rule, "")+token(t, "two", "", "")+token(t, "three", rule, ""), "create", "-f")
	if code != 1 || stderr == "" {
		t.Errorf("exit %d: %s", code, stderr)
	}
	list, err := s.store.Tokens()
	if err != nil || len(list) != 1 || list[0].GetName() != "one" {
		t.Errorf("tokens: %v, %v", list, err)
	}
}

func TestTctlPrintsWhatItReads(t *testing.T) {
	s := newSite(t)
	s.create(bot + token(t, "fleet", "description: web-01, ek_public_hash: "+strings.Repeat("a", 64), ""))
	for _, ref := range []string{"token/fleet", "tokens", "bot/fleet"} {
		out, stderr, code := s.tctl("", "get", ref, "--format", "yaml")
		if code != 0 {
			t.Fatal(stderr)
		}
		s.create(out)
	}
	out, _, _ := s.tctl("", "get", "--format=json", "token/fleet")
	var list []map[string]any
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0]["kind"] != "token" {
		t.Errorf("%v: %s", err, out)
	}
	if _, stderr, code := s.tctl("", "get", "token/none"); code != 1 || !strings.Contains(stderr, "not found") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if _, _, code := s.tctl("", "rm", "token/fleet"); code != 0 {
		t.Error("rm failed")
	}
	if _, _, code := s.tctl("", "rm", "token/fleet"); code != 1 {
		t.Error("rm of a token that is not there succeeded")
	}
}

func TestALockKeepsTheBotOut(t *testing.T) {
	s := newSite(t)
	_, certified, _ := tpms(t)
	s.create(bot + token(t, "fleet", "ek_public_hash: "+identify(t, certified)["EKPub Hash"], ""))
	if _, stderr, code := s.tctl("", "lock", "--user", "bot-fleet", "--message", "lost host", "--ttl", "1h"); code != 0 {
		t.Fatal(stderr)
	}
	if got := s.join(certified, "fleet", ""); !strings.Contains(got, "lost host") {
		t.Errorf("join said %q", got)
	}
}

func TestTbotTakesAndRefuses(t *testing.T) {
	s := newSite(t)
	_, certified, _ := tpms(t)
	s.create(bot + token(t, "fleet", "ek_public_hash: "+identify(t, certified)["EKPub Hash"], ""))
	for _, c := range []struct{ name, extra, want string }{
		{"an unknown key is dropped", "colour: red\n", ""},
		{"an unknown type of service", "services: [{type: coffee}]\n", "unrecognized service type (coffee)"},
		{"an unknown key of an identity is dropped", "services: [{type: identity, colour: red, destination: {type: memory}}]\n", ""},
		{"a renewal that comes too late", "renewal_interval: 2h\n", "must be lower"},
		{"a proxy and an auth server", "proxy_server: a:1\n", "can not both be set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := *s
			site.t = t
			if got := site.join(certified, "fleet", c.extra); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("join said %q, want %q", got, c.want)
			}
		})
	}
}

func TestTokensThatHaveExpiredAdmitNobody(t *testing.T) {
	s := newSite(t)
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	s.create(strings.Replace(token(t, "old", "ek_public_hash: "+strings.Repeat("a", 64), ""),
		"name: old", "name: old, expires: "+past, 1))
	if _, err := s.store.Token("old"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}
