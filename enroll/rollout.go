package enroll

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"fleetctl/enroll/config"
	"fleetctl/enroll/work"
)

// pace says how a rollout goes through n hosts.
type pace struct {
	workers int // hosts at once
	canary  int // the first so many go alone, and all of them have to succeed
	batch   int // hosts a batch
	budget  int // failures that don't stop the rollout
}

func newPace(c config.Rollout, workers, n int) pace {
	return pace{workers: max(1, workers), canary: min(c.Canary, n), batch: max(1, c.Batch.Of(n)), budget: c.MaxFailures.Of(n)}
}

// rollout runs hosts 0 … n-1 at a pace: canaries first, then batches. A host of the next batch doesn't wait for the
// slow ones of the batches before as long as the budget would bear it if all of those failed. When the failures exceed
// the budget, a canary fails or stop is closed, no further host starts; those that run come to their end. Every host is
// accounted for: run is called for those that start, skip for the others, with the reason.
type rollout struct {
	pace
	n    int
	stop <-chan struct{}                            // closed: no new hosts; may be nil
	run  func(ctx context.Context, i int) (ok bool) // called on several goroutines
	skip func(i int, why string)

	machine func(i int) string // which machine host i is: it runs under one name at a time; nil: each is its own

	queue    *work.Queue
	running  map[int]bool
	failed   int
	stopped  string // why no new host starts
	finished chan finish
}

type finish struct {
	i  int
	ok bool
}

// Why a rollout starts no new hosts.
const (
	whyInterrupted = "interrupted"
	whyCanary      = "a canary failed"
)

func (r *rollout) do(ctx context.Context) {
	r.running = map[int]bool{}
	r.queue = work.NewQueue(r.n, r.machineOf)
	r.finished = make(chan finish)
	for {
		for i, ok := r.queue.Peek(); ok && r.mayStart(ctx, i); i, ok = r.queue.Peek() {
			r.start(ctx, i)
		}
		if len(r.running) == 0 {
			break
		}
		select {
		case f := <-r.finished:
			r.end(f)
		case <-r.stopSignal():
			r.stopped = whyInterrupted
		}
	}
	for i, ok := r.queue.Peek(); ok; i, ok = r.queue.Peek() {
		r.queue.Take(i)
		r.queue.Done(i)
		r.skip(i, cmp.Or(r.stopped, whyInterrupted))
	}
}

func (r *rollout) machineOf(i int) string {
	if r.machine == nil {
		return ""
	}
	return r.machine(i)
}

// stopSignal is stop until it was heard.
func (r *rollout) stopSignal() <-chan struct{} {
	if r.stopped != "" {
		return nil
	}
	return r.stop
}

func (r *rollout) start(ctx context.Context, i int) {
	r.queue.Take(i)
	r.running[i] = true
	go func() { r.finished <- finish{i, r.run(ctx, i)} }()
}

func (r *rollout) end(f finish) {
	delete(r.running, f.i)
	r.queue.Done(f.i)
	if f.ok {
		return
	}
	r.failed++
	switch {
	case r.stopped != "":
	case f.i < r.canary:
		r.stopped = whyCanary
	case r.failed > r.budget:
		r.stopped = fmt.Sprintf("%d hosts failed, and rollout.max_failures allows %d", r.failed, r.budget)
	}
}

// mayStart says whether a host may start now, whose turn it is; if not, it is asked again when a host has ended.
func (r *rollout) mayStart(ctx context.Context, next int) bool {
	if ctx.Err() != nil || r.interrupted() {
		r.stopped = cmp.Or(r.stopped, whyInterrupted)
	}
	if r.stopped != "" || len(r.running) >= r.workers {
		return false
	}
	if next < r.canary {
		return true
	}
	unresolved := 0 // of earlier batches; canaries are a batch of their own, which has to be through
	for _, i := range slices.AppendSeq(slices.Clone(r.queue.Waiting()), maps.Keys(r.running)) {
		if i < r.canary {
			return false
		}
		if r.batchOf(i) < r.batchOf(next) {
			unresolved++
		}
	}
	return unresolved == 0 || r.failed+unresolved <= r.budget
}

func (r *rollout) interrupted() bool {
	select {
	case <-r.stop:
		return r.stop != nil
	default:
		return false
	}
}

func (r *rollout) batchOf(i int) int { return (i - r.canary) / r.batch }

// inOrder returns the places of hosts in the order of groups: hosts of the first group come first, and those of no
// group in the list last; else their order stays.
func inOrder(hostGroups [][]string, order []string) []int {
	places := make([]int, len(hostGroups))
	rank := make([]int, len(hostGroups))
	for i, groups := range hostGroups {
		places[i] = i
		rank[i] = len(order)
		for j, g := range order {
			if slices.Contains(groups, g) {
				rank[i] = j
				break
			}
		}
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
	return places
}
