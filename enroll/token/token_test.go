package token

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
)

func testInput(records ...store.Record) Input {
	return Input{
		Fleet:   "fleet",
		Records: records,
		Policy:  config.Token{Name: "fleet", Kind: KindBot, WithoutEKCert: "hash-only", Match: "hash", MaxRules: 1000, MaxBytes: 262144},
		Bot:     config.Bot{Name: "fleet", Roles: []string{"fleet-access"}},
		Now:     enrolltest.Time,
	}
}

func planTokens(t testing.TB, in Input) *Set {
	t.Helper()
	set, err := Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// layout is "token: host host; token: host".
func layout(s *Set) string {
	var parts []string
	for _, t := range s.Tokens {
		var hosts []string
		for _, r := range t.Rules {
			hosts = append(hosts, r.Host)
		}
		parts = append(parts, t.Name+": "+strings.Join(hosts, " "))
	}
	return strings.Join(parts, "; ")
}

func refusals(s *Set) string {
	var parts []string
	for _, r := range s.Refused {
		parts = append(parts, r.Host+" "+string(r.Code))
	}
	return strings.Join(parts, "; ")
}

func TestHostsAreSpreadOverTokens(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		change  func(*Input)
		records []store.Record
		want    string
		refused string
	}{
		{name: "no host, no token"},
		{
			name:    "one token holds them by name",
			records: []store.Record{enrolltest.Accepted("b", 2), enrolltest.Accepted("a", 1)}, want: "fleet: a b",
		},
		{
			name:    "a full token starts the next",
			change:  func(in *Input) { in.Policy.MaxRules = 2 },
			records: []store.Record{enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2), enrolltest.Accepted("c", 3)}, want: "fleet: a b; fleet-2: c",
		},
		{
			name:    "a host keeps its token although its name comes last",
			change:  func(in *Input) { in.Policy.MaxRules = 2 },
			records: []store.Record{enrolltest.Accepted("a", 1), enrolltest.Assigned("y", 2, "fleet"), enrolltest.Assigned("z", 3, "fleet")},
			want:    "fleet: y z; fleet-2: a",
		},
		{
			name:    "a new host fills a gap before a new token is made",
			change:  func(in *Input) { in.Policy.MaxRules = 2 },
			records: []store.Record{enrolltest.Assigned("a", 1, "fleet"), enrolltest.Assigned("b", 2, "fleet-2"), enrolltest.Assigned("c", 3, "fleet-2"), enrolltest.Accepted("d", 4)},
			want:    "fleet: a d; fleet-2: b c",
		},
		{
			name:    "a gap in the numbers is filled, too",
			change:  func(in *Input) { in.Policy.MaxRules = 1 },
			records: []store.Record{enrolltest.Assigned("a", 1, "fleet"), enrolltest.Assigned("b", 2, "fleet-3"), enrolltest.Accepted("c", 3)},
			want:    "fleet: a; fleet-2: c; fleet-3: b",
		},
		{
			name:    "a token that no longer fits the name starts anew",
			records: []store.Record{enrolltest.Assigned("a", 1, "old"), enrolltest.Assigned("b", 2, "fleet-01")}, want: "fleet: a b",
		},
		{
			name:    "a lower limit moves only those that do not fit",
			change:  func(in *Input) { in.Policy.MaxRules = 2 },
			records: []store.Record{enrolltest.Assigned("a", 1, "fleet"), enrolltest.Assigned("b", 2, "fleet"), enrolltest.Assigned("c", 3, "fleet")},
			want:    "fleet: a b; fleet-2: c",
		},
		{
			name:    "rebalancing forgets what was",
			change:  func(in *Input) { in.Policy.MaxRules, in.Rebalance = 2, true },
			records: []store.Record{enrolltest.Assigned("a", 1, "fleet-3"), enrolltest.Assigned("b", 2, "fleet-2")}, want: "fleet: a b",
		},
		{
			name:    "two newcomers with one EK are both refused",
			records: []store.Record{enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 1), enrolltest.Accepted("c", 2)},
			want:    "fleet: c", refused: "a duplicate-ek; b duplicate-ek",
		},
		{
			name:    "a newcomer takes nothing from a host that has a rule",
			records: []store.Record{enrolltest.Accepted("a", 1), enrolltest.Assigned("b", 1, "fleet")}, want: "fleet: b", refused: "a duplicate-ek",
		},
		{
			name:    "a claim takes nothing from a host that has proven the EK",
			records: []store.Record{claimed(enrolltest.Accepted("a", 1)), enrolltest.Accepted("b", 1)}, want: "fleet: b", refused: "a duplicate-ek",
		},
		{
			name:    "of two claims neither is believed",
			records: []store.Record{claimed(enrolltest.Accepted("a", 1)), claimed(enrolltest.Accepted("b", 1))}, refused: "a duplicate-ek; b duplicate-ek",
		},
		{
			name:    "a proof beats a claim that has a rule, which stays in its token",
			change:  func(in *Input) { in.Policy.MaxRules = 1 },
			records: []store.Record{claimed(enrolltest.Assigned("a", 1, "fleet-2")), enrolltest.Accepted("b", 1)},
			want:    "fleet-2: b", refused: "a duplicate-ek",
		},
		{
			name:    "two proofs take no rule from a claim: nobody can tell which",
			records: []store.Record{claimed(enrolltest.Assigned("a", 1, "fleet")), enrolltest.Accepted("b", 1), enrolltest.Accepted("c", 1)},
			want:    "fleet: a", refused: "b duplicate-ek; c duplicate-ek",
		},
		{
			name:    "the EK of a host that left the inventory is a new name, not a copy",
			change:  func(in *Input) { in.BotOf = map[string]config.Bot{"new": in.Bot} },
			records: []store.Record{enrolltest.Accepted("new", 1), enrolltest.Assigned("old", 1, "fleet")},
			want:    "fleet: old", refused: "new renamed",
		},
		{
			name: "a host whose EK changed to another's does not take its rule",
			records: []store.Record{
				func() store.Record {
					r := enrolltest.Assigned("a", 9, "fleet")
					r.Accepted.EKHash = enrolltest.Hash(1)
					return r
				}(),
				enrolltest.Assigned("b", 1, "fleet"),
			},
			want: "fleet: b", refused: "a duplicate-ek",
		},
		{
			name:    "names of one machine share a rule",
			change:  func(in *Input) { in.Machines = map[string]string{"a": "b", "c": "a"} },
			records: []store.Record{enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 1), enrolltest.Accepted("c", 1)}, want: "fleet: b",
		},
		{
			name:    "of names in a circle the first counts",
			change:  func(in *Input) { in.Machines = map[string]string{"a": "b", "b": "a"} },
			records: []store.Record{enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 1)}, want: "fleet: a",
		},
		{
			name: "hosts with another bot get tokens of their own",
			change: func(in *Input) {
				in.BotOf = map[string]config.Bot{"b": {Name: "db", Roles: []string{"db"}}, "a": in.Bot}
			},
			records: []store.Record{enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2)}, want: "fleet: a; fleet-db: b",
		},
		{
			name:    "a host that left the inventory stays with its bot",
			change:  func(in *Input) { in.Earlier = []store.Token{{Name: "fleet-db", Kind: KindBot, Bot: "db"}} },
			records: []store.Record{enrolltest.Assigned("b", 2, "fleet-db")}, want: "fleet-db: b",
		},
		{
			name:    "tokens for agents have no bot",
			change:  func(in *Input) { in.Policy.Kind = KindNode },
			records: []store.Record{enrolltest.Accepted("a", 1)}, want: "fleet: a",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := testInput(tt.records...)
			if tt.change != nil {
				tt.change(&in)
			}
			set := planTokens(t, in)
			if got := layout(set); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := refusals(set); got != tt.refused {
				t.Errorf("refused %q, want %q", got, tt.refused)
			}
		})
	}
}

// claimed is a record whose EK nobody has proven.
func claimed(r store.Record) store.Record {
	r.Accepted.Proven, r.Accepted.Via = false, "import"
	return r
}

func TestARenamedHostIsToldTheCommand(t *testing.T) {
	t.Parallel()
	in := testInput(enrolltest.Accepted("new", 1), enrolltest.Assigned("old", 1, "fleet"))
	in.BotOf = map[string]config.Bot{"new": in.Bot}
	if r := planTokens(t, in).Refused; len(r) != 1 || r[0].Hint != "fleetctl records rename old new" {
		t.Errorf("got %+v", r)
	}
}

func TestMovedHostsAreNamed(t *testing.T) {
	t.Parallel()
	in := testInput(enrolltest.Assigned("a", 1, "fleet"), enrolltest.Assigned("b", 2, "fleet"), enrolltest.Accepted("c", 3))
	in.Policy.MaxRules = 1
	set := planTokens(t, in)
	if want := []Move{{Host: "b", From: "fleet", To: "fleet-2"}}; !slices.Equal(set.Moved, want) {
		t.Errorf("got %v", set.Moved)
	}
}

func TestBotNamesThatCollideAreRefused(t *testing.T) {
	t.Parallel()
	for name, bot := range map[string]string{
		"with a shard": "2", "with hash-only tokens": "hash-only", "with a hash-only shard": "hash-only-7", "with a path": "../x",
	} {
		in := testInput(enrolltest.Accepted("a", 1))
		in.BotOf = map[string]config.Bot{"a": {Name: bot, Roles: in.Bot.Roles}}
		if set, err := Plan(in); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%s: %v, %+v", name, err, set)
		}
	}
	in := testInput(enrolltest.Accepted("a", 1))
	in.Policy.Name = "bot"
	if _, err := Plan(in); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("a token whose file is the bot's: %v", err)
	}
}

func TestTokenFilesAreWhatTeleportReads(t *testing.T) {
	t.Parallel()
	in := testInput(enrolltest.Accepted("web-01", 0x1234), enrolltest.Accepted("we\x1bb\n02", 3))
	set := planTokens(t, in)
	got, err := set.Tokens[0].YAML()
	if err != nil {
		t.Fatal(err)
	}
	want := `# Made by fleetctl from its records: the next run writes it anew, so don't edit it.
# Apply with: tctl create -f fleet.yaml (or: fleetctl tokens --apply)
# That replaces the whole token: a rule that is not here is revoked.
kind: token
version: v2
metadata:
  name: fleet
  labels:
    fleetctl.dev/epoch: "1"
    fleetctl.dev/fleet: "fleet"
    fleetctl.dev/write: "a8c55f92ad27e17e"
spec:
  roles: [Bot]
  join_method: tpm
  bot_name: fleet
  tpm:
    allow:
      - description: "we_b_02 [000000000000]"
        ek_public_hash: "` + enrolltest.Hash(3) + `"
      - description: "web-01"
        ek_public_hash: "` + enrolltest.Hash(0x1234) + `"
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	bot, err := set.Bots[0].YAML()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Kind, Version string
		Metadata      struct{ Name string }
		Spec          struct{ Roles []string }
	}
	if err := yaml.Unmarshal(bot, &doc); err != nil || doc.Kind != "bot" || doc.Version != "v1" || doc.Metadata.Name != "fleet" ||
		!slices.Equal(doc.Spec.Roles, in.Bot.Roles) {
		t.Errorf("bot.yaml: %+v, %v", doc, err)
	}
}

func TestWriteChangesOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2), enrolltest.Accepted("c", 3))
	in.Policy.MaxRules = 2
	write := func(in Input, want ...string) {
		t.Helper()
		changed, err := planTokens(t, in).Write(dir)
		if err != nil || !slices.Equal(changed, want) {
			t.Errorf("changed %v, %v; want %v", changed, err, want)
		}
	}
	write(in, "bot.yaml", "fleet-2.yaml", "fleet.yaml")
	write(in)
	for name, text := range map[string]string{"notes.yaml": "mine", ".fleet.yaml" + tempMark + "1": "half of a fi"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in.Records = in.Records[:2]
	write(in, "fleet-2.yaml")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"bot.yaml", "fleet.yaml", "notes.yaml"}; !slices.Equal(names, want) {
		t.Errorf("left: %v", names)
	}
}

func TestMakeTokensRemembersTheAssignment(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	cfg := config.Default()
	cfg.Bot = config.Bot{Name: "fleet", Roles: []string{"r"}}
	cfg.Token.MaxRules = 2
	hosts := []inventory.Host{{Name: "c", Vars: map[string]any{"fleetctl_bot": map[string]any{"name": "db", "roles": []any{"db"}}}}}
	for i, h := range []string{"x", "y", "c"} {
		o := store.Observation{Host: h, Run: 1, At: enrolltest.Time, Outcome: "ok", Identity: enrolltest.Accepted(h, i+1).Accepted}
		if _, err := st.Put(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	opts := Options{Inventory: hosts, Persist: true}
	first, err := Make(t.Context(), st, cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	if got := layout(first); got != "fleet: x y; fleet-db: c" || first.TokenOf("c") != "fleet-db" {
		t.Errorf("got %s", got)
	}
	o := store.Observation{Host: "a", Run: 2, At: enrolltest.Time, Outcome: "ok", Identity: enrolltest.Accepted("a", 9).Accepted}
	if _, err := st.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	opts.Inventory = nil // c has left it
	second, err := Make(t.Context(), st, cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	if got := layout(second); got != "fleet: x y; fleet-2: a; fleet-db: c" {
		t.Errorf("got %s", got)
	}
	want := map[string]string{"x": "fleet", "y": "fleet", "a": "fleet-2", "c": "fleet-db"}
	if !maps.Equal(second.Assignment(), want) {
		t.Errorf("assignment %v", second.Assignment())
	}
	for host, token := range want {
		if r, err := st.Record(t.Context(), host); err != nil || r.Token != token {
			t.Errorf("%s: %+v, %v", host, r, err)
		}
	}
}

func TestBotsOfTheInventory(t *testing.T) {
	t.Parallel()
	def := config.Bot{Name: "fleet", Roles: []string{"r"}}
	for _, tt := range []struct {
		v    any
		want config.Bot
		ok   bool
	}{
		{"fleet", def, true},
		{"db", config.Bot{Name: "db", Roles: []string{"r"}}, true},
		{map[string]any{"name": "db", "roles": []any{"x", "y"}}, config.Bot{Name: "db", Roles: []string{"x", "y"}}, true},
		{map[string]any{"name": "db", "role": "x"}, config.Bot{}, false},
		{map[string]any{"name": 5}, config.Bot{}, false},
		{map[string]any{"name": "db", "roles": "x"}, config.Bot{}, false},
		{map[string]any{"roles": []any{"x"}}, config.Bot{}, false},
		{7, config.Bot{}, false},
	} {
		vars, err := config.Host(inventory.Host{Name: "web", Vars: map[string]any{"fleetctl_bot": tt.v}})
		got := config.Bot{}
		if err == nil {
			got = vars.BotOr(def)
		}
		if (err == nil) != tt.ok || tt.ok && (got.Name != tt.want.Name || !slices.Equal(got.Roles, tt.want.Roles)) {
			t.Errorf("%v: %+v, %v", tt.v, got, err)
		}
	}
	in := Input{Bot: def, BotOf: map[string]config.Bot{"a": {Name: "db", Roles: []string{"x"}}, "b": {Name: "db", Roles: []string{"y"}}}, Policy: config.Token{Name: "t"}}
	if _, err := Plan(in); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("one bot with two lists of roles: %v", err)
	}
}

func TestHostsWhoseIssuerIsMissingAreNamed(t *testing.T) {
	t.Parallel()
	known, other := enrolltest.NewAuthority(t, "known"), enrolltest.NewAuthority(t, "other")
	in := testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2), enrolltest.Accepted("c", 3))
	in.CAs = tpm.NewCASet(known.Cert)
	in.Records[0].Accepted.EKCert = known.Leaf(t, 1, 5)
	in.Records[1].Accepted.EKCert = other.Leaf(t, 2, 5)
	set := planTokens(t, in)
	want := []Unchecked{
		{"b", "the issuer of its EK certificate (CN=other) is not in token.ekcert_cas"},
		{"c", "it presents no EK certificate"},
	}
	if !slices.Equal(set.Unchecked, want) {
		t.Errorf("got %v", set.Unchecked)
	}
	in.Policy.WithoutEKCert = config.Refuse
	if set := planTokens(t, in); len(set.Unchecked) > 0 || refusals(set) != "b no-ekcert; c no-ekcert" {
		t.Errorf("refused: %v, unchecked: %v", refusals(set), set.Unchecked)
	}
}
