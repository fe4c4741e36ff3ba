package token

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// Plan is the pure function from records, policy and earlier assignment to tokens. The same input gives the same
// bytes. Its steps: machines with one EK become one or are refused; certificates are judged as the server will;
// hosts that differ in bot or in CA check go to different tokens; within these, a host keeps the token that it has as
// long as it fits, and the others fill gaps. Rules stay in every token that their machine may be configured with, until it
// is known to have joined with the one that is planned for it; a machine that a person took out has none.
func Plan(in Input) (*Set, error) {
	p := &planner{
		in: in, bots: map[string]config.Bot{}, kinds: map[string]store.Token{}, hosts: map[string]string{},
		written: map[string][]store.Rule{}, frozen: map[string]bool{}, disputed: map[string]bool{},
		set: &Set{
			hosts: map[string]string{}, mainBot: in.Bot.Name, maxBytes: in.maxBytes(), published: in.Earlier, written: in.Published,
			rules: map[string]string{}, machineOf: map[string]string{}, named: map[string]bool{}, writes: map[string]string{},
			unassigned: map[string][]string{}, ways: map[string][]string{}, seen: map[string]map[string]bool{},
		},
	}
	p.doubt()
	p.leaveOut()
	byHost := func(a, b store.Record) int { return cmp.Compare(a.Host, b.Host) }
	p.in.Records = slices.SortedFunc(slices.Values(p.in.Records), byHost)
	for _, t := range in.Earlier {
		p.kinds[t.Name] = t
	}
	if err := p.gatherBots(); err != nil {
		return nil, err
	}
	thawed, frozen := p.split(p.machines())
	p.shard(p.judgeCertificates(thawed))
	p.freeze(frozen)
	p.retain()
	if err := p.checkNames(); err != nil {
		return nil, err
	}
	p.makeBots()
	p.date()
	slices.SortFunc(p.set.Refused, func(a, b Refusal) int { return cmp.Compare(a.Host, b.Host) })
	return p.set, p.set.lint()
}

// gatherBots finds each bot's roles; hosts that say different things of one bot are an error.
func (p *planner) gatherBots() error {
	if p.in.kind() == KindNode {
		return nil
	}
	p.bots[p.in.Bot.Name] = p.in.Bot
	var errs []error
	for _, host := range slices.Sorted(maps.Keys(p.in.BotOf)) {
		bot := p.in.BotOf[host]
		known, ok := p.bots[bot.Name]
		switch {
		case !ok:
			p.bots[bot.Name] = bot
		case !slices.Equal(slices.Sorted(slices.Values(known.Roles)), slices.Sorted(slices.Values(bot.Roles))):
			errs = append(errs, &outcome.InputError{Msg: fmt.Sprintf("%s: fleetctl_bot: bot %q has roles %v here and %v elsewhere", host,
				bot.Name, bot.Roles, known.Roles), Hint: "a bot's roles are one list; use another bot name"})
		}
	}
	for _, t := range p.in.Earlier {
		if _, ok := p.bots[t.Bot]; !ok && t.Bot != "" {
			p.bots[t.Bot] = config.Bot{Name: t.Bot} // of hosts that left the inventory: their roles are not known any more
		}
	}
	errs = append(errs, p.checkPoolNames())
	return errors.Join(errs...)
}

// botOf says whom a host joins as: what the inventory says, else what its token says, else the bot of fleet.yaml.
func (p *planner) botOf(r store.Record) string {
	if p.in.kind() == KindNode {
		return ""
	}
	if bot, ok := p.in.BotOf[r.Host]; ok {
		return bot.Name
	}
	if t, ok := p.kinds[r.Token]; ok && t.Kind == KindBot {
		return t.Bot
	}
	return p.in.Bot.Name
}

// machines makes one candidate of each machine: names that are one machine by the inventory are merged, and where
// machines present one EK only the one that holds it is let through.
func (p *planner) machines() []candidate {
	byEK := map[string][]store.Record{}
	var order []string
	for _, r := range p.in.Records {
		ek := r.Accepted.EKHash
		if byEK[ek] == nil {
			order = append(order, ek)
		}
		byEK[ek] = append(byEK[ek], r)
	}
	same := p.in.Machines.Name
	var found []candidate
	for _, ek := range order {
		if winner := p.chooseHolder(ek, byEK[ek]); winner != nil {
			found = append(found, p.candidate(winner, same))
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(a.host, b.host) })
	return found
}

// chooseHolder returns the records of the machine that keeps an EK, and refuses those of all others. A rule that one of the
// others had for it goes over to the holder, so that the EK stays in the token where it is.
func (p *planner) chooseHolder(ek string, records []store.Record) []store.Record {
	d := claim.Judge(ek, records, claim.Fleet{Machines: p.in.Machines, Listed: p.listed()})
	if !d.Open() {
		return records
	}
	p.disputed[ek] = true
	var winner []store.Record
	for _, r := range records {
		if d.Holds(r.Host) {
			winner = append(winner, r)
			continue
		}
		p.set.Refused = append(p.set.Refused, Refusal{Host: r.Host, Reason: d.Reason(r.Host)})
	}
	if len(winner) > 0 && !slices.ContainsFunc(winner, holds) {
		if had := d.Token(); had != "" {
			winner[0].Token, winner[0].TokenEK = had, ek
		}
	}
	return winner
}

// listed says which hosts are in the inventory; nil where none is known.
func (p *planner) listed() func(string) bool {
	if len(p.in.BotOf) == 0 {
		return nil
	}
	return func(host string) bool {
		_, ok := p.in.BotOf[host]
		return ok
	}
}

// holds reports whether a record's token was assigned for the very EK that is accepted now.
func holds(r store.Record) bool { return r.Token != "" && r.TokenEK == r.Accepted.EKHash }

// candidate makes one of the names of a machine, which are sorted. It goes by the name that the others refer to or,
// when that has no record with this EK, by the first. Its token is that which one of the names has for this EK.
func (p *planner) candidate(names []store.Record, same func(string) string) candidate {
	main := names[0]
	if i := slices.IndexFunc(names, func(r store.Record) bool { return r.Host == same(r.Host) }); i >= 0 {
		main = names[i]
	}
	c := candidate{host: main.Host, rec: main}
	for _, r := range names {
		c.names = append(c.names, r.Host)
		c.rec.Token = cmp.Or(c.rec.Token, r.Token)
	}
	if i := slices.IndexFunc(names, holds); i >= 0 {
		c.rec.Token = names[i].Token
	}
	c.bot = p.botOf(c.rec)
	return c
}

// judgeCertificates finds the CA of each candidate and writes its rule; a policy may refuse those without one.
func (p *planner) judgeCertificates(all []candidate) []candidate {
	reasons := make([]string, len(all))
	if p.in.CAs != nil {
		p.findIssuers(all, reasons)
	}
	var kept []candidate
	for i, c := range all {
		if reasons[i] != "" && p.in.Policy.WithoutEKCert == config.Refuse {
			for _, name := range c.names {
				p.refuse(name, outcome.NoEKCert, "%s, and token.without_ekcert is refuse", reasons[i])
			}
			continue
		}
		if reasons[i] != "" {
			p.set.Unchecked = append(p.set.Unchecked, Unchecked{Host: c.host, Reason: reasons[i]})
		}
		c.rule = Rule{Host: c.host, EKHash: c.rec.Accepted.EKHash}
		if p.in.Policy.Match == "hash+serial" {
			c.rule.EKSerial = c.rec.Accepted.EKSerial
		}
		if !c.rec.Accepted.Proven {
			p.set.Unproven = append(p.set.Unproven, c.host)
		}
		kept = append(kept, c)
	}
	describe(kept)
	return kept
}

// findIssuers finds the CA of each candidate, or the reason why it has none. Signatures are what takes the time, so the
// CA of the first certificate with an issuer is tried first for all others with the same.
func (p *planner) findIssuers(all []candidate, reasons []string) {
	certs := make([]*x509.Certificate, len(all))
	parallel(len(all), func(i int) { certs[i], reasons[i] = certificateOf(all[i].rec.Accepted) })
	likely := map[string]*x509.Certificate{}
	for _, cert := range certs {
		if cert == nil {
			continue
		}
		if _, ok := likely[issuerKey(cert)]; !ok {
			likely[issuerKey(cert)] = p.in.CAs.Issuer(cert)
		}
	}
	parallel(len(all), func(i int) {
		if certs[i] != nil {
			// A clock decides over newcomers alone: who has a rule keeps the check that it has, as long as the CA is there.
			checked := holds(all[i].rec) && len(p.kinds[all[i].rec.Token].CAs) > 0
			all[i].issuer, reasons[i] = p.issuer(certs[i], likely[issuerKey(certs[i])], p.in.Undated || checked)
		}
	})
}

func issuerKey(cert *x509.Certificate) string {
	return string(cert.RawIssuer) + string(cert.AuthorityKeyId)
}

func certificateOf(id *store.Identity) (*x509.Certificate, string) {
	if len(id.EKCert) == 0 {
		return nil, "it presents no EK certificate"
	}
	cert, err := x509.ParseCertificate(id.EKCert)
	if err != nil {
		return nil, fmt.Sprintf("its EK certificate cannot be read: %v", err)
	}
	return cert, ""
}

// issuer returns the CA certificate that the token must list for a certificate to pass the server's check, or why
// there is none.
func (p *planner) issuer(cert, likely *x509.Certificate, undated bool) (pemText, reason string) {
	verify := func(ca *x509.Certificate) error {
		if undated {
			return verifyUndated(cert, ca)
		}
		return tpm.VerifyAsTeleport(cert, []*x509.Certificate{ca}, p.in.Now)
	}
	ca := likely
	if ca == nil || verify(ca) != nil {
		if ca = p.in.CAs.Issuer(cert); ca == nil {
			return "", missingIssuer(p.in.CAs, cert)
		}
		if err := verify(ca); err != nil {
			return "", fmt.Sprintf("its EK certificate fails the server's check: %v", err)
		}
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})), ""
}

// missingIssuer says which issuer a certificate needs that the bundle doesn't have.
func missingIssuer(cas *tpm.CASet, cert *x509.Certificate) string {
	m, _ := cas.Missing(cert)
	switch {
	case m.Refused != "":
		return fmt.Sprintf("the issuer of its EK certificate (%s) is in token.ekcert_cas, but Go refuses it: %s", m.Name, m.Refused)
	case m.URL != "":
		return fmt.Sprintf("the issuer of its EK certificate (%s) is not in token.ekcert_cas; the certificate says where it is: %s",
			m.Name, m.URL)
	}
	return fmt.Sprintf("the issuer of its EK certificate (%s) is not in token.ekcert_cas", m.Name)
}

// makeBots lists the bots that tokens name.
func (p *planner) makeBots() {
	used := map[string]bool{}
	if p.in.kind() == KindBot {
		used[p.in.Bot.Name] = true
	}
	for _, t := range p.set.Tokens {
		if t.Bot != "" {
			used[t.Bot] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		p.set.Bots = append(p.set.Bots, Bot{Name: name, Roles: slices.Clone(p.bots[name].Roles)})
	}
}
