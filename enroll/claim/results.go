package claim

import (
	"context"
	"fmt"
	"slices"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// Of asks the records what the hosts that present an EK are to each other.
func Of(ctx context.Context, st store.Store, d store.Duplicate, f Fleet) (Dispute, error) {
	sides := make([]store.Record, 0, len(d.Hosts))
	for _, name := range slices.Sorted(slices.Values(d.Hosts)) {
		r, err := st.Record(ctx, name)
		if err != nil {
			return Dispute{}, fmt.Errorf("records: %w", err)
		}
		sides = append(sides, r)
	}
	return Judge(d.EKHash, sides, f), nil
}

// JudgeResults looks at the EKs that several machines of the records present, once all results of a run are recorded. The one
// that holds such an EK is warned, as nothing that a newcomer says may stand in its way; everybody else is refused.
func JudgeResults(ctx context.Context, st store.Store, f Fleet, results []outcome.Result) error {
	duplicates, err := st.Duplicates(ctx)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	places := make(map[string][]int, len(results)) // a file may name a host twice
	for i, r := range results {
		places[r.Host] = append(places[r.Host], i)
	}
	for _, d := range duplicates {
		if f.Machines.Same(d.Hosts) {
			continue
		}
		dispute, err := Of(ctx, st, d, f)
		if err != nil {
			return err
		}
		for _, name := range d.Hosts {
			for _, i := range places[name] {
				// One that did not do well has been told so. What it presented in this run may be another EK than this one.
				if results[i].Outcome == outcome.OK && results[i].EKHash == d.EKHash {
					results[i] = disputed(results[i], dispute)
				}
			}
		}
	}
	return nil
}

// disputed is a result of a host whose EK another machine presents, too.
func disputed(r outcome.Result, d Dispute) outcome.Result {
	why := d.Reason(r.Host)
	if d.Holds(r.Host) {
		r.Warnings = append(r.Warnings, outcome.Warning{Reason: why})
		return r
	}
	r.Outcome, r.Reason = outcome.Failed, why
	return r
}
