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
	EachApart(ctx, workers, deadline, items, nil, fn)
}

// EachApart is Each that never runs fn for two items with the same key at once. An item whose key is taken waits without a
// worker, and its deadline begins when its turn comes. Without a key all items may run together.
func EachApart[T any](ctx context.Context, workers int, deadline time.Duration, items []T, key func(T) string,
	fn func(context.Context, int, T),
) {
	next, done := make(chan int), make(chan int)
	var wg sync.WaitGroup
	for range min(max(1, workers), len(items)) {
		wg.Go(func() {
			for i := range next {
				runOne(ctx, deadline, i, items[i], fn)
				done <- i
			}
		})
	}
	q := NewQueue(len(items), func(i int) string {
		if key == nil {
			return ""
		}
		return key(items[i])
	})
	for running := 0; running > 0 || q.Len() > 0; {
		i, ok := q.Peek()
		offer := next
		if !ok {
			offer = nil // nobody's turn has come before somebody is done
		}
		select {
		case offer <- i:
			q.Take(i)
			running++
		case i := <-done:
			q.Done(i)
			running--
		}
	}
	close(next)
	wg.Wait()
}

func runOne[T any](ctx context.Context, deadline time.Duration, i int, item T, fn func(context.Context, int, T)) {
	if deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = Limit(ctx, deadline)
		defer cancel()
	}
	fn(ctx, i, item)
}
