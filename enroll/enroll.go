package enroll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
)

// EnrollOptions of Enroll.
type EnrollOptions struct {
	Ask         scan.Ask
	Out         string // the directory of bot's and tokens' files
	Check       bool   // change nothing on hosts and in the cluster: the results say what would be done
	Diff        bool   // results hold diffs of file contents
	Prune       bool   // take rules that somebody else wrote out of the tokens
	TokensOnly  bool   // stop after the bot and the tokens
	InstallOnly bool   // no scan and no tokens: hosts that have a rule already
	Adopt       bool   // replace a configuration or a unit that somebody else wrote
	Strict      bool   // what tbot would ignore in its services is an error
	NoRollback  bool   // leave changed files as they are when a host fails
	Resume      bool   // go on with the last enroll: only hosts that it did not finish

	AcceptPolicy  bool // the policy of fleet.yaml is meant, though it is not what was confirmed last
	AllowRemovals int  // so many machines may lose their last rule, when it is just that number

	JoinTimeout time.Duration // how long a tbot may take to join; 0: 90 s
}

// EnrollReport is how an enroll ended. Results are in the order of the hosts; a host that no stage got to has none.
type EnrollReport struct {
	HostsReport
	ClusterDiffers bool        // a dry run found bot or tokens to change
	Cluster        *token.Diff // of a dry run: what would change there; nil: nobody looked
}

// Enroll does all of it: it scans the chosen hosts, makes bot and tokens and applies them, and makes every host that
// nothing has refused what fleet.yaml, the inventory and its token say, in a rollout. What is wrong with the
// configuration is found before any host is contacted (ErrInput). The error is ErrHostsFailed when a host did not do
// well, ErrChanges when a dry run found something to do, context.Canceled when it was stopped, else of what ended it
// early; there is no report then.
func Enroll(ctx context.Context, f Fleet, opts EnrollOptions) (EnrollReport, error) {
	if opts.TokensOnly && opts.InstallOnly {
		return EnrollReport{}, &outcome.InputError{Msg: "tokens alone and hosts alone exclude each other"}
	}
	if err := check(f); err != nil {
		return EnrollReport{}, err
	}
	if warnings := host.Warnings(f.Hosts, f.Config); opts.Strict && len(warnings) > 0 {
		return EnrollReport{}, host.Strict(warnings)
	} else if len(warnings) > 0 {
		f.Watcher.Note(TbotIgnores{Warnings: warnings})
	}
	if opts.InstallOnly && f.Config.Cluster.Verify != config.VerifyNone {
		f.Config.Cluster.Verify = config.VerifyHost // whoever installs alone has no tctl, or not the right to ask it
	}
	f, err := f.withClock(ctx)
	if err != nil {
		return EnrollReport{}, err
	}
	e := &enrollment{Fleet: f, opts: opts, results: map[string]outcome.Result{}}
	if err := e.narrow(ctx); err != nil {
		return EnrollReport{}, err
	}
	if len(e.Hosts) == 0 {
		e.Watcher.Note(NothingLeft{Command: "enroll"})
		return EnrollReport{HostsReport: nobody()}, nil
	}
	err = e.do(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		return EnrollReport{}, err
	}
	report := e.report()
	return report, e.verdict(report, err)
}

// enrollment is one run of Enroll.
type enrollment struct {
	Fleet
	opts    EnrollOptions
	run     int64 // of the records; 0 until it began, unless it resumes one
	changes bool  // of bot or tokens, in a dry run
	results map[string]outcome.Result
	tokenOf func(host string) string
	alarms  []token.Alarm // of the cluster's tokens
	diff    *token.Diff   // what a dry run would change in the cluster; nil: nobody looked
	unbound bool          // it is not known whether this is the records' cluster
}

// do goes through the stages: scan, tokens, hosts. A host that a stage refuses takes no part in the next one.
func (e *enrollment) do(ctx context.Context) error {
	reach, closeAll, err := e.reach(ctx, e.Hosts)
	if err != nil {
		return err
	}
	defer closeAll()
	if !e.opts.InstallOnly {
		scanned, err := e.scan(ctx, reach, e.Hosts, 0, ScanOptions{Ask: e.opts.Ask, Out: e.opts.Out})
		for _, r := range scanned.Results { // also when it was stopped: the report says how far it came
			e.results[r.Host] = r
		}
		if err != nil {
			return err
		}
	}
	stages := func(run int64) error {
		e.run = run
		if err := e.tokens(ctx); err != nil || e.opts.TokensOnly {
			return err
		}
		if err := e.rollOut(ctx, reach); err != nil {
			return err
		}
		if e.only() == nil && !e.opts.Check && e.well() {
			if _, err := e.resumeRemovals(ctx, run, reach); err != nil {
				return err
			}
		}
		return e.contract(ctx)
	}
	if e.run != 0 {
		return e.resumeRun(ctx, e.run, stages)
	}
	return e.overHosts(ctx, "enroll", e.Hosts, stages)
}

// narrow leaves only hosts that the last enroll did not finish, when it is gone on with.
func (e *enrollment) narrow(ctx context.Context) error {
	if !e.opts.Resume {
		return nil
	}
	stopped, err := e.stoppedInItsScan(ctx)
	if err != nil || stopped {
		return err
	}
	last, err := e.lastRun(ctx, "enroll")
	if err != nil {
		return err
	}
	e.run = last.ID
	earlier, err := e.chosen(ctx, e.run)
	if err != nil {
		return err
	}
	var rest []inventory.Host
	for _, h := range earlier {
		rec, err := e.record(ctx, h.Name)
		if err != nil {
			return err
		}
		if in := rec.Installed; in == nil || in.Run != e.run || in.State != "" || e.waitsForItsJoin(in) {
			rest = append(rest, h)
		}
	}
	e.Hosts = rest
	return nil
}

// stoppedInItsScan says whether the last enroll came no further than its scan, or whether a scan of its own did not come to its
// end since: no host of it was enrolled, and all that are chosen now are taken.
func (e *enrollment) stoppedInItsScan(ctx context.Context) (bool, error) {
	runs, err := e.Store.Runs(ctx, 1000)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(runs, func(r store.Run) bool { return r.Command == "enroll" || r.Command == "scan" })
	return i >= 0 && runs[i].Command == "scan" && runs[i].State != store.StateDone, nil
}

// waitsForItsJoin says whether a host that is through was to be verified, and is not.
func (e *enrollment) waitsForItsJoin(in *store.Installed) bool {
	return e.Config.Cluster.Verify != config.VerifyNone && in.JoinedRun < in.ChangedRun
}

// tokens derives the bot and the tokens from the records and applies them. From then on tokenOf says which token each
// host joins with.
func (e *enrollment) tokens(ctx context.Context) error {
	opts := TokensOptions{
		Check: e.opts.Check || e.opts.InstallOnly, Diff: true, Apply: !e.opts.Check && !e.opts.InstallOnly, Out: e.opts.Out,
		Format: token.FormatTctl, Prune: e.opts.Prune, AcceptPolicy: e.opts.AcceptPolicy || e.opts.InstallOnly,
		AllowRemovals: e.opts.AllowRemovals, Publish: e.opts.TokensOnly, Only: e.only(),
	}
	s, err := e.settle(ctx, e.run, opts)
	if err != nil {
		return err
	}
	e.unbound = s.unbound
	set, err := s.make(ctx)
	if err != nil {
		return err
	}
	e.refuse(set.Refused)
	e.leaveOut(set.Out)
	if err := e.noteOpenRules(ctx); err != nil {
		return err
	}
	e.tokenOf = set.TokenOf
	switch {
	case e.opts.InstallOnly:
		e.tokenOf = func(name string) string { return e.recordedToken(ctx, name) }
		return e.onlySeen(ctx, set)
	case e.opts.Check:
		e.compareTokens(ctx, set)
		return nil
	}
	e.noteKept(set)
	if _, err := e.files(ctx, set, opts); err != nil {
		return err
	}
	done, err := e.apply(ctx, set, e.applyOptions(opts))
	e.alarms = slices.Concat(s.alarms, done.Diff.Alarms())
	return err
}

// well says whether no host has failed so far. What an earlier removal left to do waits for such a run: after a failed canary
// nothing else is changed.
func (e *enrollment) well() bool {
	for _, r := range e.results {
		if r.Bad() || r.Code == outcome.NotStarted {
			return false
		}
	}
	return true
}

// only names the chosen hosts where they are not the whole inventory: the rules of the others stay as they are.
func (e *enrollment) only() []string {
	if len(e.Hosts) == len(e.Inventory) {
		return nil
	}
	return names(e.Hosts)
}

// onlySeen leaves out hosts whose rule nobody has seen in the cluster, and those that presented another EK in the latest scan
// than the rule is for: their tbot would be refused.
func (e *enrollment) onlySeen(ctx context.Context, set *token.Set) error {
	if e.Cluster != nil {
		d, err := set.Diff(ctx, *e.Cluster, token.DiffOptions{})
		if err != nil {
			return err
		}
		e.alarms = d.Alarms()
		e.noteAlarms(d)
		if err := set.Saw(ctx, e.Store, d); err != nil {
			return err
		}
	}
	for _, h := range e.Hosts {
		if _, done := e.results[h.Name]; done || e.tokenOf(h.Name) == "" {
			continue
		}
		rec, err := e.record(ctx, h.Name)
		switch {
		case err != nil:
			return err
		case rec.Pending != nil && rec.Accepted != nil:
			e.results[h.Name] = outcome.Judge(outcome.Result{Host: h.Name, EKHash: rec.Pending.EKHash},
				store.Verdict{Changed: true, Old: rec.Accepted.EKHash})
		case presentsRemoved(rec):
			ek := rec.Last.Identity.EKHash
			e.results[h.Name] = outcome.Result{Host: h.Name, Outcome: outcome.Failed, EKHash: ek, Reason: outcome.Reason{
				Code: outcome.RemovedEK, Message: "in the latest scan it presented an EK that was taken out: its tbot would be refused",
				Hint: "scan it again; if that machine shall be let in: fleetctl records readmit " + ek[:12],
			}}
		case !set.SeenIn(h.Name, e.tokenOf(h.Name)):
			e.results[h.Name] = outcome.Result{Host: h.Name, Outcome: outcome.Failed, Reason: outcome.Because(outcome.RuleNotSeen,
				"nobody has seen its rule in token "+e.tokenOf(h.Name)+" of the cluster")}
		}
	}
	return nil
}

// presentsRemoved says whether the latest scan has met another EK on a host than its own, which somebody took out.
func presentsRemoved(rec store.Record) bool {
	return rec.Last != nil && rec.Last.Status == string(outcome.RemovedEK) && rec.Last.Identity != nil && rec.Accepted != nil &&
		rec.Last.Identity.EKHash != rec.Accepted.EKHash
}

// compareTokens notes what would change in the cluster. When it can't be asked, the hosts' plans are worth having all
// the same.
func (e *enrollment) compareTokens(ctx context.Context, set *token.Set) {
	if e.Cluster == nil {
		return
	}
	d, err := set.Diff(ctx, *e.Cluster, token.DiffOptions{Prune: e.opts.Prune})
	if err != nil {
		e.Watcher.Note(ClusterSilent{About: AboutTokens, Err: err})
		return
	}
	e.changes, e.alarms, e.diff = !d.Empty(false), d.Alarms(), &d
	e.noteAlarms(d)
	e.Watcher.Note(ClusterDiffers{Diff: d})
}

// selected are the names of the chosen hosts.
func (e *enrollment) selected() map[string]bool {
	selected := map[string]bool{}
	for _, h := range e.Hosts {
		selected[h.Name] = true
	}
	return selected
}

// refuse notes chosen hosts that get no rule.
func (e *enrollment) refuse(refused []token.Refusal) {
	selected := e.selected()
	for _, r := range refused {
		if selected[r.Host] && e.results[r.Host].Outcome != outcome.Failed {
			e.results[r.Host] = outcome.Result{Host: r.Host, Outcome: outcome.Failed, Reason: r.Reason}
		}
	}
}

// leaveOut skips chosen hosts whose machine a person took out.
func (e *enrollment) leaveOut(out []token.Refusal) {
	selected := e.selected()
	for _, r := range out {
		if res, ok := e.results[r.Host]; selected[r.Host] && (!ok || res.Outcome == outcome.OK) {
			e.results[r.Host] = outcome.Result{Host: r.Host, Outcome: outcome.Skipped, Reason: r.Reason}
		}
	}
}

// rollOut does the hosts that nothing has refused so far.
func (e *enrollment) rollOut(ctx context.Context, reach work.Reach) error {
	e.leaveAlone()
	var hosts []inventory.Host
	for _, h := range e.Hosts {
		if r, ok := e.results[h.Name]; !ok || r.Outcome == outcome.OK {
			hosts = append(hosts, h)
		}
	}
	crew, err := e.newCrew(e.tokenOf)
	if err != nil {
		return err
	}
	defer crew.close()
	crew.adopt, crew.showDiff = e.opts.Adopt, e.opts.Diff
	if err := crew.prepare(ctx, hosts); err != nil {
		return err
	}
	crew.at(e.run, reach)
	in := &installation{crew: crew, check: e.opts.Check, noRollback: e.opts.NoRollback,
		verifying: host.VerifyOptions{Limit: e.opts.JoinTimeout}}
	results, err := in.rollOut(ctx, hosts)
	for _, r := range results {
		seen := e.results[r.Host]
		r.EKHash, r.Serial, r.Proven = seen.EKHash, seen.Serial, seen.Proven
		r.Warnings = append(seen.Warnings, r.Warnings...)
		e.results[r.Host] = r
	}
	return err
}

// rollOut takes hosts in the order and at the pace of fleet.yaml. The results are in the order of hosts.
func (e *installation) rollOut(ctx context.Context, hosts []inventory.Host) ([]outcome.Result, error) {
	groups := make([][]string, len(hosts))
	for i := range hosts {
		groups[i] = hosts[i].Groups
	}
	order := inOrder(groups, e.Config.Rollout.Order)
	results := make([]outcome.Result, len(hosts))
	report := e.now.Reporter()
	end := func(i int, r outcome.Result) {
		results[order[i]] = r
		report(r)
	}
	var before troubles
	r := rollout{
		pace: newPace(e.Config.Rollout, e.reachHosts.Forks, len(hosts)), n: len(hosts),
		run: func(ctx context.Context, i int, change bool) deed {
			res, did := e.oneName(e.now.Telling(ctx, hosts[order[i]].Name), hosts[order[i]], &before, change)
			if did.deferred {
				return did
			}
			res = e.expected(hosts[order[i]], res)
			end(i, res)
			did.ok = !res.Bad()
			return did
		},
		told:    e.now.OnPace,
		machine: func(i int) string { return e.now.Machines.Name(hosts[order[i]].Name) },
		skip:    func(i int, why string) { end(i, notStarted(hosts[order[i]].Name, why)) },
	}
	if err := e.askVersion(ctx); err != nil {
		e.Watcher.Note(ClusterSilent{About: AboutVersion, Err: err})
	}
	e.verify = e.verifies(e.version)
	e.Watcher.Begin(StageEnroll, len(hosts))
	defer e.Watcher.End()
	if e.check { // looking needs no canary
		r.pace, r.told = pace{workers: r.workers, batch: max(1, len(hosts)), budget: len(hosts)}, nil
		r.do(ctx)
		return results, context.Cause(ctx)
	}
	if err := e.beforeRun(ctx, hosts); err != nil {
		return nil, err
	}
	if e.verify == config.VerifyFull {
		e.joins = &confirmation{crew: e.crew}
		e.joins.begin(ctx)
	}
	r.do(ctx)
	if r.left > 0 && r.stopped != whyInterrupted {
		e.Watcher.Note(RolloutStopped{Why: r.stopped, Left: r.left})
	}
	if e.joins != nil {
		e.joins.end(ctx, results)
	}
	if by := evidence(results); len(by) > 0 {
		e.Watcher.Note(JoinsVerified{By: by})
	}
	e.afterRun(ctx, hosts, results)
	return results, context.Cause(ctx)
}

// report gathers the results in the order of the hosts.
func (e *enrollment) report() EnrollReport {
	r := EnrollReport{HostsReport: HostsReport{Run: e.run}, ClusterDiffers: e.changes, Cluster: e.diff}
	for _, h := range e.Hosts {
		if res, ok := e.results[h.Name]; ok {
			r.Results = append(r.Results, res)
		}
	}
	return r
}

// verdict says how the run ended as a whole; err is what ended it early.
func (e *enrollment) verdict(r EnrollReport, err error) error {
	s, alarmed := r.Summary(), verdict(e.alarms, e.unbound)
	switch {
	case err != nil:
		return err
	case s.Counts[outcome.Canceled] > 0:
		return context.Canceled
	case s.Err() != nil:
		return s.Err()
	case alarmed != nil:
		return alarmed
	case e.opts.Check && (e.changes || s.Counts[outcome.Changed] > 0):
		return fmt.Errorf("%d of %d hosts: %w", s.Counts[outcome.Changed], s.Hosts, outcome.ErrChanges)
	}
	return nil
}
