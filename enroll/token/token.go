package token

import (
	"maps"
	"slices"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// Kinds of tokens.
const (
	KindBot  = "bot"  // tbot joins with it
	KindNode = "node" // a Teleport agent joins with it
)

// Token is one provision token: a name, the hosts that may join with it, and the CAs that their certificates need.
type Token struct {
	Name  string
	Kind  string   // KindBot or KindNode
	Bot   string   // whom its hosts join as; "" for KindNode
	CAs   []string // PEM, one certificate each, sorted; none: EK hashes alone
	Rules []Rule   // by host name

	// KeepCAs says that nobody knows which CAs the cluster has for the token, and that machines may need them: they stay.
	KeepCAs bool
	Held    []Hold // why its CAs are not what the policy asks for

	Fleet  string          // whose it is: the label fleetctl.dev/fleet
	Epoch  int64           // of the content: the label fleetctl.dev/epoch
	digest string          // of the content, without labels
	frozen map[string]bool // EK hashes whose rules are left as they are, whether the token has them or not
	behind bool            // the cluster had newer content than the records: nothing is taken out of it
}

// Hold is a machine that would not pass what the policy asks of a token that it may be configured with.
type Hold struct {
	Host  string `json:"host"`
	Token string `json:"token"`
}

// Rule lets one machine join.
type Rule struct {
	Host        string // the inventory name
	Description string // what the rule says: the name, cleaned and unique
	EKHash      string // 64 lower-case hex digits
	EKSerial    string // "" unless token.match is hash+serial and the machine presents a certificate

	Kept  bool   // the machine may still be configured with this token, and the policy has another one for it, or none
	Until string // that other token; "" for none

	frozen bool // it is as it was published, whatever the policy says now
}

// Bot is a bot that hosts join as.
type Bot struct {
	Name  string
	Roles []string // nil: not known any more, since the inventory has none of its hosts
}

// Refusal is a host with an accepted identity that gets no rule.
type Refusal struct {
	Host string `json:"host"`
	outcome.Reason
}

// Move is a host whose token changed: it needs a new tbot configuration.
type Move struct {
	Host string `json:"host"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Unchecked is a host that joins by its EK hash alone although the fleet checks certificates.
type Unchecked struct {
	Host   string `json:"host"`
	Reason string `json:"reason"` // why its certificate can't be checked
}

// Set is what the records make of a fleet: its bots and tokens, ready to be written or applied.
type Set struct {
	Tokens    []Token // by name, shards in their order
	Bots      []Bot   // by name
	Refused   []Refusal
	Moved     []Move
	Unchecked []Unchecked // hosts of a CA-checked fleet whose token checks no certificate
	Unproven  []string    // hosts whose rule rests on an identity that nobody proved
	Out       []Refusal   // hosts whose machine a person took out: they have no rule, and that is as it should be

	hosts      map[string]string // host → token
	mainBot    string
	maxBytes   int
	written    []store.Rule               // what was published before
	published  []store.Token              // likewise
	marked     []string                   // tokens of the cluster with the fleet's mark
	ways       map[string][]string        // EK hash → tokens that the machine may be configured with, but for those that ended
	ended      []store.Way                // ways that a verified join, or a person's word, has ended
	untrue     []word                     // a person says that they have a planned token alone, and nobody can have configured them with it
	rules      map[string]string          // EK hash → planned token
	machineOf  map[string]string          // host → EK hash
	frozen     map[string]bool            // EK hashes whose rules are left as they are
	writes     map[string]string          // token → the id of our latest write in this run
	unassigned map[string][]string        // EK hash → hosts that get a token and have none yet
	fleetName  string                     // whose the tokens are
	epoch      int64                      // the highest that the records have given
	adopted    bool                       // a person took over the tokens that somebody else made
	named      map[string]bool            // EK hashes that a person took out: losing them is no accident
	seen       map[string]map[string]bool // token → EK hashes of rules of ours that the cluster was seen to have
}

// TokenOf returns the token that a host joins with; "" when it has none.
func (s *Set) TokenOf(host string) string { return s.hosts[host] }

// Assignment returns the token of every host that has one.
func (s *Set) Assignment() map[string]string { return maps.Clone(s.hosts) }

// Kept returns the rules that stay until their machines have joined with another token, by token.
func (s *Set) Kept() map[string][]Rule {
	kept := map[string][]Rule{}
	for _, t := range s.Tokens {
		for _, r := range t.Rules {
			if r.Kept {
				kept[t.Name] = append(kept[t.Name], r)
			}
		}
	}
	return kept
}

// Behind are the tokens that nothing is taken out of, since the cluster had newer content of them than the records.
func (s *Set) Behind() (names []string) {
	for _, t := range s.published {
		if t.Behind {
			names = append(names, t.Name)
		}
	}
	return names
}

// Expands says whether machines have a rule in one token until they have joined with another.
func (s *Set) Expands() bool {
	return slices.ContainsFunc(s.Tokens, func(t Token) bool {
		return slices.ContainsFunc(t.Rules, func(r Rule) bool { return r.Kept && r.Until != "" })
	})
}

// Contracts says whether rules may leave tokens that their machines have no more.
func (s *Set) Contracts() bool { return len(s.ended) > 0 }

// SeenIn says whether the cluster was seen to have the rule of a host in a token.
func (s *Set) SeenIn(host, token string) bool { return s.seen[token][s.machineOf[host]] }

// has says whether the token has a rule for an EK.
func (t Token) has(ek string) bool {
	return slices.ContainsFunc(t.Rules, func(r Rule) bool { return r.EKHash == ek })
}

// stored returns the rules as the records remember them.
func (t Token) stored() []store.Rule {
	rules := make([]store.Rule, len(t.Rules))
	for i, r := range t.Rules {
		rules[i] = store.Rule{Token: t.Name, EKHash: r.EKHash, EKSerial: r.EKSerial, Host: r.Host}
	}
	return rules
}
