package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
)

const goodConfig = `version: v1
cluster: {proxy_server: "teleport.example.com:443"}
bot: {name: fleet, roles: [access]}
`

// load writes a fleet.yaml and loads it.
func load(t *testing.T, content string, over ...Override) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, over...)
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", ""))
	}
	return c, err
}

// Every mistake is said with file, line, column and key, in words that need no Go.
func TestMistakesAreSaidWithTheirKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"bot: {name: fleet,\n  roles: access}", `fleet.yaml:2:10: bot.roles: expected a list like [access], found the text "access"`},
		{"bot: {name: [fleet], roles: [a]}", "fleet.yaml:1:13: bot.name: expected a text, found a list"},
		{"bot: [a]", "fleet.yaml:1:6: bot: expected keys with values, found a list"},
		{"bot: fleet", `fleet.yaml:1:6: bot: expected keys with values, found the text "fleet"`},
		{"bot: {name: f, roles: [{a: b}]}", "fleet.yaml:1:24: bot.roles[0]: expected a text, found a mapping"},
		{"rollout: {forks: many}", `fleet.yaml:1:18: rollout.forks: expected a whole number, found the text "many"`},
		{"rollout: {forks: 1.5}", "fleet.yaml:1:18: rollout.forks: expected a whole number, found the number 1.5"},
		{"tbot: {hardening: 7}", "fleet.yaml:1:19: tbot.hardening: expected true or false, found the number 7"},
		{"tbot: {services: {type: identity}}", "fleet.yaml:1:18: tbot.services: expected a list of mappings, found a mapping"},
		{"tbot: {install: {files: [a]}}", "fleet.yaml:1:25: tbot.install.files: expected keys with values, found a list"},
		{"tbot: {install: {files: {amd64: [a]}}}", "fleet.yaml:1:33: tbot.install.files.amd64: expected a text, found a list"},
		{"- a", "fleet.yaml:1:1: expected keys with values, found a list"},
		{"just words", `fleet.yaml:1:1: expected keys with values, found the text "just words"`},
		{"colour: red", `fleet.yaml:1:1: unknown key "colour"`},
		{"bot: {nam: fleet}", `fleet.yaml:1:7: unknown key "bot.nam"`},
		{"x: &x {nam: f}\nbot: {<<: *x}", `fleet.yaml:1:8: unknown key "bot.nam"`},
		{"bot: {name: a, name: b}", "fleet.yaml:1:16: bot.name: is there twice: first in line 1"},
		{"bot: {", "fleet.yaml:1: is no YAML: did not find expected node content"},
		{"a: b\n c: d", "fleet.yaml:2: is no YAML: mapping values are not allowed in this context"},
		{"version: v1\n---\nversion: v1", "fleet.yaml: holds more than one YAML document"},
		{"# nothing", "fleet.yaml: is empty"},
		{goodConfig + "token: {stale_after: 30}", `fleet.yaml:4:22: token.stale_after: "30" has no unit: did you mean 30s?`},
		{goodConfig + "token: {stale_after: soon}", `fleet.yaml:4:22: token.stale_after: "soon" is no duration like 90s, 20m or 1h`},
		{goodConfig + "tbot: {services: &s [*s]}", ""},
	} {
		_, err := load(t, tt.in)
		if err == nil || !strings.Contains("\n"+err.Error()+"\n", "\n"+tt.want+"\n") && tt.want != "" {
			t.Errorf("%s\ngot  %v\nwant %s", tt.in, err, tt.want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "!`") {
			t.Errorf("%s: these are no words for people: %v", tt.in, err)
		}
	}
}

func TestHintsForMistakes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"bot: {nam: fleet}":         `did you mean "name"?`,
		"bot: {colour: red}":        "the keys there are name, roles",
		"bot: {roles: a}":           "roles: [a]",
		"rollout: {max_failure: 1}": `did you mean "max_failures"?`,
	} {
		_, err := Parse("fleet.yaml", []byte(in))
		if e := (*outcome.InputError)(nil); !errors.As(err, &e) || e.Hint != want {
			t.Errorf("%s: %v, hint %q", in, err, outcome.HintOf(err))
		}
	}
}

// What yaml.v3 takes is taken: null leaves the default, numbers are texts, too, keys may be merged.
func TestWhatIsNoMistake(t *testing.T) {
	t.Parallel()
	c, err := load(t, goodConfig+"token: {name: 1, max_rules: null}\nrollout: {batch: 3, order: ~}\ntbot:\n  services:\n  - &a {type: identity}\n  - {<<: *a, x: 1}\n")
	if err != nil || c.Token.Name != "1" || c.Token.MaxRules != DefaultRules || c.Rollout.Batch != "3" || len(c.Tbot.Services) != 2 {
		t.Errorf("%v: %+v", err, c)
	}
}

func TestVariablesOfTheInventoryAreReadAsFleetYAMLIs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"tbot: {services: x}":                  `tbot: services: expected a list of mappings, found the text "x"`,
		"tbot: {usr: me}":                      `tbot: unknown key "usr"`,
		"tbot: 7":                              "tbot: is not a mapping",
		"fleetctl_bot: {name: a, roles: web}":  `fleetctl_bot: roles: expected a list like [web], found the text "web"`,
		"fleetctl_bot: {name: a, rolse: [b]}":  `fleetctl_bot: unknown key "rolse"`,
		"fleetctl_bot: {name: 5, roles: [b]}":  "fleetctl_bot: name: expected a text, found 5",
		"fleetctl_bot: {roles: [b]}":           "fleetctl_bot: has no name",
		"fleetctl_bot: {name: a, roles: ['']}": `fleetctl_bot: roles[0]: expected the name of a role, found ""`,
	} {
		inv, err := inventory.Load(t.Context(), []string{"-"}, inventory.Options{
			Stdin: strings.NewReader("all: {hosts: {web-01: {" + in + "}}}"),
		})
		if err != nil {
			t.Fatal(err)
		}
		hosts, err := inv.Select("all")
		if err != nil {
			t.Fatal(err)
		}
		v, err := Host(hosts[0])
		if err == nil {
			_, err = v.Tbot(Default().Tbot)
		}
		if err == nil || !strings.HasSuffix(err.Error(), "web-01: "+want) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestValuesInPlaceOfTheFiles(t *testing.T) {
	t.Parallel()
	over := []Override{
		{KeyProxy, []string{"other.example.com:3080"}, "--proxy"}, {KeyBot, []string{"db"}, "--bot"},
		{KeyRoles, []string{"a", "b"}, "--role"}, {KeyToken, []string{"db"}, "--token"},
	}
	c, err := load(t, "version: v1\ncluster: {auth_server: \"a.example.com:3025\"}\n", over...)
	if err != nil || c.Cluster.ProxyServer != "other.example.com:3080" || c.Cluster.AuthServer != "" || c.Bot.Name != "db" ||
		strings.Join(c.Bot.Roles, " ") != "a b" || c.Token.Name != "db" {
		t.Errorf("%v: %+v", err, c)
	}
	without, err := New(over...)
	if err != nil || without.Cluster != c.Cluster || without.Rollout.Forks != defaultForks {
		t.Errorf("%v: %+v", err, without)
	}
	for _, tt := range []struct {
		over Override
		want string
	}{
		{Override{KeyProxy, []string{"https://x"}, "--proxy"}, `--proxy: "https://x" is not host:port`},
		{Override{KeyBot, []string{"a b"}, "--bot"}, `--bot: "a b" is no name that Teleport accepts for a bot`},
		{Override{KeyRoles, []string{""}, "--role"}, "--role: a role has no name"},
		{Override{KeyToken, []string{"../x"}, "--token"}, `--token: "../x" is no name that Teleport accepts for a token`},
	} {
		if _, err := load(t, goodConfig, tt.over); err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// A placeholder is as good as nothing for what only looks, and is named where something is made of it.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	const draft = "version: v1\ncluster: {proxy_server: \"CHANGE-ME:443\"}\nbot: {name: fleet, roles: [CHANGE-ME]}\n"
	c, err := Parse("fleet.yaml", []byte(draft))
	if err != nil || c.Cluster.ProxyServer != "" {
		t.Errorf("%v, %q", err, c.Cluster.ProxyServer)
	}
	want := "fleet.yaml:2:25: cluster.proxy_server: CHANGE-ME is a placeholder\nfleet.yaml:3:27: bot.roles: CHANGE-ME is a placeholder"
	if err := c.Filled(); err == nil || err.Error() != want || !errors.Is(err, outcome.ErrInput) {
		t.Errorf("%v", err)
	}
	c, err = Parse("fleet.yaml", []byte(draft), Override{KeyRoles, []string{"a"}, "--role"}, Override{KeyProxy, []string{"x:443"}, "--proxy"})
	if err != nil || c.Filled() != nil || c.Cluster.ProxyServer != "x:443" {
		t.Errorf("%v, %v, %q", err, c.Filled(), c.Cluster.ProxyServer)
	}
}
