package token

import (
	"maps"

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
}

// Rule lets one machine join.
type Rule struct {
	Host        string // the inventory name
	Description string // what the rule says: the name, cleaned and unique
	EKHash      string // 64 lower-case hex digits
	EKSerial    string // "" unless token.match is hash+serial and the machine presents a certificate
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

	hosts     map[string]string // host → token
	mainBot   string
	maxBytes  int
	written   []store.Rule  // what was published before
	published []store.Token // likewise
}

// TokenOf returns the token that a host joins with; "" when it has none.
func (s *Set) TokenOf(host string) string { return s.hosts[host] }

// Assignment returns the token of every host that has one.
func (s *Set) Assignment() map[string]string { return maps.Clone(s.hosts) }

// stored returns the rules as the records remember them.
func (t Token) stored() []store.Rule {
	rules := make([]store.Rule, len(t.Rules))
	for i, r := range t.Rules {
		rules[i] = store.Rule{Token: t.Name, EKHash: r.EKHash, EKSerial: r.EKSerial, Host: r.Host}
	}
	return rules
}
