package enroll

import (
	"cmp"
	"context"
	"slices"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/report"
)

// Report gathers what the records know of the whole fleet. It contacts nobody.
func Report(ctx context.Context, f Fleet) (report.Report, error) {
	cas, err := f.cas()
	if err != nil {
		return report.Report{}, err
	}
	open, err := f.openRules(ctx, nil)
	if err != nil {
		return report.Report{}, err
	}
	bound, err := f.Store.Bound(ctx)
	if err != nil {
		return report.Report{}, err
	}
	r, err := report.Gather(ctx, report.Source{
		Store: f.Store, Inventory: f.Inventory, CAs: cas, Now: f.time(), Others: openFindings(open),
	})
	r.Fleet, r.Cluster = cmp.Or(bound.Fleet, f.Config.Fleet, f.Config.Token.Name), bound.Cluster
	r.Address = cmp.Or(f.Config.Cluster.ProxyServer, f.Config.Cluster.AuthServer)
	for _, t := range r.Tokens {
		if t.Bot != "" && !slices.Contains(r.Bots, t.Bot) {
			r.Bots = append(r.Bots, t.Bot)
		}
	}
	if len(r.Bots) == 0 && f.Config.Bot.Name != "" {
		r.Bots = []string{f.Config.Bot.Name}
	}
	return r, err
}

// openFindings are rules that somebody should look at, as concerns of their hosts.
func openFindings(open []OpenRule) []report.Finding {
	var found []report.Finding
	for _, o := range open {
		if o.Orphan {
			found = append(found, report.Finding{Host: o.Host, Code: outcome.RuleOrphan, Message: "token " + o.Token})
		}
		if o.Stale {
			found = append(found, report.Finding{Host: o.Host, Code: outcome.RuleOld, Message: "token " + o.Token})
		}
	}
	return found
}
