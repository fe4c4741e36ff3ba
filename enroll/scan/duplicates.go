package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
)

// refuseDuplicates marks the results of hosts that present an EK which another host presents, too. A host that has a
// token already keeps it (nothing that a newcomer says may take it away); everybody else is refused.
func (s *scanner) refuseDuplicates(ctx context.Context, results []outcome.Result) error {
	duplicates, err := s.Store.Duplicates(ctx)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	index := make(map[string]int, len(results))
	for i := range results {
		index[results[i].Host] = i
	}
	for _, d := range duplicates {
		if s.Machines.Same(d.Hosts) {
			continue
		}
		for _, name := range d.Hosts {
			i, ok := index[name]
			if !ok || results[i].Outcome != outcome.OK {
				continue
			}
			rec, err := s.Store.Record(ctx, name)
			if err != nil {
				return fmt.Errorf("records: %w", err)
			}
			results[i] = duplicate(results[i], d.Hosts, rec.Token)
		}
	}
	return nil
}

func duplicate(r outcome.Result, hosts []string, token string) outcome.Result {
	others := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == r.Host })
	r.Outcome, r.Reason = outcome.Failed, outcome.Because(outcome.DuplicateEK, "presents the same EK as "+strings.Join(others, ", "))
	if token != "" {
		r.Message += "; it keeps its rule in token " + token + ", the others get none"
	}
	return r
}
