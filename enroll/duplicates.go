package enroll

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fleetctl/inventory"
)

// refuseDuplicates marks the results of hosts that present an EK which another host presents, too. A host that has a
// token already keeps it (nothing that a newcomer says may take it away); everybody else is refused.
func (s *scanner) refuseDuplicates(ctx context.Context, hosts []inventory.Host, results []Result) error {
	duplicates, err := s.opts.Store.Duplicates(ctx)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	index := make(map[string]int, len(results))
	for i := range results {
		index[results[i].Host] = i
	}
	same := sameMachines(hosts)
	for _, d := range duplicates {
		if same(d.Hosts) {
			continue
		}
		for _, name := range d.Hosts {
			i, ok := index[name]
			if !ok || results[i].Outcome != OK {
				continue
			}
			rec, err := s.opts.Store.Record(ctx, name)
			if err != nil {
				return fmt.Errorf("records: %w", err)
			}
			results[i] = duplicate(results[i], d.Hosts, rec.Token)
		}
	}
	return nil
}

func duplicate(r Result, hosts []string, token string) Result {
	others := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == r.Host })
	r.Outcome, r.Reason = Failed, Because(DuplicateEK, "presents the same EK as "+strings.Join(others, ", "))
	if token != "" {
		r.Message += "; it keeps its rule in token " + token + ", the others get none"
	}
	return r
}

// sameMachines tells whether the inventory says that hosts are one machine (host variable fleetctl_same_as: NAME).
func sameMachines(hosts []inventory.Host) func([]string) bool {
	canonical := map[string]string{}
	for _, h := range hosts {
		if name, ok := h.Vars["fleetctl_same_as"].(string); ok {
			canonical[h.Name] = name
		}
	}
	root := func(name string) string {
		for range len(canonical) + 1 { // a cycle ends somewhere in it, the same place for all of its hosts or not: refused
			next, ok := canonical[name]
			if !ok {
				return name
			}
			name = next
		}
		return name
	}
	return func(names []string) bool {
		for _, n := range names[1:] {
			if root(n) != root(names[0]) {
				return false
			}
		}
		return true
	}
}
