package enroll

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// first is a file of testdata/first: see its README.
func first(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "first", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// openFirst opens a copy of the first version's records.
func openFirst(t *testing.T) store.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fleet.db")
	if err := os.WriteFile(path, first(t, "fleet.db"), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func TestRecordsOfTheFirstVersionAreReadAsTheyWere(t *testing.T) {
	t.Parallel()
	st := openFirst(t)
	got, err := enrolltest.Export(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	mine, its := strings.Split(strings.TrimSpace(string(got)), "\n"), strings.Split(strings.TrimSpace(string(first(t, "records.jsonl"))), "\n")
	if len(mine) != 7 || len(its) != 7 {
		t.Fatalf("%d records, then %d", len(its), len(mine))
	}
	for i := range its {
		var a, b any
		if err := errors.Join(json.Unmarshal([]byte(mine[i]), &a), json.Unmarshal([]byte(its[i]), &b)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("now  %s\nthen %s", mine[i], its[i])
		}
	}
	runs, err := st.Runs(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var then []struct {
		store.Run

		ID int64 `json:"id"`
	}
	if err := json.Unmarshal(first(t, "runs.json"), &then); err != nil {
		t.Fatal(err)
	}
	if len(runs) != len(then) || len(runs) != 5 {
		t.Fatalf("%d runs, then %d", len(runs), len(then))
	}
	for i := range then {
		if then[i].Run.ID = then[i].ID; !sameRun(runs[i], then[i].Run) {
			t.Errorf("run now %+v\nthen %+v", runs[i], then[i])
		}
	}
}

func sameRun(a, b store.Run) bool {
	return a.ID == b.ID && a.Command == b.Command && a.State == b.State && a.Hosts == b.Hosts &&
		a.Started.Equal(b.Started) && a.Ended.Equal(b.Ended)
}

func TestTokensAndRulesOfTheFirstVersionAreKept(t *testing.T) {
	t.Parallel()
	st := openFirst(t)
	tokens, err := st.Tokens(t.Context())
	want := []store.Token{{Name: "fleet", Kind: "bot", Bot: "fleet"}, {Name: "fleet-hash-only", Kind: "bot", Bot: "fleet"}}
	if err != nil || !reflect.DeepEqual(tokens, want) {
		t.Errorf("tokens %+v, %v", tokens, err)
	}
	var rules []string
	for r, err := range st.Rules(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r.Token+" "+r.Host+" "+r.EKHash[:8]+r.EKSerial)
	}
	slices.Sort(rules)
	if want := []string{"fleet db-01 7b13e9a4", "fleet web-01 cbf9156e", "fleet-hash-only cache-01 17915a2b", "fleet-hash-only old-01 00000000"}; !slices.Equal(rules, want) {
		t.Errorf("rules %q", rules)
	}
	// Its hosts keep their tokens: the clone's EK has no rule, and the changed one does not either.
	l := newLab(t, 0)
	l.Store = st
	report, err := l.tokens(TokensOptions{})
	if !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("%v", err)
	}
	for name, token := range map[string]string{"web-01": "fleet", "db-01": "fleet", "web-02": "", "web-03": "", "web-04": ""} {
		if got := report.Set.TokenOf(name); got != token {
			t.Errorf("%s now has token %q, then %q", name, got, token)
		}
	}
}

func TestWhatTheFirstVersionMadeOnHostsIsKnown(t *testing.T) {
	t.Parallel()
	st := openFirst(t)
	for _, tt := range []struct{ host, state, step, token, made string }{
		{"cache-01", "", "", "fleet-hash-only", "group:teleport user:teleport member:tss dir:/var/lib/teleport/bot dir:/opt/machine-id"},
		{"web-01", "", "", "fleet", "group:teleport user:teleport group:tss member:tss dir:/var/lib/teleport/bot dir:/opt/machine-id"},
		{"db-01", "failed", "storage /var/lib/teleport/bot", "", "group:teleport user:teleport group:tss member:tss dir:/var/lib/teleport/bot"},
	} {
		rec, err := st.Record(t.Context(), tt.host)
		if err != nil || rec.Installed == nil {
			t.Fatalf("%s: %+v, %v", tt.host, rec, err)
		}
		in := rec.Installed
		if in.State != tt.state || in.Step != tt.step || in.Token != tt.token || strings.Join(in.Made, " ") != tt.made || in.Run != 4 {
			t.Errorf("%s: %+v", tt.host, in)
		}
		var back []string
		for _, thing := range host.ParseMade(in.Made) {
			back = append(back, thing.String())
		}
		if !slices.Equal(back, in.Made) {
			t.Errorf("%s: %q is read as %q", tt.host, in.Made, back)
		}
	}
}

// TestEveryWordForWhatAnEnrollMakes has the forms that the first version wrote, also those that a simulated fleet does
// not bring about.
func TestEveryWordForWhatAnEnrollMakes(t *testing.T) {
	t.Parallel()
	want := []string{"file:/usr/local/bin/tbot", "group:teleport", "device:0660:root:root:/dev/tpmrm0"}
	var got []string
	for _, thing := range host.ParseMade(append(slices.Clone(want), "", "moon:full", "dir:relative")) {
		got = append(got, thing.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestIssuersOfTheFirstVersionsRecords(t *testing.T) {
	t.Parallel()
	f := Fleet{Config: config.Default(), Store: openFirst(t), Watcher: &listener{t: t}}
	issuers, err := Issuers(t.Context(), f)
	if err != nil || len(issuers) != 1 || issuers[0].Subject != "CN=fleetsim EK CA,O=fleetsim" || issuers[0].Hosts != 4 {
		t.Errorf("%+v, %v", issuers, err)
	}
}

func TestWhatTheFirstVersionPublishedOrInstalledMayBeConfigured(t *testing.T) {
	t.Parallel()
	st := openFirst(t)
	host := map[string]string{}
	for r, err := range st.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Accepted != nil && host[r.Accepted.EKHash] == "" {
			host[r.Accepted.EKHash] = r.Host
		}
	}
	var ways []string
	for w, err := range st.Ways(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ways = append(ways, host[w.EKHash]+" "+w.Token+" "+w.Evidence)
	}
	slices.Sort(ways)
	want := []string{
		"cache-01 fleet-hash-only installed", "db-01 fleet published", "old-01 fleet-hash-only published", "web-01 fleet installed",
	}
	if !slices.Equal(ways, want) {
		t.Errorf("got  %q\nwant %q", ways, want)
	}
	known := 0
	for m, err := range st.Machines(t.Context()) {
		if err != nil || m.Out() || m.Run != 0 {
			t.Errorf("%+v, %v", m, err)
		}
		known++
	}
	if known != len(host) {
		t.Errorf("%d machines for %d EKs", known, len(host))
	}
}
