package enrolltest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/softtpm"
)

func tctl(t *testing.T, c *memcluster.Cluster, args ...string) (string, int) {
	t.Helper()
	out, stderr, code := c.Run(t.Context(), nil, args)
	return string(out) + string(stderr), code
}

func TestTctlWords(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("ab", 32)
	c := memcluster.NewCluster(t, "18.4.0")
	admit(t, c, "", hash)
	dir := t.TempDir()
	file := func(text string) string {
		f := filepath.Join(dir, "x.yaml")
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	token := func(more string) string {
		return "kind: token\nversion: v2\nmetadata: {name: fleet-token}\nspec: {roles: [Bot], join_method: tpm, bot_name: fleet, " + more + "}\n"
	}
	good := token("tpm: {allow: [{ek_public_hash: x}]}")
	const bot = "kind: bot\nversion: v1\nmetadata: {name: fleet}\nspec: {roles: [access]}\n"
	for _, tt := range []struct {
		name string
		args []string
		want string
		code int
	}{
		{"a missing token", []string{"get", "token/fleet-token", "--format=json"}, "\x1b[31mERROR: \x1b[0mprovisioning token(********ken) not found\n\n", 1},
		{"a missing bot", []string{"get", "bot/other", "--format=json"}, "\x1b[31mERROR: \x1b[0mfetching bot user\n\tuser \"bot-other\" not found\n\n", 1},
		{"a new token", []string{"create", file(good)}, "provision_token \"fleet-token\" has been created\n", 0},
		{"the same again, without -f", []string{"create", file(good)}, "provision_token \"fleet-token\" has been created\n", 0},
		{"no rules", []string{"create", "-f", file(token("tpm: {allow: []}"))}, "allow: at least one rule must be set\n\n", 1},
		{"an unknown field", []string{"create", "-f", file(token("typo: 1"))}, "unknown field \"typo\"\n\n", 1},
		{"a bot that is there", []string{"create", file(bot)}, "bot \"fleet\" already exists\n\n", 1},
		{"a bot that is there, with -f", []string{"create", "-f", file(bot)}, "bot \"fleet\" has been created\n", 0},
		{"removal", []string{"rm", "token/fleet-token"}, "token \"fleet-token\" has been deleted\n", 0},
		{"status", []string{"status"}, strings.Repeat("cd", 32) + "\n", 0},
	} {
		if strings.HasPrefix(tt.args[0], "create") { // the files share a name
			f := tt.args[len(tt.args)-1]
			content := map[string]string{"a new token": good, "the same again, without -f": good, "no rules": token("tpm: {allow: []}"),
				"an unknown field": token("typo: 1"), "a bot that is there": bot, "a bot that is there, with -f": bot}[tt.name]
			if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, code := tctl(t, c, tt.args...)
		if code != tt.code || !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s: %d, %q", tt.name, code, got)
		}
	}
	if n := len(c.Commands()); n != 10 {
		t.Errorf("%d commands were logged", n)
	}
}

func TestInstancesHaveTheShapeOfTheirVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[string][]string{
		"17.1.0": {"seconds"}, "17.5.0": {"seconds", "ek_pub_hash"}, "17.5.1": {"T", "ek_pub_hash"},
	} {
		c := memcluster.NewCluster(t, version)
		hash := strings.Repeat("ab", 32)
		admit(t, c, "", hash)
		if err := c.Join(memcluster.JoinRequest{Host: "web-01", EKHash: hash, Token: "fleet", Tbot: version}); err != nil {
			t.Fatal(err)
		}
		out, code := tctl(t, c, "get", "bot_instance", "--format=json")
		if code != 0 || !json.Valid([]byte(out)) {
			t.Fatal(out)
		}
		if of, _ := tctl(t, c, "get", "bot_instance/fleet", "--format=json"); of != out {
			t.Errorf("of the bot: %s", of)
		}
		if none, code := tctl(t, c, "get", "bot_instance/other", "--format=json"); code != 0 || none != "[]\n" {
			t.Errorf("of another bot: %d, %s", code, none)
		}
		for _, word := range []string{"seconds", "ek_pub_hash"} {
			has := strings.Contains(out, word)
			if should := strings.Contains(strings.Join(want, " "), word); has != should {
				t.Errorf("%s: %s: %v\n%s", version, word, has, out)
			}
		}
	}
}

func TestHooksOfTheCluster(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("ab", 32)
	c := memcluster.NewCluster(t, "18.4.0")
	admit(t, c, "", hash)
	c.Before = func(cmd memcluster.Command) error {
		if cmd.Verb == "get" {
			c.Delete("token/fleet") // somebody else
		}
		return nil
	}
	c.After = func(cmd memcluster.Command) error {
		if cmd.Verb == "rm" {
			return errors.New("connection reset by peer")
		}
		return nil
	}
	if got, code := tctl(t, c, "get", "token/fleet", "--format=json"); code == 0 {
		t.Error(got)
	}
	if got, code := tctl(t, c, "rm", "bot/fleet"); code == 0 || !strings.Contains(got, "reset") {
		t.Error(got)
	}
	c.After = nil
	if got, code := tctl(t, c, "get", "bot/fleet", "--format=json"); code == 0 {
		t.Errorf("the removal did not take place: %s", got)
	}
}

func TestCertificatesDecideWithCAs(t *testing.T) {
	t.Parallel()
	good, err := softtpm.NewCA("Good")
	if err != nil {
		t.Fatal(err)
	}
	bad, err := softtpm.NewCA("Bad")
	if err != nil {
		t.Fatal(err)
	}
	v := newTPM(t, 1)
	c := memcluster.NewCluster(t, "18.4.0")
	admit(t, c, "    ekcert_allowed_cas:\n    - |\n      "+strings.ReplaceAll(strings.TrimSpace(string(good.PEM())), "\n", "\n      ")+"\n", v.EKHash())
	join := func() error {
		return c.Join(memcluster.JoinRequest{Host: "web-01", EKHash: v.EKHash(), Cert: v.Cert, Token: "fleet", Tbot: "18.4.0"})
	}
	if err := join(); err == nil || !strings.HasSuffix(err.Error(), "tpm did not provide an EKCert to validate against allowed CAs") {
		t.Errorf("without a certificate: %v", err)
	}
	if err := bad.Certify(v); err != nil {
		t.Fatal(err)
	}
	if err := join(); err == nil || !strings.HasSuffix(err.Error(), "verifying EK cert\n\t\t\tx509: certificate signed by unknown authority") {
		t.Errorf("another CA: %v", err)
	}
	if err := good.Certify(v); err != nil {
		t.Fatal(err)
	}
	if err := join(); err != nil {
		t.Error(err)
	}
}

// deaf is a test that hears of failures and goes on.
type deaf struct {
	testing.TB
	failures int
}

func (d *deaf) Errorf(string, ...any) { d.failures++ }

func (d *deaf) Context() context.Context { return context.Background() }

func TestWhatIsNotModelledFails(t *testing.T) {
	t.Parallel()
	d := &deaf{TB: t}
	c := memcluster.NewCluster(d, "18.4.0")
	for _, args := range [][]string{{"users", "ls"}, {"get", "role/x", "--format=json"}, {"get", "tokens"}, {"rm", "-f", "token/x"}} {
		before := d.failures
		if _, code := tctl(t, c, args...); code == 0 || d.failures != before+1 {
			t.Errorf("%q passed", args)
		}
	}
	h := NewHost(d, "web-01", "18.4.0")
	for _, script := range []string{"reboot", "rm -rx /etc", "echo *", "sleep 1 &", "systemctl mask tbot.service", "cat <<E\nx\nE",
		"X=1\nkv uid 0\nkv uid 1\nkv colour 1\necho end=1", "kv state x\nkv state y\nkv mood z"} {
		before := d.failures
		h.With(func(*State) {})
		var out strings.Builder
		var code int
		switch scriptKind(script) {
		case "facts":
			_, ok := h.facts("root", readAsked(script))
			code = truth(ok)
		case "verify":
			_, ok := h.verify(readAsked(script))
			code = truth(ok)
		default:
			code = h.newShell(t.Context(), "root", strings.NewReader(""), &out, &out).script(script)
		}
		if code == 0 || d.failures == before {
			t.Errorf("%q passed", script)
		}
	}
}
