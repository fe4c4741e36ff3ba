package versions

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestVersionsAreInTheOrderOfSemanticVersioning(t *testing.T) {
	order := []string{
		"15.3.0", "15.4.24", "17.2.7", "17.2.8-alpha", "17.2.8-alpha.1", "17.2.8-rc.2", "17.2.8-rc.10", "17.2.8", "17.10.0",
		"18.0.0-dev", "18.0.0", "20.0.0",
	}
	for i := range order {
		for j := range order {
			if got, want := Must(order[i]).Compare(Must(order[j])), compareInts(i, j); got != want {
				t.Errorf("%s to %s: %d, not %d", order[i], order[j], got, want)
			}
		}
	}
	for _, text := range []string{"", "17", "17.2", "17.2.x", "17.2.8-", "a.b.c", "17.2.8.1", "17.-2.8"} {
		if v, err := Parse(text); err == nil {
			t.Errorf("%q was read as %s", text, v)
		}
	}
	if got := Must("v18.4.0-rc.1+ent").String(); got != "18.4.0-rc.1" {
		t.Error(got)
	}
}

func compareInts(i, j int) int { return min(1, max(-1, i-j)) }

func TestHas(t *testing.T) {
	for _, c := range []struct {
		path, in, notIn string // versions, blank between
	}{
		{"tbot.start.pid_file", "17.7.10 17.7.16 18.4.0 18.8.0 19.0.0 20.0.0", "15.4.20 16.4.7 17.7.9 18.0.0 18.3.2 18.4.0-rc.1"},
		{"tbot.wait", "18.6.4 19.0.0", "17.7.16 18.6.3"},
		{"config.strict_top_level", "15.4.20 16.4.7 17.2.7", "17.2.8 18.0.0 19.0.0"},
		{"config.keys.credential_ttl", "17.2.8 19.0.0", "17.2.7"},
		{"config.keys.version", "15.3.0 20.0.0", ""},
		{"config.services_list_takes_outputs", "15.4.9 15.4.20 16.1.0 17.0.0", "15.4.8 16.0.4"},
		{"config.service_types.kubernetes/argo-cd", "17.7.4 18.1.7 19.0.0", "17.7.3 18.1.6"},
		{"config.destinations.kubernetes_secret.namespace_from", "17.7.3 18.1.7", "17.7.2 18.1.6 16.4.7"},
		{"health.readyz_means_healthy", "17.5.4 18.0.2 19.0.0", "16.4.7 17.5.3 18.0.0 18.0.1"},
		{"health.readyz_sticky_503", "17.5.4 17.7.16 18.0.2 18.7.6", "17.5.3 18.0.1 18.8.0 19.0.0"},
		{"start.rejoin_failure_exits", "15.4.20 17.5.2 18.0.0", "17.5.3 18.0.1 19.0.0"},
		{"start.first_join_failure_exits", "15.4.20 19.0.0", ""},
		{"config.strict_nested", "", "15.4.20 19.0.0"},
		{"tctl.bot_instance.exists", "16.4.6 20.0.0", "15.4.20 16.4.5"},
		{"server.serial_only_rule_creatable", "15.4.20 18.10.0", "18.10.1 19.0.0 20.0.0"},
	} {
		for _, list := range []struct {
			versions string
			want     bool
		}{{c.in, true}, {c.notIn, false}} {
			for text := range strings.FieldsSeq(list.versions) {
				if got := Has(c.path, Must(text)); got != list.want {
					t.Errorf("%s has %s: %v", text, c.path, got)
				}
			}
		}
	}
}

func TestWords(t *testing.T) {
	if got := Text("tctl.token_created", "NAME", "fleet"); got != `provision_token "fleet" has been created` {
		t.Error(got)
	}
	if got := Text("cli_errors.ansi_prefix"); got != "\x1b[31mERROR: \x1b[0m" {
		t.Errorf("%q", got)
	}
	if flags := List("tbot.start.flags_always"); !slices.Contains(flags, "--config") {
		t.Error(flags)
	}
	if keys := Keys("config.keys"); keys[0] != "version" || !slices.Contains(keys, "scoped") {
		t.Error(keys)
	}
	if Heard("config.keys.colour") || !Heard("config.keys.scoped") {
		t.Error("the file has other keys than it has")
	}
}

// TestAStampedProgramPlaysItsVersion runs copies of this test's binary.
func TestAStampedProgramPlaysItsVersion(t *testing.T) {
	if os.Getenv("FLEETCTL_TEST_STAMP") != "" {
		p, err := Running()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString(p.Line() + "\n")
		return
	}
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	if err := Stamp("/proc/self/exe", one, "17.2.7", "oss"); err != nil {
		t.Fatal(err)
	}
	if err := Stamp(one, two, "18.4.0-rc.1", "enterprise"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, env, want string }{
		{one, "", "Teleport v17.2.7 git:v17.2.7-0-g"},
		{two, "", "Teleport Enterprise v18.4.0-rc.1 git:v18.4.0-rc.1-0-g"},
		{two, EnvVersion + "=15.4.20", "Teleport v15.4.20 git:v15.4.20-0-g"},
		{"/proc/self/exe", "", "Teleport v" + Default},
	} {
		cmd := exec.Command(c.path, "-test.run", "^TestAStampedProgramPlaysItsVersion$")
		cmd.Env = append(os.Environ(), "FLEETCTL_TEST_STAMP=1", c.env)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), c.want) {
			t.Errorf("%s %s: %v\n%s", c.path, c.env, err, out)
		}
	}
	if err := Stamp(one, two, "17", "oss"); err == nil {
		t.Error("17 is a version")
	}
}
