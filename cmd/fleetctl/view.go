package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/token"
	"fleetctl/remote"
)

// view prints what a use case reports: for people as a table, for programs as one document (json, yaml) or a row a host
// (jsonl, csv). Each command has one.
type view[R any] interface {
	Report(R) error
}

// show prints a report and ends the command as the use case ended. A use case that was ended early reports what it has,
// or nothing. A verdict on results that could not be printed helps nobody: then the exit code says that.
func show[R any](v view[R], report R, err error) error {
	unsaid := v.Report(report)
	if unsaid != nil && (errors.Is(err, outcome.ErrHostsFailed) || errors.Is(err, outcome.ErrChanges)) {
		return unsaid
	}
	return errors.Join(unsaid, err)
}

// resultsView is the view of a scan and of an import.
type resultsView struct {
	app     *app
	printer *printer
}

func (v resultsView) Report(r enroll.HostsReport) error {
	v.app.rest()
	if r.Results == nil || len(r.Results) == 0 && v.printer.tabular() { // a document says that there are none
		return nil
	}
	err := v.printer.results(adviseAll(r.Results), r.Summary())
	v.app.recap(r.Summary().String(), r.Summary().Err() == nil)
	return err
}

// recap says how a run ended, in numbers; of one that ended well only where nobody asked for quiet.
func (a *app) recap(text string, well bool) {
	if k := a.watching.Load(); k == nil || !k.quiet || !well {
		a.say("%s", text)
	}
}

// results writes the results of a run over hosts: one document with the recap as JSON or YAML, a row a host else.
func (p *printer) results(results []outcome.Result, s outcome.Summary) error {
	if p.grouped(len(results)) {
		return p.resultsInGroups(results, s)
	}
	return p.document(results, s, nil)
}

// hostsHead is what a document of results has beside them.
type hostsHead struct {
	Recap   outcome.Summary `json:"recap"`
	Cluster *token.Diff     `json:"cluster,omitempty"` // what would change there, where somebody looked
}

// document is results with a recap, and with what changes in the cluster where somebody looked; or rows of them.
func (p *printer) document(results []outcome.Result, s outcome.Summary, cluster *token.Diff) error {
	results, err := untold(p.lines, hostsShape.line, results, func(r outcome.Result) string { return r.Host })
	if err != nil {
		return err
	}
	header := []string{"HOST", "OUTCOME", "STATUS", "EK PUBLIC HASH", "EKCERT SERIAL", "PROVEN", "MESSAGE"}
	return write(p, hostsShape, hostsHead{s, cluster}, header, results, func(r outcome.Result) []string {
		return []string{r.Host, string(r.Outcome), string(r.Code), r.EKHash, r.Serial, strconv.FormatBool(r.Proven),
			remark(r.Message, r.Warnings)}
	})
}

// remark is a message, or else what was warned of.
func remark(message string, warnings []outcome.Warning) string {
	if message != "" {
		return message
	}
	var all []string
	for _, w := range warnings {
		all = append(all, w.Message)
	}
	return strings.Join(all, "; ")
}

// changesView is the view of enroll and of remove: with steps, the plan of every host stands below the table.
type changesView struct {
	app     *app
	printer *printer
	steps   bool
	check   bool        // they are what would be done
	cluster *token.Diff // what would change there; nil: nobody looked
	mark    string      // before what changes; "": "+"
}

func (v changesView) Report(r enroll.HostsReport) error {
	v.app.rest()
	if r.Results == nil || len(r.Results) == 0 && v.printer.tabular() { // a document says that there are none
		return nil
	}
	results := adviseAll(r.Results)
	err := v.print(results, r.Summary())
	v.app.recap(r.Summary().String(), r.Summary().Err() == nil)
	return err
}

func (v changesView) print(results []outcome.Result, s outcome.Summary) error {
	p := v.printer
	if !p.tabular() {
		return p.document(results, s, v.cluster)
	}
	err := p.changes(results, s)
	if err != nil || !v.steps || p.format == "csv" {
		return err
	}
	if err := p.plans(results, cmp.Or(v.mark, "+")); err != nil || !v.check {
		return err
	}
	if err := p.clusterChanges(v.cluster); err != nil {
		return err
	}
	return p.planned(results)
}

// changes writes a row a host, or what many come to.
func (p *printer) changes(results []outcome.Result, s outcome.Summary) error {
	if p.grouped(len(results)) {
		return p.resultsInGroups(results, s)
	}
	header := []string{"HOST", "OUTCOME", "STATUS", "CHANGES", "MESSAGE"}
	return p.table(header, len(results), func(i int) []string {
		r := results[i]
		return []string{r.Host, string(r.Outcome), string(r.Code), changesOf(r), remark(r.Message, r.Warnings)}
	})
}

// changesOf names the steps that change something, or says how many they are.
func changesOf(r outcome.Result) string {
	var names []string
	for _, s := range r.Steps {
		if s.Changed {
			names = append(names, s.Step)
		}
	}
	if len(names) > 4 {
		return fmt.Sprintf("%d of %d steps", len(names), len(r.Steps))
	}
	return strings.Join(names, ", ")
}

// plan is a host's plan: changed ("+", or "-" where things go) is done or would be, "=" is as it should be. "": it has none.
func (p *printer) plan(r outcome.Result, changed string) string {
	var b strings.Builder
	for _, s := range r.Steps {
		mark, color := "=", screen.Calm
		if s.Changed {
			mark, color = changed, screen.News
		}
		b.WriteString(p.style.Paint(color, p.style.Say(remote.Escape(fmt.Sprintf("  %s %s: %s", mark, s.Step, s.Reason)))) + "\n")
		for line := range strings.Lines(s.Diff) {
			p.line(&b, "      %s", strings.TrimSuffix(line, "\n"))
		}
	}
	for _, l := range r.Log {
		p.line(&b, "  journal: %s", l)
	}
	return b.String()
}

// statusView is the view of status.
type statusView struct {
	app     *app
	printer *printer
}

func (v statusView) Report(r enroll.StatusReport) error {
	if r.Hosts == nil {
		return nil
	}
	for i, h := range r.Hosts {
		r.Hosts[i] = advised(h)
	}
	err := v.printer.status(r)
	v.app.recap(strings.TrimSpace(countsOf(r)), r.Counts[outcome.StateHealthy]+r.Counts[outcome.StateExpected] == len(r.Hosts))
	return err
}

// advised is how a host is, with what to do about it.
func advised(h enroll.HostStatus) enroll.HostStatus {
	if h.Code != "" {
		h.Reason = advise(h.Host, h.Reason)
	} else {
		h.Hint = advise(h.Host, outcome.Reason{Code: h.State, Hint: h.Hint}).Hint
	}
	return h
}

func countsOf(r enroll.StatusReport) string {
	var b strings.Builder
	for _, state := range enroll.HostStates() {
		if n := r.Counts[state]; n > 0 || state == outcome.StateHealthy {
			fmt.Fprintf(&b, "%s=%d ", state, n)
		}
	}
	if n := len(r.Strange); n > 0 {
		fmt.Fprintf(&b, "joined-but-not-in-the-inventory=%d", n)
	}
	return b.String()
}

// status writes a row a host, or what many come to, and the strange joins below.
func (p *printer) status(r enroll.StatusReport) error {
	if err := p.states(r); err != nil || p.format != "table" {
		return err
	}
	return p.strangers(r)
}

func (p *printer) states(r enroll.StatusReport) error {
	if p.grouped(len(r.Hosts)) {
		return p.statesInGroups(r)
	}
	header := []string{"HOST", "STATE", "TBOT", "TOKEN", "SERVICE", "JOINED", "DRIFT", "MESSAGE"}
	hosts, err := untold(p.lines, statusShape.line, r.Hosts, func(h enroll.HostStatus) string { return h.Host })
	if err != nil {
		return err
	}
	return write(p, statusShape, r, header, hosts, func(h enroll.HostStatus) []string {
		joined := ""
		if h.Joined != nil {
			joined = shortTime(*h.Joined)
		}
		return []string{h.Host, string(h.State), h.Tbot, h.Token, h.Service, joined, strings.Join(h.Drift, ", "),
			remark(h.Message, h.Warnings)}
	})
}

// strangers writes which joins are of no host of the inventory, and whose rules somebody should look at.
func (p *printer) strangers(r enroll.StatusReport) (err error) {
	for _, s := range r.Strange {
		whose := "no host of the records"
		if s.Host != "" {
			whose = "host " + s.Host + " of the records, which the inventory doesn't have"
		}
		if err := writeLine(p.w, "joined but not in the inventory: EK %s, bot %s, %s, calls itself %q: %s",
			s.EKHash, s.Bot, shortTime(s.At), s.Hostname, whose); err != nil {
			return err
		}
	}
	if len(r.Rules) > 0 {
		err = writeLine(p.w, "%s", openRulesText(r.Rules))
	}
	return err
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// viewOf makes the parts that all views have.
func (a *app) viewOf(c *cli.Context) (resultsView, error) {
	p, err := a.printer(c)
	return resultsView{app: a, printer: p}, err
}

func joinNames(names []string) string { return strings.Join(names, ", ") }

// recoverView is the view of records recover.
type recoverView struct {
	app     *app
	printer *printer
	check   bool
}

func (v recoverView) Report(r enroll.RecoverReport) error {
	if r.Run == 0 {
		return nil
	}
	header := []string{"TOKEN", "MARKED", "RULES", "STRANGERS", "EPOCH", "WAS"}
	err := write(v.printer, recoveryShape, r, header, r.Tokens, func(t enroll.RecoveredToken) []string {
		return []string{t.Name, strconv.FormatBool(t.Marked), strconv.Itoa(t.Rules), strconv.Itoa(t.Strangers),
			strconv.FormatInt(t.Epoch, 10), strconv.FormatInt(t.Was, 10)}
	})
	v.sayRecovered(r)
	return err
}

// sayRecovered says in words what was found.
func (v recoverView) sayRecovered(r enroll.RecoverReport) {
	did := "recovered"
	if v.check {
		did = "would recover"
	}
	for _, m := range r.Tombstones {
		v.app.say("%s that %s was %s (EK %s)", did, m.Host, m.State, m.EKHash)
	}
	for _, rule := range r.Admitted {
		v.app.say("alarm: token %s has a rule for EK %s (%s), which was taken out: \"fleetctl tokens --apply\" takes it out of the cluster",
			rule.Token, rule.EKHash, rule.Host)
	}
	for _, t := range r.Tokens {
		if t.Strangers > 0 {
			v.app.say("token %s has no mark of fleetctl, and %d rules of machines that the records don't know: scan the hosts first",
				t.Name, t.Strangers)
		}
	}
	for _, host := range r.Undecided {
		v.app.say("%s has rules in several tokens, and no join says which it is configured with: all of them stay", host)
	}
	for _, run := range r.Impossible {
		v.app.say("run %d (%s) began at an impossible time: %s", run.ID, run.Command, shortTime(run.Started))
	}
	v.app.say("%s %d removals, %d tokens that machines may be configured with, %d assignments",
		did, len(r.Tombstones), len(r.Ways), len(r.Assigned))
}
