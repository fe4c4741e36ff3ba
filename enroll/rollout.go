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
	canary  int // so many are changed before any other, and all of them have to succeed
	batch   int // hosts a batch
	budget  int // failures that don't stop the rollout
}

func newPace(c config.Rollout, workers, n int) pace {
	return pace{workers: max(1, workers), canary: min(c.Canary, n), batch: max(1, c.Batch.Of(n)), budget: c.MaxFailures.Of(n)}
}

// rollout runs hosts 0 … n-1 at a pace: canaries first, then batches. Canaries are the first hosts that change: until they
// have done well, the others may only be looked at, and those on which there is something to do come again later. A host of the
// next batch doesn't wait for the slow ones of the batches before as long as the budget would bear it if all of those failed.
// When the failures exceed the budget, a canary fails or the context ends, no further host starts; those that run come to their
// end, as run sees to. Every host is accounted for: run is called for those that start, skip for the others, with the reason.
type rollout struct {
	pace
	n int
	// run is called on several goroutines. Without change, a host that would be changed is left as it is, and deferred.
	run  func(ctx context.Context, i int, change bool) deed
	skip func(i int, why string)
	told func(work.Pace) // hears how far it has come; nil: nobody does

	machine func(i int) string // which machine host i is: it runs under one name at a time; nil: each is its own

	running  map[int]bool // whether it may change something
	at       work.Pace
	failed   int
	stopped  string // why no new host starts
	left     int    // hosts that were not started
	finished chan finish
}

// deed is what became of a host.
type deed struct {
	ok       bool
	touched  bool // something was changed on it, or an attempt was made
	refused  bool // it cannot be enrolled as things are, which was found before anything was done: no failure of the rollout
	deferred bool // there is something to do
}

type finish struct {
	i int
	deed
}

// Why a rollout starts no new hosts.
const (
	whyInterrupted = "interrupted"
	whyCanary      = "a canary failed"
)

func (r *rollout) do(ctx context.Context) {
	r.running = map[int]bool{}
	r.finished = make(chan finish)
	r.tell(work.Pace{Canaries: r.canary})
	rest := r.canaries(ctx)
	r.tell(work.Pace{Batches: (len(rest) + r.batch - 1) / r.batch})
	r.batches(ctx, rest)
}

// canaries goes on until the canaries are through, and returns the hosts that are left, in their order.
func (r *rollout) canaries(ctx context.Context) (rest []int) {
	queue := work.NewQueue(r.n, r.machineOf)
	proven := 0
	slot := func() bool { // may one more host be changed?
		busy := 0
		for _, change := range r.running {
			if change {
				busy++
			}
		}
		return proven+busy < r.canary
	}
	for {
		for proven < r.canary && r.mayGoOn(ctx) {
			if len(rest) > 0 && slot() && r.first(rest[0]) {
				r.start(ctx, rest[0], rest[0], true)
				rest = rest[1:]
				continue
			}
			i, ok := queue.Peek()
			if !ok || len(rest)+len(r.running) >= r.workers {
				break
			}
			queue.Take(i)
			r.start(ctx, i, i, slot() && r.first(i))
		}
		if len(r.running) == 0 {
			break
		}
		f, ok := r.wait(ctx)
		if !ok {
			continue
		}
		canary := r.running[f.i]
		delete(r.running, f.i)
		if f.deferred { // its machine stays taken, under its other names, too
			rest = append(rest, f.i)
			slices.Sort(rest)
			continue
		}
		queue.Done(f.i)
		if canary && f.touched && f.ok {
			proven++
			r.tell(work.Pace{Canaries: r.canary, Proven: proven})
		}
		r.count(f, canary && f.touched)
	}
	for i, ok := queue.Peek(); ok; i, ok = queue.Peek() {
		queue.Take(i)
		rest = append(rest, i)
	}
	rest = append(rest, queue.Waiting()...)
	slices.Sort(rest)
	return rest
}

// first says whether no host that comes earlier is still looked at: it may be a canary.
func (r *rollout) first(i int) bool {
	for other, change := range r.running {
		if other < i && !change {
			return false
		}
	}
	return true
}

// batches goes through the hosts that the canaries have left.
func (r *rollout) batches(ctx context.Context, rest []int) {
	queue := work.NewQueue(len(rest), func(at int) string { return r.machineOf(rest[at]) })
	for {
		for at, ok := queue.Peek(); ok && r.mayStart(ctx, queue, at); at, ok = queue.Peek() {
			queue.Take(at)
			r.begins(at / r.batch)
			r.start(ctx, at, rest[at], true)
		}
		if len(r.running) == 0 {
			break
		}
		if f, ok := r.wait(ctx); ok {
			delete(r.running, f.i)
			queue.Done(f.i)
			r.count(f, false)
		}
	}
	for at, ok := queue.Peek(); ok; at, ok = queue.Peek() {
		queue.Take(at)
		queue.Done(at)
		r.left++
		r.skip(rest[at], cmp.Or(r.stopped, whyInterrupted))
	}
}

func (r *rollout) machineOf(i int) string {
	if r.machine == nil {
		return ""
	}
	return r.machine(i)
}

// wait waits for the end of a host; not ok: for the end of the context, once.
func (r *rollout) wait(ctx context.Context) (f finish, ok bool) {
	ended := ctx.Done()
	if r.stopped != "" {
		ended = nil
	}
	select {
	case f = <-r.finished:
		return f, true
	case <-ended:
		r.stopped = whyInterrupted
		return f, false
	}
}

// start starts host i, which is known as id while it runs.
func (r *rollout) start(ctx context.Context, id, i int, change bool) {
	r.running[id] = change
	go func() { r.finished <- finish{id, r.run(ctx, i, change)} }()
}

// count takes in how a host ended.
func (r *rollout) count(f finish, canary bool) {
	if f.ok || f.refused {
		return
	}
	r.failed++
	r.tell(r.at)
	switch {
	case r.stopped != "":
	case canary:
		r.stopped = whyCanary
	case r.failed > r.budget:
		r.stopped = fmt.Sprintf("%d hosts failed, and rollout.max_failures allows %d", r.failed, r.budget)
	}
}

// begins notes that a host of a batch is begun.
func (r *rollout) begins(batch int) {
	if next := r.at; batch+1 > next.Batch {
		next.Batch = batch + 1
		r.tell(next)
	}
}

// tell says how far it has come.
func (r *rollout) tell(at work.Pace) {
	at.Failed, at.Budget = r.failed, r.budget
	r.at = at
	if r.told != nil {
		r.told(at)
	}
}

// mayGoOn says whether any host may start now.
func (r *rollout) mayGoOn(ctx context.Context) bool {
	if ctx.Err() != nil {
		r.stopped = cmp.Or(r.stopped, whyInterrupted)
	}
	return r.stopped == "" && len(r.running) < r.workers
}

// mayStart says whether a host may start now, whose turn it is; if not, it is asked again when a host has ended.
func (r *rollout) mayStart(ctx context.Context, queue *work.Queue, next int) bool {
	if !r.mayGoOn(ctx) {
		return false
	}
	unresolved := 0 // of earlier batches
	for _, at := range slices.AppendSeq(slices.Clone(queue.Waiting()), maps.Keys(r.running)) {
		if at/r.batch < next/r.batch {
			unresolved++
		}
	}
	return unresolved == 0 || r.failed+unresolved <= r.budget
}

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
