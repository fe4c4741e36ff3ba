package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
)

// settlement makes tokens in one run, after everything that could speak against it was heard.
type settlement struct {
	Fleet
	run     int64
	opts    TokensOptions
	adopted bool          // rules of others in our tokens were taken over in this run
	unbound bool          // it is not known whether this is the records' cluster
	alarms  []token.Alarm // that were over when the records had learned
	known   map[string]tctl.Join
	asked   bool // for known: see latest
}

// settle prepares making tokens: it checks what the records belong to and that the policy is meant, takes in tombstones that
// outlived the records, and learns from the cluster what it knows better. Nothing goes to files or to the cluster.
func (f Fleet) settle(ctx context.Context, run int64, opts TokensOptions) (*settlement, error) {
	s := &settlement{Fleet: f, run: run, opts: opts}
	bound, err := f.bind(ctx, opts)
	if err != nil {
		return nil, err
	}
	s.unbound, s.Config.Fleet = bound.unknown != nil, bound.name
	if err := s.tombstones(ctx); err != nil {
		return nil, err
	}
	if f.Cluster == nil || !opts.asks() {
		return s, s.checkFiles(ctx)
	}
	if opts.Check {
		return s, nil
	}
	if err := s.learn(ctx); err != nil {
		return nil, err
	}
	if !opts.Publish { // who installs sees the joins
		return s, nil
	}
	return s, s.joined(ctx)
}

// ErrNewerFiles are files of tokens that records made which are lost, or newer than these: whoever applied what these make of
// it would lock machines out.
var ErrNewerFiles = errors.New("the files know more than the records")

// checkFiles refuses to make files without a look at the cluster where those that are there know more than the records.
func (s *settlement) checkFiles(ctx context.Context) error {
	known, err := s.Store.Tokens(ctx)
	if err != nil || s.opts.Out == "" {
		return err
	}
	newer, err := token.NewerFiles(s.opts.Out, known)
	if err != nil || len(newer) == 0 {
		return err
	}
	return outcome.Mark(&outcome.InputError{Msg: fmt.Sprintf("%s: the records don't know the tokens of %s as they are there: they were "+
		"lost, or an older copy was brought back; nothing was changed", s.opts.Out, strings.Join(newer, ", "))}, ErrNewerFiles)
}

// make computes the tokens of everything that the records hold and, unless it is a dry run, notes them.
func (s *settlement) make(ctx context.Context) (*token.Set, error) {
	opts := s.options()
	if len(opts.Contract) > 0 { // before anything of it is noted
		set, err := token.Make(ctx, s.Store, s.Config, opts)
		if err == nil {
			err = set.CheckContract()
		}
		if err != nil {
			return nil, err
		}
	}
	opts.Persist, opts.Publish, opts.Adopted = !s.opts.Check, s.opts.Publish, s.adopted
	return token.Make(ctx, s.Store, s.Config, opts)
}

// options are those by which tokens are planned.
func (s *settlement) options() token.Options {
	return token.Options{
		Inventory: s.Inventory, Rebalance: s.opts.Rebalance, Contract: s.opts.Contract, Only: s.opts.Only, Run: s.run,
		Now: s.time(), Undated: s.undated,
	}
}

// learn reads the cluster's tokens before anything is planned for good, also those of this fleet which neither the plan nor the
// records name: rules of ours that the records don't know stay, and a token that is not ours is refused before anything is
// written.
func (s *settlement) learn(ctx context.Context) error {
	first, err := token.Make(ctx, s.Store, s.Config, s.options())
	if err != nil {
		return err
	}
	marked, err := s.tokensOfFleet(ctx)
	switch denied := new(outcome.Error); {
	case errors.As(err, &denied) && denied.Code == outcome.TctlDenied: // only records that were lost or restored need them
		s.Watcher.Note(ClusterSilent{About: AboutFleet, Err: err})
	case err != nil:
		return err
	}
	first.Regard(marked)
	d, err := first.Diff(ctx, *s.Cluster, token.DiffOptions{Prune: s.opts.Prune})
	if err != nil {
		return err
	}
	if err := d.Refusals(); err != nil && s.opts.Apply && !s.opts.Adopt {
		return err
	}
	if s.opts.Proposal != nil { // a plan that is stale is refused before anything is noted
		if err := s.opts.Proposal.Fits(first.Propose(d)); err != nil {
			return err
		}
	}
	lesson := first.Learn(d, s.run)
	if lesson.Uncertain(d) {
		if err := lesson.Joined(first, d, s.latest(ctx), s.missing(ctx), s.run); err != nil {
			return err
		}
	}
	if err := s.note(ctx, lesson); err != nil {
		return err
	}
	return s.learned(ctx, d)
}

// latest are the machines' latest joins, asked for once; nil when the cluster doesn't say.
func (s *settlement) latest(ctx context.Context) map[string]tctl.Join {
	if !s.asked {
		s.known, s.asked = s.joins(ctx), true
		delete(s.known, tctl.Unattributed)
	}
	return s.known
}

// missing asks the cluster whether it lacks a token, once for each.
func (f Fleet) missing(ctx context.Context) func(name string) (bool, error) {
	answers := map[string]bool{}
	return func(name string) (bool, error) {
		if is, asked := answers[name]; asked {
			return is, nil
		}
		err := f.Cluster.Get(ctx, "token", name, new(json.RawMessage))
		is := errors.Is(err, tctl.ErrNoResource)
		if err != nil && !is {
			return false, err
		}
		answers[name] = is
		return is, nil
	}
}

// note keeps what the cluster knew better. New tokens get epochs above those of the cluster, also when the records are new.
func (s *settlement) note(ctx context.Context, lesson token.Lesson) error {
	if !lesson.Empty() {
		s.Watcher.Note(Learned{Lesson: lesson})
	} else if lesson.Epoch == 0 {
		return nil
	}
	p := store.Publication{
		Assign: lesson.Assign, Tokens: lesson.Tokens, Rules: lesson.Rules, Ways: lesson.Ways, Epoch: lesson.Epoch,
	}
	if err := s.Store.Publish(ctx, p); err != nil {
		return err
	}
	for name, rules := range lesson.Seen() {
		if err := s.Store.Saw(ctx, name, 0, rules); err != nil {
			return err
		}
	}
	return nil
}

// joined takes from the cluster which machines have joined with the token that is planned for them, where somebody else
// installs. A join counts when an earlier run, which came after the last evidence of another token, has not seen it: so no
// clock decides. One with a token that somebody else made says nothing of ours.
func (s *settlement) joined(ctx context.Context) error {
	joins := s.latest(ctx)
	if joins == nil { // a cluster that doesn't say ends no way
		return nil
	}
	published, err := s.Store.Tokens(ctx)
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, t := range published {
		ours[t.Name] = true
	}
	fresh, latest := map[int64]map[string]string{}, map[string]time.Time{} // fresh by the run that looked before
	for m, err := range s.Store.Machines(ctx) {
		if err != nil {
			return err
		}
		j, ok := joins[m.EKHash]
		if !ok {
			latest[m.EKHash] = m.LastJoin
			continue
		}
		latest[m.EKHash] = j.At
		if m.LastRun == 0 || !j.At.After(m.LastJoin) || !ours[j.Token] {
			continue
		}
		if fresh[m.LastRun] == nil {
			fresh[m.LastRun] = map[string]string{}
		}
		fresh[m.LastRun][m.EKHash] = j.Token
	}
	for run, tokens := range fresh { // a join says nothing of what was configured since that run
		if err := s.Store.Joined(ctx, run, tokens); err != nil {
			return err
		}
	}
	return s.Store.LookedAt(ctx, s.run, latest)
}
