package token

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
)

// newCluster is a tctl of a cluster in memory.
func newCluster(t *testing.T) (tctl.Tctl, *memcluster.Cluster) {
	t.Helper()
	c := memcluster.NewCluster(t, "17.5.4")
	return tctl.Tctl{Runner: tctl.Func(c.Run)}, c
}

// resource reads a resource of the cluster as JSON.
func resource(t *testing.T, cluster tctl.Tctl, kind, name string) (doc map[string]any, text string) {
	t.Helper()
	var raw json.RawMessage
	if err := cluster.Get(t.Context(), kind, name, &raw); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc, string(raw)
}

func mustApply(t *testing.T, s *Set, cluster tctl.Tctl, opts ApplyOptions) Applied {
	t.Helper()
	a, err := s.Apply(t.Context(), cluster, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantChanged(t *testing.T, a Applied, want ...string) {
	t.Helper()
	if !slices.Equal(a.Changed, want) {
		t.Errorf("changed %v, want %v", a.Changed, want)
	}
}

// withWritten adds what earlier runs published.
func withWritten(s *Set, before ...*Set) *Set {
	for _, b := range before {
		s.written = append(s.written, b.written...)
		for _, t := range b.Tokens {
			for _, r := range t.stored() {
				r.Seen = true
				s.written = append(s.written, r)
			}
			known := t.entry().Token
			was, _ := s.known(t.Name)
			known.Write, known.Seen = cmp.Or(b.writes[t.Name], was.Write), t.Epoch
			s.published = slices.DeleteFunc(s.published, func(p store.Token) bool { return p.Name == t.Name })
			s.published = append(s.published, known)
		}
	}
	for i, t := range s.Tokens {
		for _, p := range s.published {
			if p.Name == t.Name && p.Digest != t.digest {
				s.Tokens[i].Epoch = p.Epoch + 1
			}
		}
	}
	return s
}

func text(t *testing.T, d Diff) string {
	t.Helper()
	var b strings.Builder
	if err := d.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestApplyTouchesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	cluster, _ := newCluster(t)
	in := testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2), enrolltest.Accepted("c", 3))
	in.Policy.MaxRules = 2
	first := planTokens(t, in)
	wantChanged(t, mustApply(t, first, cluster, ApplyOptions{}), "bot/fleet", "token/fleet", "token/fleet-2")
	wantChanged(t, mustApply(t, planTokens(t, in), cluster, ApplyOptions{}))

	in.Records = []store.Record{enrolltest.Assigned("a", 1, "fleet"), enrolltest.Assigned("b", 2, "fleet"), enrolltest.Assigned("c", 3, "fleet-2"), enrolltest.Accepted("d", 4)}
	second := withWritten(planTokens(t, in), first)
	d, err := second.Diff(t.Context(), cluster, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, d), "token fleet-2: update\n  + d\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantChanged(t, mustApply(t, second, cluster, ApplyOptions{}), "token/fleet-2")

	in.Records = in.Records[1:2] // a is removed, c and d too: a token without hosts goes
	third := withWritten(planTokens(t, in), first, second)
	d, err = third.Diff(t.Context(), cluster, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, d), "token fleet: update\n  - a\ntoken fleet-2: delete\n  - c\n  - d\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantChanged(t, mustApply(t, third, cluster, ApplyOptions{MaxRemovals: 3}), "token/fleet", "token/fleet-2")
	wantChanged(t, mustApply(t, third, cluster, ApplyOptions{MaxRemovals: 3}))
}

// editCluster changes a token in the cluster by hand.
func editCluster(t *testing.T, cluster tctl.Tctl, c *memcluster.Cluster, name string, edit func(doc map[string]any, allow []any) []any) {
	t.Helper()
	doc, _ := resource(t, cluster, "token", name)
	tpm := doc["spec"].(map[string]any)["tpm"].(map[string]any)
	tpm["allow"] = edit(doc, tpm["allow"].([]any))
	raw, err := json.Marshal(doc)
	if err == nil {
		err = c.Put(string(raw))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestForeignRulesStayAndAreNamed(t *testing.T) {
	t.Parallel()
	cluster, c := newCluster(t)
	in := testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2))
	first := planTokens(t, in)
	mustApply(t, first, cluster, ApplyOptions{})
	editCluster(t, cluster, c, "fleet", func(doc map[string]any, allow []any) []any {
		doc["metadata"].(map[string]any)["labels"] = map[string]any{"team": "x"}
		doc["metadata"].(map[string]any)["revision"] = "abc"
		return append(allow[:1], // b's rule was taken out, and these were put in
			map[string]any{"description": "old box", "ek_public_hash": enrolltest.Hash(77), "ek_certificate_serial": "01:02"},
			map[string]any{"description": "b", "ek_public_hash": enrolltest.Hash(78)},
			map[string]any{"description": "serial only", "ek_certificate_serial": "03"})
	})
	second := withWritten(planTokens(t, in), first)
	d, err := second.Diff(t.Context(), cluster, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := `token fleet: update
  + b
  ? "old box" hash ` + enrolltest.Hash(77) + ` serial 01:02: fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)
  ? "b" hash ` + enrolltest.Hash(78) + ` (called like b, whose EK hash is another: was it changed by hand?): fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)
  ? "serial only" serial 03: fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)
`
	if got := text(t, d); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantChanged(t, mustApply(t, second, cluster, ApplyOptions{}), "token/fleet")
	wantChanged(t, mustApply(t, second, cluster, ApplyOptions{}))
	_, data := resource(t, cluster, "token", "fleet")
	for _, part := range []string{enrolltest.Hash(77), enrolltest.Hash(78), `"03"`, enrolltest.Hash(1), enrolltest.Hash(2), `"team"`} {
		if !strings.Contains(data, part) {
			t.Errorf("%s is gone from the cluster: %s", part, data)
		}
	}
	for _, cmd := range c.Commands() {
		if cmd.Verb == "create" && strings.Contains(cmd.Input, "revision") {
			t.Errorf("the revision was sent back: %s", cmd.Input)
		}
	}
	wantChanged(t, mustApply(t, second, cluster, ApplyOptions{Prune: true}), "token/fleet")
	if _, data = resource(t, cluster, "token", "fleet"); strings.Contains(data, enrolltest.Hash(77)) {
		t.Errorf("pruning left: %s", data)
	}

	// When our own hosts are all gone, the rules of others stay behind.
	editCluster(t, cluster, c, "fleet", func(_ map[string]any, allow []any) []any {
		return append(allow, map[string]any{"description": "old box", "ek_public_hash": enrolltest.Hash(77)})
	})
	in.Records = nil
	third := withWritten(planTokens(t, in), first, second)
	wantChanged(t, mustApply(t, third, cluster, ApplyOptions{AllowRemovals: 2}), "token/fleet")
	if _, data = resource(t, cluster, "token", "fleet"); strings.Contains(data, "fleetctl.dev/") || !strings.Contains(data, `"team"`) {
		t.Errorf("a token that has only rules of others is marked as ours, or lost their labels: %s", data)
	}
	if _, err := third.Apply(t.Context(), cluster, ApplyOptions{Prune: true}); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("somebody else's token was pruned: %v", err)
	}
	editCluster(t, cluster, c, "fleet", func(doc map[string]any, allow []any) []any {
		doc["metadata"].(map[string]any)["labels"] = map[string]any{labelFleet: third.fleetName}
		return allow
	})
	wantChanged(t, mustApply(t, third, cluster, ApplyOptions{Prune: true}), "token/fleet")
	if err := cluster.Get(t.Context(), "token", "fleet", new(json.RawMessage)); !errors.Is(err, tctl.ErrNoResource) {
		t.Errorf("the token is still there: %v", err)
	}
}

func TestTokensOfOthersAreNotTakenOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ ours, theirs, says string }{
		{`"bot_name":"fleet"`, `"bot_name":"other"`, `bot_name is "other"`},
		{`"bot_name":"fleet"`, `"bot_name":""`, `bot_name is ""`},
		{`"join_method":"tpm"`, `"join_method":"iam"`, `join_method is "iam"`},
		{`"roles":["Bot"]`, `"roles":["Bot","Node"]`, `roles is "Bot,Node"`},
	} {
		t.Run(tt.says, func(t *testing.T) {
			t.Parallel()
			_, c := newCluster(t)
			replaced := false
			cluster := tctl.Tctl{Runner: tctl.Func(func(ctx context.Context, stdin []byte, args []string) (stdout, stderr []byte, code int) {
				stdout, stderr, code = c.Run(ctx, stdin, args)
				var small bytes.Buffer
				if !slices.Contains(args, "token/fleet") || json.Compact(&small, stdout) != nil {
					return stdout, stderr, code
				}
				theirs := strings.Replace(small.String(), tt.ours, tt.theirs, 1)
				replaced = replaced || theirs != small.String()
				return []byte(theirs), stderr, code
			})}
			mustApply(t, planTokens(t, testInput(enrolltest.Accepted("theirs", 9))), tctl.Tctl{Runner: tctl.Func(c.Run)}, ApplyOptions{})
			wrote := len(c.Commands())
			a, err := planTokens(t, testInput(enrolltest.Accepted("a", 1))).Apply(t.Context(), cluster, ApplyOptions{Prune: true})
			if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), tt.says) || len(a.Changed) > 0 || !replaced {
				t.Errorf("changed %v, error %v", a.Changed, err)
			}
			for _, cmd := range c.Commands()[wrote:] {
				if cmd.Verb != "get" {
					t.Errorf("tctl %s was run", cmd.Verb)
				}
			}
		})
	}
}

func TestChangesByHandAreShown(t *testing.T) {
	t.Parallel()
	cluster, c := newCluster(t)
	set := planTokens(t, testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2)))
	mustApply(t, set, cluster, ApplyOptions{})
	editCluster(t, cluster, c, "fleet", func(doc map[string]any, allow []any) []any {
		doc["metadata"].(map[string]any)["expires"] = "2027-01-01T00:00:00Z"
		allow[0].(map[string]any)["description"] = "renamed"
		allow[1].(map[string]any)["ek_certificate_serial"] = "01"
		return append(allow, allow[0])
	})
	d, err := set.Diff(t.Context(), cluster, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := `token fleet: update
  ~ expires: 2027-01-01T00:00:00Z → nothing
  - a (a second rule for the same EK)
  ~ a: description: "renamed" → "a"
  ~ b: ek_certificate_serial: "01" → ""
`
	if got := text(t, d); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantChanged(t, mustApply(t, set, cluster, ApplyOptions{}), "token/fleet")
	wantChanged(t, mustApply(t, set, cluster, ApplyOptions{}))
}

func TestRolesOfABotAreNotOverwrittenUnasked(t *testing.T) {
	t.Parallel()
	cluster, c := newCluster(t)
	bot := `{"kind":"bot","version":"v1","metadata":{"name":"fleet"},"spec":{"roles":["admin"],"traits":[{"name":"logins","values":["root"]}]}}`
	if err := c.Put(bot); err != nil {
		t.Fatal(err)
	}
	_, before := resource(t, cluster, "bot", "fleet")
	set := planTokens(t, testInput(enrolltest.Accepted("a", 1)))
	a := mustApply(t, set, cluster, ApplyOptions{})
	wantChanged(t, a, "token/fleet")
	if len(a.Kept) != 1 || !strings.Contains(text(t, a.Diff), "bot fleet: has roles admin, not fleet-access") {
		t.Errorf("%+v\n%s", a.Kept, text(t, a.Diff))
	}
	if _, data := resource(t, cluster, "bot", "fleet"); data != before {
		t.Errorf("the bot was changed: %s", data)
	}
	wantChanged(t, mustApply(t, set, cluster, ApplyOptions{Roles: true}), "bot/fleet")
	if _, data := resource(t, cluster, "bot", "fleet"); !strings.Contains(data, "fleet-access") || !strings.Contains(data, "logins") {
		t.Errorf("roles or traits: %s", data)
	}
}

func TestApplySaysWhatTctlSaid(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil func(c *memcluster.Cluster)
		want  string
	}{
		"output on failure": {func(c *memcluster.Cluster) {
			c.Before = func(cmd memcluster.Command) error {
				if cmd.Verb == "create" {
					return errors.New("the backend is on fire")
				}
				return nil
			}
		}, "the backend is on fire"},
		"a success that was none shows": {func(c *memcluster.Cluster) {
			c.After = func(cmd memcluster.Command) error {
				if cmd.Verb == "create" {
					c.Delete("token/fleet")
				}
				return nil
			}
		}, "tctl reported success, but the cluster"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, c := newCluster(t)
			tt.spoil(c)
			set := planTokens(t, testInput(enrolltest.Accepted("a", 1)))
			if a, err := set.Apply(t.Context(), cluster, ApplyOptions{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

func FuzzClusterToken(f *testing.F) {
	f.Add([]byte(`[{"kind":"token","metadata":{"name":"x"},"spec":{"tpm":{"allow":[{"description":"a","ek_public_hash":"00"}]}}}]`))
	f.Add([]byte(`{"kind":"token","spec":{"tpm":{"ekcert_allowed_cas":["x"],"allow":null}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		raw, err := tctl.OneOfJSON(data)
		if err != nil || raw == nil {
			return
		}
		have, err := parseClusterToken(raw)
		if err != nil {
			return
		}
		set := planTokens(t, testInput(enrolltest.Accepted("a", 1)))
		c := compareToken(set.Tokens[0], have, nil, DiffOptions{}, nil)
		if c.Action == ActionDelete || c.Action == ActionCreate {
			t.Fatalf("action %s", c.Action)
		}
		if c.result == nil {
			return
		}
		if len(c.result.rules) != len(c.Foreign)+1 {
			t.Fatalf("%d rules with %d foreign ones", len(c.result.rules), len(c.Foreign))
		}
		if _, err := marshalYAML("", c.document("0011")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestARuleThatWeWroteElsewhereIsNotOursHere(t *testing.T) {
	t.Parallel()
	want := Token{Name: "fleet-2", Kind: KindBot, Bot: "fleet", Rules: []Rule{{Host: "a", Description: "a", EKHash: enrolltest.Hash(1)}}}
	have := wantedToken(want)
	have.rules = append(have.rules, allowRule{Description: "b", EKPublicHash: quoted(enrolltest.Hash(2))})
	written := []store.Rule{{Token: "fleet", EKHash: enrolltest.Hash(2), Host: "b"}}
	if c := compareToken(want, have, written, DiffOptions{}, nil); c.Action != ActionNone || len(c.Removed) > 0 || len(c.Foreign) != 1 {
		t.Errorf("another controller's rule is taken out: %+v", c)
	}
	written[0].Token = "fleet-2"
	if c := compareToken(want, have, written, DiffOptions{}, nil); c.Action != ActionUpdate || len(c.Removed) != 1 {
		t.Errorf("a rule of ours that nobody wants stays: %+v", c)
	}
	have.rules = have.rules[:1]
	if c := compareToken(want, have, written, DiffOptions{}, nil); c.Action != ActionNone || len(c.removed) != 1 {
		t.Errorf("a rule that is gone is still remembered as ours: %+v", c)
	}
}

func TestWithoutAPolicyOfCAsRulesOfOthersKeepNone(t *testing.T) {
	t.Parallel()
	want := Token{Name: "fleet", Kind: KindBot, Bot: "fleet", Rules: []Rule{{Host: "a", Description: "a", EKHash: enrolltest.Hash(1)}}}
	have := wantedToken(want)
	have.cas = []string{"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}
	have.rules = append(have.rules, allowRule{Description: "old box", EKPublicHash: quoted(enrolltest.Hash(77))})
	if c := compareToken(want, have, nil, DiffOptions{}, nil); c.result == nil || len(c.result.cas) > 0 {
		t.Errorf("machines without a certificate, which this token is planned for, would be refused: %+v", c)
	}
	want.CAs = []string{"-----BEGIN CERTIFICATE-----\nBB==\n-----END CERTIFICATE-----\n"}
	if c := compareToken(want, have, nil, DiffOptions{}, nil); c.result == nil || len(c.result.cas) != 2 {
		t.Errorf("a rule of others lost the CA that it may need: %+v", c)
	}
}

// TestWhatWasPlannedSinceMakesNoWriteAnOldOne: somebody else wrote a token after these records have seen it last; they have
// planned something newer since, without having looked. Their own earlier file, applied late, is no stranger's.
func TestWhatWasPlannedSinceMakesNoWriteAnOldOne(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		recent         []string
		write          string
		epoch, seen    int64
		theirs, behind bool
	}{
		"another's write":                     {[]string{"aa00"}, "bb00", 5, 3, true, false},
		"another's, in the epoch seen last":   {[]string{"aa00"}, "bb00", 3, 3, true, false},
		"another's, in the epoch planned":     {[]string{"aa00"}, "bb00", 6, 3, true, false},
		"a file that we made":                 {[]string{"aa00", strings.Repeat("bb", 32)}, strings.Repeat("bb", 8), 5, 3, false, false},
		"a write of ours":                     {[]string{"aa00", "bb00"}, "bb00", 5, 3, false, false},
		"an old file":                         {[]string{"aa00"}, "bb00", 2, 3, false, true},
		"records that don't know their files": {nil, "bb00", 5, 3, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, c := newCluster(t)
			in := testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2))
			first := planTokens(t, in)
			mustApply(t, first, cluster, ApplyOptions{})
			editCluster(t, cluster, c, "fleet", func(doc map[string]any, allow []any) []any {
				doc["metadata"].(map[string]any)["labels"] = map[string]any{
					labelFleet: "fleet", labelEpoch: strconv.FormatInt(tt.epoch, 10), labelWrite: tt.write,
				}
				return allow
			})
			in.Records = []store.Record{enrolltest.Assigned("a", 1, "fleet"), enrolltest.Assigned("b", 2, "fleet-2")} // b has left it
			in.Policy.MaxRules = 1
			second := withWritten(planTokens(t, in), first)
			second.published[0].Recent, second.published[0].Epoch, second.published[0].Seen = tt.recent, 6, tt.seen
			d, err := second.Diff(t.Context(), cluster, DiffOptions{})
			if err != nil {
				t.Fatal(err)
			}
			change := d.Tokens[slices.IndexFunc(d.Tokens, func(c Change) bool { return c.Name == "fleet" })]
			lesson := second.Learn(d, 7)
			learned := slices.ContainsFunc(lesson.Ways, func(w store.Way) bool {
				return w == store.Way{EKHash: enrolltest.Hash(2), Token: "fleet", Evidence: store.ByCluster, Run: 7}
			})
			if kept := len(change.Removed) == 0; kept != tt.theirs || learned != tt.theirs {
				t.Errorf("b's rule: kept %v, learned %v; alarms %+v", kept, learned, change.Alarms)
			}
			var want []AlarmKind
			switch {
			case tt.theirs:
				want = []AlarmKind{AlarmLostRace}
			case tt.behind:
				want = []AlarmKind{AlarmBehind}
			}
			var got []AlarmKind
			for _, a := range change.Alarms {
				got = append(got, a.Kind)
			}
			if !slices.Equal(got, want) {
				t.Errorf("alarms %v, want %v", got, want)
			}
		})
	}
}
