package enroll

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/enroll/versions"
)

// TokensOptions of Tokens. Without any of them, files are written and nothing else is done.
type TokensOptions struct {
	Out       string // the directory of the files
	Format    string // of the files: token.FormatTctl, …
	Diff      bool   // compare with the cluster
	Apply     bool   // bring the cluster to what differs
	Check     bool   // write nothing
	Adopt     bool   // take over rules in the cluster that fleetctl did not write
	Prune     bool   // take them out of the cluster
	Roles     bool   // give a bot that exists the roles of fleet.yaml
	Rebalance bool   // spread hosts over tokens anew

	AcceptPolicy  bool            // the policy of fleet.yaml is meant, though it is not what was confirmed last
	AllowRemovals int             // so many machines may lose their last rule, when it is just that number
	Contract      []string        // hosts that are configured with their planned token alone, by a person's word
	Applied       int64           // the files of this epoch have been applied by somebody else; 0: nobody says so
	Only          []string        // hosts whose rules may change; nil: all
	Proposal      *token.Proposal // what a person has seen before: something else is not applied
	Publish       bool            // somebody else installs: whoever gets a token may be configured with it from now on
}

// asks says whether the cluster is asked.
func (o TokensOptions) asks() bool { return o.Diff || o.Apply || o.Adopt }

// check says which options exclude each other.
func (o TokensOptions) check() error {
	bad := func(msg string) error { return &outcome.InputError{Msg: msg} }
	switch {
	case o.Adopt && o.Prune:
		return bad("to adopt and to prune rules exclude each other")
	case o.Proposal != nil && !o.Apply:
		return bad("a plan is there to be applied")
	case o.Check && o.Apply:
		return bad("a dry run applies nothing")
	case o.Check && o.Adopt:
		return bad("a dry run adopts nothing: adopting changes the records")
	case o.Prune && !o.Diff && !o.Apply:
		return bad("rules are pruned in the cluster: say whether to show the difference or to apply it")
	}
	return nil
}

// TokensReport is what the records make of a fleet, and what came of it.
type TokensReport struct {
	Set     *token.Set
	Diff    *token.Diff // of the cluster, where it was compared: before anything was applied
	Applied []string    // what was changed in the cluster
}

// Tokens makes bot and tokens of the records, and writes, compares or applies them. The error is ErrChanges when a dry
// run found changes, ErrHostsFailed when hosts with an identity got no rule, ErrInput when the options contradict each
// other.
func Tokens(ctx context.Context, f Fleet, opts TokensOptions) (report TokensReport, err error) {
	if err := opts.check(); err != nil {
		return report, err
	}
	if f, err = f.withClock(ctx); err != nil {
		return report, err
	}
	err = f.inRun(ctx, "tokens", len(f.Inventory), func(run int64) error {
		report, err = f.tokens(ctx, run, opts)
		return err
	})
	return report, err
}

func (f Fleet) tokens(ctx context.Context, run int64, opts TokensOptions) (report TokensReport, err error) {
	opts.Publish = true
	s, err := f.settle(ctx, run, opts)
	if err != nil {
		return report, err
	}
	if report.Set, err = s.make(ctx); err != nil {
		return report, err
	}
	if opts.Adopt {
		if err := f.adopt(ctx, run, report.Set); err != nil {
			return report, err
		}
		s.adopted = true
		if report.Set, err = s.make(ctx); err != nil {
			return report, err
		}
	}
	if opts.Adopt && !opts.Apply && !opts.Diff { // what was taken over was seen: the token is ours from now on
		d, err := report.Set.Diff(ctx, *f.Cluster, token.DiffOptions{})
		if err == nil {
			err = report.Set.Saw(ctx, f.Store, d)
		}
		if err != nil {
			return report, err
		}
	}
	f.noteTokens(report.Set)
	if err := f.noteOpenRules(ctx); err != nil {
		return report, err
	}
	if opts.Applied > 0 {
		if err := report.Set.Declare(ctx, f.Store, opts.Applied); err != nil {
			return report, err
		}
	}
	differ, err := f.files(ctx, report.Set, opts)
	if err != nil {
		return report, err
	}
	if err := f.compare(ctx, opts, &report); err != nil {
		return report, err
	}
	switch {
	case len(differ) > 0:
		return report, fmt.Errorf("%d files: %w", len(differ), outcome.ErrChanges)
	case len(report.Set.Refused) > 0:
		return report, outcome.Mark(
			fmt.Errorf("%d hosts with an identity got no rule", len(report.Set.Refused)), outcome.ErrHostsFailed)
	case report.Diff == nil:
		return report, verdict(s.alarms, s.unbound)
	case report.Diff.Refusals() != nil:
		return report, errAlarm
	}
	return report, verdict(slices.Concat(s.alarms, report.Diff.Alarms()), s.unbound)
}

// noteTokens notes what the records make of the fleet, and what is kept besides.
func (f Fleet) noteTokens(set *token.Set) {
	f.Watcher.Note(TokensMade{Set: set})
	f.noteKept(set)
}

// noteKept notes which rules stay for a while, and which machines keep a token's CAs as they are.
func (f Fleet) noteKept(set *token.Set) {
	if kept := set.Kept(); len(kept) > 0 {
		f.Watcher.Note(RulesKept{Kept: kept})
	}
	for _, t := range set.Tokens {
		if len(t.Held) > 0 {
			f.Watcher.Note(CAsHeld{Token: t.Name, By: t.Held})
		}
	}
	if behind := set.Behind(); len(behind) > 0 {
		f.Watcher.Note(RecordsOld{Tokens: behind})
	}
}

// files writes the files, or says in a dry run which of them would change. Who was taken out is written first. Who looks at the
// cluster alone writes none.
func (f Fleet) files(ctx context.Context, set *token.Set, opts TokensOptions) (differ []string, err error) {
	if opts.Diff && !opts.Apply {
		return nil, nil
	}
	if opts.Check {
		differ, err := f.differingFiles(ctx, set, opts)
		for _, name := range differ {
			f.Watcher.Note(FileDiffers{Path: filepath.Join(opts.Out, name)})
		}
		return differ, err
	}
	if err := f.writeTombstones(ctx, opts.Out); err != nil {
		return nil, err
	}
	if err := set.CheckFiles(opts.Out, opts.Format, f.applyOptions(opts)); err != nil {
		return nil, err
	}
	changed, err := set.WriteAs(opts.Out, opts.Format)
	for _, name := range changed {
		f.Watcher.Note(FileWritten{Path: filepath.Join(opts.Out, name)})
	}
	if err == nil && len(changed) > 0 && opts.Publish && !opts.Apply && set.Expands() {
		f.Watcher.Note(HalfWay{})
	}
	return nil, err
}

// compare asks the cluster, and applies what differs.
func (f Fleet) compare(ctx context.Context, opts TokensOptions, report *TokensReport) error {
	switch {
	case opts.Apply:
		done, err := f.apply(ctx, report.Set, f.applyOptions(opts))
		report.Diff, report.Applied = &done.Diff, done.Changed
		if err == nil && len(done.Changed) == 0 {
			f.Watcher.Note(ClusterAsItShouldBe{Applying: true})
		}
		return err
	case opts.Diff:
		d, err := report.Set.Diff(ctx, *f.Cluster, token.DiffOptions{Prune: opts.Prune})
		if err != nil {
			return err
		}
		report.Diff = &d
		f.noteAlarms(d)
		// Also in a dry run: this is no plan, it is what the cluster has. From then on hosts may be configured with it.
		if err := report.Set.Saw(ctx, f.Store, d); err != nil {
			return err
		}
		if d.Empty(opts.Roles) {
			f.Watcher.Note(ClusterAsItShouldBe{})
		} else if opts.Check {
			return fmt.Errorf("the cluster: %w", outcome.ErrChanges)
		}
	}
	return nil
}

func (f Fleet) applyOptions(opts TokensOptions) token.ApplyOptions {
	return token.ApplyOptions{Prune: opts.Prune, Roles: opts.Roles, Store: f.Store, Proposal: opts.Proposal,
		MaxRemovals: f.Config.Token.MaxRemovals, AllowRemovals: opts.AllowRemovals}
}

// apply brings the cluster to what the set says, and notes what was done, however far it came.
func (f Fleet) apply(ctx context.Context, set *token.Set, opts token.ApplyOptions) (token.Applied, error) {
	done, err := set.Apply(ctx, *f.Cluster, opts)
	f.noteAlarms(done.Diff)
	for _, what := range done.Changed {
		f.Watcher.Note(Applied{What: what})
	}
	for _, bot := range done.Kept {
		f.Watcher.Note(RolesKept{Bot: bot})
	}
	return done, err
}

// joins asks the cluster who joined; nil when it cannot be asked, which is said of one that should be able to tell.
func (f Fleet) joins(ctx context.Context) map[string]tctl.Join {
	if f.Cluster == nil {
		return nil
	}
	joins, err := f.askJoins(ctx)
	if err == nil {
		return joins
	}
	text, _ := f.Cluster.ClusterVersion(ctx)
	if v, _ := versions.Parse(text); versions.Has(versions.BotInstance, v) != versions.No {
		f.Watcher.Note(ClusterSilent{About: AboutJoins, Err: err})
	}
	return nil
}

// askJoins asks the cluster for the latest join of every TPM, as a bot of ours.
func (f Fleet) askJoins(ctx context.Context) (map[string]tctl.Join, error) {
	bots, err := botNames(ctx, f.Store, f.Config)
	if err != nil {
		return nil, err
	}
	return f.Cluster.Joins(ctx, bots...)
}
