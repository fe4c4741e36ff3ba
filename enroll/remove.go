package enroll

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
)

// RemoveOptions of Remove.
type RemoveOptions struct {
	EnrollOptions
	Made func(host string) []string // what an enroll made there, as the records had it: store.Installed.Made
}

// Remove takes tbot's service, configuration and state off hosts, and what enroll made for them. The rules in the
// cluster are not its business: they go before it, see WithoutHosts.
func Remove(ctx context.Context, hosts []inventory.Host, opts RemoveOptions) ([]outcome.Result, error) {
	opts.TokenOf = func(string) string { return "" }
	e, err := newEnroller(ctx, hosts, opts.EnrollOptions)
	if err != nil {
		return nil, err
	}
	defer e.close()
	results := make([]outcome.Result, len(hosts))
	report := work.Reporter(opts.OnResult)
	work.Each(ctx, opts.Forks, opts.Timeout, hosts, func(ctx context.Context, i int, h inventory.Host) {
		results[i] = e.remove(ctx, h, host.ParseMade(opts.Made(h.Name)))
		report(results[i])
	})
	return results, context.Cause(ctx)
}

func (e *enroller) remove(ctx context.Context, h inventory.Host, made []host.Thing) outcome.Result {
	if ctx.Err() != nil {
		return skipped(h.Name, whyInterrupted)
	}
	d, err := e.desired(h)
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	conn, err := e.connect(ctx, h)
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	defer conn.Close() // what was done on the host is known by now
	f, err := host.GatherFacts(ctx, conn, d)
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	steps := host.PlanRemoval(f, d, made)
	r := outcome.Result{Host: h.Name, Outcome: outcome.OK, Steps: e.stepResults(steps)}
	if steps.Changes() {
		r.Outcome = outcome.Changed
	}
	if e.opts.Check || len(steps.Problems()) > 0 {
		if len(steps.Problems()) > 0 {
			return refused(h.Name, steps)
		}
		return r
	}
	if _, err := host.Apply(ctx, conn, steps, host.ApplyOptions{}); err != nil {
		r = outcome.Failure(ctx, h, err)
		if r.Code == outcome.General {
			r.Reason = outcome.Because(outcome.StepFailed, r.Message)
		}
	}
	return r
}

// WithoutHosts is a view of the records in which hosts are not there: tokens that are made of it have no rule for them.
func WithoutHosts(st store.Store, hosts ...string) store.Store {
	return without{Store: st, hosts: hosts}
}

type without struct {
	store.Store
	hosts []string
}

// Record finds no hidden host.
func (w without) Record(ctx context.Context, host string) (store.Record, error) {
	if slices.Contains(w.hosts, host) {
		return store.Record{}, fmt.Errorf("%s: %w", host, store.ErrNotFound)
	}
	return w.Store.Record(ctx, host)
}

// Records leaves hidden hosts out.
func (w without) Records(ctx context.Context) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for r, err := range w.Store.Records(ctx) {
			if err == nil && slices.Contains(w.hosts, r.Host) {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
