package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"strings"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll"
	"fleetctl/enroll/token"
)

// tokensView is the view of tokens: the difference to the cluster where it was compared, else the tokens.
type tokensView struct{ printer *printer }

func (v tokensView) Report(r enroll.TokensReport) error {
	switch {
	case r.Diff != nil:
		return v.printer.tokenDiff(*r.Diff)
	case r.Set != nil:
		return v.printer.tokens(r.Set)
	}
	return nil
}

// tokenRow is a token as "fleetctl tokens" shows it.
type tokenRow struct {
	Token string `json:"token"`
	Kind  string `json:"kind"` // bot or node
	Bot   string `json:"bot,omitempty"`
	Hosts int    `json:"hosts"` // how many have a rule in it
	CAs   int    `json:"cas"`   // how many certificates of EK CAs it has
}

// tokensHead is what else there is to say of tokens.
type tokensHead struct {
	Refused  []token.Refusal   `json:"refused"`  // hosts that get no rule
	Assigned map[string]string `json:"assigned"` // host → token
}

// tokens lists the tokens of a set.
func (p *printer) tokens(set *token.Set) error {
	rows := make([]tokenRow, len(set.Tokens))
	for i, t := range set.Tokens {
		rows[i] = tokenRow{t.Name, t.Kind, t.Bot, len(t.Rules), len(t.CAs)}
	}
	refused := set.Refused
	if refused == nil {
		refused = []token.Refusal{}
	}
	head := tokensHead{refused, set.Assignment()}
	return write(p, tokensShape, head, []string{"TOKEN", "KIND", "BOT", "HOSTS", "CAS"}, rows, func(r tokenRow) []string {
		return []string{r.Token, r.Kind, r.Bot, fmt.Sprint(r.Hosts), fmt.Sprint(r.CAs)}
	})
}

// tokenChangesHead is what differs beside tokens.
type tokenChangesHead struct {
	Bots []token.BotChange `json:"bots"`
}

// tokenDiff writes a difference: as text, or as one document.
func (p *printer) tokenDiff(d token.Diff) error {
	if p.tabular() {
		most := few
		if p.wide {
			most = math.MaxInt
		}
		return writeTokenDiff(p.w, d, most)
	}
	return write(p, tokenChangesShape, tokenChangesHead{d.Bots}, nil, d.Tokens, nil)
}

// writeTokenDiff writes a difference for people: "+" comes, "-" goes, "~" changes, "?" is not ours and stays. What is as
// it should be is not mentioned. Hosts have a line each as long as there are no more of them than most.
func writeTokenDiff(w io.Writer, d token.Diff, most int) error {
	out := bufio.NewWriter(w)
	say := func(format string, args ...any) { _ = writeLine(out, format, args...) } // Flush has the error
	for _, c := range d.Bots {
		writeBotChange(say, c)
	}
	for _, c := range d.Tokens {
		writeTokenChange(say, c, most)
	}
	return out.Flush()
}

func writeHosts(say func(string, ...any), mark string, hosts []string, most int) {
	if len(hosts) > most {
		hosts = []string{screen.Count(len(hosts)) + ": " + screen.Folded(hosts, manyNames)}
	}
	for _, host := range hosts {
		say("  %s %s", mark, host)
	}
}

// writeChanged writes what changes in rules, of many the same once.
func writeChanged(say func(string, ...any), changed []token.RuleChange, most int) {
	if len(changed) <= most {
		for _, r := range changed {
			say("  ~ %s: %s", r.Host, r.What)
		}
		return
	}
	groups := screen.Groups[string, string]{Most: fewShapes}
	for _, r := range changed {
		groups.Add("", r.Host, r.What, r.What)
	}
	for _, g := range groups.All() {
		say("  ~ %s: %s: %s", screen.Count(len(g.Hosts)), screen.Folded(g.Hosts, manyNames), g.First)
	}
}

// writeForeign writes rules that we did not write.
func writeForeign(say func(string, ...any), format string, rules []token.ForeignRule, most int) {
	for _, f := range rules[:min(most, len(rules))] {
		say(format, f)
	}
	if more := len(rules) - most; more > 0 {
		say("    and %d more like these", more)
	}
}

func writeBotChange(say func(string, ...any), c token.BotChange) {
	switch c.Action {
	case token.ActionCreate:
		say("bot %s: create with roles %s", c.Name, strings.Join(c.Want, ", "))
	case token.ActionUpdate:
		say("bot %s: has roles %s, not %s (they stay, unless --overwrite-roles is given)", c.Name,
			cmp.Or(strings.Join(c.Have, ", "), "none"), strings.Join(c.Want, ", "))
	}
}

func writeTokenChange(say func(string, ...any), c token.Change, most int) {
	if c.Refused != nil {
		say("token %s: stays as it is: %s (%s)", c.Name, c.Refused.Reason, c.Refused.Hint)
		return
	}
	if c.Action == token.ActionNone && len(c.Foreign) == 0 {
		return
	}
	word := map[token.Action]string{token.ActionNone: "unchanged"}[c.Action]
	say("token %s: %s", c.Name, cmp.Or(word, string(c.Action)))
	for _, f := range c.Fields {
		say("  ~ %s: %s → %s", f.Field, cmp.Or(f.Have, "nothing"), cmp.Or(f.Want, "nothing"))
	}
	writeHosts(say, "+", c.Added, most)
	writeHosts(say, "-", c.Removed, most)
	writeChanged(say, c.Changed, most)
	writeForeign(say, "  - %s (fleetctl did not write it)", c.Pruned, most)
	writeForeign(say, "  ? %s: fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)", c.Foreign, most)
}
