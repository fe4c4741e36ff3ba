package enroll

import (
	"context"
	"maps"
	"slices"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
)

// RecoverOptions of Recover.
type RecoverOptions struct {
	Out   string // the directory of the files of tokens, where tombstones are, too; "": none is read
	Clock bool   // mark runs with impossible times
	Check bool   // change nothing: the report says what would be
}

// RecoverReport is what outlived the records.
type RecoverReport struct {
	Run        int64             `json:"run"`
	Tombstones []store.Machine   `json:"tombstones"` // that the records lacked
	Tokens     []RecoveredToken  `json:"-"`          // all of ours in the cluster; documents have them one by one
	Ways       []store.Way       `json:"ways"`       // that the records lacked
	Assigned   map[string]string `json:"assigned"`   // hosts that had no token → the one that they have
	Undecided  []string          `json:"undecided"`  // hosts without a token that have a rule in several, and no join says which
	Admitted   []store.Rule      `json:"admitted"`   // of machines that were taken out; the next tokens take them out
	Impossible []store.Run       `json:"impossible"` // runs whose times cannot be
}

// RecoveredToken is a token of ours that the cluster has.
type RecoveredToken struct {
	Name      string `json:"token"`
	Marked    bool   `json:"marked"` // it has the fleet's mark; else it is only called as ours are
	Rules     int    `json:"rules"`
	Strangers int    `json:"strangers"` // rules of machines that the records don't know, which stay somebody else's
	Epoch     int64  `json:"epoch"`
	Was       int64  `json:"was"` // the epoch that the records knew; 0: none
	Cleared   bool   `json:"cleared"`
}

// Empty says whether the records lacked nothing.
func (r RecoverReport) Empty() bool {
	return len(r.Tombstones)+len(r.Ways)+len(r.Assigned)+len(r.Impossible) == 0 &&
		!slices.ContainsFunc(r.Tokens, func(t RecoveredToken) bool { return t.Cleared || t.Was < t.Epoch })
}

// Recover rebuilds, after the records were lost or an older copy of them was brought back, what can be known from elsewhere:
// who was taken out (from the file beside the tokens), which tokens machines may be configured with and which one each host
// is assigned to (from the cluster's tokens and joins), and the epochs. It adds, and takes nothing away; done again, it
// finds nothing. The error is ErrChanges when a dry run found something.
func Recover(ctx context.Context, f Fleet, opts RecoverOptions) (report RecoverReport, err error) {
	err = f.inRun(ctx, "recover", 0, func(run int64) error {
		r := &recovery{Fleet: f, opts: opts, report: RecoverReport{Run: run, Assigned: map[string]string{}}}
		if err := r.do(ctx); err != nil {
			return err
		}
		if report = r.report; opts.Check && !report.Empty() {
			return outcome.ErrChanges
		}
		return verdict(nil, r.unbound)
	})
	return report, err
}

// recovery is one Recover.
type recovery struct {
	Fleet
	opts    RecoverOptions
	report  RecoverReport
	unbound bool // it is not known whether this is the records' cluster

	out     map[string]bool // EKs that were taken out
	known   map[string]bool // EKs that a host has, or had
	hosts   map[string][]store.Record
	ways    map[store.Way]bool // by EK and token
	stored  map[string]store.Token
	found   []token.Found
	next    store.Publication
	admits  map[string][]store.Rule // EK → rules in tokens of ours
	written map[string]bool
}

func (r *recovery) do(ctx context.Context) error {
	// Records of another fleet or cluster would take in what is not theirs. That is all that is checked: nothing goes out.
	bound, err := r.bind(ctx, TokensOptions{Out: r.opts.Out, Diff: true, Check: true})
	if err != nil {
		return err
	}
	r.unbound, r.Config.Fleet = bound.unknown != nil, bound.name
	if err := r.buried(ctx); err != nil {
		return err
	}
	if r.opts.Clock {
		if err := r.clock(ctx, r.time()); err != nil {
			return err
		}
	}
	if err := r.read(ctx); err != nil {
		return err
	}
	if err := r.find(ctx); err != nil {
		return err
	}
	r.admissions()
	joins := r.joins(ctx)
	delete(joins, tctl.Unattributed)
	if err := r.joined(ctx, joins); err != nil {
		return err
	}
	r.assign(joins)
	r.epochs()
	if r.opts.Check {
		return nil
	}
	return r.write(ctx)
}

// buried takes in what the file says of machines that were taken out and that the records have no word against.
func (r *recovery) buried(ctx context.Context) (err error) {
	r.out = map[string]bool{}
	if r.report.Tombstones, err = r.lostTombstones(ctx, r.opts.Out); err != nil {
		return err
	}
	for _, m := range r.report.Tombstones {
		r.out[m.EKHash] = true
	}
	if r.opts.Check || len(r.report.Tombstones) == 0 {
		return nil
	}
	return r.Store.SetStates(ctx, "tombstone", r.report.Tombstones...)
}

// read takes in what the records know.
func (r *recovery) read(ctx context.Context) error {
	r.known, r.hosts, r.ways, r.stored = map[string]bool{}, map[string][]store.Record{}, map[store.Way]bool{}, map[string]store.Token{}
	r.written = map[string]bool{}
	for m, err := range r.Store.Machines(ctx) {
		if err != nil {
			return err
		}
		r.out[m.EKHash] = r.out[m.EKHash] || m.Out()
	}
	for rec, err := range r.Store.Records(ctx) {
		if err != nil {
			return err
		}
		if rec.Accepted != nil {
			ek := rec.Accepted.EKHash
			r.known[ek] = true
			r.hosts[ek] = append(r.hosts[ek], store.Record{Host: rec.Host, Accepted: rec.Accepted, Token: rec.Token, TokenEK: rec.TokenEK})
		}
	}
	for w, err := range r.Store.Ways(ctx) {
		if err != nil {
			return err
		}
		r.ways[store.Way{EKHash: w.EKHash, Token: w.Token}] = true
	}
	for rule, err := range r.Store.Rules(ctx) {
		if err != nil {
			return err
		}
		r.written[rule.Token+" "+rule.EKHash] = true
	}
	tokens, err := r.Store.Tokens(ctx)
	for _, t := range tokens {
		r.stored[t.Name] = t
	}
	return err
}

// find picks our tokens out of the cluster's.
func (r *recovery) find(ctx context.Context) (err error) {
	r.found, err = r.tokensOfFleet(ctx, append(slices.Collect(maps.Keys(r.stored)), r.Config.Token.Name)...)
	return err
}

// tokensOfFleet are the fleet's tokens in the cluster, whatever the records know: those with its mark, and those without one
// that have one of the names and a bot of ours. The fleet's name is settled: see nameOf.
func (f Fleet) tokensOfFleet(ctx context.Context, names ...string) ([]token.Found, error) {
	bots, err := botNames(ctx, f.Store, f.Config)
	if err != nil {
		return nil, err
	}
	all, err := f.Cluster.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	return token.FindIn(all, token.Whose{Fleet: f.Config.Fleet, Names: names, Bots: bots})
}

// admissions takes in the rules of our tokens. In a token without our mark somebody else may have written rules: there, only
// those of machines that the records know count.
func (r *recovery) admissions() {
	r.admits = map[string][]store.Rule{}
	for _, t := range r.found {
		said := RecoveredToken{Name: t.Name, Marked: t.Ours, Rules: len(t.Rules)}
		was := r.stored[t.Name]
		newer := was.Behind || t.Epoch > max(was.Epoch, was.Seen)
		for _, rule := range t.Rules {
			switch known := r.known[rule.EKHash]; {
			case r.out[rule.EKHash]:
				r.report.Admitted = append(r.report.Admitted, rule)
				continue
			case !known && !t.Ours && !r.written[rule.Token+" "+rule.EKHash]:
				said.Strangers++
				continue
			}
			r.admits[rule.EKHash] = append(r.admits[rule.EKHash], rule)
			r.way(rule.EKHash, rule.Token, newer)
			r.next.Rules = append(r.next.Rules, r.ruleOf(rule))
		}
		r.report.Tokens = append(r.report.Tokens, said)
	}
}

// ruleOf gives a rule the name that the records have for its machine.
func (r *recovery) ruleOf(rule store.Rule) store.Rule {
	hosts := r.hosts[rule.EKHash]
	if len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h store.Record) bool { return h.Host == rule.Host }) {
		rule.Host = hosts[0].Host
	}
	return rule
}

// way notes a token that a machine may be configured with, unless the records know it: newer evidence would only keep a rule
// that a join has ended. Of a token that the cluster has newer content of (newer) no join in the records says anything.
func (r *recovery) way(ek, name string, newer bool) {
	key := store.Way{EKHash: ek, Token: name}
	if r.ways[key] && !newer {
		return
	}
	r.ways[key] = true
	key.Evidence, key.Run = store.ByCluster, r.report.Run
	r.report.Ways = append(r.report.Ways, key)
}

// joined takes in which of our tokens machines have joined with, also of those that somebody deleted.
func (r *recovery) joined(ctx context.Context, joins map[string]tctl.Join) error {
	missing := r.missing(ctx)
	for _, ek := range slices.Sorted(maps.Keys(joins)) {
		name := joins[ek].Token
		if !r.known[ek] || r.out[ek] {
			continue
		}
		take := r.ours(name)
		if !take && r.called(ek, name) {
			var err error
			if take, err = missing(name); err != nil {
				return err
			}
		}
		if take {
			r.way(ek, name, false)
		}
	}
	return nil
}

// called says whether a token is called as those are that a machine has, or would have, a rule in.
func (r *recovery) called(ek, name string) bool {
	return token.CalledAlike(r.Config.Token.Name, name) ||
		slices.ContainsFunc(r.admits[ek], func(rule store.Rule) bool { return token.CalledAlike(rule.Token, name) }) ||
		slices.ContainsFunc(r.hosts[ek], func(h store.Record) bool { return token.CalledAlike(h.Token, name) })
}

func (r *recovery) ours(name string) bool {
	_, stored := r.stored[name]
	return name != "" && (stored || slices.ContainsFunc(r.found, func(t token.Found) bool { return t.Name == name }))
}

// assign gives hosts that have no token the one that they have joined with, or else the only one that has a rule of theirs.
func (r *recovery) assign(joins map[string]tctl.Join) {
	for _, ek := range slices.Sorted(maps.Keys(r.hosts)) {
		rules := r.admits[ek]
		if r.out[ek] || len(rules) == 0 {
			continue
		}
		for _, h := range r.holders(ek, rules) {
			if h.Token != "" && h.TokenEK == ek {
				continue
			}
			switch join := joins[ek].Token; {
			case slices.ContainsFunc(rules, func(rule store.Rule) bool { return rule.Token == join }):
				r.report.Assigned[h.Host] = join
			case len(rules) == 1:
				r.report.Assigned[h.Host] = rules[0].Token
			default:
				r.report.Undecided = append(r.report.Undecided, h.Host)
			}
		}
	}
	slices.Sort(r.report.Undecided)
}

// holders are the hosts of an EK that its rules can be for: all names of one machine, or of several machines that present
// it the one that a rule names.
func (r *recovery) holders(ek string, rules []store.Rule) []store.Record {
	hosts := r.hosts[ek]
	var names []string
	for _, h := range hosts {
		names = append(names, h.Host)
	}
	if len(hosts) == 1 || r.machines().Same(names) {
		return hosts
	}
	return slices.DeleteFunc(slices.Clone(hosts), func(h store.Record) bool {
		return !slices.ContainsFunc(rules, func(rule store.Rule) bool { return rule.Host == h.Host })
	})
}

// epochs takes the cluster's epochs where they are higher. From then on rules may leave the tokens again, as far as nothing
// that the cluster knows keeps them.
func (r *recovery) epochs() {
	for i, f := range r.found {
		said := &r.report.Tokens[i]
		t, known := r.stored[f.Name]
		said.Was, said.Epoch, said.Cleared = t.Epoch, max(t.Epoch, f.Epoch), t.Behind
		r.next.Epoch = max(r.next.Epoch, f.Epoch)
		if known && !t.Behind && f.Epoch <= t.Epoch && t.CAsKnown {
			continue
		}
		if !known {
			t = store.Token{Name: f.Name, Kind: f.Kind, Bot: f.Bot}
		}
		if t.Behind || f.Epoch > t.Epoch {
			t.Digest = "" // of which content that epoch is, these records don't know
		}
		t.Epoch, t.Behind, t.Write = said.Epoch, false, f.Write
		t.CAs, t.CAsKnown = f.CAs, true // machines have joined under these, whatever fleet.yaml has by now
		r.next.Tokens = append(r.next.Tokens, t)
	}
}

// write commits all at once, and then that it was seen.
func (r *recovery) write(ctx context.Context) error {
	r.next.Ways, r.next.Assign = r.report.Ways, r.report.Assigned
	if err := r.Store.Publish(ctx, r.next); err != nil {
		return err
	}
	for _, t := range r.next.Tokens {
		if t.Write != "" {
			if err := r.Store.Wrote(ctx, t.Name, t.Write); err != nil {
				return err
			}
		}
	}
	for _, f := range r.found {
		if err := r.Store.Saw(ctx, f.Name, f.Epoch, f.Rules); err != nil {
			return err
		}
	}
	return nil
}

// Runs whose times cannot be: before there was a fleetctl, or in the future by more than clocks differ.
const (
	firstPossible = 1735689600 // 2025-01-01, in seconds since 1970
	aheadPossible = time.Hour

	actionImpossible = "impossible-time"
)

// clock marks, in the journal, runs whose times cannot be. What they did stays as it is: runs are ordered by their numbers.
func (r *recovery) clock(ctx context.Context, now time.Time) error {
	marked, err := r.impossibleRuns(ctx)
	if err != nil {
		return err
	}
	runs, err := r.allRuns(ctx)
	if err != nil {
		return err
	}
	var entries []store.Entry
	for _, run := range slices.Backward(runs) {
		if marked[run.ID] || run.ID == r.report.Run || possible(run.Started, now) {
			continue
		}
		r.report.Impossible = append(r.report.Impossible, run)
		entries = append(entries, store.Entry{Run: run.ID, Action: actionImpossible,
			Why: run.Command + " began at " + run.Started.Format(time.RFC3339) + ": impossible time"})
	}
	if r.opts.Check || len(entries) == 0 {
		return nil
	}
	return r.Store.Note(ctx, entries...)
}

func possible(at, now time.Time) bool {
	return at.Unix() >= firstPossible && at.Before(now.Add(aheadPossible))
}
