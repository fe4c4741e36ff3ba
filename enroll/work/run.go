package work

import (
	"context"
	"sync"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

// Run is one run of a command in the records, and who hears how it gets on.
type Run struct {
	ID       int64
	Store    store.Store
	Machines config.Machines                  // which names are one machine, in the whole inventory: it is worked on under one at a time
	OnResult func(outcome.Result)             // after every host, one at a time, in the order of completion; may be nil
	OnDoing  func(host string, what Doing)    // whenever something else is begun about a host, on several goroutines; may be nil
	OnPace   func(Pace)                       // whenever a rollout has come further; may be nil
	Logf     func(format string, args ...any) // what a person sees who asks for more; may be nil
}

// Log says something to a person who asks for more.
func (r Run) Log(format string, args ...any) {
	if r.Logf != nil {
		r.Logf(format, args...)
	}
}

// Reporter returns OnResult for several goroutines: it is called by one at a time.
func (r Run) Reporter() func(outcome.Result) {
	if r.OnResult == nil {
		return func(outcome.Result) {}
	}
	var mu sync.Mutex
	return func(res outcome.Result) {
		mu.Lock()
		defer mu.Unlock()
		r.OnResult(res)
	}
}

// Hosts runs fn for every host, as Reach allows, reports each result with the time that it took, and returns all of them
// in the order of hosts. fn runs on several goroutines at once, but never for two names of one machine; see EachApart.
func (r Run) Hosts(ctx context.Context, reach Reach, hosts []inventory.Host,
	fn func(context.Context, inventory.Host) outcome.Result,
) []outcome.Result {
	results := make([]outcome.Result, len(hosts))
	report := r.Reporter()
	machine := func(h inventory.Host) string { return r.Machines.Name(h.Name) }
	EachApart(ctx, reach.Forks, reach.Timeout, hosts, machine, func(ctx context.Context, i int, h inventory.Host) {
		start := time.Now()
		results[i] = fn(r.Telling(ctx, h.Name), h)
		results[i].Took = outcome.Took(time.Since(start))
		report(results[i])
	})
	return results
}
