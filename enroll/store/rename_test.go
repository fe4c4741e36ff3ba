package store_test

import (
	"errors"
	"testing"

	"fleetctl/enroll/store"
)

func TestRenameUnitesTwoRecordsOfOneMachine(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok("old", proven(1)))
	put(t, s, ok("new", claimed(1)))
	put(t, s, ok("other", proven(2)))
	put(t, s, store.Observation{Host: "down", At: at, Outcome: "unreachable", Status: "timeout"})
	err := errors.Join(s.Publish(t.Context(), store.Publication{
		Assign: map[string]string{"old": "fleet"}, Tokens: []store.Token{{Name: "fleet", Kind: "bot"}},
		Rules: []store.Rule{{Token: "fleet", EKHash: ek(1), Host: "old"}},
	}), s.SetInstalled(t.Context(), "old", &store.Installed{Token: "fleet", Made: []string{"user:tbot"}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"other", "down", "old"} {
		if err := s.Rename(t.Context(), "old", to); !errors.Is(err, store.ErrTaken) {
			t.Errorf("to %s: %v", to, err)
		}
	}
	if err := s.Rename(t.Context(), "old", "new"); err != nil {
		t.Fatal(err)
	}
	r := record(t, s, "new")
	if r.Token != "fleet" || r.TokenEK != ek(1) || r.Installed == nil || !r.Accepted.Proven || r.Last == nil {
		t.Errorf("%+v", r)
	}
	if _, err := s.Record(t.Context(), "old"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old name is still there: %v", err)
	}
	seen := 0
	for _, err := range s.History(t.Context(), "new") {
		if err != nil {
			t.Fatal(err)
		}
		seen++
	}
	for rule, err := range s.Rules(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if rule.Host != "new" {
			t.Errorf("%+v", rule)
		}
	}
	if seen != 2 {
		t.Errorf("%d observations", seen)
	}
}

func TestRenameKeepsWhatIsUnderTheNewName(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok("old", proven(1)))
	put(t, s, ok("new", proven(1)))
	if err := errors.Join(s.Assign(t.Context(), map[string]string{"old": "fleet", "new": "fleet-2"}),
		s.SetInstalled(t.Context(), "new", &store.Installed{Token: "fleet-2"}), s.Rename(t.Context(), "old", "new")); err != nil {
		t.Fatal(err)
	}
	if r := record(t, s, "new"); r.Token != "fleet-2" || r.Installed.Token != "fleet-2" {
		t.Errorf("%+v", r)
	}
}

func TestARenamedHostIsAmongThoseOfItsRun(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok(`a"<ü`, proven(1)))
	run, err := s.BeginRun(t.Context(), "enroll", 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Choose(t.Context(), run, []string{"b", `a"<ü`, `x"a"<ü`}), s.EndRun(t.Context(), run, store.StateDone),
		s.Rename(t.Context(), `a"<ü`, "c")); err != nil {
		t.Fatal(err)
	}
	got, err := s.Chosen(t.Context(), run)
	if err != nil || len(got) != 3 || !got["b"] || !got["c"] || !got[`x"a"<ü`] {
		t.Errorf("%v, %v", got, err)
	}
}
