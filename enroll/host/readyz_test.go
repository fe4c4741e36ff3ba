package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
)

func readyzSample(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "readyz", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const identityUnhealthy = `{"status":"unhealthy","services":{"identity":{"status":"unhealthy","reason":"renewing"},"output":{"status":"healthy"}}}`

func TestTrouble(t *testing.T) {
	for _, c := range []struct{ name, version, status, body, want string }{
		{"nobody asked", "18.0.2", "", "", ""},
		{"healthy", "18.8.0", "200", readyzSample(t, "200-18"), ""},
		{"nothing answers", "17.2.1", "000", "", "nothing answers"},
		{"an output that fails", "18.8.0", "503", readyzSample(t, "503-service"), "output is unhealthy (generating identity: access denied to perform action \"read\")"},
		{"an output that fails, in a version whose 503 sticks", "17.5.4", "503", readyzSample(t, "503-service"), "output is unhealthy"},
		{"it has not begun", "18.8.0", "503", readyzSample(t, "503-initializing"), "heartbeat is initializing, identity is initializing"},
		{"it has not begun, in a version whose 503 sticks", "17.5.4", "503", readyzSample(t, "503-initializing"), "identity is initializing"},
		{"its own identity", "18.8.0", "503", identityUnhealthy, "identity is unhealthy (renewing)"},
		{"a 503 that may be out of date", "18.7.6", "503", identityUnhealthy, ""},
		{"a 503 of which nothing is known, that may be out of date", "18.7.6", "503", "", ""},
		{"a 503 of which nothing is known", "18.8.0", "503", "", "/readyz says 503"},
		{"a 503 that is no JSON", "18.8.0", "503", "<html>", "/readyz says 503"},
		{"of a tbot of no known version", "", "503", "", ""},
		{"something else", "18.8.0", "404", readyzSample(t, "404"), "/readyz says 404"},
	} {
		f := &Facts{ready: readyz{c.status, c.body}}
		f.tbot.version, _ = versions.Parse(c.version)
		if got := f.Trouble(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestA503AloneChangesNothing: a tbot that joined and serves is not restarted because one of its services is unhealthy.
func TestA503AloneChangesNothing(t *testing.T) {
	h := inventory.Host{Name: "web-01"}
	cfg := enrolltest.Config()
	cfg.Tbot.DiagAddr = "127.0.0.1:3001"
	d := testDesired(t, cfg, h)
	for _, v := range []string{"17.2.1", "17.5.3", "17.5.4", "18.7.6", "18.8.0", "19.0.0"} {
		for _, body := range []string{"", identityUnhealthy, readyzSample(t, "503-service"), readyzSample(t, "503-initializing")} {
			f := enrolled(d)
			f.tbot.version, f.ready = version(v), readyz{"503", body}
			for _, s := range Plan(f, d) {
				if s.Changes() {
					t.Errorf("%s, %.40q: %s: %s", v, body, s.Name, s.Reason)
				}
			}
		}
	}
}
