package enroll

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/inventory"
)

// RemoveOptions of Remove.
type RemoveOptions struct {
	Names   []string // of hosts, as the inventory or the records have them
	Offline bool     // the hosts are lost: only the rules and the records
	Check   bool     // change nothing: the results say what would be done
	Diff    bool     // results hold diffs of file contents
	Out     string   // the directory of the tokens' files
}

// Remove takes hosts out: first the records forget them, so that no later run gives them a rule back, then the rules
// leave the cluster, then what enroll put on the hosts goes. The error is ErrInput for a name that nobody knows,
// ErrHostsFailed when a host did not do well, ErrChanges in a dry run.
func Remove(ctx context.Context, f Fleet, opts RemoveOptions) (HostsReport, error) {
	r := &removal{Fleet: f, opts: opts, installed: map[string]store.Installed{}}
	r.opts.Names = slices.Compact(slices.Sorted(slices.Values(opts.Names)))
	if err := r.choose(ctx); err != nil {
		return HostsReport{}, err
	}
	if opts.Check {
		return r.check(ctx)
	}
	var report HostsReport
	err := r.inRun(ctx, "remove", len(r.opts.Names), func(run int64) (err error) {
		report, err = r.do(ctx, run)
		return err
	})
	return report, err
}

// removal is one run of Remove.
type removal struct {
	Fleet
	opts      RemoveOptions
	known     []string                   // those of the names that the records have
	installed map[string]store.Installed // by host: what enroll made there
}

// choose finds the hosts in the inventory and in the records. One that is in neither is a mistake; one that only the
// records have can be removed without its host alone.
func (r *removal) choose(ctx context.Context) error {
	if len(r.opts.Names) == 0 {
		return &outcome.InputError{Msg: "which hosts? Name them, as the inventory does"}
	}
	r.Hosts = nil
	for _, name := range r.opts.Names {
		rec, err := r.Store.Record(ctx, name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil {
			r.known = append(r.known, name)
			if rec.Installed != nil {
				r.installed[name] = *rec.Installed
			}
		}
		i := slices.IndexFunc(r.Inventory, func(h inventory.Host) bool { return h.Name == name })
		switch {
		case i >= 0:
			r.Hosts = append(r.Hosts, r.Inventory[i])
		case err != nil:
			return &outcome.InputError{Msg: name + " is neither in the inventory nor in the records"}
		case !r.opts.Offline:
			return &outcome.InputError{Msg: name + " is not in the inventory, only in the records",
				Hint: "its rule and its record can be removed without contacting it"}
		}
	}
	return nil
}

// check says what would be done, and does nothing.
func (r *removal) check(ctx context.Context) (report HostsReport, err error) {
	if err := r.showDiff(ctx); err != nil {
		return report, err
	}
	if !r.opts.Offline {
		if report, err = r.hostsAway(ctx, 0); err != nil {
			return report, err
		}
	}
	return report, fmt.Errorf("%d hosts to remove: %w", len(r.opts.Names), outcome.ErrChanges)
}

// do removes the rules, then what is on the hosts.
func (r *removal) do(ctx context.Context, run int64) (report HostsReport, err error) {
	if err := r.showDiff(ctx); err != nil {
		return HostsReport{}, err
	}
	credentials := r.credentials(ctx, r.joins(ctx))
	if len(r.known) > 0 {
		if err := r.Store.Forget(ctx, r.known...); err != nil {
			return HostsReport{}, err
		}
	}
	if !r.opts.Offline {
		if err := r.remember(ctx, run); err != nil {
			return HostsReport{}, err
		}
		defer func() { err = errors.Join(err, r.conclude(ctx, run, report.Results)) }()
	}
	if err := r.tokens(ctx); err != nil {
		return HostsReport{}, err
	}
	r.Watcher.Note(credentials)
	if r.opts.Offline {
		for _, name := range r.opts.Names {
			r.Watcher.Note(RuleGone{Host: name})
		}
		return HostsReport{Run: run}, nil
	}
	return r.hostsAway(ctx, run)
}

// remember keeps in the records what enroll made on hosts, without an identity, until it has been taken away: whatever
// becomes of the controller, the next removal finds it.
func (r *removal) remember(ctx context.Context, run int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, name := range r.tracked() {
		open := outcome.Result{Host: name, Outcome: outcome.Canceled, Reason: outcome.Reason{Message: "not started"}}
		if err := r.observe(ctx, run, open); err != nil {
			return err
		}
		in := r.installed[name]
		in.Run, in.State, in.Step = run, stateRemoving, "removal"
		if err := r.Store.SetInstalled(ctx, name, &in); err != nil {
			return err
		}
	}
	return nil
}

// tracked are the hosts on which enroll made something.
func (r *removal) tracked() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r.installed)) {
		if r.installed[name].Made != nil {
			names = append(names, name)
		}
	}
	return names
}

// conclude forgets the hosts whose removal came to its end, and notes of the others how far it came.
func (r *removal) conclude(ctx context.Context, run int64, results []outcome.Result) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	tracked := r.tracked()
	var gone []string
	var errs []error
	for _, res := range results {
		switch {
		case !slices.Contains(tracked, res.Host):
		case res.Bad() || res.Outcome == outcome.Canceled:
			errs = append(errs, r.observe(ctx, run, res))
		default:
			gone = append(gone, res.Host)
		}
	}
	if len(gone) > 0 {
		errs = append(errs, r.Store.Forget(ctx, gone...))
	}
	return errors.Join(errs...)
}

func (r *removal) observe(ctx context.Context, run int64, res outcome.Result) error {
	_, err := r.Store.Put(ctx, store.Observation{
		Host: res.Host, Run: run, At: time.Now().UTC(), Outcome: string(res.Outcome), Status: string(res.Code), Message: res.Message,
	})
	return err
}

// showDiff notes what changes in the cluster when the hosts go.
func (r *removal) showDiff(ctx context.Context) error {
	set, err := token.Make(ctx, withoutHosts(r.Store, r.opts.Names...), r.Config, token.Options{Inventory: r.Inventory})
	if err != nil {
		return err
	}
	if err := r.admitted(ctx, set); err != nil {
		return err
	}
	d, err := set.Diff(ctx, *r.Cluster, token.DiffOptions{})
	if err != nil {
		return err
	}
	r.Watcher.Note(ClusterDiffers{Diff: d})
	return nil
}

// admitted is an error where the tokens without the hosts would admit one of their EKs all the same, since another host
// presents it, too: another name of the machine, its name before it was renamed, or a clone.
func (r *removal) admitted(ctx context.Context, set *token.Set) error {
	holders := map[string]string{}
	for _, t := range set.Tokens {
		for _, rule := range t.Rules {
			holders[rule.EKHash] = rule.Host
		}
	}
	var errs []error
	for _, name := range r.known {
		if holder := holders[r.acceptedHash(ctx, name)]; holder != "" {
			errs = append(errs, &outcome.InputError{
				Msg: fmt.Sprintf("%s presents the EK of %s, too, and would have a rule for it: its machine would still be admitted",
					holder, name),
				Hint: fmt.Sprintf("remove both: fleetctl remove %s %s; or, when %s is but another name, forget that record alone: "+
					"fleetctl records forget %s", name, holder, name, name),
			})
		}
	}
	return errors.Join(errs...)
}

// tokens takes the rules out of the files and of the cluster.
func (r *removal) tokens(ctx context.Context) error {
	set, err := (&settlement{Fleet: r.Fleet}).make(ctx)
	if err != nil {
		return err
	}
	if _, err := r.files(ctx, set, TokensOptions{Out: r.opts.Out, Format: token.FormatTctl}); err != nil {
		return err
	}
	if _, err := r.apply(ctx, set, token.ApplyOptions{Store: r.Store}); err != nil {
		return outcome.WithHint(fmt.Errorf("the rules may still be in the cluster: %w", err),
			"the next run that applies the tokens takes them out")
	}
	return nil
}

// hostsAway takes what enroll put on the hosts away.
func (r *removal) hostsAway(ctx context.Context, run int64) (HostsReport, error) {
	crew, err := r.newCrew(func(string) string { return "" })
	if err != nil {
		return HostsReport{}, err
	}
	defer crew.close()
	crew.showDiff = r.opts.Diff
	reach, closeAll, err := r.reach(ctx, r.Hosts)
	if err != nil {
		return HostsReport{}, err
	}
	defer closeAll()
	crew.at(run, reach)
	r.Watcher.Begin(StageRemove, len(r.Hosts))
	results := crew.now.Hosts(ctx, reach, r.Hosts, func(ctx context.Context, h inventory.Host) outcome.Result {
		return crew.remove(ctx, h, host.ParseMade(r.installed[h.Name].Made), r.opts.Check)
	})
	r.Watcher.End()
	report := HostsReport{Run: run, Results: results}
	if err := context.Cause(ctx); err != nil {
		return report, err
	}
	return report, report.Summary().Err()
}

// remove takes what enroll made away from one host.
func (c *crew) remove(ctx context.Context, h inventory.Host, made []host.Thing, check bool) outcome.Result {
	if ctx.Err() != nil {
		return notStarted(h.Name, whyInterrupted)
	}
	d, err := c.desired(h)
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	v, err := c.visit(ctx, h, d)
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	defer v.close()
	steps := host.PlanRemoval(v.facts, v.desired, made)
	if bad := steps.Problems(); len(bad) > 0 {
		return refused(h.Name, bad)
	}
	r := outcome.Result{Host: h.Name, Outcome: outcome.OK, Steps: c.stepResults(steps)}
	if steps.Changes() {
		r.Outcome = outcome.Changed
	}
	if check {
		return r
	}
	if _, err := host.Apply(ctx, v.conn, steps, host.ApplyOptions{}); err != nil {
		r = outcome.Failure(ctx, h, err)
		if r.Code == outcome.General {
			r.Reason = outcome.Because(outcome.StepFailed, r.Message)
		}
	}
	return r
}

// credentials says how long what was issued lives on, and which bot instances the hosts have.
func (r *removal) credentials(ctx context.Context, joins map[string]tctl.Join) CredentialsLive {
	live := CredentialsLive{TTL: string(r.Config.Tbot.CredentialTTL), Bot: r.Config.Bot.Name}
	for _, name := range r.opts.Names {
		if j, ok := joins[r.acceptedHash(ctx, name)]; ok && j.Instance != "" {
			live.Instances = append(live.Instances, HostInstance{Host: name, Instance: j.Instance})
		}
	}
	return live
}

// withoutHosts is a view of the records in which hosts are not there: tokens that are made of it have no rule for them.
func withoutHosts(st store.Store, hosts ...string) store.Store {
	return without{Store: st, hosts: hosts}
}

type without struct {
	store.Store
	hosts []string
}

// Record finds no hidden host.
func (w without) Record(ctx context.Context, host string) (store.Record, error) {
	if slices.Contains(w.hosts, host) {
		return store.Record{}, fmt.Errorf("%s: %w", host, store.ErrNotFound)
	}
	return w.Store.Record(ctx, host)
}

// Records leaves hidden hosts out.
func (w without) Records(ctx context.Context) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for r, err := range w.Store.Records(ctx) {
			if err == nil && slices.Contains(w.hosts, r.Host) {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
