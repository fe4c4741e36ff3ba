package enroll

import (
	"context"
	"math"
	"time"

	"fleetctl/enroll/store"
)

// How far clocks may be apart before it is said.
const (
	clocksApart = time.Hour   // from the cluster's
	clockBehind = time.Minute // behind the newest record: clocks are set back a little now and then

	askProxy = 3 * time.Second // for its time; who can't reach it goes on without
)

// withClock says when the controller's clock can't be right: it is far from the cluster's, or behind what the records saw
// already. Nothing but the dates of certificates is judged by a clock, and by such a one they aren't: the fleet that is
// returned knows that. Runs are in the order of their numbers.
func (f Fleet) withClock(ctx context.Context) (Fleet, error) {
	off := ClockOff{Here: f.time()}
	newest, err := f.newestRun(ctx, off.Here)
	if err != nil {
		return f, err
	}
	off.Newest = newest
	if f.ClusterTime != nil {
		limited, cancel := context.WithTimeout(ctx, askProxy)
		there, err := f.ClusterTime(limited)
		cancel()
		if err != nil {
			f.Watcher.Logf("the cluster's clock is not known: %v", err)
		} else if d := there.Sub(off.Here); d > clocksApart || d < -clocksApart {
			off.Cluster = there
		}
	}
	if off.Newest.ID != 0 || !off.Cluster.IsZero() {
		f.Watcher.Note(off)
		f.undated = true
	}
	return f, context.Cause(ctx)
}

// newestRun is the latest run that the records have from after a time, but for those that a person had marked as impossible;
// the zero Run is none.
func (f Fleet) newestRun(ctx context.Context, now time.Time) (newest store.Run, err error) {
	runs, err := f.allRuns(ctx)
	if err != nil {
		return newest, err
	}
	var later []store.Run
	for _, r := range runs {
		if r.Ended.After(r.Started) {
			r.Started = r.Ended
		}
		if r.Started.After(now.Add(clockBehind)) {
			later = append(later, r)
		}
	}
	if len(later) == 0 {
		return newest, nil
	}
	marked, err := f.impossibleRuns(ctx)
	for _, r := range later {
		if !marked[r.ID] && r.Started.After(newest.Started) {
			newest = r
		}
	}
	return newest, err
}

// allRuns are those of the records, the latest first.
func (f Fleet) allRuns(ctx context.Context) ([]store.Run, error) {
	return f.Store.Runs(ctx, math.MaxInt32)
}

// impossibleRuns are those that were marked.
func (f Fleet) impossibleRuns(ctx context.Context) (map[int64]bool, error) {
	marked := map[int64]bool{}
	for e, err := range f.Store.Journal(ctx) {
		if err != nil {
			return nil, err
		}
		marked[e.Run] = marked[e.Run] || e.Action == actionImpossible
	}
	return marked, nil
}
