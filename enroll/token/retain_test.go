package token

import (
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/store"
)

// had gives a host the token that it was assigned to, and says that its machine may be configured with these.
func had(in *Input, host, token string, ways ...string) {
	i := slices.IndexFunc(in.Records, func(r store.Record) bool { return r.Host == host })
	r := &in.Records[i]
	ek := r.Accepted.EKHash
	r.Token, r.TokenEK = token, ek
	if in.Ways == nil {
		in.Ways = map[string][]store.Way{}
	}
	for _, name := range ways {
		in.Ways[ek] = append(in.Ways[ek], store.Way{EKHash: ek, Token: name, Evidence: store.ByInstall, Run: 1})
		in.Published = append(in.Published, store.Rule{Token: name, EKHash: ek, Host: host, Seen: true})
	}
}

// TestKeptRulesTakeRoomFromNewcomersAlone: they count for max_rules and max_bytes, and push nobody out of the token that he has.
func TestKeptRulesTakeRoomFromNewcomersAlone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limit func(in *Input)
		want  string
	}{
		"max_rules":                 {func(in *Input) { in.Policy.MaxRules = 3 }, "fleet: a b gone; fleet-2: new"},
		"max_rules that leave room": {func(in *Input) { in.Policy.MaxRules = 4 }, "fleet: a b gone new"},
		"fewer than are there":      {func(in *Input) { in.Policy.MaxRules = 2 }, "fleet: a b gone; fleet-2: new"},
		"max_bytes": {func(in *Input) {
			two := Token{Name: "fleet", Kind: KindBot, Bot: "fleet", Rules: []Rule{
				{Description: "a", EKHash: enrolltest.Hash(1)}, {Description: "b", EKHash: enrolltest.Hash(2)}, {Description: "new", EKHash: enrolltest.Hash(4)}}}
			in.Policy.MaxBytes = storedBytes(two) + 20
		}, "fleet: a b gone; fleet-2: new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2), enrolltest.Accepted("gone", 3), enrolltest.Accepted("new", 4))
			had(&in, "a", "fleet", "fleet")
			had(&in, "b", "fleet", "fleet")
			had(&in, "gone", "other", "fleet", "other")
			in.BotOf = nil
			in.Policy.MaxRules, in.Policy.MaxBytes = 100, 0
			tt.limit(&in)
			in.EKs = map[string]store.Machine{}
			other := enrolltest.Hash(3)
			in.Records = slices.DeleteFunc(in.Records, func(r store.Record) bool { return r.Host == "gone" }) // its record is lost: both rules stay
			set := planTokens(t, in)
			var out []string
			for _, token := range set.Tokens {
				var hosts []string
				for _, r := range token.Rules {
					hosts = append(hosts, r.Host)
				}
				if token.Name != "other" {
					out = append(out, token.Name+": "+strings.Join(hosts, " "))
				}
			}
			if got := strings.Join(out, "; "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if !set.admits("other", other) || !set.admits("fleet", other) {
				t.Errorf("the machine without a record lost a rule: %+v", set.Tokens)
			}
		})
	}
}

// admits says whether the set has a rule in a token.
func (s *Set) admits(token, ek string) bool {
	return slices.ContainsFunc(s.Tokens, func(t Token) bool {
		return t.Name == token && slices.ContainsFunc(t.Rules, func(r Rule) bool { return r.EKHash == ek })
	})
}

// TestOnlyAPersonTakesRulesOfAgentsAway: no join says anything of theirs.
func TestOnlyAPersonTakesRulesOfAgentsAway(t *testing.T) {
	t.Parallel()
	for _, contract := range []bool{false, true} {
		in := testInput(enrolltest.Accepted("a", 1))
		in.Policy.Kind = KindNode
		had(&in, "a", "nodes", "fleet", "nodes")
		in.Policy.Name = "nodes"
		in.Earlier = []store.Token{{Name: "fleet", Kind: KindNode}, {Name: "nodes", Kind: KindNode}}
		ek := enrolltest.Hash(1)
		in.EKs = map[string]store.Machine{ek: {EKHash: ek, Joined: "nodes", JoinedRun: 9}}
		in.Contract = map[string]bool{ek: contract}
		set := planTokens(t, in)
		if set.admits("fleet", ek) == contract || !set.admits("nodes", ek) {
			t.Errorf("contract %v: %+v", contract, set.Tokens)
		}
	}
}

// TestTheBrakeCountsTheWaysThatAMachineHas: another token that admits it is of no use to a machine that isn't configured with it.
func TestTheBrakeCountsTheWaysThatAMachineHas(t *testing.T) {
	t.Parallel()
	a, b, c, d := enrolltest.Hash(1), enrolltest.Hash(2), enrolltest.Hash(3), enrolltest.Hash(4)
	s := &Set{ways: map[string][]string{a: {"fleet"}, b: {"fleet", "prod"}, d: {"fleet"}}, named: map[string]bool{d: true}}
	before, after := admitted{}, admitted{}
	for _, ek := range []string{a, b, c, d} {
		before.add("fleet", ek)
		before.add("theirs", ek)
		after.add("theirs", ek)
	}
	after.add("prod", b)
	if got := s.lastWays(before, after); !slices.Equal(got, []string{a}) {
		t.Errorf("lost %v: a has lost fleet and has no other; b has prod; of c nobody knows what it has; d was named", got)
	}
	after = admitted{}
	if got := s.lastWays(before, after); len(got) != 3 {
		t.Errorf("nothing admits anybody: %v", got)
	}
}

// TestNothingEndsForAnEKThatSeveralMachinesPresent: nobody knows which of them has joined.
func TestNothingEndsForAnEKThatSeveralMachinesPresent(t *testing.T) {
	t.Parallel()
	for names, want := range map[string]string{"a": "fleet: a", "a b": "fleet: a; old: a"} {
		var records []store.Record
		for _, name := range strings.Fields(names) {
			records = append(records, enrolltest.Accepted(name, 1))
		}
		in := testInput(records...)
		had(&in, "a", "fleet", "fleet", "old")
		in.EKs = map[string]store.Machine{enrolltest.Hash(1): {EKHash: enrolltest.Hash(1), Joined: "fleet", JoinedRun: 5}}
		if got := layout(planTokens(t, in)); got != want {
			t.Errorf("%s: %s, want %s", names, got, want)
		}
	}
}

// TestAPersonsWordIsAboutTheTokenThatWasPlannedBefore: who says that a host has its planned token alone has not seen a plan that is
// changed by the same command, also where the cluster has a rule of the host there from earlier times.
func TestAPersonsWordIsAboutTheTokenThatWasPlannedBefore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ planned, want string }{
		"as it was": {"prod", ""},
		"anew":      {"fleet", "a can't have token prod alone: it is planned for it only now"},
	} {
		in := testInput(enrolltest.Accepted("a", 1))
		had(&in, "a", tt.planned, "fleet", "prod")
		in.Policy.Name = "prod"
		in.Earlier = []store.Token{{Name: "fleet", Kind: KindBot, Bot: "fleet"}, {Name: "prod", Kind: KindBot, Bot: "fleet"}}
		ek := enrolltest.Hash(1)
		in.Contract = map[string]bool{ek: true}
		set := planTokens(t, in)
		err := set.CheckContract()
		if err != nil && err.Error() != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s: %v", name, err)
		}
		if set.admits("fleet", ek) != (tt.want != "") || !set.admits("prod", ek) {
			t.Errorf("%s: %+v", name, set.Tokens)
		}
	}
}

// TestWhatWasSeenIsKeptInDoubt: of a machine that nobody is known to have configured, others may have done it, and records that are
// older than the cluster know of none what it is configured with. A join with the planned token ends it as ever.
func TestWhatWasSeenIsKeptInDoubt(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		behind, unseen, joined bool
		installed              string
		want                   bool
	}{
		"nobody is known to have installed it": {want: true},
		"never in the cluster":                 {unseen: true},
		"it has joined":                        {joined: true},
		"it is configured with another token":  {installed: "other"},
		"or was, before the cluster changed":   {installed: "other", behind: true, want: true},
		"older than the cluster, and joined":   {behind: true, joined: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := enrolltest.Assigned("a", 1, "fleet")
			ek := a.Accepted.EKHash
			in := testInput(a, enrolltest.Accepted("b", 2))
			in.Earlier = []store.Token{{Name: "fleet", Kind: KindBot, Bot: "fleet"}, {Name: "other", Kind: KindBot, Bot: "fleet", Behind: tt.behind}}
			in.Published = []store.Rule{{Token: "fleet", EKHash: ek, Host: "a", Seen: !tt.unseen}}
			if tt.installed != "" {
				in.Ways = map[string][]store.Way{ek: {{EKHash: ek, Token: tt.installed, Evidence: store.ByInstall, Run: 1}}}
			}
			if tt.joined {
				in.EKs = map[string]store.Machine{ek: {EKHash: ek, Joined: "site", JoinedRun: 2}}
			}
			in.Policy.Name = "site"
			set := planTokens(t, in)
			if !set.admits("site", ek) || set.admits("fleet", ek) != tt.want {
				t.Errorf("%+v", set.Tokens)
			}
		})
	}
}
