package token

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// hashOnlySuffix ends the names of tokens that check no certificates, in a fleet that checks them.
const hashOnlySuffix = "-hash-only"

// pool is a set of tokens that hosts are spread over: same bot, same kind, all CA-checked or all hash-only. Its tokens
// are called base, base-2, base-3…
type pool struct {
	base    string
	bot     string
	hosts   []*candidate
	shards  map[int]*shard // by number; 1 is base
	notFull int            // every shard with a lower number has as many rules as it may have
}

// shard is one token in the making.
type shard struct {
	token Token
	cas   map[string]bool
	bytes int

	waiting   map[string]int // machines that may have a rule there that stays, by EK hash, with its size
	kept      int            // those that are not placed there
	keptBytes int
}

// shard spreads candidates over tokens.
func (p *planner) shard(candidates []candidate) {
	pools := map[string]*pool{}
	for i := range candidates {
		c := &candidates[i]
		base := p.poolName(c.bot, p.in.CAs != nil && c.issuer == "")
		if pools[base] == nil {
			pools[base] = &pool{base: base, bot: c.bot, shards: map[int]*shard{}, notFull: 1}
		}
		pools[base].hosts = append(pools[base].hosts, c)
	}
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		p.fill(pools[name])
		p.collect(pools[name])
	}
	slices.SortFunc(p.set.Moved, func(a, b Move) int { return cmp.Compare(a.Host, b.Host) })
}

// poolName is the name of the first token of a pool.
func (p *planner) poolName(bot string, hashOnly bool) string {
	name := p.in.Policy.Name
	if bot != "" && bot != p.in.Bot.Name {
		name += "-" + bot
	}
	if hashOnly {
		name += hashOnlySuffix
	}
	return name
}

// checkPoolNames refuses bots whose tokens would be called like another's, so that a token's name always says which
// pool it belongs to.
func (p *planner) checkPoolNames() error {
	owner := map[string]string{}
	for _, bot := range slices.Sorted(maps.Keys(p.bots)) {
		for _, hashOnly := range []bool{false, true} {
			name := p.poolName(bot, hashOnly)
			for other, of := range owner {
				if shardNumber(name, other) > 0 || shardNumber(other, name) > 0 {
					return &outcome.InputError{Msg: fmt.Sprintf("the tokens of the bots %q and %q would both be called %s", of, bot, name),
						Hint: "rename one of the bots, or set another token.name"}
				}
			}
			owner[name] = bot
		}
	}
	return nil
}

// shardNumber says which shard of a pool a token name is: base is 1, base-2 is 2; 0: none of them.
func shardNumber(base, name string) int {
	if name == base {
		return 1
	}
	digits, ok := strings.CutPrefix(name, base+"-")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 2 || n > 1e6 || strconv.Itoa(n) != digits {
		return 0
	}
	return n
}

// poolOf is the base of a token's name, and which shard of that pool it is.
func poolOf(name string) (base string, n int) {
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if n := shardNumber(name[:i], name); n > 0 {
			return name[:i], n
		}
	}
	return name, 1
}

// fill puts every host of a pool into a shard: first those that have one, which stay while the limits allow, then the
// others into the first gap.
func (p *planner) fill(q *pool) {
	var homeless []*candidate
	for _, c := range q.hosts {
		n := shardNumber(q.base, c.rec.Token)
		if n == 0 || p.in.Rebalance || !p.add(q, n, c, true) {
			homeless = append(homeless, c)
		}
	}
	for _, c := range homeless {
		if !p.fits(&shard{cas: map[string]bool{}, bytes: storedBytes(Token{Name: q.base, Kind: p.in.kind(), Bot: q.bot})}, c, true) {
			p.refuse(c.host, outcome.TooLarge,
				"its rule and CA certificate alone are larger than token.max_bytes (%d)", p.in.maxBytes())
			continue
		}
		n := q.notFull
		for !p.add(q, n, c, false) {
			n++
		}
	}
}

// add puts a candidate into shard n, unless it does not fit. Rules that are kept there for a while take room from newcomers;
// they never push out a host that has the token.
func (p *planner) add(q *pool, n int, c *candidate, has bool) bool {
	if q.shards[n] == nil {
		q.shards[n] = p.newShard(q, n)
	}
	s := q.shards[n]
	size, waits := s.waiting[c.rule.EKHash]
	if !p.fits(s, c, has || waits) {
		return false
	}
	if waits {
		s.kept--
		s.keptBytes -= size
	}
	s.bytes += ruleBytes(c.rule) + s.caBytes(c.issuer)
	if c.issuer != "" {
		s.cas[c.issuer] = true
	}
	s.token.Rules = append(s.token.Rules, c.rule)
	for q.shards[q.notFull] != nil && len(q.shards[q.notFull].token.Rules)+q.shards[q.notFull].kept >= p.in.maxRules() {
		q.notFull++
	}
	for _, name := range c.names {
		p.set.hosts[name] = s.token.Name
	}
	return true
}

func (p *planner) fits(s *shard, c *candidate, has bool) bool {
	kept, bytes := s.kept, s.keptBytes
	if has {
		kept, bytes = 0, 0
	} else if kept > 0 { // they may need the CAs that the token has
		for _, ca := range p.kinds[s.token.Name].CAs {
			if ca != c.issuer {
				bytes += s.caBytes(ca)
			}
		}
	}
	return len(s.token.Rules)+kept < p.in.maxRules() &&
		s.bytes+bytes+ruleBytes(c.rule)+s.caBytes(c.issuer) <= p.in.maxBytes()
}

func (p *planner) newShard(q *pool, n int) *shard {
	name := q.base
	if n > 1 {
		name += "-" + strconv.Itoa(n)
	}
	s := &shard{token: Token{Name: name, Kind: p.in.kind(), Bot: q.bot}, cas: map[string]bool{}, waiting: p.waiting(name)}
	s.bytes, s.kept = storedBytes(s.token), len(s.waiting)
	for _, size := range s.waiting {
		s.keptBytes += size
	}
	return s
}

// waiting are the machines that may be configured with a token, or keep their rule there since nothing of theirs may change,
// by EK hash, with the size of their rule.
func (p *planner) waiting(name string) map[string]int {
	if p.waitIn == nil {
		p.waitIn = map[string]map[string]int{}
		sizes := map[store.Rule]int{}
		for _, r := range p.in.Published {
			size := ruleBytes(Rule{Description: r.Host, EKHash: r.EKHash, EKSerial: r.EKSerial})
			sizes[store.Rule{Token: r.Token, EKHash: r.EKHash}] = size
		}
		note := func(token, ek string) {
			if p.in.out(ek) || token == "" {
				return
			}
			if p.waitIn[token] == nil {
				p.waitIn[token] = map[string]int{}
			}
			size := sizes[store.Rule{Token: token, EKHash: ek}]
			p.waitIn[token][ek] = cmp.Or(size, ruleBytes(Rule{Description: "ek-" + ek[:12], EKHash: ek}))
		}
		for ek, ways := range p.in.Ways {
			for _, w := range ways {
				note(w.Token, ek)
			}
		}
		for _, r := range p.in.Records {
			if p.frozen[r.Accepted.EKHash] {
				note(r.Token, r.Accepted.EKHash)
			}
		}
	}
	return p.waitIn[name]
}

// collect takes over the shards that have hosts.
func (p *planner) collect(q *pool) {
	for _, n := range slices.Sorted(maps.Keys(q.shards)) {
		s := q.shards[n]
		if len(s.token.Rules) == 0 {
			continue
		}
		s.token.CAs = slices.Sorted(maps.Keys(s.cas))
		slices.SortFunc(s.token.Rules, func(a, b Rule) int { return cmp.Compare(a.Host, b.Host) })
		p.set.Tokens = append(p.set.Tokens, s.token)
	}
	for _, c := range q.hosts {
		if to := p.set.hosts[c.host]; c.rec.Token != "" && to != "" && to != c.rec.Token {
			for _, name := range c.names {
				p.set.Moved = append(p.set.Moved, Move{Host: name, From: c.rec.Token, To: to})
			}
		}
	}
}

// reserveBytes is for what the cluster adds to a token when it stores it: revision, namespace, labels, empty fields.
const reserveBytes = 1024

// storedBytes is the size of the JSON that the cluster stores for a token.
func storedBytes(t Token) int { return reserveBytes + jsonBytes(documentOf(t)) }

func ruleBytes(r Rule) int { return 1 + jsonBytes(allowRuleOf(r)) } // and a comma

// caBytes is what a CA adds to a shard.
func (s *shard) caBytes(pemText string) int {
	switch {
	case pemText == "" || s.cas[pemText]:
		return 0
	case len(s.cas) == 0:
		return jsonBytes(pemText) + len(`"ekcert_allowed_cas":[],`)
	}
	return 1 + jsonBytes(pemText)
}

func jsonBytes(v any) int {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and lists of them: it can't fail
	}
	return len(data)
}
