package enroll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
)

func newStore(t testing.TB) store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func see(t testing.TB, st store.Store, host string, n int) {
	t.Helper()
	o := store.Observation{Host: host, Run: 1, At: tokenTime, Outcome: "ok", Identity: accepted(host, n).Accepted,
		TPM: json.RawMessage(`{"manufacturer":"IFX","vendor":"=SLB"}`)}
	if _, err := st.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

const oldText = `TPM Information
EKPub Hash: 1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c
EKCert Detected: true
EKCert Serial: 5e:cd:5f:8e
`

const newText = "TPM Information\r\nEK Public Hash: 1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c\r\n" +
	"EK Certificate Detected: false\r\n"

func TestImportTakesWhatPeopleHave(t *testing.T) {
	t.Parallel()
	ca := newTestAuthority(t, "A")
	cert := ca.leaf(t, 300, 5)
	const hash = "1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c"
	certJSON, err := json.Marshal(map[string]any{"host": "c", "ek_certificate": cert})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, text, host, want string }{
		{"text of an older tbot", oldText, "a", "a ok unproven " + hash + " 5e:cd:5f:8e"},
		{"text of a newer tbot, with Windows line ends", newText, "a", "a ok unproven " + hash + " "},
		{"text with noise around it", "motd\n  " + oldText + "\nbye", "a", "a ok unproven " + hash + " 5e:cd:5f:8e"},
		{"JSON lines", `{"host":"a","ek_public_hash":"` + hash + `"}` + "\n" + `{"host":"b","ek_public_hash":"` + testHash(2) + `"}`, "",
			"a ok unproven " + hash + " ; b ok unproven " + testHash(2) + " "},
		{"an array", `[{"host":"a","ek_public_hash":"` + hash + `","ek_certificate_serial":"01"}]`, "", "a ok unproven " + hash + " 01"},
		{"a report", `{"identity":{"ek_public_hash":"` + hash + `"},"proven":true}`, "a", "a ok unproven " + hash + " "},
		{"an exported record", `{"host":"a","accepted":{"ek_public_hash":"` + hash + `","proven":true,"via":"helper"}}`, "",
			"a ok unproven " + hash + " "},
		{"a certificate alone", string(certJSON), "", "c ok unproven " + keyHash(t, cert) + " 01:2c"},
		{"a byte order mark", "\xef\xbb\xbf" + oldText, "a", "a ok unproven " + hash + " 5e:cd:5f:8e"},
		{"two machines with one EK", `{"host":"a","ek_public_hash":"` + hash + `"}{"host":"b","ek_public_hash":"` + hash + `"}`, "",
			"a ok unproven " + hash + " ; b failed duplicate-ek " + hash + " "},
		{"no host", oldText, "", " failed bad-input  "},
		{"another host", `{"host":"a","ek_public_hash":"` + hash + `"}`, "b", "a failed bad-input  "},
		{"a name that would change the terminal", `{"host":"a\u001b[2J","ek_public_hash":"` + hash + `"}`, "", `a\x1b[2J failed bad-input  `},
		{"a hash in capitals", `{"host":"a","ek_public_hash":"` + strings.Repeat("A", 64) + `"}`, "", "a failed bad-input  "},
		{"a hash that is not the key's", `{"host":"a","ek_public_hash":"` + hash + `","ek_public":"AAAA"}`, "", "a failed bad-input  "},
		{"a serial that is none", `{"host":"a","ek_public_hash":"` + hash + `","ek_certificate_serial":"x"}`, "", "a failed bad-input  "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := newStore(t)
			results, err := ImportRecords(t.Context(), st, strings.NewReader(tt.text), ImportOptions{Host: tt.host})
			if err != nil {
				t.Fatal(err)
			}
			var parts []string
			for _, r := range results {
				parts = append(parts, fmt.Sprintf("%s %s %s %s %s", r.Host, r.Outcome, r.Code, r.EKHash, r.Serial))
				if rec, err := st.Record(t.Context(), r.Host); r.Outcome == OK && (err != nil || rec.Accepted.Proven || rec.Accepted.Via != ViaImport) {
					t.Errorf("%s: %+v, %v", r.Host, rec.Accepted, err)
				}
			}
			if got := strings.Join(parts, "; "); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func keyHash(t *testing.T, der []byte) string {
	t.Helper()
	e := importEntry{importIdentity: importIdentity{EKCert: der}}
	id, err := e.identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.EKHash
}

func TestImportRefusesFilesThatAreSomethingElse(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": " \n", "another text": "hello\n", "two hosts in one text": oldText + oldText, "broken JSON": `{"host":`,
		"JSON of something else": `{"host":5}`, "a contradiction": strings.Replace(oldText, "true", "false", 1),
		"a long text": strings.Repeat("x", maxIdentifyText+1),
	} {
		if r, err := ImportRecords(t.Context(), newStore(t), strings.NewReader(text), ImportOptions{Host: "a"}); !errors.Is(err, ErrInput) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestAnImportNeverReplacesWhatWasProven(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	see(t, st, "a", 1)
	results, err := ImportRecords(t.Context(), st, strings.NewReader(oldText), ImportOptions{Host: "a"})
	if err != nil || results[0].Code != "changed-ek" || results[0].Outcome != Failed {
		t.Errorf("%+v, %v", results, err)
	}
	if r, err := st.Record(t.Context(), "a"); err != nil || r.Accepted.EKHash != testHash(1) || !r.Accepted.Proven {
		t.Errorf("%+v, %v", r.Accepted, err)
	}
}

func TestExportsCanBeReadAgain(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	see(t, st, "a", 1)
	see(t, st, "b", 2)
	for _, format := range []string{"jsonl", "json", "yaml", "csv"} {
		var out bytes.Buffer
		if err := ExportRecords(t.Context(), st, &out, format); err != nil {
			t.Fatal(err)
		}
		switch format {
		case "jsonl", "json":
			other := newStore(t)
			results, err := ImportRecords(t.Context(), other, &out, ImportOptions{})
			if err != nil || len(results) != 2 || results[1].EKHash != testHash(2) {
				t.Errorf("%s: %+v, %v", format, results, err)
			}
		case "yaml":
			var list []map[string]any
			if err := yaml.Unmarshal(out.Bytes(), &list); err != nil || len(list) != 2 || list[0]["host"] != "a" {
				t.Errorf("%v, %v", list, err)
			}
		case "csv":
			if text := out.String(); strings.Count(text, "\n") != 3 || !strings.Contains(text, ",IFX,'=SLB,") {
				t.Errorf("got %s", text)
			}
		}
		var empty bytes.Buffer
		if err := ExportRecords(t.Context(), newStore(t), &empty, format); err != nil {
			t.Errorf("%s of nothing: %v", format, err)
		}
	}
	if err := ExportRecords(t.Context(), st, &bytes.Buffer{}, "table"); !errors.Is(err, ErrInput) {
		t.Errorf("got %v", err)
	}
}

func TestStatesOfRecords(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	for host, n := range map[string]int{"a": 1, "clone": 1, "new-board": 3, "alias": 5, "main": 5} {
		see(t, st, host, n)
	}
	see(t, st, "new-board", 4)
	if _, err := ImportRecords(t.Context(), st, strings.NewReader(oldText), ImportOptions{Host: "by-hand"}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Put(t.Context(), store.Observation{Host: "down", At: tokenTime, Outcome: "unreachable", Status: "timeout"}); err != nil {
		t.Fatal(err)
	}
	inv := []inventory.Host{{Name: "alias", Vars: map[string]any{"fleetctl_same_as": "main"}}}
	var got []string
	for v, err := range ListRecords(t.Context(), st, inv) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v.Host+" "+string(v.State))
	}
	want := []string{"a duplicate-ek", "alias accepted", "by-hand unproven", "clone duplicate-ek", "down no-identity", "main accepted",
		"new-board changed-ek"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}

	if _, err := AcceptRecords(t.Context(), st, inv, "new-board", "a"); !errors.Is(err, ErrInput) {
		t.Errorf("a has nothing to accept: %v", err)
	}
	if _, err := AcceptRecords(t.Context(), st, inv, "nobody"); !errors.Is(err, ErrInput) {
		t.Errorf("nobody is not known: %v", err)
	}
	done, err := AcceptRecords(t.Context(), st, inv, "new-board")
	if err != nil || !slices.Equal(done, []Acceptance{{"new-board", testHash(3), testHash(4)}}) {
		t.Errorf("%+v, %v", done, err)
	}
	see(t, st, "new-board", 1) // now it shows the EK of others
	if _, err := AcceptRecords(t.Context(), st, inv, "new-board"); !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "a, clone") {
		t.Errorf("accepting another machine's EK: %v", err)
	}
	if err := ForgetRecords(t.Context(), st, "a", "nobody"); !errors.Is(err, ErrInput) {
		t.Errorf("forgetting nobody: %v", err)
	}
	if err := ForgetRecords(t.Context(), st, "a"); err != nil {
		t.Error(err)
	}
}

func TestIssuersOfTheFleet(t *testing.T) {
	t.Parallel()
	a, b := newTestAuthority(t, "A"), newTestAuthority(t, "B")
	st := newStore(t)
	for i, cert := range [][]byte{a.leaf(t, 1, 5), b.leaf(t, 2, 5), b.leaf(t, 3, 5), nil} {
		id := accepted("", i+1).Accepted
		id.EKCert = cert
		if _, err := st.Put(t.Context(), store.Observation{Host: fmt.Sprint("h", i), At: tokenTime, Outcome: "ok", Identity: id}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := Issuers(t.Context(), st, tpm.NewCASet(a.cert), tokenTime)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if list[0].Subject != "CN=B" || list[0].Hosts != 2 || list[0].InBundle || list[1].Subject != "CN=A" || !list[1].InBundle ||
		list[1].Fingerprint != tpm.Fingerprint(a.cert) {
		t.Errorf("%+v", list)
	}
}

func TestAdoptTakesRulesOver(t *testing.T) {
	t.Parallel()
	tctl, dir := newFakeTctl(t)
	st := newStore(t)
	see(t, st, "a", 1)
	cfg := DefaultConfig()
	cfg.Bot = BotConfig{Name: "fleet", Roles: []string{"r"}}
	remake := func() *TokenSet {
		set, err := MakeTokens(t.Context(), st, cfg, TokenOptions{Persist: true})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	set := remake()
	applied(t, set, tctl, TokenApplyOptions{Store: st})
	editCluster(t, dir, "fleet", func(_ map[string]any, allow []any) []any {
		return append(allow, map[string]any{"description": "old box", "ek_public_hash": testHash(77)},
			map[string]any{"ek_public_hash": testHash(78)},
			map[string]any{"description": "a", "ek_public_hash": testHash(79)},
			map[string]any{"description": "serial", "ek_certificate_serial": "01"})
	})
	done, err := set.Adopt(t.Context(), tctl, st, 1)
	if err != nil || len(done.Hosts) != 2 || len(done.Left) != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	set = remake()
	if got := layout(set); got != "fleet: a adopted-000000000000 old box" {
		t.Errorf("got %s", got)
	}
	d, err := set.Diff(t.Context(), tctl, DiffOptions{})
	if err != nil || len(d.Tokens[0].Foreign) != 2 || len(d.Tokens[0].Added)+len(d.Tokens[0].Removed) != 0 {
		t.Errorf("%s %v", text(t, d), err)
	}
	if len(set.Unproven) != 2 {
		t.Errorf("unproven: %v", set.Unproven)
	}
}

func FuzzImport(f *testing.F) {
	f.Add(oldText)
	f.Add(newText)
	f.Add(`{"host":"a","ek_public_hash":"` + testHash(1) + `","ek_public":"AAAA","properties":{"vendor":"x"}}`)
	f.Add(`[{"host":"a","identity":{"ek_certificate":"MIIB"}},{"accepted":null}]`)
	f.Fuzz(func(t *testing.T, text string) {
		st := &memoryStore{}
		results, err := ImportRecords(t.Context(), st, strings.NewReader(text), ImportOptions{Host: "h"})
		if err != nil && !errors.Is(err, ErrInput) {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Outcome == OK && (!store.ValidEKHash(r.EKHash) || r.Serial != "" && !tpm.ValidSerial(r.Serial) || r.Host == "") {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// memoryStore takes what import puts.
type memoryStore struct{ store.Store }

func (*memoryStore) Put(_ context.Context, o store.Observation) (store.Verdict, error) {
	if o.Identity.Proven {
		return store.Verdict{}, errors.New("an import is never proven")
	}
	return store.Verdict{}, nil
}
