package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/inventory"
)

// TestTheModelIsTestedWithOurScripts holds what the hosts in memory are tested with to what real hosts are asked.
func TestTheModelIsTestedWithOurScripts(t *testing.T) {
	d := testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})
	d.Tbot.DiagAddr = ""
	for name, script := range map[string]string{
		"prelude.sh": scriptPrelude,
		"facts.sh":   strings.Replace(factsScript(d), scriptPrelude, "#prelude\n", 1),
		"verify.sh":  strings.Replace(verifyScript(&Facts{Systemd: 252}, d, VerifyOptions{}), scriptPrelude, "#prelude\n", 1),
	} {
		path := filepath.Join("..", "enrolltest", "testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(path); err != nil || string(have) != script {
			t.Errorf("%s is not what a host is asked (refresh with -update): %v", path, err)
		}
	}
}
