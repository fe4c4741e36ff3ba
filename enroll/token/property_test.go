package token

import (
	"encoding/pem"
	"fmt"
	"maps"
	mrand "math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// certificate is an EK certificate of the property test; ca is the PEM that a token needs for it, "" when none helps.
type certificate struct {
	der    []byte
	serial string
	ca     string
}

// fleetModel is a fleet whose history is random. It keeps what the records would.
type fleetModel struct {
	t     *testing.T
	rnd   *mrand.Rand
	in    Input
	hosts map[string]*store.Record
	certs []certificate
	cas   *tpm.CASet
	next  int
	log   []string
}

func newFleetModel(t *testing.T, seed uint64, certs []certificate, cas *tpm.CASet) *fleetModel {
	m := &fleetModel{
		t: t, rnd: mrand.New(mrand.NewPCG(seed, 1)), hosts: map[string]*store.Record{}, certs: certs, cas: cas,
		in: testInput(),
	}
	m.in.BotOf, m.in.Machines = map[string]config.Bot{}, map[string]string{}
	m.in.Policy.MaxRules, m.in.Policy.MaxBytes = 1+m.rnd.IntN(6), 6000
	return m
}

func (m *fleetModel) any() *store.Record {
	names := slices.Sorted(maps.Keys(m.hosts))
	if len(names) == 0 {
		return m.add()
	}
	return m.hosts[names[m.rnd.IntN(len(names))]]
}

func (m *fleetModel) add() *store.Record {
	m.next++
	name := fmt.Sprintf("host-%03d", m.rnd.IntN(900))
	for m.hosts[name] != nil {
		name += "x"
	}
	r := enrolltest.Accepted(name, m.next)
	r.Accepted.Proven = m.rnd.IntN(4) > 0
	m.certify(&r)
	if m.rnd.IntN(3) > 0 {
		m.in.BotOf[name] = m.in.Bot
	}
	m.hosts[name] = &r
	return &r
}

func (m *fleetModel) certify(r *store.Record) {
	r.Accepted.EKCert, r.Accepted.EKSerial = nil, ""
	if i := m.rnd.IntN(len(m.certs) + 2); i < len(m.certs) {
		r.Accepted.EKCert, r.Accepted.EKSerial = m.certs[i].der, m.certs[i].serial
	}
}

// newEK gives a host another EK, which was accepted.
func (m *fleetModel) newEK(r *store.Record, n int) {
	id := *r.Accepted
	id.EKHash = enrolltest.Hash(n)
	r.Accepted = &id
}

// step changes one thing. It reports whether that was the arrival of one host and nothing else.
func (m *fleetModel) step() (arrival *store.Record) {
	m.in.Rebalance = false
	switch n := m.rnd.IntN(20); n {
	case 0:
		r := m.any()
		m.note("forget %s", r.Host)
		delete(m.hosts, r.Host)
	case 1:
		m.next++
		r := m.any()
		m.note("new board in %s", r.Host)
		m.newEK(r, m.next)
	case 2:
		r, other := m.any(), m.any()
		m.note("%s shows the EK of %s", r.Host, other.Host)
		m.newEK(r, int(hashNumber(other.Accepted.EKHash)))
	case 3:
		r, other := m.any(), m.any()
		m.note("%s is another name of %s", r.Host, other.Host)
		m.in.Machines[r.Host] = other.Host
		m.newEK(r, int(hashNumber(other.Accepted.EKHash)))
	case 4:
		r := m.any()
		m.note("%s has another certificate", r.Host)
		id := *r.Accepted
		r.Accepted = &id
		m.certify(r)
	case 5:
		m.in.Policy.MaxRules = 1 + m.rnd.IntN(6)
		m.note("max_rules %d", m.in.Policy.MaxRules)
	case 6:
		m.in.Policy.Match = []string{"hash", "hash+serial"}[m.rnd.IntN(2)]
		m.note("match %s", m.in.Policy.Match)
	case 7:
		if m.in.CAs == nil {
			m.in.CAs = m.cas
		} else {
			m.in.CAs = nil
		}
		m.note("CAs: %v", m.in.CAs != nil)
	case 8:
		m.in.Rebalance = true
		m.note("rebalance")
	case 9:
		r := m.any()
		bot := config.Bot{Name: []string{"db", "web"}[m.rnd.IntN(2)], Roles: []string{"r"}}
		m.note("%s joins as %s", r.Host, bot.Name)
		m.in.BotOf[r.Host] = bot
	case 10:
		r := m.any()
		m.note("%s leaves the inventory", r.Host)
		delete(m.in.BotOf, r.Host)
		delete(m.in.Machines, r.Host)
	case 11:
		m.in.Policy.WithoutEKCert = []string{"hash-only", "refuse"}[m.rnd.IntN(2)]
		m.note("without_ekcert %s", m.in.Policy.WithoutEKCert)
	case 12:
		m.in.Policy.MaxBytes = 5000 + m.rnd.IntN(5000)
		m.note("max_bytes %d", m.in.Policy.MaxBytes)
	default:
		arrival = m.add()
		m.note("%s arrives", arrival.Host)
	}
	return arrival
}

func (m *fleetModel) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

func hashNumber(hash string) (n int64) {
	_, _ = fmt.Sscanf(hash, "%x", &n)
	return n
}

// plan makes the tokens of what there is, from records in random order.
func (m *fleetModel) plan() *Set {
	m.in.Records = nil
	for _, r := range m.hosts {
		m.in.Records = append(m.in.Records, *r)
	}
	set, err := Plan(m.in)
	if err != nil {
		m.fail("%v", err)
	}
	return set
}

// keep notes the assignment as MakeTokens does.
func (m *fleetModel) keep(set *Set) {
	for host, token := range set.hosts {
		m.hosts[host].Token, m.hosts[host].TokenEK = token, m.hosts[host].Accepted.EKHash
	}
	for _, t := range set.Tokens {
		entry := store.Token{Name: t.Name, Kind: t.Kind, Bot: t.Bot}
		m.in.Earlier = slices.DeleteFunc(m.in.Earlier, func(e store.Token) bool { return e.Name == t.Name })
		m.in.Earlier = append(m.in.Earlier, entry)
	}
}

func (m *fleetModel) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(m.log, "\n"))
}

// check holds a set against what has to be true of every one.
func (m *fleetModel) check(set *Set) {
	m.t.Helper()
	m.checkRules(set)
	m.checkTokens(set)
	m.checkMoves(set)
	m.checkHolders(set)
}

// checkRules: no accepted host without exactly one rule, no rule without an accepted record.
func (m *fleetModel) checkRules(set *Set) {
	refused := map[string]string{}
	for _, r := range set.Refused {
		refused[r.Host] = string(r.Code)
	}
	rules := map[string]string{} // EK → token
	for _, t := range set.Tokens {
		for _, r := range t.Rules {
			rec := m.hosts[r.Host]
			if rec == nil || rec.Accepted.EKHash != r.EKHash || rules[r.EKHash] != "" {
				m.fail("rule of %s in %s has no record, or is not the only one", r.Host, t.Name)
			}
			rules[r.EKHash] = t.Name
		}
	}
	for name, r := range m.hosts {
		token := set.TokenOf(name)
		if (token == "") == (refused[name] == "") {
			m.fail("%s: token %q, refused %q", name, token, refused[name])
		}
		if token != "" && rules[r.Accepted.EKHash] != token {
			m.fail("%s: its token is %s, its rule is in %s", name, token, rules[r.Accepted.EKHash])
		}
		if refused[name] != "" {
			m.checkRefusal(name, refused[name])
		}
	}
}

func (m *fleetModel) checkRefusal(name, status string) {
	r := m.hosts[name]
	switch status {
	case "duplicate-ek", "renamed":
		for other, o := range m.hosts {
			if other != name && o.Accepted.EKHash == r.Accepted.EKHash {
				return
			}
		}
	case "no-ekcert":
		if m.in.Policy.WithoutEKCert == "refuse" && m.in.CAs != nil {
			return // of several names of a machine, another's certificate may have decided
		}
	}
	m.fail("%s is refused as %s without a reason", name, status)
}

// caOf is the CA that a host's certificate needs.
func (m *fleetModel) caOf(r *store.Record) string {
	if m.in.CAs == nil {
		return ""
	}
	for _, c := range m.certs {
		if slices.Equal(c.der, r.Accepted.EKCert) {
			return c.ca
		}
	}
	return ""
}

// checkTokens: sizes within limits, CA-checked and hash-only apart, only needed CAs, the right bot.
func (m *fleetModel) checkTokens(set *Set) {
	for _, t := range set.Tokens {
		if len(t.Rules) > m.in.Policy.MaxRules || storedBytes(t) > m.in.Policy.MaxBytes {
			m.fail("%s has %d rules and %d bytes", t.Name, len(t.Rules), storedBytes(t))
		}
		needed := map[string]bool{}
		for _, r := range t.Rules {
			ca := m.caOf(m.hosts[r.Host])
			if (ca != "") != (len(t.CAs) > 0) {
				m.fail("%s shares %s with hosts of the other kind", r.Host, t.Name)
			}
			if ca != "" {
				needed[ca] = true
			}
			if want := m.in.Policy.Match == "hash+serial"; r.EKSerial != "" && !want || want && r.EKSerial != m.hosts[r.Host].Accepted.EKSerial {
				m.fail("%s: serial %q", r.Host, r.EKSerial)
			}
			if bot, ok := m.in.BotOf[r.Host]; ok && bot.Name != t.Bot {
				m.fail("%s joins as %s, not as %s", r.Host, t.Bot, bot.Name)
			}
		}
		if !slices.Equal(slices.Sorted(maps.Keys(needed)), t.CAs) && len(needed)+len(t.CAs) > 0 {
			m.fail("%s has %d CAs and needs %d", t.Name, len(t.CAs), len(needed))
		}
	}
}

// checkMoves: assignments move only when they must.
func (m *fleetModel) checkMoves(set *Set) {
	for _, t := range set.Tokens {
		for _, r := range t.Rules {
			rec := m.hosts[r.Host]
			from := m.tokenOf(rec)
			if from == "" || from == t.Name || m.in.Rebalance {
				continue
			}
			base := strings.TrimRight(t.Name, "0123456789")
			base = strings.TrimSuffix(base, "-")
			if shardNumber(base, from) == 0 {
				continue // its bot or the kind of its check changed
			}
			i := slices.IndexFunc(set.Tokens, func(o Token) bool { return o.Name == from })
			if i < 0 {
				m.fail("%s left %s, which has no hosts now", r.Host, from)
			}
			with := set.Tokens[i]
			with.Rules = append(slices.Clone(with.Rules), r)
			if ca := m.caOf(rec); ca != "" && !slices.Contains(with.CAs, ca) {
				with.CAs = append(slices.Clone(with.CAs), ca)
			}
			if len(with.Rules) <= m.in.Policy.MaxRules && storedBytes(with) <= m.in.Policy.MaxBytes-8 {
				m.fail("%s moved from %s to %s, though there is room", r.Host, from, t.Name)
			}
		}
	}
}

// tokenOf is the token of a machine: that which one of its names has for this EK, or one that it took the EK over from, or
// else its own.
func (m *fleetModel) tokenOf(rec *store.Record) string {
	for _, own := range []bool{true, false} {
		for _, name := range slices.Sorted(maps.Keys(m.hosts)) {
			same := m.in.Machines.Name(name) == m.in.Machines.Name(rec.Host)
			if r := m.hosts[name]; same == own && r.Accepted.EKHash == rec.Accepted.EKHash && holds(*r) {
				return r.Token
			}
		}
	}
	return rec.Token
}

// checkHolders: what newcomers say takes no rule from a host that had one for its EK. Only a proof takes it over from a
// claim.
func (m *fleetModel) checkHolders(set *Set) {
	ruled := map[string]string{} // EK → the host that has the rule
	for _, t := range set.Tokens {
		for _, r := range t.Rules {
			ruled[r.EKHash] = r.Host
		}
	}
	for name, r := range m.hosts {
		if !holds(*r) || set.TokenOf(name) != "" || m.in.Policy.WithoutEKCert == "refuse" {
			continue
		}
		others := false
		for other, o := range m.hosts {
			others = others || other != name && holds(*o) && o.Accepted.EKHash == r.Accepted.EKHash
		}
		by := m.hosts[ruled[r.Accepted.EKHash]]
		proof := by != nil && by.Accepted.Proven && !r.Accepted.Proven
		if !others && !proof { // it was no other name of a machine that still has the rule
			m.fail("%s lost its rule", name)
		}
	}
}

// checkArrival: one new host changes one token by one rule, and a new token only where no other had room.
func (m *fleetModel) checkArrival(before, after *Set, host string) {
	old := map[string]Token{}
	for _, t := range before.Tokens {
		old[t.Name] = t
	}
	for _, t := range after.Tokens {
		had := old[t.Name]
		rules := slices.DeleteFunc(slices.Clone(t.Rules), func(r Rule) bool { return r.Host == host })
		if !slices.Equal(rules, had.Rules) {
			m.fail("the arrival of %s changed other rules of %s", host, t.Name)
		}
		if t.Name != after.TokenOf(host) && !slices.Equal(t.CAs, had.CAs) {
			m.fail("the arrival of %s changed the CAs of %s", host, t.Name)
		}
		delete(old, t.Name)
	}
	if len(old) > 0 {
		m.fail("the arrival of %s removed %v", host, slices.Sorted(maps.Keys(old)))
	}
}

func sameTokens(a, b *Set) bool {
	return reflect.DeepEqual(a.Tokens, b.Tokens) && reflect.DeepEqual(a.Bots, b.Bots) && maps.Equal(a.hosts, b.hosts)
}

// TestRandomFleetsAndHistories: hosts come, go, change, clone each other and leave the inventory; policies change.
func TestRandomFleetsAndHistories(t *testing.T) {
	t.Parallel()
	authorities := []*enrolltest.Authority{enrolltest.NewAuthority(t, "A"), enrolltest.NewAuthority(t, "B"), enrolltest.NewAuthority(t, "C")}
	cas := tpm.NewCASet(authorities[0].Cert, authorities[1].Cert) // C is not in the bundle
	var certs []certificate
	for i, a := range authorities {
		ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw}))
		if i == 2 {
			ca = ""
		}
		certs = append(certs, certificate{a.Leaf(t, 11, 5), "0b", ca}, certificate{a.Leaf(t, 300, -1), "01:2c", ""}) // the second has expired
	}
	histories := 40
	if n, err := strconv.Atoi(os.Getenv("FLEETCTL_TEST_HISTORIES")); err == nil {
		histories = n
	}
	for seed := range histories {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			newFleetModel(t, uint64(seed), certs, cas).live(60)
		})
	}
}

// live goes through so many steps and checks the tokens after each.
func (m *fleetModel) live(steps int) {
	before := m.plan()
	for range steps {
		arrival := m.step()
		set := m.plan()
		m.check(set)
		if again := m.plan(); !sameTokens(set, again) {
			m.fail("the same records made different tokens")
		}
		if arrival != nil {
			m.checkArrival(before, set, arrival.Host)
		}
		m.keep(set)
		if before = m.plan(); !sameTokens(before, set) {
			m.fail("a second run changed the tokens:\n%s\nthen\n%s", layout(set), layout(before))
		}
	}
}
