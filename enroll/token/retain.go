package token

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// leaveOut takes the machines out that a person took out, under whichever name.
func (p *planner) leaveOut() {
	wrote := map[string]bool{}
	for _, r := range p.in.Published {
		wrote[r.EKHash] = true
	}
	for ek, m := range p.in.EKs {
		// What was forgotten is nobody's business any more once our rules for it are gone.
		if m.Out() && (m.State != store.Forgotten || wrote[ek]) {
			p.set.named[ek] = true
		}
	}
	var in []store.Record
	for _, r := range p.in.Records {
		p.set.machineOf[r.Host] = r.Accepted.EKHash
		m := p.in.EKs[r.Accepted.EKHash]
		if !m.Out() {
			in = append(in, r)
			continue
		}
		p.set.Out = append(p.set.Out, Refusal{Host: r.Host, Reason: outcome.Because(outcome.RemovedEK, "its machine was "+m.State)})
	}
	p.in.Records = in
	slices.SortFunc(p.set.Out, func(a, b Refusal) int { return cmp.Compare(a.Host, b.Host) })
}

// doubt takes rules that were seen in the cluster for ways of machines of which nobody knows what they are configured with: others
// may have installed them meanwhile, or records that were lost. As long as the records are older than the cluster that may be any
// machine. One that is known to join with its planned token leaves the others as ever.
func (p *planner) doubt() {
	old := slices.ContainsFunc(p.in.Earlier, func(t store.Token) bool { return t.Behind })
	ways := maps.Clone(p.in.Ways)
	if ways == nil {
		ways = map[string][]store.Way{}
	}
	installed := func(w store.Way) bool { return w.Evidence == store.ByInstall }
	for _, r := range p.in.Published {
		to := func(w store.Way) bool { return w.Token == r.Token }
		known := ways[r.EKHash]
		if !r.Seen || slices.ContainsFunc(known, to) || !old && slices.ContainsFunc(known, installed) {
			continue
		}
		ways[r.EKHash] = append(slices.Clip(known), store.Way{EKHash: r.EKHash, Token: r.Token, Evidence: store.ByCluster})
	}
	p.in.Ways = ways
}

// split tells machines whose rules may change from those that keep what they have.
func (p *planner) split(all []candidate) (thawed, frozen []candidate) {
	for _, c := range all {
		if p.in.Only == nil || slices.ContainsFunc(c.names, func(name string) bool { return p.in.Only[name] }) {
			thawed = append(thawed, c)
			continue
		}
		frozen = append(frozen, c)
		p.frozen[c.rec.Accepted.EKHash] = true
	}
	if p.in.Only == nil {
		return thawed, frozen
	}
	may := map[string]bool{}
	for _, c := range thawed {
		may[c.rec.Accepted.EKHash] = true
	}
	for ek := range p.in.Ways { // machines without a host, and those that are refused, too
		if !may[ek] {
			p.frozen[ek] = true
		}
	}
	p.set.frozen = p.frozen
	return thawed, frozen
}

// freeze gives machines the rules that were published for them, and no others.
func (p *planner) freeze(all []candidate) {
	published := map[store.Rule]store.Rule{}
	for _, r := range p.in.Published {
		published[store.Rule{Token: r.Token, EKHash: r.EKHash}] = r
	}
	for _, c := range all {
		ek := c.rec.Accepted.EKHash
		was, ok := published[store.Rule{Token: c.rec.Token, EKHash: ek}]
		if !ok || !was.Seen {
			continue // what nobody has seen in the cluster is not brought there for others
		}
		t := p.token(was.Token, ek)
		t.addRule(Rule{Host: c.host, EKHash: ek, EKSerial: was.EKSerial, frozen: true})
		for _, name := range c.names {
			p.set.hosts[name] = was.Token
		}
	}
}

// addRule adds a rule under the description that describe gives its host, which is nobody else's in the token.
func (t *Token) addRule(r Rule) {
	r.Description = clean(r.Host)
	taken := func(o Rule) bool { return o.Description == r.Description }
	if r.Description != r.Host || slices.ContainsFunc(t.Rules, taken) {
		r.Description = fmt.Sprintf("%s [%s]", r.Description, r.EKHash[:12])
	}
	t.Rules = append(t.Rules, r)
}

// retain keeps the rules of machines in all tokens that they may be configured with.
func (p *planner) retain() {
	for _, r := range p.in.Records {
		if p.hosts[r.Accepted.EKHash] == "" {
			p.hosts[r.Accepted.EKHash] = r.Host
		}
		if !holds(r) && p.set.hosts[r.Host] != "" { // whoever is refused holds no rule, under whichever name the cluster has it
			p.set.unassigned[r.Accepted.EKHash] = append(p.set.unassigned[r.Accepted.EKHash], r.Host)
		}
	}
	for _, r := range p.in.Published {
		p.written[r.EKHash] = append(p.written[r.EKHash], r)
	}
	for _, t := range p.set.Tokens {
		for _, r := range t.Rules {
			p.set.rules[r.EKHash] = t.Name
		}
	}
	for _, ek := range slices.Sorted(maps.Keys(p.in.Ways)) {
		if p.in.out(ek) {
			continue
		}
		planned := p.set.rules[ek]
		for _, w := range p.in.Ways[ek] {
			switch {
			case w.Token == planned, p.frozen[ek] && !p.seen(ek, w.Token):
			case planned != "" && !p.frozen[ek] && p.ended(ek, planned, w):
				p.set.ended = append(p.set.ended, w)
				continue
			default:
				p.keep(ek, w.Token, planned)
			}
			p.set.ways[ek] = append(p.set.ways[ek], w.Token)
		}
	}
	for _, ek := range slices.Sorted(maps.Keys(p.in.Contract)) {
		if planned := p.set.rules[ek]; !p.alone(ek, planned) {
			p.set.untrue = append(p.set.untrue, word{p.hostOf(ek, ""), planned, p.seen(ek, planned)})
		}
	}
	for i := range p.set.Tokens {
		t := &p.set.Tokens[i]
		slices.SortFunc(t.Rules, func(a, b Rule) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.EKHash, b.EKHash)) })
		p.settleCAs(t)
	}
	p.sortTokens()
}

// seen says whether the cluster was seen to have a rule.
func (p *planner) seen(ek, token string) bool {
	return slices.ContainsFunc(p.written[ek], func(r store.Rule) bool { return r.Token == token && r.Seen })
}

// word is a person's word that a host has a token alone; seen: the cluster was seen to have its rule there.
type word struct {
	host, token string
	seen        bool
}

// alone says whether a machine can have its planned token alone: its rule was seen there, and it was planned before this, when a
// person looked. Who says so beside a change of fleet.yaml has looked at the token before.
func (p *planner) alone(ek, planned string) bool {
	return p.seen(ek, planned) && slices.ContainsFunc(p.in.Records, func(r store.Record) bool {
		return r.Accepted.EKHash == ek && r.Token == planned
	})
}

// ended says whether a machine has a token no more: it has joined with the planned one, and there is no later evidence of
// the other. Agents don't renew through their tokens, so that no join of theirs says anything: there, only a person's word does.
// Nobody has a token alone whose rule has not been seen in the cluster.
// Of several machines that present one EK nobody knows which one has joined, and which one has the other token.
func (p *planner) ended(ek, planned string, w store.Way) bool {
	if p.in.Contract[ek] && p.alone(ek, planned) {
		return true
	}
	if p.in.kind() == KindNode || p.kinds[w.Token].Kind == KindNode {
		return false
	}
	m := p.in.EKs[ek]
	return !p.disputed[ek] && m.Joined == planned && m.JoinedRun >= w.Run && m.JoinedRun > 0
}

// CheckContract refuses a person's word that can't be true: no machine is configured with a token alone before its rule there
// has been seen in the cluster, nor with one that is planned for it only now.
func (s *Set) CheckContract() error {
	var errs []error
	for _, u := range s.untrue {
		err := &outcome.InputError{Msg: u.host + " can't have its planned token alone: none is planned for it"}
		if u.token != "" {
			why := "no rule of it there has been seen in the cluster"
			if u.seen {
				why = "it is planned for it only now"
			}
			err.Msg = fmt.Sprintf("%s can't have token %s alone: %s", u.host, u.token, why)
			err.Hint = "apply the tokens (or declare their files as applied), let the host join with its new token, then say so"
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// keep adds the rule of a machine to a token that it may be configured with.
func (p *planner) keep(ek, name, planned string) {
	t := p.token(name, ek)
	r := Rule{EKHash: ek, Host: p.hostOf(ek, name), Kept: true, Until: planned}
	for _, w := range p.written[ek] {
		if w.Token == name {
			r.EKSerial = w.EKSerial
		}
	}
	t.addRule(r)
}

// token is a token of the set, made where the policy has none of that name.
func (p *planner) token(name, ek string) *Token {
	if i := slices.IndexFunc(p.set.Tokens, func(t Token) bool { return t.Name == name }); i >= 0 {
		return &p.set.Tokens[i]
	}
	t := Token{Name: name, Kind: p.in.kind()}
	if was, ok := p.kinds[name]; ok {
		t.Kind, t.Bot = was.Kind, was.Bot
	} else if t.Kind == KindBot {
		t.Bot = p.in.Bot.Name
		for _, r := range p.in.Records {
			if r.Accepted.EKHash == ek {
				t.Bot = p.botOf(r)
			}
		}
	}
	p.set.Tokens = append(p.set.Tokens, t)
	return &p.set.Tokens[len(p.set.Tokens)-1]
}

// hostOf is the name of a machine: that of a host which has its EK, else the one that its rule was written for.
func (p *planner) hostOf(ek, token string) string {
	if host := p.hosts[ek]; host != "" {
		return host
	}
	name := "ek-" + ek[:12]
	for _, w := range p.written[ek] {
		if w.Token == token || strings.HasPrefix(name, "ek-") {
			name = w.Host
		}
	}
	return name
}

// settleCAs decides which CAs a token has that exists already. They may grow; they shrink, or the check begins, only when
// every machine that may be configured with the token would pass. Without a bundle nothing is checked: that the policy says
// so was confirmed by a person.
func (p *planner) settleCAs(t *Token) {
	was, ok := p.kinds[t.Name]
	if !ok {
		return
	}
	members := p.members(*t)
	planned := slices.ContainsFunc(t.Rules, func(r Rule) bool { return !r.Kept && !r.frozen })
	switch {
	case len(members) == 0, planned && p.in.CAs == nil:
		return
	case !was.CAsKnown:
		t.KeepCAs = true
		return
	case !planned:
		t.CAs = was.CAs
		return
	case len(t.CAs) == 0:
		return
	}
	failing := p.failing(members, t.CAs)
	if len(failing) == 0 {
		return
	}
	for _, host := range failing {
		t.Held = append(t.Held, Hold{Host: host, Token: t.Name})
	}
	if len(was.CAs) == 0 {
		t.CAs = nil
		return
	}
	all := slices.Concat(t.CAs, was.CAs)
	slices.Sort(all)
	t.CAs = slices.Compact(all)
}

// members are the machines with a rule in a token that may be configured with it, or keep what they have, by EK hash.
func (p *planner) members(t Token) []string {
	var eks []string
	for _, r := range t.Rules {
		has := func(w store.Way) bool { return w.Token == t.Name }
		if r.Kept || r.frozen || slices.ContainsFunc(p.in.Ways[r.EKHash], has) {
			eks = append(eks, r.EKHash)
		}
	}
	slices.Sort(eks)
	return eks
}

// failing are the hosts whose certificates would not pass these CAs. Dates are not judged: the server has its own clock.
func (p *planner) failing(eks, cas []string) []string {
	var pool []*x509.Certificate
	for _, text := range cas {
		if block, _ := pem.Decode([]byte(text)); block != nil {
			if ca, err := x509.ParseCertificate(block.Bytes); err == nil {
				pool = append(pool, ca)
			}
		}
	}
	certs := map[string]*store.Identity{}
	for _, r := range p.in.Records {
		certs[r.Accepted.EKHash] = r.Accepted
	}
	var hosts []string
	for _, ek := range eks {
		id := certs[ek]
		passes := false
		if id != nil {
			if cert, _ := certificateOf(id); cert != nil {
				passes = slices.ContainsFunc(pool, func(ca *x509.Certificate) bool { return verifyUndated(cert, ca) == nil })
			}
		}
		if !passes {
			hosts = append(hosts, p.hostOf(ek, ""))
		}
	}
	return hosts
}

// verifyUndated is the server's check at a time at which both certificates are valid, if there is one.
func verifyUndated(cert, ca *x509.Certificate) error {
	at := cert.NotBefore
	if ca.NotBefore.After(at) {
		at = ca.NotBefore
	}
	return tpm.VerifyAsTeleport(cert, []*x509.Certificate{ca}, at.Add(time.Second))
}

// checkNames refuses a token whose name stands for another bot, or for agents, already: in the records, where a run
// without a cluster finds it.
func (p *planner) checkNames() error {
	for _, t := range p.set.Tokens {
		was, ok := p.kinds[t.Name]
		if !ok || was.Kind == t.Kind && was.Bot == t.Bot {
			continue
		}
		return &outcome.InputError{
			Msg: fmt.Sprintf("token %s is for %s, and would be for %s: what a token's name stands for is one for life",
				t.Name, standsFor(was.Kind, was.Bot), standsFor(t.Kind, t.Bot)),
			Hint: fmt.Sprintf("set another token.name in fleet.yaml, for example %s-%s: hosts then move to it one by one",
				p.in.Policy.Name, cmp.Or(t.Bot, t.Kind)),
		}
	}
	return nil
}

func standsFor(kind, bot string) string {
	if kind == KindNode {
		return "agents"
	}
	return "bot " + bot
}

// sortTokens puts the tokens of each pool in the order of their numbers, pools by name.
func (p *planner) sortTokens() {
	slices.SortStableFunc(p.set.Tokens, func(a, b Token) int {
		nameA, nA := poolOf(a.Name)
		nameB, nB := poolOf(b.Name)
		return cmp.Or(cmp.Compare(nameA, nameB), cmp.Compare(nA, nB))
	})
}
