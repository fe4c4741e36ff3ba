package scan

import (
	"context"
	"fmt"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// judgeDuplicates looks at the EKs that several machines present. The one that holds such an EK is warned, as nothing that a
// newcomer says may stand in its way; everybody else is refused.
func (s *scanner) judgeDuplicates(ctx context.Context, results []outcome.Result) error {
	duplicates, err := s.Store.Duplicates(ctx)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	index := make(map[string]int, len(results))
	for i := range results {
		index[results[i].Host] = i
	}
	for _, d := range duplicates {
		if s.Names.Machines.Same(d.Hosts) {
			continue
		}
		dispute, err := s.dispute(ctx, d)
		if err != nil {
			return err
		}
		for _, name := range d.Hosts {
			// One that did not do well has been told so. What it presented in this scan may be another EK than this one.
			if i, ok := index[name]; ok && results[i].Outcome == outcome.OK && results[i].EKHash == d.EKHash {
				results[i] = disputed(results[i], dispute)
			}
		}
	}
	return nil
}

func (s *scanner) dispute(ctx context.Context, d store.Duplicate) (claim.Dispute, error) {
	records := make([]store.Record, 0, len(d.Hosts))
	for _, name := range d.Hosts {
		r, err := s.Store.Record(ctx, name)
		if err != nil {
			return claim.Dispute{}, fmt.Errorf("records: %w", err)
		}
		records = append(records, r)
	}
	return claim.Judge(d.EKHash, records, s.Names), nil
}

// disputed is a result of a host whose EK another machine presents, too.
func disputed(r outcome.Result, d claim.Dispute) outcome.Result {
	why := d.Reason(r.Host)
	if d.Holds(r.Host) {
		r.Warnings = append(r.Warnings, outcome.Warning{Reason: why})
		return r
	}
	r.Outcome, r.Reason = outcome.Failed, why
	return r
}
