package store_test

import (
	"testing"

	"fleetctl/enroll/store"
)

// take takes an EK out, as run 1.
func take(t *testing.T, s store.Store, host string, n int) {
	t.Helper()
	m := store.Machine{EKHash: ek(n), State: store.Removed, Host: host, Run: 1, By: "admin@desk", Why: "sold"}
	if err := s.SetStates(t.Context(), "remove", m); err != nil {
		t.Fatal(err)
	}
}

func TestAnEKThatWasRemovedIsNobodysIdentity(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		before  func(store.Store)
		host    string
		status  string
		outcome string
		reused  bool
		accept  string
	}{
		"the host itself, forgotten": {func(s store.Store) {
			put(t, s, ok("web-01", proven(1)))
			take(t, s, "web-01", 1)
			_ = s.Forget(t.Context(), "web-01")
		}, "web-01", "removed-ek", "skipped", false, ""},
		"the host itself, not forgotten yet": {func(s store.Store) {
			put(t, s, ok("web-01", proven(1)))
			take(t, s, "web-01", 1)
		}, "web-01", "removed-ek", "skipped", false, ek(1)},
		"another name that it had": {func(s store.Store) {
			put(t, s, ok("alias", proven(1)))
			put(t, s, ok("web-01", proven(1)))
			take(t, s, "web-01", 1)
			_ = s.Forget(t.Context(), "web-01", "alias")
		}, "alias", "removed-ek", "skipped", false, ""},
		"a name that it did not have": {func(s store.Store) {
			put(t, s, ok("web-01", proven(1)))
			take(t, s, "web-01", 1)
		}, "web-02", "removed-ek", "failed", true, ""},
		"a host that has another EK": {func(s store.Store) {
			put(t, s, ok("web-01", proven(1)))
			take(t, s, "web-01", 1)
			put(t, s, ok("web-02", proven(2)))
		}, "web-02", "removed-ek", "failed", true, ek(2)},
		"readmitted": {func(s store.Store) {
			put(t, s, ok("web-01", proven(1)))
			take(t, s, "web-01", 1)
			_ = s.Forget(t.Context(), "web-01")
			_ = s.SetStates(t.Context(), "readmit", store.Machine{EKHash: ek(1), Host: "web-01"})
		}, "web-01", "", "ok", false, ek(1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openNew(t)
			tt.before(s)
			for range 2 { // what was seen since is no proof that it had it
				o := ok(tt.host, proven(1))
				o.Run = 2
				v := put(t, s, o)
				if (v.Removed != nil) != (tt.status != "") || v.Reused != tt.reused || v.Changed {
					t.Errorf("verdict %+v", v)
				}
				if v.Removed != nil && (v.Removed.By != "admin@desk" || v.Removed.Why != "sold" || v.Removed.Host != "web-01") {
					t.Errorf("removed %+v", v.Removed)
				}
				r := record(t, s, tt.host)
				if hash(r.Accepted) != tt.accept || r.Pending != nil || r.Last.Outcome != tt.outcome || r.Last.Status != tt.status {
					t.Errorf("record %+v, last %+v", r, r.Last)
				}
			}
		})
	}
}

// TestForgettingKeepsTheTombstone: the record of a removed host goes at the end of the removal.
func TestForgettingKeepsTheTombstone(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok("web-01", proven(1)))
	take(t, s, "web-01", 1)
	if err := s.Forget(t.Context(), "web-01"); err != nil {
		t.Fatal(err)
	}
	for m, err := range s.Machines(t.Context()) {
		if err != nil || m.State != store.Removed || m.Why != "sold" || m.By != "admin@desk" {
			t.Errorf("%+v, %v", m, err)
		}
	}
}
