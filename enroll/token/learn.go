package token

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/remote"
)

// Lesson is what the cluster knows better than the records: after they were lost, or an older copy of them was brought back.
type Lesson struct {
	Ways   []store.Way       // machines that have a rule in a token of ours which the records don't know of
	Assign map[string]string // hosts without a token → the token that they have a rule in
	Tokens []store.Token     // of which the cluster has newer content
	Rules  []store.Rule      // theirs, as the cluster has them: also of machines that only another fleetctl of the fleet knows
	Epoch  int64             // the highest of the fleet's tokens, where the records have not come so far; else 0
}

// Empty says whether there is nothing to learn of machines and tokens.
func (l Lesson) Empty() bool { return len(l.Ways)+len(l.Assign)+len(l.Tokens)+len(l.Rules) == 0 }

// Seen are the rules by token: the cluster was seen to have them.
func (l Lesson) Seen() map[string][]store.Rule {
	seen := map[string][]store.Rule{}
	for _, r := range l.Rules {
		seen[r.Token] = append(seen[r.Token], r)
	}
	return seen
}

// Learn compares the cluster's rules with the records. Only tokens of ours are looked at.
func (s *Set) Learn(d Diff, run int64) Lesson {
	l := Lesson{Assign: map[string]string{}}
	written := map[store.Rule]bool{}
	for _, r := range s.written {
		written[store.Rule{Token: r.Token, EKHash: r.EKHash}] = true
	}
	known := map[string]string{} // EK hash → its first host by name
	for host, ek := range s.machineOf {
		if known[ek] == "" || host < known[ek] {
			known[ek] = host
		}
	}
	for _, c := range d.Tokens {
		if c.have == nil || c.Refused != nil {
			continue
		}
		if st := c.have.stamp; st.fleet == s.fleetName && st.epoch > max(s.epoch, l.Epoch) {
			l.Epoch = st.epoch
		}
		if t, differs := s.learnToken(c); differs {
			l.Tokens = append(l.Tokens, t)
		}
		for _, r := range c.have.rules {
			ek := string(r.EKPublicHash)
			ours := written[store.Rule{Token: c.Name, EKHash: ek}]
			if s.named[ek] || ours && (!c.theirs || c.want.has(ek)) || known[ek] == "" && (!c.theirs || !store.ValidEKHash(ek)) {
				continue
			}
			l.Rules = append(l.Rules, store.Rule{Token: c.Name, EKHash: ek, EKSerial: remote.Clean(string(r.EKCertificateSerial)),
				Host: cmp.Or(known[ek], remote.Clean(string(r.Description)))})
			l.Ways = append(l.Ways, store.Way{EKHash: ek, Token: c.Name, Evidence: store.ByCluster, Run: run})
			if planned := s.rules[ek]; planned != "" && samePool(planned, c.Name) {
				for _, host := range s.unassigned[ek] {
					if l.Assign[host] == "" || c.Name == planned {
						l.Assign[host] = c.Name
					}
				}
			}
		}
	}
	return l
}

// Uncertain says whether the cluster shows that the records don't know all of our tokens' rules: they were lost, an older copy
// of them was brought back, or somebody deleted a token.
func (l Lesson) Uncertain(d Diff) bool {
	return !l.Empty() || slices.ContainsFunc(d.Tokens, func(c Change) bool { return c.have == nil && len(c.Alarms) > 0 })
}

// Joined takes in machines that the records know and that joined last (joins, by EK hash) with a token of ours which
// the cluster has no more: somebody deleted it, and no records say whom it admitted. Ours is what is called as the machine's
// planned token is. Whether the cluster has one that the set doesn't name is asked of missing.
func (l *Lesson) Joined(s *Set, d Diff, joins map[string]tctl.Join, missing func(name string) (bool, error), run int64) error {
	known := map[string]bool{}
	for _, ek := range s.machineOf {
		known[ek] = true
	}
	looked := map[string]bool{} // by name: whether it is gone
	for _, c := range d.Tokens {
		looked[c.Name] = c.have == nil
	}
	for _, ek := range slices.Sorted(maps.Keys(joins)) {
		name := joins[ek].Token
		if !known[ek] || s.named[ek] || s.knows(ek, name) || !CalledAlike(s.rules[ek], name) {
			continue
		}
		gone, seen := looked[name]
		if !seen {
			var err error
			if gone, err = missing(name); err != nil {
				return err
			}
		}
		if gone {
			l.Ways = append(l.Ways, store.Way{EKHash: ek, Token: name, Evidence: store.ByCluster, Run: run})
		}
	}
	return nil
}

// knows says whether it is known that a machine may be configured with a token, or that it can't be any more.
func (s *Set) knows(ek, name string) bool {
	return s.rules[ek] == name || slices.Contains(s.ways[ek], name) ||
		slices.ContainsFunc(s.ended, func(w store.Way) bool { return w.EKHash == ek && w.Token == name })
}

// CalledAlike says whether two tokens are called as those of one bot are, whether they check certificates or not.
func CalledAlike(a, b string) bool {
	bare := func(name string) string {
		base, _ := poolOf(name)
		return strings.TrimSuffix(base, hashOnlySuffix)
	}
	return a != "" && b != "" && bare(a) == bare(b)
}

// learnToken is a token as the records have to know it, and whether they don't. Where its content in the cluster is newer, they
// know from then on its epoch, and that nothing may be taken out of it. The CAs are those that the cluster has: whoever wrote
// them, machines have joined under these.
func (s *Set) learnToken(c Change) (t store.Token, differs bool) {
	ahead := c.ahead()
	known, published := s.known(c.Name)
	if t = known.Token; !published {
		t = store.Token{Name: c.Name, Kind: c.have.kind(), Bot: c.have.bot}
	}
	if differs = ahead || !published || !t.CAsKnown || !sameCAs(t.CAs, c.have.cas); differs {
		t.CAs, t.CAsKnown = c.have.cas, true
	}
	if ahead {
		t.Epoch, t.Behind = max(t.Epoch, c.have.stamp.epoch), true
	}
	return t, differs
}

// sameCAs says whether two tokens list the same CAs, in whichever order.
func sameCAs(a, b []string) bool {
	lacks := func(list []string) func(string) bool {
		return func(ca string) bool {
			return !slices.ContainsFunc(list, func(o string) bool { return sameCA(o, ca) })
		}
	}
	return !slices.ContainsFunc(a, lacks(b)) && !slices.ContainsFunc(b, lacks(a))
}

// samePool says whether two tokens are shards of one pool.
func samePool(a, b string) bool {
	baseA, _ := poolOf(a)
	baseB, _ := poolOf(b)
	return baseA == baseB
}
