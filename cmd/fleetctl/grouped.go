package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/token"
	"fleetctl/remote"
)

// few is how many hosts have a row each, whatever became of them. Of more, only what is not well is told, each reason once.
const few = 20

// grouped says whether so many hosts are told in groups.
func (p *printer) grouped(n int) bool { return p.format == "table" && !p.wide && n > few }

// finding is one thing that is to be said of a host.
type finding struct {
	host    string
	heading string // "unreachable: connect-failed"
	code    outcome.Code
	message string
	hint    string
}

// blocks writes each kind of finding once: how many hosts have it, which, what one of them said, and what to do.
func (p *printer) blocks(findings []finding) error {
	groups := screen.Groups[string, finding]{Most: fewShapes}
	for _, f := range findings {
		groups.Add(f.heading, f.host, f.message, f)
	}
	var b strings.Builder
	for _, g := range groups.All() {
		p.block(&b, g)
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

func (p *printer) block(b *strings.Builder, g *screen.Group[string, finding]) {
	f := g.First
	other := ""
	if g.Other {
		other = ", in other words"
	}
	title := p.style.Say(remote.Escape(fmt.Sprintf("%s %s%s", screen.Count(len(g.Hosts)), f.heading, other)))
	fmt.Fprintf(b, "\n%s\n", p.style.Paint(tint(string(f.code)), title))
	p.hosts(b, "  ", g.Hosts)
	if f.message != "" {
		p.line(b, "  %s: %s", f.host, f.message)
	}
	if f.hint != "" {
		p.line(b, "  → %s", f.hint)
	}
}

// manyNames is how many names, or ranges of names, a block has.
const manyNames = 30

// hosts writes names, folded, in lines that fit.
func (p *printer) hosts(b *strings.Builder, before string, names []string) {
	text := screen.Folded(names, manyNames)
	if strings.HasSuffix(text, " more") {
		text += " (-o wide has all)"
	}
	for _, line := range screen.Wrap(remote.Escape(text), cmp.Or(p.style.Width, wrapAt)-len(before)) {
		p.line(b, "%s%s", before, line)
	}
}

// wrapAt is where lines of names end where there is no terminal.
const wrapAt = 100

// line writes one line, whatever words are in it, as long as the terminal bears it.
func (p *printer) line(b *strings.Builder, format string, args ...any) {
	text := p.style.Say(remote.Escape(fmt.Sprintf(format, args...)))
	b.WriteString(text + "\n")
}

// findingsOf are what is to be said of results: of those that are not well, and what was warned of.
func findingsOf(results []outcome.Result) (all []finding) {
	for _, r := range results {
		if r.Outcome != outcome.OK && r.Outcome != outcome.Changed {
			all = append(all, finding{r.Host, heading(string(r.Outcome), r.Code), r.Code, r.Message, r.Hint})
		}
	}
	for _, r := range results {
		for _, w := range r.Warnings {
			of := "with a warning"
			if w.Fatal {
				of = "whose tbot will not join"
			}
			all = append(all, finding{r.Host, heading(of, w.Code), w.Code, w.Message, advise(r.Host, w.Reason).Hint})
		}
	}
	return all
}

func heading(what string, code outcome.Code) string {
	if code == "" {
		return what
	}
	return what + ": " + string(code)
}

// resultsInGroups writes counts, then what is not well.
func (p *printer) resultsInGroups(results []outcome.Result, s outcome.Summary) error {
	if err := p.counts(s.Hosts, s.String()); err != nil {
		return err
	}
	return p.blocks(findingsOf(results))
}

// counts writes how many hosts there are of each kind.
func (p *printer) counts(hosts int, text string) error {
	_, err := fmt.Fprintf(p.w, "%s\n", p.style.Paint(screen.Strong, fmt.Sprintf("%s: %s", screen.Count(hosts), text)))
	return err
}

// statesInGroups writes how many hosts are in each state, then what is not healthy.
func (p *printer) statesInGroups(r enroll.StatusReport) error {
	if err := p.counts(len(r.Hosts), strings.TrimSpace(countsOf(r))); err != nil {
		return err
	}
	var all []finding
	for _, h := range r.Hosts {
		if h.State != outcome.StateHealthy {
			what := string(h.State)
			if len(h.Drift) > 0 {
				what += " (" + strings.Join(h.Drift, ", ") + ")"
			}
			f := finding{h.Host, heading(what, h.Code), cmp.Or(h.Code, h.State), h.Message, h.Hint}
			all = append(all, f)
		}
		for _, w := range h.Warnings {
			all = append(all, finding{h.Host, heading("with a warning", w.Code), w.Code, w.Message, advise(h.Host, w.Reason).Hint})
		}
	}
	return p.blocks(all)
}

// plans writes each plan once, with the hosts that have it.
func (p *printer) plans(results []outcome.Result, changed string) error {
	plans := map[string][]string{} // the plan without names → its hosts
	var order []string
	first := map[string]string{}
	for _, r := range results {
		text := p.plan(r, changed)
		if text == "" {
			continue
		}
		key := strings.ReplaceAll(text, r.Host, "\x00")
		if _, ok := plans[key]; !ok {
			order = append(order, key)
			first[key] = text
		}
		plans[key] = append(plans[key], r.Host)
	}
	var b strings.Builder
	for _, key := range order {
		names := screen.Wrap(remote.Escape(screen.Folded(plans[key], manyNames))+":", cmp.Or(p.style.Width, wrapAt))
		count := ""
		if len(plans[key]) > 1 {
			count = screen.Count(len(plans[key])) + ", "
		}
		names[0] = count + names[0]
		b.WriteString("\n" + p.style.Say(strings.Join(names, "\n")) + "\n" + first[key])
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// clusterChanges says in a line what would change in the cluster.
func (p *printer) clusterChanges(d *token.Diff) error {
	if d == nil {
		_, err := io.WriteString(p.w, "\n")
		return err
	}
	var all []string
	for _, c := range d.Bots {
		if c.Action != token.ActionNone {
			all = append(all, fmt.Sprintf("bot %s: %s", c.Name, c.Action))
		}
	}
	for _, c := range d.Tokens {
		if c.Action != token.ActionNone {
			all = append(all, fmt.Sprintf("token %s: %s, %d rules come, %d go", c.Name, c.Action, len(c.Added),
				len(c.Removed)+len(c.Pruned)))
		}
	}
	if len(all) == 0 {
		all = []string{"as it should be"}
	}
	if more := len(all) - manyNames; more > 0 {
		all = append(all[:manyNames], fmt.Sprintf("and %d more", more))
	}
	var b strings.Builder
	p.line(&b, "cluster: %s", strings.Join(all, "; "))
	_, err := io.WriteString(p.w, "\n"+b.String())
	return err
}

// planned says what a dry run has found, in a sentence.
func (p *printer) planned(results []outcome.Result) error {
	count := func(outcomes ...outcome.Outcome) (n int) {
		for _, r := range results {
			if slices.Contains(outcomes, r.Outcome) {
				n++
			}
		}
		return n
	}
	changed, same := count(outcome.Changed), count(outcome.OK)
	_, err := fmt.Fprintf(p.w, "%s\n", p.style.Paint(screen.Strong, fmt.Sprintf("Plan: %s to change, %d as they are, %d not possible.",
		screen.Count(changed), same, len(results)-changed-same)))
	return err
}
