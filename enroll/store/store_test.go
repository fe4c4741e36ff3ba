package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/enroll/store"
)

var at = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

func open(t testing.TB, path string) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openNew(t testing.TB) store.Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "fleet.db"))
}

// ek is the EK hash number n.
func ek(n int) string { return fmt.Sprintf("%064x", n) }

func proven(n int) *store.Identity {
	return &store.Identity{EKHash: ek(n), EKPub: []byte{1, byte(n)}, Proven: true, Via: "helper"}
}

func claimed(n int) *store.Identity {
	return &store.Identity{EKHash: ek(n), Via: "import"}
}

func withCert(i *store.Identity) *store.Identity {
	c := *i
	c.EKCert, c.EKSerial = []byte("certificate"), "5e:cd"
	return &c
}

func ok(host string, i *store.Identity) store.Observation {
	return store.Observation{Host: host, Run: 1, At: at, Outcome: "ok", Identity: i}
}

func put(t testing.TB, s store.Store, o store.Observation) store.Verdict {
	t.Helper()
	v, err := s.Put(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func record(t testing.TB, s store.Store, host string) store.Record {
	t.Helper()
	r, err := s.Record(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hash(i *store.Identity) string {
	if i == nil {
		return ""
	}
	return i.EKHash
}

func TestIdentityHistory(t *testing.T) {
	t.Parallel()
	failed := func(i *store.Identity) store.Observation {
		o := ok("h", i)
		o.Outcome, o.Status = "failed", "unproven"
		return o
	}
	tests := []struct {
		name              string
		seen              []store.Observation
		accepted, pending *store.Identity
		changed           bool // the last verdict
	}{
		{"the first proven identity is accepted", []store.Observation{ok("h", proven(1))}, proven(1), nil, false},
		{"the same again changes nothing", []store.Observation{ok("h", proven(1)), ok("h", proven(1))}, proven(1), nil, false},
		{"another one waits", []store.Observation{ok("h", proven(1)), ok("h", proven(2))}, proven(1), proven(2), true},
		{
			"a third one waits instead of the second",
			[]store.Observation{ok("h", proven(1)), ok("h", proven(2)), ok("h", proven(3))}, proven(1), proven(3), true,
		},
		{
			"when the accepted one is proven again nothing waits",
			[]store.Observation{ok("h", proven(1)), ok("h", proven(2)), ok("h", proven(1))}, proven(1), nil, false,
		},
		{
			"when the accepted one is only claimed again the other still waits",
			[]store.Observation{ok("h", proven(1)), ok("h", proven(2)), ok("h", claimed(1))}, proven(1), proven(2), false,
		},
		{"a claim is accepted where nothing is", []store.Observation{ok("h", claimed(1))}, claimed(1), nil, false},
		{"a proof of the same EK replaces the claim", []store.Observation{ok("h", claimed(1)), ok("h", proven(1))}, proven(1), nil, false},
		{"a claim never replaces a proof", []store.Observation{ok("h", proven(1)), ok("h", claimed(1))}, proven(1), nil, false},
		{"a proof of another EK replaces the claim", []store.Observation{ok("h", claimed(1)), ok("h", proven(2))}, proven(2), nil, false},
		{
			"a proof takes the place of a claim that waits behind another",
			[]store.Observation{ok("h", claimed(1)), ok("h", claimed(3)), ok("h", proven(2))}, proven(2), nil, false,
		},
		{"a claim of another EK waits", []store.Observation{ok("h", proven(1)), ok("h", claimed(2))}, proven(1), claimed(2), true},
		{
			"a claim does not push out a proof that waits",
			[]store.Observation{ok("h", proven(1)), ok("h", proven(2)), ok("h", claimed(3))}, proven(1), proven(2), true,
		},
		{"what a failed proof claimed is not accepted", []store.Observation{failed(claimed(1))}, nil, nil, false},
		{
			"what a failed proof claimed does not wait either",
			[]store.Observation{ok("h", proven(1)), failed(claimed(2))}, proven(1), nil, false,
		},
		{"a host that is down keeps its identity", []store.Observation{
			ok("h", proven(1)), {Host: "h", Run: 2, At: at, Outcome: "unreachable", Status: "timeout"},
		}, proven(1), nil, false},
		{
			"a certificate that appears later is taken",
			[]store.Observation{ok("h", proven(1)), ok("h", withCert(proven(1)))}, withCert(proven(1)), nil, false,
		},
		{
			"a certificate that is gone is gone: tbot does not present it any more",
			[]store.Observation{ok("h", withCert(proven(1))), ok("h", proven(1))}, proven(1), nil, false,
		},
		{
			"a claim without a certificate does not replace one with it",
			[]store.Observation{ok("h", withCert(claimed(1))), ok("h", claimed(1))}, withCert(claimed(1)), nil, false,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := openNew(t)
			var v store.Verdict
			for _, o := range tt.seen {
				v = put(t, s, o)
			}
			r := record(t, s, "h")
			if !reflect.DeepEqual(r.Accepted, tt.accepted) || !reflect.DeepEqual(r.Pending, tt.pending) {
				t.Errorf("accepted %+v, pending %+v; want %+v and %+v", r.Accepted, r.Pending, tt.accepted, tt.pending)
			}
			if v.Changed != tt.changed || (v.Changed && v.Old != hash(tt.accepted)) {
				t.Errorf("verdict %+v, want changed %v", v, tt.changed)
			}
			if tt.changed && (r.Last.Outcome != "failed" || r.Last.Status != "changed-ek") {
				t.Errorf("the observation is kept as %s %s", r.Last.Outcome, r.Last.Status)
			}
		})
	}
}

func TestAProofTakesNoRuleFromAClaim(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok("h", claimed(1)))
	if err := s.Assign(t.Context(), map[string]string{"h": "fleet"}); err != nil {
		t.Fatal(err)
	}
	v := put(t, s, ok("h", proven(2)))
	if r := record(t, s, "h"); !v.Changed || v.Replaced != "" || hash(r.Accepted) != ek(1) || hash(r.Pending) != ek(2) {
		t.Errorf("verdict %+v, record %+v", v, r)
	}
}

func TestAClaimThatAProofReplacedIsNamed(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok("h", claimed(1)))
	if v := put(t, s, ok("h", proven(2))); v.Changed || v.Replaced != ek(1) {
		t.Errorf("verdict %+v", v)
	}
}

func TestRecordHoldsWhatWasPut(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	o := store.Observation{
		Host: "web ü 01", Run: 7, At: at.Add(1234 * time.Microsecond), Outcome: "ok", Status: "s", Message: "m\x00n",
		Identity: withCert(proven(1)), TPM: json.RawMessage(`{"Manufacturer":"IFX"}`),
	}
	put(t, s, o)
	inst := &store.Installed{At: at, Token: "fleet", TbotVersion: "17.1.0", ConfigSHA256: "a", UnitSHA256: "b"}
	if err := s.SetInstalled(t.Context(), o.Host, inst); err != nil {
		t.Fatal(err)
	}
	if err := s.Assign(t.Context(), map[string]string{o.Host: "fleet"}); err != nil {
		t.Fatal(err)
	}
	want := store.Record{Host: o.Host, Accepted: o.Identity, Last: &o, Token: "fleet", TokenEK: ek(1), Installed: inst}
	if got := record(t, s, o.Host); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDuplicatesAreNamed(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok("a", proven(1)))
	put(t, s, ok("c", proven(3)))
	put(t, s, ok("b", proven(1)))
	if v := put(t, s, ok("c", proven(1))); !v.Changed {
		t.Errorf("c: %+v", v)
	}
	got, err := s.Duplicates(t.Context())
	if want := []store.Duplicate{{EKHash: ek(1), Hosts: []string{"a", "b", "c"}}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.Forget(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Duplicates(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("after forget: %+v, %v", got, err)
	}
}

func TestAcceptTakesAllOrNone(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	for _, h := range []string{"a", "b"} {
		put(t, s, ok(h, proven(int(h[0]))))
	}
	put(t, s, ok("a", proven(1)))
	if err := s.Accept(t.Context(), "a", "b"); !errors.Is(err, store.ErrNotPending) {
		t.Errorf("b has nothing pending: %v", err)
	}
	if err := s.Accept(t.Context(), "a", "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody is not known: %v", err)
	}
	if r := record(t, s, "a"); hash(r.Accepted) != ek('a') {
		t.Errorf("a was accepted although b was refused")
	}
	if err := s.Accept(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if r := record(t, s, "a"); hash(r.Accepted) != ek(1) || r.Pending != nil {
		t.Errorf("after accept: %+v", r)
	}
}

func TestForgetKeepsObservations(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok("a", proven(1)))
	if err := s.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("record of a forgotten host: %v", err)
	}
	if err := s.Forget(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("forget twice: %v", err)
	}
	if err := s.Assign(t.Context(), map[string]string{"a": "fleet"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("assign a forgotten host: %v", err)
	}
	if v := put(t, s, ok("a", proven(2))); v.Changed {
		t.Errorf("a forgotten host starts anew: %+v", v)
	}
	var n int
	for _, err := range s.History(t.Context(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d observations, want 2", n)
	}
}

func TestRecordsComeByName(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() { put(t, s, ok(fmt.Sprintf("h%03d", (i*7)%200), proven(i+1))) })
	}
	wg.Wait()
	var names []string
	for r, err := range s.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, ok(r.Host, r.Accepted)) // writing while reading does not block
		names = append(names, r.Host)
	}
	if len(names) != 200 || !slices.IsSorted(names) {
		t.Errorf("%d records, sorted %v", len(names), slices.IsSorted(names))
	}
	seen, err := s.Seen(t.Context(), 1)
	if err != nil || len(seen) != 200 || seen["h007"] != "ok" {
		t.Errorf("%d seen, %v", len(seen), err)
	}
}

func TestBadObservationsAreRefused(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	for _, o := range []store.Observation{
		{Outcome: "ok"},
		{Host: "a"},
		ok("a", &store.Identity{EKHash: strings.ToUpper(ek(0xabc))}),
		ok("a", &store.Identity{EKHash: "12"}),
		{Host: "a", Outcome: "ok", TPM: json.RawMessage(`{`)},
	} {
		if _, err := s.Put(t.Context(), o); err == nil {
			t.Errorf("accepted %+v", o)
		}
	}
}

func TestTwoRunsExcludeEachOther(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fleet.db")
	one := open(t, path)
	run, err := one.BeginRun(t.Context(), "scan web", 3)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := one.BeginRun(t.Context(), "tokens", 3)
	if err != nil {
		t.Fatalf("a run inside a run of the same store: %v", err)
	}

	two := open(t, path)
	_, err = two.BeginRun(t.Context(), "scan", 1)
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), `"scan web"`) {
		t.Errorf("second run: %v", err)
	}
	put(t, two, ok("a", proven(1))) // observations of imports need no run

	waiting, err := store.OpenWith(t.Context(), path, store.Options{Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = waiting.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := waiting.BeginRun(ctx, "scan", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ends with its context: %v", err)
	}
	got := make(chan error)
	go func() { _, err := waiting.BeginRun(t.Context(), "scan", 1); got <- err }()
	for _, r := range []int64{inner, run} {
		if err := one.EndRun(t.Context(), r, store.StateDone); err != nil {
			t.Error(err)
		}
	}
	if err := <-got; err != nil {
		t.Errorf("the waiting run: %v", err)
	}
	if err := one.EndRun(t.Context(), run, store.StateDone); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ending a run twice: %v", err)
	}
}

func TestRunsThatDiedAreInterrupted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fleet.db")
	one := open(t, path)
	first, err := one.BeginRun(t.Context(), "scan", 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil { // without EndRun
		t.Fatal(err)
	}
	two := open(t, path)
	second, err := two.BeginRun(t.Context(), "scan --resume", 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := two.EndRun(t.Context(), second, store.StateDone); err != nil {
		t.Fatal(err)
	}
	runs, err := two.Runs(t.Context(), 10)
	if err != nil || len(runs) != 2 {
		t.Fatalf("%+v, %v", runs, err)
	}
	if runs[0].ID != second || runs[0].State != "done" || runs[0].Ended.IsZero() {
		t.Errorf("newest run: %+v", runs[0])
	}
	if runs[1].ID != first || runs[1].State != "interrupted" || runs[1].Command != "scan" || runs[1].Hosts != 3 {
		t.Errorf("oldest run: %+v", runs[1])
	}
}

func TestAnInterruptedRunCanBeResumed(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	run, err := s.BeginRun(t.Context(), "scan", 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EndRun(t.Context(), run, store.StateInterrupted); err != nil {
		t.Fatal(err)
	}
	if err := s.ResumeRun(t.Context(), run+1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("resuming a run that never was: %v", err)
	}
	if err := s.ResumeRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if err := s.EndRun(t.Context(), run, store.StateDone); err != nil {
		t.Fatal(err)
	}
	if runs, err := s.Runs(t.Context(), 1); err != nil || runs[0].ID != run || runs[0].State != store.StateDone {
		t.Errorf("%+v, %v", runs, err)
	}
}

func TestTheLatestRunOfACommandKnowsItsHosts(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	var runs []int64
	for _, command := range []string{"scan", "enroll", "scan"} {
		run, err := s.BeginRun(t.Context(), command, 2)
		if err != nil {
			t.Fatal(err)
		}
		if known, err := s.Chosen(t.Context(), run); err != nil || known != nil {
			t.Errorf("before it is said: %v, %v", known, err)
		}
		if err := s.Choose(t.Context(), run, []string{"a", "b \n\"ü"}); err != nil {
			t.Fatal(err)
		}
		if err := s.EndRun(t.Context(), run, store.StateDone); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	for i, want := range []int{0, 2, 2} {
		if known, err := s.Chosen(t.Context(), runs[i]); err != nil || len(known) != want || want > 0 && !known["b \n\"ü"] {
			t.Errorf("run %d: %v, %v", runs[i], known, err)
		}
	}
	if err := s.Choose(t.Context(), 99, nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no run: %v", err)
	}
	if _, err := s.Chosen(t.Context(), 99); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no run: %v", err)
	}
}

func TestPublishedRulesAreRemembered(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	put(t, s, ok("a", proven(1)))
	rules := []store.Rule{{Token: "fleet", EKHash: ek(1), Host: "a"}, {Token: "fleet-2", EKHash: ek(2), EKSerial: "01", Host: "b"}}
	tokens := []store.Token{{Name: "fleet", Kind: "bot", Bot: "fleet"}, {Name: "fleet-2", Kind: "node"}}
	for range 2 {
		if err := s.Publish(t.Context(), store.Publication{Assign: map[string]string{"a": "fleet"}, Tokens: tokens, Rules: rules}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	var got []store.Rule
	for r, err := range s.Rules(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if !slices.Equal(got, rules) {
		t.Errorf("rules %+v", got)
	}
	if got, err := s.Tokens(t.Context()); err != nil || !reflect.DeepEqual(got, tokens) {
		t.Errorf("tokens %+v, %v", got, err)
	}
	if err := s.Retract(t.Context(), rules[1:]); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Tokens(t.Context()); err != nil || !reflect.DeepEqual(got, tokens[:1]) {
		t.Errorf("after retracting the only rule: tokens %+v, %v", got, err)
	}
	if err := s.Publish(t.Context(), store.Publication{Rules: []store.Rule{{Token: "fleet", EKHash: "12"}}}); err == nil {
		t.Error("a rule with a bad hash was noted")
	}
}

func TestWritesAreRemembered(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	publish := func(digest string) {
		t.Helper()
		p := store.Publication{Tokens: []store.Token{{Name: "fleet", Kind: "bot", Digest: digest}}}
		if err := s.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	recent := func() []string {
		t.Helper()
		tokens, err := s.Tokens(t.Context())
		if err != nil || len(tokens) != 1 {
			t.Fatalf("%+v, %v", tokens, err)
		}
		return tokens[0].Recent
	}
	publish("d1")
	publish("d1")
	publish("d2")
	for range 2 {
		if err := s.Wrote(t.Context(), "fleet", "w1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := recent(); !slices.Equal(got, []string{"w1", "d2", "d1"}) {
		t.Errorf("recent %v", got)
	}
	for i := range 100 {
		publish(fmt.Sprintf("%064x", i))
	}
	if got := recent(); len(got) < 30 || len(got) > 31 || got[0] != fmt.Sprintf("%064x", 99) {
		t.Errorf("%d are kept, the first is %s", len(got), got[0])
	}
	if err := s.Wrote(t.Context(), "none", "w"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no token: %v", err)
	}
}

func TestClosedStoreSaysSo(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	_, putErr := s.Put(t.Context(), ok("a", nil))
	_, recErr := s.Record(t.Context(), "a")
	_, runErr := s.BeginRun(t.Context(), "scan", 1)
	for _, err := range []error{putErr, recErr, runErr} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func TestPutAllIsAllOrNone(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	verdicts, err := s.PutAll(t.Context(), []store.Observation{ok("a", proven(1)), ok("b", proven(2)), ok("a", proven(3))})
	if err != nil || len(verdicts) != 3 || verdicts[0].Changed || !verdicts[2].Changed || verdicts[2].Old != ek(1) {
		t.Errorf("%+v, %v", verdicts, err)
	}
	if _, err := s.PutAll(t.Context(), []store.Observation{ok("c", proven(4)), {Host: "d"}}); err == nil {
		t.Error("an observation without an outcome was taken")
	}
	if _, err := s.Record(t.Context(), "c"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the one before it was kept: %v", err)
	}
}
