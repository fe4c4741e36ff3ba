package enroll

import (
	"context"

	"fleetctl/enroll/halt"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
)

// hostsAway takes what enroll put on the hosts away.
func (r *removal) hostsAway(ctx context.Context, run int64) (HostsReport, error) {
	hosts := r.visits()
	if len(hosts) == 0 {
		return HostsReport{Run: run, Results: r.unreachable()}, nil
	}
	reach, closeAll, err := r.reach(ctx, hosts)
	if err != nil {
		return HostsReport{}, err
	}
	defer closeAll()
	return r.visitAll(ctx, run, reach)
}

// visitAll is hostsAway by an access that is open already.
func (r *removal) visitAll(ctx context.Context, run int64, reach work.Reach) (HostsReport, error) {
	crew, err := r.newCrew(func(string) string { return "" })
	if err != nil {
		return HostsReport{}, err
	}
	defer crew.close()
	crew.showDiff = r.opts.Diff
	crew.at(run, reach)
	hosts := r.visits()
	r.Watcher.Begin(StageRemove, len(hosts))
	results := crew.now.Hosts(ctx, reach, hosts, func(ctx context.Context, h inventory.Host) outcome.Result {
		return crew.remove(ctx, h, r.madeOn(h.Name), r.opts.Check)
	})
	r.Watcher.End()
	report := HostsReport{Run: run, Results: append(results, r.unreachable()...)}
	if err := context.Cause(ctx); err != nil {
		return report, err
	}
	return report, report.Summary().Err()
}

// visits are the hosts that are contacted.
func (r *removal) visits() []inventory.Host {
	var hosts []inventory.Host
	for _, l := range r.leaving {
		if l.visit == l.name && l.host != nil {
			hosts = append(hosts, *l.host)
		}
	}
	return hosts
}

// unreachable are the results of hosts that have something left on them, and that nobody knows how to reach.
func (r *removal) unreachable() []outcome.Result {
	var results []outcome.Result
	for _, l := range r.leaving {
		if l.visit == "" && l.rec.Installed != nil {
			results = append(results, outcome.End(l.name, outcome.Unreachable, outcome.InventoryError,
				"it is not in the inventory, and the records don't know how to reach it"))
		}
	}
	return results
}

// madeOn is what enroll made on a machine, under whichever of its names.
func (r *removal) madeOn(visit string) []host.Thing {
	var made []host.Thing
	for _, l := range r.leaving {
		if l.visit == visit {
			made = host.Union(made, host.MadeBy(l.rec.Installed))
		}
	}
	return made
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
	v, err := c.visit(ctx, h, d.Knowing(made))
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	defer v.close()
	steps := host.PlanRemoval(v.facts, v.desired)
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
	if err := ctx.Err(); err != nil {
		return outcome.Failure(ctx, h, err)
	}
	ctx, finished := halt.Finish(ctx)
	defer finished()
	work.At(ctx, work.Changing)
	if _, err := host.Apply(ctx, v.conn, steps, host.ApplyOptions{}); err != nil {
		r = outcome.Failure(ctx, h, err)
		if r.Code == outcome.General {
			r.Reason = outcome.Because(outcome.StepFailed, r.Message)
		}
	}
	return r
}
