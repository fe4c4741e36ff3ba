package host

import (
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
)

// TestTheSpellingOfTbotYAML says how keys are spelt for each version. versions.md has where it is from.
func TestTheSpellingOfTbotYAML(t *testing.T) {
	cfg := enrolltest.Config()
	cfg.Tbot.CredentialTTL, cfg.Tbot.RenewalInterval = "2h", "30m"
	cfg.Tbot.Services = []map[string]any{identityIn("/opt/a"), {"type": "ssh-multiplexer", "destination": map[string]any{"type": "directory", "path": "/opt/b"}}}
	d := testDesired(t, cfg, inventory.Host{Name: "web-01"})
	const mixed, one = "services:ssh-multiplexer outputs:identity", "services:identity,ssh-multiplexer"
	for _, c := range []struct{ version, ttl, lists string }{
		{"", "certificate_ttl", mixed},
		{"15.3.0", "certificate_ttl", mixed},
		{"15.4.24", "certificate_ttl", mixed},
		{"16.0.4", "certificate_ttl", mixed},
		{"16.1.0", "certificate_ttl", one},
		{"17.2.7", "certificate_ttl", one},
		{"17.2.8", "certificate_ttl", one},
		{"18.9.0-rc.2", "certificate_ttl", one},
		{"19.0.0-dev", "credential_ttl", one},
		{"19.0.0", "credential_ttl", one},
		{"20.1.0", "credential_ttl", one},
	} {
		v, _ := versions.Parse(c.version)
		raw, err := d.tbotYAML(v)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(raw); !strings.Contains(text, "\n"+c.ttl+": 2h\n") || strings.Count(text, "_ttl") != 1 || !strings.Contains(text, "\nrenewal_interval: 30m\n") {
			t.Errorf("%s: want %s:\n%s", c.version, c.ttl, text)
		}
		if got := listsOf(string(raw)); got != c.lists {
			t.Errorf("%s: got %q, want %q", c.version, got, c.lists)
		}
	}
}

// listsOf says which types stand in which list.
func listsOf(text string) string {
	var lists []string
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case line == "services:" || line == "outputs:":
			lists = append(lists, line)
		case len(lists) > 0 && (strings.HasSuffix(line, "type: identity") || strings.HasSuffix(line, "type: ssh-multiplexer")):
			typ := line[strings.LastIndex(line, " ")+1:]
			last := &lists[len(lists)-1]
			if !strings.HasSuffix(*last, ":") {
				*last += ","
			}
			*last += typ
		}
	}
	return strings.Join(lists, " ")
}
