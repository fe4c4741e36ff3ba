package enroll

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/inventory"
)

// RemoveOptions of Remove.
type RemoveOptions struct {
	Names   []string // hosts as inventory or records have them, one by one; or patterns, groups, @files of the inventory
	Resume  bool     // the hosts whose removal did not come to its end, in place of names
	Offline bool     // no host is contacted: what enroll made there waits for a later run
	Check   bool     // change nothing: the results say what would be done
	Diff    bool     // results hold diffs of file contents
	Lock    bool     // end the credentials that were issued at once
	Out     string   // the directory of the tokens' files

	Yes      bool // it is confirmed; where patterns chose machines, Removals has to say how many
	Removals int  // how many machines the patterns choose
	// Ask asks a person; nil: there is nobody to ask.
	Ask func(context.Context, RemovalQuestion) (bool, error)
}

// Remove takes machines out, under all of their names: their EKs are marked as removed before anything else, so that no
// run gives them a rule back; then the rules leave the cluster, and all of its tokens are read to see that none admits
// them; then what enroll put on the hosts goes. After that the records forget the hosts, and keep what was left to do on
// those that could not be reached. The error is ErrInput for a name that nobody knows and for what nobody confirmed,
// ErrHostsFailed when a host did not do well or a machine may still be admitted, ErrChanges in a dry run.
func Remove(ctx context.Context, f Fleet, opts RemoveOptions) (HostsReport, error) {
	r := &removal{Fleet: f, opts: opts}
	if err := r.choose(ctx); err != nil {
		return HostsReport{}, err
	}
	if len(r.leaving) == 0 {
		r.Watcher.Note(NothingLeft{Command: "remove"})
		return nobody(), nil
	}
	bound, err := r.belongs(ctx, TokensOptions{Out: opts.Out, Apply: true})
	if err != nil {
		return HostsReport{}, err
	}
	r.unbound, r.Config.Fleet = bound.unknown != nil, bound.name
	if err := r.show(ctx); err != nil {
		return HostsReport{}, err
	}
	if opts.Check {
		return r.check(ctx)
	}
	if err := r.confirm(ctx); err != nil {
		return HostsReport{}, err
	}
	var report HostsReport
	err = r.inRun(ctx, "remove", len(r.leaving), func(run int64) (err error) {
		report, err = r.do(ctx, run)
		return err
	})
	return report, err
}

// removal is one run of Remove.
type removal struct {
	Fleet
	opts    RemoveOptions
	leaving []*leaving // by name
	unbound bool       // it is not known whether this is the records' cluster
}

// leaving is a name that goes. Names of one machine go together.
type leaving struct {
	name   string
	host   *inventory.Host // how it is reached; nil: nobody knows
	listed bool            // the inventory has it
	known  bool            // the records have it
	rec    store.Record
	eks    []store.Machine // its EK, and one that waits for acceptance and is nobody else's
	chosen bool            // by a pattern: nobody named it
	with   string          // the name whose EK it presents, too; "": it was named or chosen itself
	alias  bool            // the inventory says that it is another name of with
	visit  string          // the name that is contacted for its machine; "": none is
}

// check says what would be done, and does nothing.
func (r *removal) check(ctx context.Context) (report HostsReport, err error) {
	if !r.opts.Offline {
		if report, err = r.hostsAway(ctx, 0); err != nil {
			return report, err
		}
	}
	return report, fmt.Errorf("%d hosts to remove: %w", len(r.leaving), outcome.ErrChanges)
}

// do removes the rules, then what is on the hosts. Nothing behind the tombstones gives a machine anything back.
func (r *removal) do(ctx context.Context, run int64) (report HostsReport, err error) {
	joins := r.joins(ctx)
	s := &settlement{Fleet: r.Fleet, run: run, opts: TokensOptions{Out: r.opts.Out, Only: r.names()}}
	if err := s.tombstones(ctx); err != nil { // a file that can't be read is heard of before anything is done
		return HostsReport{}, err
	}
	if err := r.bury(ctx); err != nil {
		return HostsReport{}, err
	}
	if err := r.remember(ctx, run); err != nil {
		return HostsReport{}, err
	}
	if err := s.learn(ctx); err != nil { // nothing of what the cluster knows better is lost beside those that go
		return HostsReport{}, err
	}
	stale, err := r.tokens(ctx)
	if err != nil {
		return HostsReport{}, err
	}
	open, err := r.readBack(ctx)
	if err != nil {
		return HostsReport{}, err
	}
	open += stale
	open += r.end(ctx, joins)
	if !r.opts.Offline {
		report, err = r.hostsAway(ctx, run)
	}
	report.Run = run
	err = errors.Join(err, r.conclude(ctx, run, report.Results))
	if err == nil && r.unbound {
		err = errUnbound
	}
	if open > 0 && (err == nil || errors.Is(err, outcome.ErrHostsFailed)) {
		err = outcome.Mark(fmt.Errorf("%d things about removed machines are open", open), outcome.ErrHostsFailed)
	}
	return report, err
}

// bury marks the EKs as removed, in one commit, and takes the hosts' tokens away. Those that are removed already keep by
// whom and why.
func (r *removal) bury(ctx context.Context) error {
	var machines []store.Machine
	for _, m := range r.machines() {
		if m.State == store.Removed {
			continue
		}
		machines = append(machines, store.Machine{EKHash: m.EKHash, State: store.Removed, Host: m.Host, EKSerial: m.EKSerial})
	}
	if len(machines) > 0 {
		if err := r.Store.SetStates(ctx, "remove", machines...); err != nil {
			return err
		}
	}
	none := map[string]string{}
	for _, l := range r.leaving {
		if l.known {
			none[l.name] = ""
		}
	}
	return r.Store.Assign(ctx, none)
}

// machines are the EKs that go.
func (r *removal) machines() []store.Machine { return machinesOf(r.leaving) }

// machinesOf are the EKs of names, each once, by the first name that has it.
func machinesOf(names []*leaving) []store.Machine {
	var all []store.Machine
	for _, l := range names {
		for _, m := range l.eks {
			if !slices.ContainsFunc(all, func(o store.Machine) bool { return o.EKHash == m.EKHash }) {
				all = append(all, m)
			}
		}
	}
	return all
}

// show notes what goes: of every host, and of the tokens. A cluster that does not answer ends the removal here.
func (r *removal) show(ctx context.Context) error {
	r.Watcher.Note(HostsLeave{Hosts: r.described()})
	view := buried{Store: r.Store, machines: r.machines()}
	set, err := token.Make(ctx, view, r.Config, token.Options{Inventory: r.Inventory, Only: r.names()})
	if err != nil {
		return err
	}
	d, err := set.Diff(ctx, *r.Cluster, token.DiffOptions{})
	if err != nil {
		return err
	}
	r.Watcher.Note(ClusterDiffers{Diff: d})
	return nil
}

// tokens takes the rules out of the files and of the cluster, and leaves those of others equal: what a policy would change
// besides is for a run that shows it. Files that know machines which the records don't stay as they
// are: whoever applied new ones would lock those out. The cluster loses the rules all the same.
func (r *removal) tokens(ctx context.Context) (stale int, err error) {
	set, err := (&settlement{Fleet: r.Fleet, opts: TokensOptions{Only: r.names()}}).make(ctx)
	if err != nil {
		return 0, err
	}
	_, err = r.files(ctx, set, TokensOptions{Out: r.opts.Out, Format: token.FormatTctl})
	switch {
	case errors.Is(err, token.ErrRemovals):
		r.Watcher.Note(FilesKept{Dir: r.opts.Out, Err: err})
		stale = 1
	case err != nil:
		return 0, err
	}
	if _, err := r.apply(ctx, set, token.ApplyOptions{Store: r.Store, SkipRefused: true}); err != nil {
		return stale, outcome.WithHint(fmt.Errorf("the rules may still be in the cluster: %w", err),
			"the next run that applies the tokens takes them out")
	}
	return stale, nil
}

// credentials says how long what was issued lives on, and which bot instances the hosts have.
func (r *removal) credentials(joins map[string]tctl.Join) CredentialsLive {
	live := CredentialsLive{TTL: string(r.Config.Tbot.CredentialTTL), Bot: r.Config.Bot.Name}
	ttl := r.Config.Tbot.CredentialTTL.Value()
	if ttl == 0 {
		ttl = defaultTTL
	}
	for _, m := range r.machines() {
		if j, ok := joins[m.EKHash]; ok && j.Instance != "" {
			live.Instances = append(live.Instances, HostInstance{Host: m.Host, Instance: j.Instance, Until: j.At.Add(ttl)})
		}
	}
	return live
}

// names are the names that go.
func (r *removal) names() []string {
	all := []string{}
	for _, l := range r.leaving {
		all = append(all, l.name)
	}
	return all
}

// buried is a view of the records in which machines are removed already.
type buried struct {
	store.Store
	machines []store.Machine
}

// Machines has the state of those that go.
func (b buried) Machines(ctx context.Context) iter.Seq2[store.Machine, error] {
	return func(yield func(store.Machine, error) bool) {
		rest := slices.Clone(b.machines)
		for m, err := range b.Store.Machines(ctx) {
			i := slices.IndexFunc(rest, func(o store.Machine) bool { return o.EKHash == m.EKHash })
			if err == nil && i >= 0 {
				m.State = store.Removed
				rest = slices.Delete(rest, i, i+1)
			}
			if !yield(m, err) {
				return
			}
		}
		for _, m := range rest {
			m.State = store.Removed
			if !yield(m, nil) {
				return
			}
		}
	}
}
