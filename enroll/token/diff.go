package token

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/work"
	"fleetctl/remote"
)

// Action is what has to be done to a bot or token in the cluster.
type Action string

// Actions.
const (
	ActionNone   Action = "none"
	ActionCreate Action = "create"
	ActionUpdate Action = "update"
	ActionDelete Action = "delete" // no rule would be left, and the server takes no token without one
)

// Diff is the difference between the cluster and what the records say.
type Diff struct {
	Bots   []BotChange `json:"bots"`
	Tokens []Change    `json:"tokens"`

	set *Set
}

// BotChange is the difference of one bot. An update is made only when it was asked for: roles may be set elsewhere.
type BotChange struct {
	Name   string   `json:"bot"`
	Action Action   `json:"action"`
	Have   []string `json:"have,omitempty"` // roles in the cluster
	Want   []string `json:"want,omitempty"` // roles in fleet.yaml or the inventory

	raw map[string]any
}

// Change is the difference of one token. Hosts are named by inventory name.
type Change struct {
	Name    string        `json:"token"`
	Action  Action        `json:"action"`
	Added   []string      `json:"added,omitempty"`
	Removed []string      `json:"removed,omitempty"` // rules that we wrote and that the records have no more
	Changed []RuleChange  `json:"changed,omitempty"`
	Foreign []ForeignRule `json:"foreign,omitempty"` // rules that we did not write: they stay
	Pruned  []ForeignRule `json:"pruned,omitempty"`  // or go, when that was asked for
	Fields  []FieldChange `json:"fields,omitempty"`  // of the token besides its rules
	Alarms  []Alarm       `json:"alarms,omitempty"`  // what a person should hear of before it is put right
	Refused *Refused      `json:"refused,omitempty"` // why the token stays as it is

	Cas     []string      `json:"-"` // in the cluster
	result  *clusterToken // what the token has to be; nil: none
	removed []store.Rule
	have    *clusterToken // nil: the cluster has none
	theirs  bool          // another fleetctl of this fleet wrote it last, or records of ours that are lost
	want    Token
}

// RuleChange is a rule of one host that has to change.
type RuleChange struct {
	Host string `json:"host"`
	What string `json:"what"` // e.g. `description: "old" → "web-01"`
}

// ForeignRule is a rule in the cluster that fleetctl did not write.
type ForeignRule struct {
	Description string `json:"description,omitempty"`
	EKHash      string `json:"ek_public_hash,omitempty"`
	EKSerial    string `json:"ek_certificate_serial,omitempty"`
	Note        string `json:"note,omitempty"` // what it has to do with hosts of ours
}

// FieldChange is a field of a token or bot that differs.
type FieldChange struct {
	Field string `json:"field"`
	Have  string `json:"have"`
	Want  string `json:"want"`
}

// DiffOptions of Diff.
type DiffOptions struct {
	Prune bool // rules that we did not write shall go
}

// Empty reports whether the cluster has everything as it should be. A bot whose roles differ counts only with roles.
func (d Diff) Empty(roles bool) bool {
	return !slices.ContainsFunc(d.Tokens, func(c Change) bool { return c.Action != ActionNone }) &&
		!slices.ContainsFunc(d.Bots, func(c BotChange) bool {
			return c.Action == ActionCreate || roles && c.Action == ActionUpdate
		})
}

// Diff asks the cluster for every bot and token of the set, and for tokens of ours that have no host any more or that the
// records don't know.
func (s *Set) Diff(ctx context.Context, cluster tctl.Tctl, opts DiffOptions) (Diff, error) {
	names := s.allTokens()
	d := Diff{set: s, Bots: make([]BotChange, len(s.Bots)), Tokens: make([]Change, len(names))}
	errs := make([]error, len(s.Bots)+len(names))
	items := make([]int, len(errs))
	const atOnce = 4 // tctl takes a second or so, most of it waiting
	work.Each(ctx, atOnce, 0, items, func(ctx context.Context, i int, _ int) {
		if i < len(s.Bots) {
			d.Bots[i], errs[i] = s.diffBot(ctx, cluster, s.Bots[i])
			return
		}
		d.Tokens[i-len(s.Bots)], errs[i] = s.diffToken(ctx, cluster, names[i-len(s.Bots)], opts)
	})
	for _, err := range errs {
		if err != nil {
			return Diff{}, err // the others most likely say the same
		}
	}
	return d, nil
}

// allTokens are the tokens of the set and those that were published before, in order.
func (s *Set) allTokens() []string {
	var names []string
	for _, t := range s.Tokens {
		names = append(names, t.Name)
	}
	for _, t := range s.published {
		if !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	for _, name := range s.marked {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Regard makes Diff look at tokens of the cluster, too, that have the fleet's mark: records that were lost don't name them.
func (s *Set) Regard(found []Found) {
	for _, f := range found {
		if f.Ours {
			s.marked = append(s.marked, f.Name)
		}
	}
}

// clusterToken is a token as the cluster has it. Fields that we do not know are carried along in raw.
type clusterToken struct {
	roles      []string
	bot        string
	joinMethod string
	expires    string
	cas        []string
	rules      []allowRule
	stamp      stamp
	raw        map[string]any
}

// kind is KindNode for a token that lets agents join.
func (t *clusterToken) kind() string {
	if slices.Contains(t.roles, "Node") {
		return KindNode
	}
	return KindBot
}

func parseClusterToken(data json.RawMessage) (*clusterToken, error) {
	var doc struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Expires *time.Time        `json:"expires"`
			Labels  map[string]string `json:"labels"`
		} `json:"metadata"`
		Spec spec `json:"spec"`
	}
	t := &clusterToken{}
	if err := errors.Join(json.Unmarshal(data, &doc), json.Unmarshal(data, &t.raw)); err != nil {
		return nil, err
	}
	if doc.Kind != "token" {
		return nil, fmt.Errorf("a resource of kind %q instead of a token", doc.Kind)
	}
	if doc.Metadata.Expires != nil && !doc.Metadata.Expires.IsZero() {
		t.expires = doc.Metadata.Expires.UTC().Format(time.RFC3339)
	}
	t.stamp = stampOf(doc.Metadata.Labels)
	t.roles, t.bot, t.joinMethod = doc.Spec.Roles, doc.Spec.BotName, doc.Spec.JoinMethod
	t.cas, t.rules = doc.Spec.TPM.EKCertAllowedCAs, doc.Spec.TPM.Allow
	return t, nil
}

func (s *Set) diffToken(ctx context.Context, cluster tctl.Tctl, name string, opts DiffOptions) (Change, error) {
	want := Token{Name: name}
	if i := slices.IndexFunc(s.Tokens, func(t Token) bool { return t.Name == name }); i >= 0 {
		want = s.Tokens[i]
	}
	var raw json.RawMessage
	err := cluster.Get(ctx, "token", name, &raw)
	if errors.Is(err, tctl.ErrNoResource) {
		c := newToken(want, s.written)
		c.alarmOfMissing(s)
		return c, nil
	}
	if err != nil {
		return Change{}, err
	}
	have, err := parseClusterToken(raw)
	if err != nil {
		return Change{}, fmt.Errorf("token %s in the cluster: %w", name, err)
	}
	known, published := s.known(name)
	want.frozen = s.frozen
	want.KeepCAs = want.KeepCAs || published && known.CAsKnown && !sameCAs(known.CAs, have.cas) // they were judged by others
	ahead := known.ahead(have.stamp) || s.strange(known, want, have)
	stranger := have.stamp.fleet == s.fleetName && known.stranger(have.stamp)
	want.behind = want.behind || ahead || stranger || published && known.Behind // also of one that nothing is planned for any more
	c := compareToken(want, have, s.written, opts, s.named)
	c.judgeStamp(s, known, published, ahead)
	return c, nil
}

// newToken is the change of a token that the cluster does not have.
func newToken(want Token, written []store.Rule) Change {
	c := Change{Name: want.Name, Action: ActionCreate, want: want}
	for _, r := range written {
		same := func(w Rule) bool { return w.EKHash == r.EKHash }
		if r.Token == want.Name && !want.frozen[r.EKHash] && !slices.ContainsFunc(want.Rules, same) {
			c.removed = append(c.removed, r)
		}
	}
	if len(want.Rules) == 0 {
		c.Action = ActionNone // it is gone already
		return c
	}
	for _, r := range want.Rules {
		c.Added = append(c.Added, r.Host)
	}
	c.result = wantedToken(want)
	return c
}

// wantedToken is the set's token in the form of the cluster's.
func wantedToken(t Token) *clusterToken {
	d := documentOf(t)
	return &clusterToken{roles: d.Spec.Roles, bot: t.Bot, joinMethod: joinMethodTPM, cas: t.CAs, rules: d.Spec.TPM.Allow}
}

// compareToken is the difference between a token of the set (one without rules is to go) and the cluster's.
func compareToken(want Token, have *clusterToken, written []store.Rule, opts DiffOptions, named map[string]bool) Change {
	c := Change{Name: want.Name, Action: ActionNone, Cas: have.cas, have: have, want: want}
	if planned := len(want.Rules); planned > 0 {
		if want.Rules = want.thawedOrIn(have.rules); len(want.Rules) == 0 {
			return c
		}
	}
	foreign := c.compareRules(want, have.rules, written, named)
	if opts.Prune {
		c.Pruned, c.Foreign, foreign = c.Foreign, nil, nil
	}
	if len(want.Rules) == 0 && len(foreign) == 0 {
		c.Action = ActionDelete
		return c
	}
	result := wantedToken(want)
	if len(want.Rules) == 0 { // only rules of others are left: the token is theirs now, but for our rules
		result = &clusterToken{
			roles: have.roles, bot: have.bot, joinMethod: have.joinMethod, expires: have.expires, cas: have.cas,
		}
	}
	result.rules = append(slices.Clone(result.rules), foreign...)
	result.raw = have.raw
	if len(have.cas) == 0 && (want.KeepCAs || len(foreign) > 0) { // machines that have the token may have no certificates
		if len(foreign) > 0 && len(result.cas) > 0 {
			c.alarm(AlarmHeld, foreignNames(c.Foreign), "it checks no EK certificates yet: rules that fleetctl did not write may be for "+
				"machines without one")
		}
		result.cas = nil
	} else if want.KeepCAs || len(foreign) > 0 && len(want.CAs) > 0 { // they may need their CAs; without a check nobody does
		for _, ca := range have.cas {
			if !slices.ContainsFunc(result.cas, func(w string) bool { return sameCA(w, ca) }) {
				result.cas = append(slices.Clone(result.cas), ca)
			}
		}
	}
	c.Fields = compareFields(result, have)
	if len(c.Added)+len(c.Removed)+len(c.Changed)+len(c.Pruned)+len(c.Fields) > 0 {
		c.Action, c.result = ActionUpdate, result
	}
	return c
}

// foreignNames are what rules of others are called.
func foreignNames(rules []ForeignRule) []string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = cmp.Or(r.Description, "EK "+r.EKHash[:min(12, len(r.EKHash))])
	}
	return names
}

// thawedOrIn are the rules of a token without those that are left as they are and that the cluster does not have: somebody who
// knows more has taken them out, or a run for all hosts brings them back.
func (t Token) thawedOrIn(have []allowRule) []Rule {
	in := map[string]bool{}
	for _, r := range have {
		in[string(r.EKPublicHash)] = true
	}
	return slices.DeleteFunc(slices.Clone(t.Rules), func(r Rule) bool { return t.frozen[r.EKHash] && !in[r.EKHash] })
}

// compareRules fills in what differs in the rules, and returns those that we did not write.
// What a person took out is none of them, whoever wrote it. Nothing else is taken out of a token whose content is newer than
// the records.
func (c *Change) compareRules(
	want Token, have []allowRule, written []store.Rule, named map[string]bool,
) (foreign []allowRule) {
	wanted := map[string]Rule{}
	byDescription := map[string]string{}
	for _, r := range want.Rules {
		wanted[r.EKHash] = r
		byDescription[r.Description] = r.Host
	}
	ours := map[store.Rule]string{}
	gone := map[store.Rule]store.Rule{} // of ours that are not wanted, and that the cluster does not have any more
	for _, r := range written {
		if r.Token != c.Name {
			continue // what we wrote elsewhere says nothing of this token
		}
		rule := store.Rule{EKHash: r.EKHash, EKSerial: r.EKSerial}
		ours[rule] = r.Host
		if _, is := wanted[r.EKHash]; !is && !want.frozen[r.EKHash] {
			gone[rule] = r
		}
	}
	seen := map[string]bool{}
	for _, h := range have {
		hash, serial := string(h.EKPublicHash), string(h.EKCertificateSerial)
		delete(gone, store.Rule{EKHash: hash, EKSerial: serial})
		host, isOurs := ours[store.Rule{EKHash: hash, EKSerial: serial}]
		w, isWanted := wanted[hash]
		switch {
		case isWanted && !seen[hash]:
			seen[hash] = true
			if what := ruleDifference(w, h); what != "" {
				c.Changed = append(c.Changed, RuleChange{Host: w.Host, What: what})
			}
		case isWanted:
			c.Removed = append(c.Removed, w.Host+" (a second rule for the same EK)")
		case isOurs && !want.behind && !want.frozen[hash] || named[hash]:
			if host == "" {
				host = remote.Clean(string(h.Description))
			}
			c.Removed = append(c.Removed, host)
			c.removed = append(c.removed, store.Rule{Token: c.Name, EKHash: hash, EKSerial: serial, Host: host})
		default:
			foreign = append(foreign, h)
			c.Foreign = append(c.Foreign, foreignRule(h, byDescription))
		}
	}
	for _, r := range want.Rules {
		if !seen[r.EKHash] {
			c.Added = append(c.Added, r.Host)
		}
	}
	c.removed = append(c.removed, slices.Collect(maps.Values(gone))...)
	slices.Sort(c.Removed)
	return foreign
}

func foreignRule(h allowRule, byDescription map[string]string) ForeignRule {
	f := ForeignRule{Description: remote.Clean(string(h.Description)), EKHash: remote.Clean(string(h.EKPublicHash)),
		EKSerial: remote.Clean(string(h.EKCertificateSerial))}
	if host, ok := byDescription[string(h.Description)]; ok {
		f.Note = "called like " + host + ", whose EK hash is another: was it changed by hand?"
	}
	return f
}

func ruleDifference(want Rule, have allowRule) string {
	var parts []string
	if string(have.Description) != want.Description {
		parts = append(parts, fmt.Sprintf("description: %q → %q", remote.Clean(string(have.Description)), want.Description))
	}
	if string(have.EKCertificateSerial) != want.EKSerial {
		parts = append(parts, fmt.Sprintf("ek_certificate_serial: %q → %q",
			remote.Clean(string(have.EKCertificateSerial)), want.EKSerial))
	}
	return strings.Join(parts, ", ")
}

// compareFields names what differs besides the rules.
func compareFields(want, have *clusterToken) []FieldChange {
	var changes []FieldChange
	add := func(field, have, want string) {
		if have != want {
			changes = append(changes, FieldChange{Field: field, Have: remote.Clean(have), Want: want})
		}
	}
	add("roles", strings.Join(slices.Sorted(slices.Values(have.roles)), ","), strings.Join(slices.Sorted(slices.Values(want.roles)), ","))
	add("bot_name", have.bot, want.bot)
	add("join_method", have.joinMethod, want.joinMethod)
	add("expires", have.expires, want.expires)
	for _, ca := range have.cas {
		if !slices.ContainsFunc(want.cas, func(w string) bool { return sameCA(w, ca) }) {
			add("ekcert_allowed_cas", caName(ca), "")
		}
	}
	for _, ca := range want.cas {
		if !slices.ContainsFunc(have.cas, func(h string) bool { return sameCA(h, ca) }) {
			add("ekcert_allowed_cas", "", caName(ca))
		}
	}
	return changes
}

// sameCA compares what the server reads: the first block.
func sameCA(a, b string) bool {
	x, _ := pem.Decode([]byte(a))
	y, _ := pem.Decode([]byte(b))
	if x == nil || y == nil {
		return a == b
	}
	return x.Type == y.Type && string(x.Bytes) == string(y.Bytes)
}

func caName(text string) string {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return "not PEM"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "not a certificate"
	}
	return remote.Clean(cert.Subject.String())
}

func (s *Set) diffBot(ctx context.Context, cluster tctl.Tctl, want Bot) (BotChange, error) {
	c := BotChange{Name: want.Name, Action: ActionNone, Want: want.Roles}
	err := cluster.Get(ctx, "bot", want.Name, &c.raw)
	switch {
	case errors.Is(err, tctl.ErrNoResource) && len(want.Roles) == 0:
		return c, fmt.Errorf("bot %s is not in the cluster, and its roles are not known: no host of the inventory names it",
			want.Name)
	case errors.Is(err, tctl.ErrNoResource):
		c.Action = ActionCreate
		return c, nil
	case err != nil:
		return c, err
	}
	c.Have = rolesOfBot(c.raw)
	if len(want.Roles) > 0 && !slices.Equal(slices.Sorted(slices.Values(c.Have)), slices.Sorted(slices.Values(want.Roles))) {
		c.Action = ActionUpdate
	}
	return c, nil
}

func rolesOfBot(raw map[string]any) []string {
	spec, _ := raw["spec"].(map[string]any)
	items, _ := spec["roles"].([]any)
	var roles []string
	for _, item := range items {
		if role, ok := item.(string); ok {
			roles = append(roles, remote.Clean(role))
		}
	}
	return roles
}

// String names a rule by its description and what it matches.
func (f ForeignRule) String() string {
	s := fmt.Sprintf("%q", f.Description)
	if f.EKHash != "" {
		s += " hash " + f.EKHash
	}
	if f.EKSerial != "" {
		s += " serial " + f.EKSerial
	}
	if f.Note != "" {
		s += " (" + f.Note + ")"
	}
	return s
}
