package host

import (
	"errors"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
)

func TestServicesThatATbotWouldRefuse(t *testing.T) {
	service := func(typ string, more ...string) map[string]any {
		s := map[string]any{"type": typ}
		for i := 0; i < len(more); i += 2 {
			s[more[i]] = more[i+1]
		}
		return s
	}
	for _, c := range []struct {
		name, version string
		service       map[string]any
		code          outcome.Code // "" for none
		says          string       // in the message or the reason; "" for no step
	}{
		{"a type that every tbot has", "15.3.0", service("identity"), "", ""},
		{"a type that came later", "17.2.1", service("kubernetes/argo-cd"), outcome.ServiceTooNew, "17.7.4 or 18.1.7"},
		{"a type that came later in this line", "18.0.0", service("kubernetes/argo-cd"), outcome.ServiceTooNew, "tbot 18.0.0"},
		{"a type that is there", "18.1.7", service("kubernetes/argo-cd"), "", ""},
		{"a type that nobody heard of is left to tbot", "18.4.0", service("teapot"), "", ""},
		{"a type that came later, for an unknown tbot", "", service("kubernetes/argo-cd"), "", ""},
		{"roles before 19", "18.9.0", service("identity", "roles", "access"), "", ""},
		{"roles in 19", "19.0.0", service("identity", "roles", "access"), outcome.RolesRefused, "refuses a service with roles"},
		{"roles in a build of 19", "19.0.0-dev", service("identity", "roles", "access"), outcome.RolesRefused, "19.0.0-dev"},
		{"roles for an unknown tbot", "", service("identity", "roles", "access"), "", ""},
		{"a name before there were any", "17.5.3", service("identity", "name", "web"), "", "tbot.services[0].name (17.5.4 or 18.0.2)"},
		{"a name", "17.5.4", service("identity", "name", "web"), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &planner{f: &Facts{}}
			p.f.tbot.version, _ = versions.Parse(c.version)
			p.d.Tbot.Services = []map[string]any{c.service}
			p.services()
			var code outcome.Code
			said := ""
			for _, s := range p.steps {
				said = s.Reason
				if s.problem != nil {
					code, said = s.problem.Code, s.problem.Message
					if s.problem.Hint == "" {
						t.Error("no hint")
					}
				}
			}
			if code != c.code || !strings.Contains(said, c.says) || (said == "") != (c.says == "") {
				t.Errorf("got %q, %q", code, said)
			}
		})
	}
}

func TestWarningsNameThePlace(t *testing.T) {
	cfg := enrolltest.Config()
	cfg.Tbot.Services = []map[string]any{
		{"type": "identity", "destinations": "/opt/a", "destination": map[string]any{"type": "directory", "path": "/opt/a", "acl": "off"}},
		{"type": "teapot"},
		{"type": "identity", "destination": map[string]any{"type": "floppy"}},
		{"type": "identity", "name": "fine", "credential_ttl": "1h", "destination": "/opt/b"},
	}
	hosts := []inventory.Host{{Name: "web-01"}, {Name: "web-02"}, {Name: "db-01", Vars: map[string]any{
		"tbot": map[string]any{"services": []any{map[string]any{"type": "database", "databse": "x"}}}}}}
	got := Warnings(hosts, cfg)
	want := []string{
		"tbot.services[0].destinations: no tbot reads that in a service of type identity",
		"tbot.services[0].destination.acl: no tbot reads that in a destination of type directory",
		`tbot.services[1]: no tbot that is known has services of type "teapot"`,
		`tbot.services[2].destination: no tbot has destinations of type "floppy"`,
		"db-01: tbot.services[0].databse: no tbot reads that in a service of type database",
	}
	for i, w := range got {
		if i >= len(want) || w.Message != want[i] || w.Code == "" || w.Hint == "" || w.Fatal {
			t.Errorf("got %+v", w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d warnings, want %d", len(got), len(want))
	}
	if err := Strict(got); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), want[4]) {
		t.Errorf("strict: %v", err)
	}
	if err := Strict(nil); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
}
