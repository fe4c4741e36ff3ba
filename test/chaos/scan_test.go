package chaos

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// inTime are the time limits of the scans: CHAOS_TIMEOUT for a host, long enough for a healthy one on a machine that has a lot
// to do. The more hosts are scanned at once, the longer it has to be.
var inTime = []string{"--timeout", cmp.Or(os.Getenv("CHAOS_TIMEOUT"), "20s"), "--connect-timeout", "5s"}

// only are the faults with CHAOS_FAULT in their names; all of them where it is not set.
func only(all []fault) []fault {
	return slices.DeleteFunc(all, func(f fault) bool { return !strings.Contains(f.name, os.Getenv("CHAOS_FAULT")) })
}

// A fleet of which a fifth is not well: every healthy host ends ok, every other one with the status that its fault has, and
// nothing is left behind.
func TestAFleetOfWhichAFifthIsNotWell(t *testing.T) {
	t.Parallel()
	n, first := number(t, "CHAOS_HOSTS", 150), number(t, "CHAOS_SEED", 1)
	for seed := first; seed < first+number(t, "CHAOS_SEEDS", 1); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			f := newFleet(t, n, uint64(seed), only(faults()))
			r := f.scan(append([]string{"--forks", strconv.Itoa(number(t, "CHAOS_FORKS", 50))}, inTime...)...)
			if len(r.Hosts) != n {
				t.Errorf("%d hosts of %d", len(r.Hosts), n)
			}
			f.check(r, asItShould)
		})
	}
}
