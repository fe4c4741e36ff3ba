package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

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

// tokens lists the tokens of a set.
func (p *printer) tokens(set *token.Set) error {
	type row struct {
		Name  string `json:"name"`
		Kind  string `json:"kind"`
		Bot   string `json:"bot,omitempty"`
		Hosts int    `json:"hosts"`
		CAs   int    `json:"cas"`
	}
	rows := make([]row, len(set.Tokens))
	for i, t := range set.Tokens {
		rows[i] = row{t.Name, t.Kind, t.Bot, len(t.Rules), len(t.CAs)}
	}
	refused := set.Refused
	if refused == nil {
		refused = []token.Refusal{}
	}
	return p.write([]string{"TOKEN", "KIND", "BOT", "HOSTS", "CAS"}, len(rows), func(i int) (any, []string) {
		r := rows[i]
		return r, []string{r.Name, r.Kind, r.Bot, fmt.Sprint(r.Hosts), fmt.Sprint(r.CAs)}
	}, func() any {
		return struct {
			Tokens  []row             `json:"tokens"`
			Refused []token.Refusal   `json:"refused"`
			Hosts   map[string]string `json:"hosts"`
		}{rows, refused, set.Assignment()}
	})
}

// tokenDiff writes a difference: as text, or as one document.
func (p *printer) tokenDiff(d token.Diff) error {
	if p.format == "table" || p.format == "csv" {
		return writeTokenDiff(p.w, d)
	}
	return p.write(nil, len(d.Tokens), func(i int) (any, []string) { return d.Tokens[i], nil }, func() any { return d })
}

// writeTokenDiff writes a difference for people: "+" comes, "-" goes, "~" changes, "?" is not ours and stays. What is as
// it should be is not mentioned.
func writeTokenDiff(w io.Writer, d token.Diff) error {
	out := bufio.NewWriter(w)
	say := func(format string, args ...any) { _ = writeLine(out, format, args...) } // Flush has the error
	for _, c := range d.Bots {
		writeBotChange(say, c)
	}
	for _, c := range d.Tokens {
		writeTokenChange(say, c)
	}
	return out.Flush()
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

func writeTokenChange(say func(string, ...any), c token.Change) {
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
	for _, host := range c.Added {
		say("  + %s", host)
	}
	for _, host := range c.Removed {
		say("  - %s", host)
	}
	for _, r := range c.Changed {
		say("  ~ %s: %s", r.Host, r.What)
	}
	for _, f := range c.Pruned {
		say("  - %s (fleetctl did not write it)", f)
	}
	for _, f := range c.Foreign {
		say("  ? %s: fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)", f)
	}
}
