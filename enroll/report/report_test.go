package report

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func ek(i int) string { return fmt.Sprintf("%064x", i) }

// records opens new records.
func newRecords(t *testing.T) store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// scan is a run that sees hosts.
func scan(t *testing.T, st store.Store, seen ...store.Observation) {
	t.Helper()
	run, err := st.BeginRun(t.Context(), "scan", len(seen))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range seen {
		o.Run, o.At = run, now
		if _, err := st.Put(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.EndRun(t.Context(), run, store.StateDone); err != nil {
		t.Fatal(err)
	}
}

// seen is a host that is well.
func seen(host string, i int) store.Observation {
	return store.Observation{
		Host: host, Outcome: "ok", Identity: &store.Identity{EKHash: ek(i), Proven: true, Via: "helper"},
		TPM: []byte(`{"manufacturer":"IFX","firmware":"7.85"}`),
	}
}

// down is one that did not answer.
func down(host string) store.Observation {
	return store.Observation{Host: host, Outcome: "unreachable", Status: "connect-failed", Message: "no route to host"}
}

func gather(t *testing.T, src Source) (Report, []Host) {
	t.Helper()
	src.Now = now
	r, err := Gather(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	var hosts []Host
	for h, err := range r.Hosts {
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	return r, hosts
}

func TestHostsOfRecordsAndInventoryAreInOrderWithTheirConcerns(t *testing.T) {
	t.Parallel()
	st := newRecords(t)
	scan(t, st, seen("b-joined", 1), seen("c-unseen", 2), seen("d-down", 3), seen("f-gone", 4), seen("g-stopped", 5), seen("h-disabled", 6))
	scan(t, st, down("d-down"))
	joined := now.Add(-time.Hour)
	for host, in := range map[string]*store.Installed{
		"b-joined": {At: now, TbotVersion: "18.4.0", JoinedAt: &joined}, "c-unseen": {At: now}, "d-down": {At: now, JoinedAt: &joined},
		"f-gone": {At: now, JoinedAt: &joined}, "g-stopped": {At: now, State: store.HostApplying, Step: "/etc/tbot.yaml"},
	} {
		if err := st.SetInstalled(t.Context(), host, in); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.SetStates(t.Context(), "disable", store.Machine{EKHash: ek(6), Host: "h-disabled", State: store.Disabled, Why: "in repair"}); err != nil {
		t.Fatal(err)
	}
	var inv []inventory.Host
	for _, name := range []string{"h-disabled", "g-stopped", "z-new", "e-new", "a-new", "d-down", "c-unseen", "b-joined"} {
		inv = append(inv, inventory.Host{Name: name})
	}
	r, hosts := gather(t, Source{Store: st, Inventory: inv, Others: []Finding{{Host: "lost", Code: outcome.RuleOrphan}}})
	var got []string
	for _, h := range hosts {
		got = append(got, fmt.Sprintf("%s %s %v %v", h.Host, h.State, h.Listed, h.Concerns))
	}
	want := []string{
		"a-new no-identity true [not-scanned]", "b-joined accepted true []", "c-unseen accepted true [no-join-seen]",
		"d-down accepted true [connect-failed]", "e-new no-identity true [not-scanned]", "f-gone accepted false [not-listed]",
		"g-stopped accepted true [unfinished]", "h-disabled disabled true []", "z-new no-identity true [not-scanned]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("hosts:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := (Totals{Hosts: 9, Proven: 6, Installed: 5, Joined: 3, Concerned: 7}); r.Totals != want {
		t.Errorf("totals %+v, want %+v", r.Totals, want)
	}
	if tpm := hosts[3].TPM; tpm == nil || tpm.Manufacturer != "IFX" {
		t.Errorf("of the host that is down now its TPM is forgotten: %+v", tpm)
	}
	var concerns []string
	for _, c := range r.Concerns {
		concerns = append(concerns, fmt.Sprintf("%s %s %d %v", c.Severity, c.Code, c.Hosts, c.Examples))
	}
	if want := []string{
		"error connect-failed 1 [d-down]", "error unfinished 1 [g-stopped]", "warning not-scanned 3 [a-new e-new z-new]",
		"warning no-join-seen 1 [c-unseen]", "warning not-listed 1 [f-gone]", "warning orphan-rule 1 [lost]",
	}; !slices.Equal(concerns, want) {
		t.Errorf("concerns:\n%s\nwant:\n%s", strings.Join(concerns, "\n"), strings.Join(want, "\n"))
	}
	if len(r.Growth) != 1 || r.Growth[0].Hosts != 6 || len(r.Runs) != 2 || r.Runs[0].Outcomes["unreachable"] != 1 {
		t.Errorf("growth %+v, runs %+v", r.Growth, r.Runs)
	}
	for e, err := range r.Log {
		if err != nil || e.Action != "disable" || e.Why != "in repair" {
			t.Errorf("log: %+v, %v", e, err)
		}
	}
}

func TestWithoutAnInventoryNobodyIsMissing(t *testing.T) {
	t.Parallel()
	st := newRecords(t)
	scan(t, st, seen("web-01", 1))
	r, hosts := gather(t, Source{Store: st})
	if r.Listed || len(hosts) != 1 || !slices.Equal(hosts[0].Concerns, []outcome.Code{outcome.StateNotEnrolled}) {
		t.Errorf("%+v", hosts)
	}
}

func TestRecordsThatCannotBeReadEndTheReport(t *testing.T) {
	t.Parallel()
	st := newRecords(t)
	scan(t, st, seen("web-01", 1))
	r, _ := gather(t, Source{Store: st})
	_ = st.Close()
	for _, err := range r.Hosts {
		if err == nil {
			t.Error("closed records have hosts")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Gather(ctx, Source{Store: newRecords(t), Now: now}); err == nil {
		t.Error("a report that was canceled is no error")
	}
}

func TestMonths(t *testing.T) {
	t.Parallel()
	ahead, back := monthsFrom(now, 0), monthsFrom(now, 1-monthsShown)
	for _, date := range []time.Time{
		{}, now, now.AddDate(0, -1, 0), now.AddDate(0, 1, 0), now.AddDate(0, 23, 0), now.AddDate(0, 24, 0), now.AddDate(-2, 0, 0), now.AddDate(8000, 0, 0).AddDate(-27, 0, 0),
		time.Date(2026, 12, 1, 0, 30, 0, 0, time.FixedZone("", 3600)), // in UTC it is November
	} {
		ahead.add(date)
		back.add(date)
	}
	for name, c := range map[string]struct {
		m                      *Months
		first, last            string
		before, after, unknown int
		months                 map[string]int
	}{
		"ahead": {ahead, "2026-11", "2028-10", 2, 2, 1, map[string]int{"2026-11": 2, "2026-12": 1, "2028-10": 1}},
		"back":  {back, "2024-12", "2026-11", 1, 4, 1, map[string]int{"2026-10": 1, "2026-11": 2}},
	} {
		if c.m.Months[0].Month != c.first || c.m.Months[23].Month != c.last || c.m.Before != c.before || c.m.After != c.after || c.m.Unknown != c.unknown {
			t.Errorf("%s: %+v", name, c.m)
		}
		for _, m := range c.m.Months {
			if m.Hosts != c.months[m.Month] {
				t.Errorf("%s: %d in %s, want %d", name, m.Hosts, m.Month, c.months[m.Month])
			}
		}
	}
}

func TestRareKindsStandTogether(t *testing.T) {
	t.Parallel()
	of := map[string]int{"": 7}
	for i := range 40 {
		of[fmt.Sprintf("firmware %02d", i)] = i + 1
	}
	list := counts(of)
	if len(list) != mostKinds+1 || list[0].Name != "firmware 39" || list[0].Hosts != 40 {
		t.Errorf("%+v", list)
	}
	sum := 0
	for _, c := range list {
		sum += c.Hosts
	}
	if rest := list[mostKinds]; rest.Kinds != 26 || sum != 40*41/2+7 {
		t.Errorf("%d hosts; the rest is %+v", sum, rest)
	}
}
