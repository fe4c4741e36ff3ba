package records

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

// states are the machines of records, as "host state run".
func states(t *testing.T, st store.Store) string {
	t.Helper()
	var out []string
	for m, err := range Removed(t.Context(), st) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(m.Host, " ", m.State, " ", m.Run))
	}
	return strings.Join(out, ", ")
}

func TestDisableAndEnable(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	for host, n := range map[string]int{"a": 1, "alias": 1, "b": 2, "gone": 3} {
		enrolltest.See(t, st, host, n)
	}
	if _, err := st.Put(t.Context(), store.Observation{Host: "down", At: enrolltest.Time, Outcome: "unreachable", Status: "timeout"}); err != nil {
		t.Fatal(err)
	}
	if err := st.SetStates(t.Context(), "remove", store.Machine{EKHash: enrolltest.Hash(3), Host: "gone", State: store.Removed}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"nobody", "down", "gone"} {
		if _, err := Disable(t.Context(), st, "a", bad); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%s: %v", bad, err)
		}
		if _, err := Enable(t.Context(), st, 0, "a", bad); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if got := states(t, st); got != "gone removed 0" {
		t.Fatalf("a refused change changed something: %s", got)
	}
	changes, err := Disable(t.Context(), st, "a", "alias", "b")
	if err != nil || len(changes) != 2 || changes[0].Host != "a" || strings.Join(changes[0].Also, " ") != "alias" || !changes[0].Changed() {
		t.Errorf("%+v, %v", changes, err)
	}
	if changes, err = Disable(t.Context(), st, "b"); err != nil || changes[0].Changed() {
		t.Errorf("%+v, %v", changes, err)
	}
	entries := 0
	for _, err := range Log(t.Context(), st, "b") {
		if err != nil {
			t.Fatal(err)
		}
		entries++
	}
	if entries != 1 {
		t.Errorf("%d entries for one change", entries)
	}
	if changes, err = Enable(t.Context(), st, 0, "alias"); err != nil || changes[0].Was != store.Disabled {
		t.Errorf("%+v, %v", changes, err)
	}
	if got := states(t, st); got != "b disabled 0, gone removed 0" {
		t.Errorf("%s", got)
	}
	var shown []string
	for v, err := range List(t.Context(), st, []inventory.Host{{Name: "alias", Vars: map[string]any{"fleetctl_same_as": "a"}}}) {
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, v.Host+" "+string(v.State))
	}
	if got := strings.Join(shown, ", "); got != "a accepted, alias accepted, b disabled, down no-identity, gone removed" {
		t.Errorf("%s", got)
	}
}

func TestReadmit(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	out := func(n int, host, state string, run int64) store.Machine {
		return store.Machine{EKHash: fmt.Sprintf("%02x", n) + enrolltest.Hash(n)[2:], Host: host, State: state, Run: run}
	}
	a, b, b2, c := out(0xa1, "a", store.Removed, 50), out(0xb1, "b", store.Removed, 2), out(0xb2, "b", store.Replaced, 3), out(0xc1, "c", store.Disabled, 4)
	if err := st.SetStates(t.Context(), "test", a, b, b2, c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"b": "several machines: b10000000000 (removed), b20000000000 (replaced)", "c": "is disabled", "nobody": "no machine",
		a.EKHash[:11]: "no machine", strings.Repeat("e", 64): "no machine",
	} {
		if _, err := Readmit(t.Context(), st, 7, "a", name); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	changes, err := Readmit(t.Context(), st, 7, "a", a.EKHash, strings.ToUpper(b2.EKHash[:12]))
	if err != nil || len(changes) != 2 || changes[0].Host != "a" || changes[0].Was != store.Removed || changes[1].Was != store.Replaced {
		t.Errorf("%+v, %v", changes, err)
	}
	if got := states(t, st); got != "b removed 2, c disabled 4" {
		t.Errorf("%s", got)
	}
	for m, err := range st.Machines(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int64{a.EKHash: 50, b2.EKHash: 7}[m.EKHash]; want != 0 && m.Run != want {
			t.Errorf("%+v, want run %d", m, want)
		}
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	for host, n := range map[string]int{"old": 1, "new": 1, "other": 2} {
		enrolltest.See(t, st, host, n)
	}
	if err := st.Assign(t.Context(), map[string]string{"old": "fleet"}); err != nil {
		t.Fatal(err)
	}
	inv := []inventory.Host{{Name: "new"}, {Name: "other"}, {Name: "listed"}}
	for _, bad := range [][2]string{{"nobody", "x"}, {"old", "old"}, {"old", ""}, {"other", "x"}, {"old", "other"}} {
		if _, err := Rename(t.Context(), st, inv, bad[0], bad[1]); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	done, err := Rename(t.Context(), st, inv, "old", "new")
	if err != nil || !done.United || done.EKHash != enrolltest.Hash(1) {
		t.Errorf("%+v, %v", done, err)
	}
	if r, err := st.Record(t.Context(), "new"); err != nil || r.Token != "fleet" {
		t.Errorf("%+v, %v", r, err)
	}
	if done, err := Rename(t.Context(), st, nil, "other", "x"); err != nil || done.United {
		t.Errorf("%+v, %v", done, err)
	}
	said := 0
	for e, err := range Log(t.Context(), st, "x") {
		if err != nil {
			t.Fatal(err)
		}
		said++
		if e.Action != "rename" || e.Why != "was other" {
			t.Errorf("%+v", e)
		}
	}
	if said != 1 {
		t.Errorf("%d entries", said)
	}
}

func TestEnableOutdoesADisableOfALaterRun(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	enrolltest.See(t, st, "a", 1)
	lost := store.Machine{EKHash: enrolltest.Hash(1), Host: "a", State: store.Disabled, Run: 30} // as a file of tombstones says it
	if err := st.SetStates(t.Context(), "tombstone", lost); err != nil {
		t.Fatal(err)
	}
	if _, err := Enable(t.Context(), st, 2, "a"); err != nil {
		t.Fatal(err)
	}
	for m, err := range st.Machines(t.Context()) {
		if err != nil || m.State != "" || m.Run < 30 {
			t.Errorf("%v: %+v: the file would disable it again", err, m)
		}
	}
}
