package work

import (
	"context"
	"sync"
	"time"
)

// Each runs fn for every item with at most workers at once and a deadline an item (0: none). One item's failure never
// cancels another. When ctx ends, items that have not started are passed to fn all the same, with a context that is
// done, so that fn accounts for every item. fn runs on several goroutines at once.
func Each[T any](ctx context.Context, workers int, deadline time.Duration, items []T, fn func(context.Context, int, T)) {
	if workers < 1 {
		workers = 1
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(workers, len(items)) {
		wg.Go(func() {
			for i := range next {
				runOne(ctx, deadline, i, items[i], fn)
			}
		})
	}
	for i := range items {
		next <- i
	}
	close(next)
	wg.Wait()
}

func runOne[T any](ctx context.Context, deadline time.Duration, i int, item T, fn func(context.Context, int, T)) {
	if deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, deadline)
		defer cancel()
	}
	fn(ctx, i, item)
}
