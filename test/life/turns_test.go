package life

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
)

// turns lets the events of all commands that run happen one at a time, in an order that a seed decides: an event waits
// until everybody else waits, too. So that what runs on many goroutines is the same each time.
type turns struct {
	mu      sync.Mutex
	waiting []*waiter
	bell    chan struct{} // rings when somebody comes to wait
}

// waiter is an event that waits for its turn.
type waiter struct {
	label string
	turn  chan struct{}
}

func newTurns() *turns { return &turns{bell: make(chan struct{}, 1)} }

// wait returns when it is this event's turn.
func (t *turns) wait(label string) {
	w := &waiter{label: label, turn: make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	select {
	case t.bell <- struct{}{}:
	default:
	}
	<-w.turn
}

// next takes one of those who wait; nil when nobody does.
func (t *turns) next(rnd *rand.Rand) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		return nil
	}
	slices.SortFunc(t.waiting, func(a, b *waiter) int { return cmp.Compare(a.label, b.label) })
	i := rnd.IntN(len(t.waiting))
	w := t.waiting[i]
	t.waiting = slices.Delete(t.waiting, i, i+1)
	return w
}

// run runs jobs at once until all of them have ended.
func (t *turns) run(seed uint64, jobs ...func()) {
	rnd := rand.New(rand.NewPCG(seed, 12))
	done := make(chan struct{}, len(jobs))
	for _, job := range jobs {
		go func() {
			defer func() { done <- struct{}{} }()
			job()
		}()
	}
	for left := len(jobs); left > 0; {
		synctest.Wait()
		select {
		case <-done:
			left--
			continue
		default:
		}
		if w := t.next(rnd); w != nil {
			close(w.turn)
			continue
		}
		select { // all of them sleep: time passes until one wakes
		case <-done:
			left--
		case <-t.bell:
		}
	}
}
