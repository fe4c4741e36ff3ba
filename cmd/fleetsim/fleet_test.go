//go:build linux

package main

import (
	"maps"
	"net/netip"
	"testing"
)

func TestAFleetHasTheMixThatWasAskedFor(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 7, 10, 20, 21, 100, 999, 1000} {
		mixes := []map[condition]int{defaultMix(n), {}, {down: n}, {noTPM: n / 2}}
		if n > 1 {
			mixes = append(mixes, map[condition]int{cloned: n - 1})
		}
		for _, mix := range mixes {
			fleet, err := planFleet(n, mix)
			if err != nil {
				t.Fatal(err)
			}
			checkFleet(t, n, mix, fleet)
		}
	}
}

func checkFleet(t *testing.T, n int, mix map[condition]int, fleet []host) {
	t.Helper()
	got := map[condition]int{}
	names, addrs := map[string]condition{}, map[netip.Addr]bool{}
	for _, h := range fleet {
		if h.Condition != healthy {
			got[h.Condition]++
		}
		names[h.Name] = h.Condition
		addrs[h.Addr] = true
	}
	want := maps.Clone(mix)
	maps.DeleteFunc(want, func(_ condition, k int) bool { return k == 0 })
	if !maps.Equal(got, want) {
		t.Errorf("%d hosts: got %v, want %v", n, got, want)
	}
	if len(names) != n || len(addrs) != n {
		t.Errorf("%d hosts have %d names and %d addresses", n, len(names), len(addrs))
	}
	for _, h := range fleet {
		if c, ok := names[h.CloneOf]; h.Condition == cloned && (!ok || c != healthy) {
			t.Errorf("%d hosts: %s is a clone of %q, which is %q", n, h.Name, h.CloneOf, c)
		}
	}
}

func TestAddressesAreLoopbackAndUnique(t *testing.T) {
	t.Parallel()
	seen := map[netip.Addr]bool{}
	for i := range maxHosts {
		a := addrOf(i)
		if seen[a] || !a.IsLoopback() || a.As4()[3] == 0 || a.As4()[3] == 255 {
			t.Fatalf("host %d: bad address %s", i, a)
		}
		seen[a] = true
	}
}

func TestParseMix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, mix string
		n         int
		want      map[condition]int // nil: an error
	}{
		{"an empty mix is all healthy", "", 5, map[condition]int{}},
		{"conditions add up", "down=1,no-tpm=2,down=1", 5, map[condition]int{down: 2, noTPM: 2}},
		{"auto is healthy for small fleets", "auto", 9, map[condition]int{}},
		{"auto has one of each for larger ones", "auto", 20, map[condition]int{noEKCert: 4, down: 1, changedKey: 1, cloned: 1}},
		{"an unknown condition is refused", "lost=1", 5, nil},
		{"a count that is no number is refused", "down=x", 5, nil},
		{"a negative count is refused", "down=-1", 5, nil},
		{"a condition without a count is refused", "down", 5, nil},
		{"more than there are hosts is refused", "down=3,silent=3", 5, nil},
		{"a clone without an original is refused", "cloned=2,down=3", 5, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseMix(c.mix, c.n)
			if (err != nil) != (c.want == nil) || err == nil && !maps.Equal(got, c.want) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
