package scan

import (
	"os"
	"testing"

	"fleetctl/remote"
)

// TestTheModelIsTestedWithOurProbe holds what the hosts in memory are tested with to what real hosts are asked.
func TestTheModelIsTestedWithOurProbe(t *testing.T) {
	t.Parallel()
	want := "d=" + remote.Quote("") + "\n" + probeScript
	if have, err := os.ReadFile("../enrolltest/testdata/probe.sh"); err != nil || string(have) != want {
		t.Errorf("../enrolltest/testdata/probe.sh is not what a host is asked: %v\nwant:\n%s", err, want)
	}
}
