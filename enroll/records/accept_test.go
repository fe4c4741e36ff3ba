package records

import (
	"errors"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// claims records that somebody says a host has an EK.
func claims(t *testing.T, st store.Store, host string, n int) {
	t.Helper()
	text := `{"host":"` + host + `","ek_public_hash":"` + enrolltest.Hash(n) + `"}`
	if _, err := Import(t.Context(), st, strings.NewReader(text), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
}

func accepted(t *testing.T, st store.Store, host string) string {
	t.Helper()
	r, err := st.Record(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	return r.Accepted.EKHash
}

func TestAClaimReplacesAProofOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	enrolltest.See(t, st, "a", 1)
	claims(t, st, "a", 2)
	if _, err := Accept(t.Context(), st, AcceptOptions{}, "a"); !errors.Is(err, ErrClaim) || !errors.Is(err, outcome.ErrInput) {
		t.Errorf("got %v", err)
	}
	if accepted(t, st, "a") != enrolltest.Hash(1) {
		t.Error("it was accepted")
	}
	done, err := Accept(t.Context(), st, AcceptOptions{Unproven: true}, "a")
	if err != nil || len(done) != 1 || accepted(t, st, "a") != enrolltest.Hash(2) {
		t.Errorf("%+v, %v", done, err)
	}
	claims(t, st, "a", 3) // a claim may take the place of a claim
	if _, err := Accept(t.Context(), st, AcceptOptions{}, "a"); err != nil {
		t.Error(err)
	}
}

func TestSwappedBoardsAreAcceptedTogether(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		swap   map[string]int // host → the EK that it has now; "a" had 1, "b" 2, "c" 3
		alone  string         // the hint when a is accepted alone
		all    []string
		refuse string // what is said of all of them
	}{
		{"two hosts", map[string]int{"a": 2, "b": 1}, "fleetctl records accept a b", []string{"a", "b"}, ""},
		{"named twice", map[string]int{"a": 2, "b": 1}, "fleetctl records accept a b", []string{"b", "a", "b"}, ""},
		{"a circle of three", map[string]int{"a": 2, "b": 3, "c": 1}, "fleetctl records accept a b c", []string{"c", "a", "b"}, ""},
		{"a board that went on, and a new one", map[string]int{"a": 2, "b": 9}, "fleetctl records accept a b", []string{"a", "b"}, ""},
		{"a board that is still in its host", map[string]int{"a": 2}, "forget the host", []string{"a"}, "a: its new EK is also that of b"},
		{"one board in two hosts", map[string]int{"a": 9, "b": 9}, "", []string{"a", "b"}, "a: its new EK is also that of b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := enrolltest.Store(t)
			for host, n := range map[string]int{"a": 1, "b": 2, "c": 3} {
				enrolltest.See(t, st, host, n)
				if err := st.Assign(t.Context(), map[string]string{host: "fleet"}); err != nil {
					t.Fatal(err)
				}
			}
			for host, n := range tt.swap {
				enrolltest.See(t, st, host, n)
			}
			if tt.alone != "" {
				_, err := Accept(t.Context(), st, AcceptOptions{}, "a")
				if !errors.Is(err, outcome.ErrInput) || !strings.Contains(outcome.HintOf(err), tt.alone) {
					t.Errorf("a alone: %v, hint %q", err, outcome.HintOf(err))
				}
			}
			_, err := Accept(t.Context(), st, AcceptOptions{}, tt.all...)
			if tt.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refuse) || accepted(t, st, "a") != enrolltest.Hash(1) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for host, n := range tt.swap {
				if accepted(t, st, host) != enrolltest.Hash(n) {
					t.Errorf("%s: %s", host, accepted(t, st, host))
				}
			}
		})
	}
}

func TestAClaimOfAnEKDoesNotKeepItsOwnerFromIt(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	enrolltest.See(t, st, "a", 1)
	enrolltest.See(t, st, "a", 2)
	claims(t, st, "liar", 2)
	if _, err := Accept(t.Context(), st, AcceptOptions{}, "a"); err != nil || accepted(t, st, "a") != enrolltest.Hash(2) {
		t.Errorf("got %v", err)
	}
	for v, err := range List(t.Context(), st, nil) {
		if want := map[string]outcome.Code{"a": outcome.StateAccepted, "liar": outcome.DuplicateEK}[v.Host]; err != nil || v.State != want {
			t.Errorf("%s is %s, %v", v.Host, v.State, err)
		}
	}
}
