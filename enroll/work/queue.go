package work

import "slices"

// Queue gives out the items 0 to n-1 in their order, and keeps those with one key apart: an item whose key is taken is passed
// over until the item that has it is done. It is for one goroutine.
type Queue struct {
	n, next int
	key     func(int) string
	held    []int // passed over, in their order
	taken   map[string]bool
}

// NewQueue makes a queue. An item whose key is "" is kept apart from nobody.
func NewQueue(n int, key func(int) string) *Queue {
	return &Queue{n: n, key: key, taken: map[string]bool{}}
}

// Len is how many items have not been taken.
func (q *Queue) Len() int { return len(q.held) + q.n - q.next }

// Waiting are the items that have been passed over, in their order.
func (q *Queue) Waiting() []int { return q.held }

// Peek is the first item that may be taken now.
func (q *Queue) Peek() (int, bool) {
	for _, i := range q.held {
		if q.free(i) {
			return i, true
		}
	}
	for ; q.next < q.n; q.next++ {
		if q.free(q.next) {
			return q.next, true
		}
		q.held = append(q.held, q.next)
	}
	return 0, false
}

// Take takes an item that Peek has returned.
func (q *Queue) Take(i int) {
	if at := slices.Index(q.held, i); at >= 0 {
		q.held = slices.Delete(q.held, at, at+1)
	} else {
		q.next++
	}
	if k := q.key(i); k != "" {
		q.taken[k] = true
	}
}

// Done says that an item is done.
func (q *Queue) Done(i int) { delete(q.taken, q.key(i)) }

func (q *Queue) free(i int) bool { return !q.taken[q.key(i)] }
