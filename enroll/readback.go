package enroll

import (
	"context"
	"errors"
	"slices"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/token"
)

// Every run that has a cluster looks whether it has what was written last, before anything else is done: a token that somebody
// deleted, an old file that was applied again, a write of somebody else at the same time.

// errAlarm is a cluster that was not as the records left it, in a way that somebody has to look at.
var errAlarm = outcome.Mark(errors.New("the cluster was not as these records left it"), outcome.ErrHostsFailed)

// errRaced is a token that somebody else had written in the epoch of our latest write. What was to be done is done.
var errRaced = outcome.Mark(outcome.Mark(errors.New("another fleetctl with records of its own wrote at the same time as these: "+
	"both versions were shown, and are merged"), token.ErrLostRace), outcome.ErrHostsFailed)

// alarming says whether an alarm has to be looked at although what it is about was put right.
func alarming(alarms []token.Alarm) bool {
	return slices.ContainsFunc(alarms, func(a token.Alarm) bool {
		return a.Kind == token.AlarmBehind || a.Kind == token.AlarmReturned || a.Kind == token.AlarmAhead
	})
}

// noteAlarms notes what in the cluster has to be looked at.
func (f Fleet) noteAlarms(d token.Diff) {
	for _, a := range d.Alarms() {
		f.Watcher.Note(TokenAlarm{Alarm: a})
	}
}

// learned notes the alarms that are over once the records have learned: an epoch that is newer than theirs, and both versions
// of a token that somebody else wrote in the epoch of our latest write. What the lesson took from them is in the records by
// now; the other write is known from here on, so that it is told once.
func (s *settlement) learned(ctx context.Context, d token.Diff) error {
	for _, c := range d.Tokens {
		for _, a := range c.NamedAlarms() {
			if a.Kind != token.AlarmLostRace && a.Kind != token.AlarmAhead {
				continue
			}
			s.alarms = append(s.alarms, a)
			s.Watcher.Note(TokenAlarm{Alarm: a})
			if err := s.Store.Wrote(ctx, c.Name, c.WrittenBy()); err != nil {
				return err
			}
		}
	}
	return nil
}

// verdict is what alarms make of a run that went well otherwise, and that it doesn't know which cluster it asked.
func verdict(alarms []token.Alarm, unbound bool) error {
	switch {
	case slices.ContainsFunc(alarms, func(a token.Alarm) bool { return a.Kind == token.AlarmLostRace }):
		return errRaced
	case alarming(alarms):
		return errAlarm
	case unbound:
		return errUnbound
	}
	return nil
}

// readBack compares the cluster with what the records say was written last, for a run that writes nothing to it. Nobody asks
// when there is nothing to read back, or no cluster.
func (f Fleet) readBack(ctx context.Context) ([]token.Alarm, error) {
	if f.Cluster == nil {
		return nil, nil
	}
	tokens, err := f.Store.Tokens(ctx)
	if err != nil || len(tokens) == 0 {
		return nil, err
	}
	_, err = f.belongs(ctx, TokensOptions{Check: true, Diff: true})
	var d token.Diff
	if err == nil {
		d, err = f.clusterDiff(ctx)
	}
	if err != nil {
		f.Watcher.Note(ClusterSilent{About: AboutTokens, Err: err})
		return nil, context.Cause(ctx)
	}
	f.noteAlarms(d)
	return d.Alarms(), nil
}

// clusterDiff is how the tokens of the cluster differ from the records.
func (f Fleet) clusterDiff(ctx context.Context) (token.Diff, error) {
	set, err := (&settlement{Fleet: f, opts: TokensOptions{Check: true}}).make(ctx)
	if err != nil {
		return token.Diff{}, err
	}
	return set.Diff(ctx, *f.Cluster, token.DiffOptions{})
}
