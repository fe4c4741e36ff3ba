package work

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestItemsWithOneKeyNeverRunAtOnce(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 2, 7, 100} {
		synctest.Test(t, func(t *testing.T) {
			items := make([]int, 60)
			for i := range items {
				items[i] = i
			}
			key := func(i int) string {
				if i%3 == 2 {
					return "" // of no machine with several names
				}
				return fmt.Sprint(i / 6)
			}
			var mu sync.Mutex
			busy, seen := map[string]int{}, map[int]bool{}
			EachApart(t.Context(), workers, time.Minute, items, key, func(ctx context.Context, i, item int) {
				if due, _ := ctx.Deadline(); time.Until(due) != time.Minute {
					t.Errorf("%d: the time that it waited counts", i)
				}
				mu.Lock()
				if busy[key(item)]++; busy[key(item)] > 1 && key(item) != "" {
					t.Errorf("%d: %d at once of %q", i, busy[key(item)], key(item))
				}
				mu.Unlock()
				time.Sleep(time.Duration(1+i%5) * time.Second)
				mu.Lock()
				defer mu.Unlock()
				busy[key(item)]--
				seen[i] = true
			})
			if len(seen) != len(items) {
				t.Errorf("%d workers: %d of %d items", workers, len(seen), len(items))
			}
		})
	}
}

func TestAnItemThatWaitsForItsKeyTakesNoWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		items := []string{"a", "a", "a", "b", "c", "d"}
		began := make([]time.Duration, len(items))
		EachApart(t.Context(), 2, 0, items, func(s string) string { return s }, func(_ context.Context, i int, _ string) {
			began[i] = time.Since(begin)
			time.Sleep(time.Second)
		})
		if want := []time.Duration{0, time.Second, 2 * time.Second, 0, time.Second, 2 * time.Second}; !slices.Equal(began, want) {
			t.Errorf("began at %v", began)
		}
	})
}

func TestItemsThatAreCanceledAreAccountedFor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var mu sync.Mutex
	n := 0
	EachApart(ctx, 3, 0, make([]string, 10), func(string) string { return "one" }, func(ctx context.Context, _ int, _ string) {
		mu.Lock()
		defer mu.Unlock()
		if n++; ctx.Err() == nil {
			t.Error("it has not heard of the end")
		}
	})
	if n != 10 {
		t.Errorf("%d items", n)
	}
}
