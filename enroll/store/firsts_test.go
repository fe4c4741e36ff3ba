package store_test

import (
	"maps"
	"testing"
)

func TestFirstsAreOfHostsThatAreKnown(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	for run, hosts := range [][]string{{"a", "b"}, {"b", "c", "d"}, {"a", "e"}} {
		for _, host := range hosts {
			o := ok(host, proven(int(host[0])))
			o.Run = int64(run + 1)
			if host == "d" { // its proof fails: nobody is identified
				o.Outcome, o.Status = "failed", "unproven"
			}
			put(t, s, o)
		}
	}
	if err := s.Forget(t.Context(), "e"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Firsts(t.Context())
	if want := map[int64]int{1: 2, 2: 1}; err != nil || !maps.Equal(got, want) {
		t.Errorf("hosts by the run that identified them first: %v (%v), want %v", got, err, want)
	}
}
