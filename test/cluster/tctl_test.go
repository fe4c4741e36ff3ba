package cluster_test

import (
	"encoding/json"
	"strings"
	"testing"

	"fleetctl/test/cluster"
)

func TestTctlByVersion(t *testing.T) {
	s := newSite(t)
	tok := func(fields string) string {
		return token(t, "fleet", "ek_public_hash: "+strings.Repeat("a", 64)+fields, "")
	}
	serial := token(t, "serial", `ek_certificate_serial: "01"`, "")
	for _, c := range []struct {
		name, version string
		server        cluster.Server
		file, args    string
		code          int
		want          string // the end of both outputs
	}{
		{"an unknown field is dropped", "17.7.16", cluster.Server{}, tok(", color: red"), "create -f", 0, "provision_token \"fleet\" has been created\n"},
		{"an unknown field is refused", "18.0.0", cluster.Server{}, tok(", color: red"), "create -f", 1, "unknown field \"color\"\n\n"},
		{"a token is replaced without -f", "15.4.20", cluster.Server{}, tok(""), "create", 0, "provision_token \"fleet\" has been created\n"},
		{"a bot", "15.4.20", cluster.Server{}, bot, "create", 0, "bot \"fleet\" has been created\n"},
		{"a bot again", "15.4.20", cluster.Server{}, bot, "create", 1, "already exists\n\n"},
		{"a bot again with -f", "15.4.20", cluster.Server{}, bot, "create -f", 0, "bot \"fleet\" has been created\n"},
		{"a serial alone", "18.10.0", cluster.Server{}, serial, "create", 0, "has been created\n"},
		{"a serial alone is refused", "18.10.1", cluster.Server{}, strings.ReplaceAll(serial, "01", "02"), "create", 1, "ek_certificate_serial needs ek_public_hash or ekcert_allowed_cas\n\n"},
		{"an old serial alone is kept", "19.0.0", cluster.Server{}, serial, "create", 0, "has been created\n"},
		{"a token that is not there", "18.8.0", cluster.Server{}, "", "get token/nothing-there", 1, "\x1b[31mERROR: \x1b[0mprovisioning token(*********here) not found\n\n"},
		{"a bot that is not there", "18.8.0", cluster.Server{}, "", "get bot/none", 1, "\x1b[31mERROR: \x1b[0mfetching bot user\n\tuser \"bot-none\" not found\n\n"},
		{"no bot instances yet", "16.4.5", cluster.Server{}, "", "get bot_instance", 1, "getting \"bot_instance\" is not supported\n\n"},
		{"bot instances", "16.4.6", cluster.Server{}, "", "get bot_instance/fleet --format=json", 0, "[]\n"},
		{"a second factor for tokens", "18.8.0", cluster.Server{MFA: true}, "", "get token/fleet", 1, "admin-level API request requires MFA verification\n\n"},
		{"none for bot instances", "18.8.0", cluster.Server{MFA: true}, "", "get bot_instance --format=json", 0, "[]\n"},
		{"no licence", "18.8.0", cluster.Server{OSS: true}, tok(""), "create -f", 1, "tpm joining\n\tthis feature requires Teleport Enterprise\n\n"},
		{"no right", "18.8.0", cluster.Server{Denied: []string{"read token"}}, "", "get token/fleet", 1, "access denied to perform action \"read\" on \"token\"\n\n"},
		{"no right to delete", "18.8.0", cluster.Server{Denied: []string{"delete token"}}, "", "rm token/fleet", 1, "access denied to perform action \"delete\" on \"token\"\n\n"},
		{"status", "18.8.0", cluster.Server{}, "", "status", 0, "Version  18.8.0\nhost CA  never updated\nuser CA  never updated\nCA pin   sha256:" + strings.Repeat("cd", 32) + "\n"},
		{"an unknown flag", "18.8.0", cluster.Server{}, "", "get token/x --json", 1, "unknown long flag '--json'\n\n"},
		{"another command", "18.8.0", cluster.Server{}, "", "users ls", 99, "STAND-IN FOR TCTL: NOT SCRIPTED: tctl users ls\n"},
		{"a deletion", "18.8.0", cluster.Server{}, "", "rm token/fleet", 0, "token \"fleet\" has been deleted\n"},
		{"a second deletion", "18.8.0", cluster.Server{}, "", "rm token/fleet", 1, "provisioning token(***et) not found\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.Version = c.version
			s.play(c.server)
			out, errs, code := s.as(c.version, c.file, strings.Fields(c.args)...)
			if code != c.code || !strings.HasSuffix(out+errs, c.want) {
				t.Errorf("exit %d: %q", code, out+errs)
			}
		})
	}
	s.play(cluster.Server{Version: "18.8.0", Alerts: []string{"The licence ends soon."}})
	if out, errs, _ := s.as("18.8.0", "", "status"); !strings.HasPrefix(out, "Cluster ") || errs != "The licence ends soon.\n\n" {
		t.Errorf("%q %q", out, errs)
	}
}

func TestBotInstancesByVersion(t *testing.T) {
	s, _, _ := ready(t)
	if code, said := s.host("fleet", "").once("18.8.0"); code != 0 {
		t.Fatal(said)
	}
	for _, c := range []struct {
		version, want, not string
		metadata           bool
	}{
		{"16.4.7", `"seconds": `, "join_attrs", false},
		{"16.4.7", `"StringValue": "`, "join_attrs", true},
		{"17.1.0", `"seconds": `, "ek_pub_hash", false},
		{"17.5.0", `"join_attrs"`, "metadata\": {\n        \"fields", false},
		{"17.5.1", `"authenticated_at": "20`, `"seconds"`, false},
		{"19.0.0", `"authenticated_at": "20`, `"seconds"`, false},
	} {
		s.play(cluster.Server{Version: c.version, MetadataHash: c.metadata})
		out, errs, code := s.as(c.version, "", "get", "bot_instance/fleet", "--format=json")
		if code != 0 || !strings.Contains(out, c.want) || strings.Contains(out, c.not) {
			t.Errorf("%s: %s%s", c.version, out, errs)
		}
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
		{"a CA that is none", good + "    ekcert_allowed_cas: [junk]\n", "ekcert_allowed_cas[0]: no pem block found", nil},
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
