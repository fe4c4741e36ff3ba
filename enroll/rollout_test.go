package enroll

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rolled is what a rollout did.
type rolled struct {
	mu       sync.Mutex
	started  []int
	skipped  map[string]int
	most     int // hosts at once
	running  int
	earliest map[int]time.Duration
}

// roll runs a rollout in a bubble of fake time: every host takes took(i), and ok(i) says how it ends.
func roll(ctx context.Context, p pace, n int, took func(int) time.Duration, ok func(int) bool) *rolled {
	out := &rolled{skipped: map[string]int{}, earliest: map[int]time.Duration{}}
	begin := time.Now()
	r := rollout{pace: p, n: n,
		run: func(_ context.Context, i int, change bool) deed {
			if !change {
				return deed{deferred: true}
			}
			out.mu.Lock()
			out.started = append(out.started, i)
			out.earliest[i] = time.Since(begin)
			out.running++
			out.most = max(out.most, out.running)
			out.mu.Unlock()
			time.Sleep(took(i))
			out.mu.Lock()
			out.running--
			out.mu.Unlock()
			return deed{ok: ok(i), touched: true}
		},
		skip: func(_ int, why string) { out.skipped[why]++ },
	}
	r.do(ctx)
	return out
}

func always(int) bool { return true }

func constant(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }

func except(bad ...int) func(int) bool { return func(i int) bool { return !slices.Contains(bad, i) } }

func TestRollout(t *testing.T) {
	for _, c := range []struct {
		name    string
		pace    pace
		n       int
		took    func(int) time.Duration
		ok      func(int) bool
		started int
		most    int
		skipped string
	}{
		{"all hosts run when all is well", pace{workers: 4, canary: 1, batch: 3, budget: 0}, 10, constant(time.Second), always, 10, 3, ""},
		{"a canary that fails stops everything", pace{workers: 4, canary: 2, batch: 5, budget: 5}, 10, constant(time.Second), except(1), 2, 2, whyCanary},
		{"failures within the budget stop nothing", pace{workers: 4, batch: 5, budget: 2}, 20, constant(time.Second), except(3, 7), 20, 4, ""},
		{"failures beyond the budget stop new hosts", pace{workers: 1, batch: 5, budget: 2}, 20, constant(time.Second), except(3, 7, 8), 9, 1,
			"3 hosts failed, and rollout.max_failures allows 2"},
		{"without workers' limit a batch is the limit", pace{workers: 100, batch: 5, budget: 0}, 20, constant(time.Second), always, 20, 5, ""},
		{"no hosts at all", pace{workers: 4, canary: 1, batch: 1}, 0, constant(0), always, 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := roll(t.Context(), c.pace, c.n, c.took, c.ok)
				if len(r.started) != c.started || r.most > c.most {
					t.Errorf("started %d, %d at once; want %d, %d", len(r.started), r.most, c.started, c.most)
				}
				var why []string
				for w, n := range r.skipped {
					why = append(why, w)
					if n != c.n-c.started {
						t.Errorf("skipped %d", n)
					}
				}
				if strings.Join(why, "") != c.skipped {
					t.Errorf("skipped because of %q, want %q", why, c.skipped)
				}
			})
		})
	}
}

func TestRolloutDoesNotWaitForTheSlowestWhenTheBudgetBearsIt(t *testing.T) {
	slow := func(i int) time.Duration {
		if i == 0 {
			return time.Hour
		}
		return time.Second
	}
	for _, c := range []struct {
		budget int
		last   time.Duration
	}{{0, time.Hour}, {1, 3 * time.Second}} {
		t.Run(fmt.Sprintf("a budget of %d", c.budget), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := roll(t.Context(), pace{workers: 10, batch: 3, budget: c.budget}, 12, slow, always)
				if got := r.earliest[11]; c.budget == 0 && got < c.last || c.budget == 1 && got > c.last {
					t.Errorf("the last host began after %s, want about %s", got, c.last)
				}
			})
		})
	}
}

func TestNamesOfOneMachineNeverRunAtOnce(t *testing.T) {
	machine := func(i int) string { return []string{"a", "a", "b", "a", "c", "d"}[i%6] + fmt.Sprint(i/6) }
	for _, p := range []pace{{workers: 4, batch: 100}, {workers: 3, canary: 2, batch: 2}, {workers: 10, batch: 3, budget: 2}, {workers: 1, batch: 1}} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			busy := map[string]bool{}
			done := 0
			begin := time.Now()
			alone := map[int]time.Duration{} // when hosts without another name began
			r := rollout{pace: p, n: 24, machine: machine, skip: func(i int, why string) { t.Errorf("%d: %s", i, why) },
				run: func(_ context.Context, i int, change bool) deed {
					if !change {
						return deed{deferred: true}
					}
					mu.Lock()
					if busy[machine(i)] {
						t.Errorf("%d: its machine is worked on under another name", i)
					}
					busy[machine(i)] = true
					alone[i] = time.Since(begin)
					mu.Unlock()
					time.Sleep(time.Second)
					mu.Lock()
					defer mu.Unlock()
					busy[machine(i)] = false
					done++
					return deed{ok: true, touched: true}
				}}
			r.do(t.Context())
			if done != 24 {
				t.Errorf("%d hosts", done)
			}
			if p.workers == 4 && alone[5] != 0 {
				t.Errorf("a host waited for the names of another machine: %s", alone[5])
			}
		})
	}
}

func TestWhatIsHeldIsSkippedWhenTheRolloutStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skipped []int
		r := rollout{pace: pace{workers: 4, canary: 2, batch: 10}, n: 4, machine: func(int) string { return "one" },
			skip: func(i int, _ string) { skipped = append(skipped, i) },
			run:  func(context.Context, int, bool) deed { time.Sleep(time.Second); return deed{touched: true} }}
		r.do(t.Context())
		if !slices.Equal(skipped, []int{1, 2, 3}) {
			t.Errorf("skipped %v", skipped)
		}
	})
}

// TestCanariesAreTheFirstHostsThatChange: those on which nothing has to be done are none, however many there are.
func TestCanariesAreTheFirstHostsThatChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var changed, looked []int
		r := rollout{pace: pace{workers: 4, canary: 1, batch: 100, budget: 50}, n: 30, skip: func(int, string) {},
			run: func(_ context.Context, i int, change bool) deed {
				time.Sleep(time.Second)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case i < 9:
					looked = append(looked, i)
					return deed{ok: i != 3, refused: i == 3} // nothing to do, or nothing that could be done
				case !change:
					return deed{deferred: true}
				}
				changed = append(changed, i)
				return deed{touched: true}
			}}
		r.do(t.Context())
		if len(looked) != 9 || len(changed) != 1 || r.stopped != whyCanary || r.failed != 1 {
			t.Errorf("looked at %v, changed %v, stopped %q after %d", looked, changed, r.stopped, r.failed)
		}
	})
}

func TestRolloutStopsPolitely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer stop()
		r := roll(ctx, pace{workers: 2, batch: 100}, 10, constant(time.Second), always)
		if len(r.started) != 6 || r.skipped[whyInterrupted] != 4 || r.running != 0 {
			t.Errorf("started %v, skipped %v, running %d", r.started, r.skipped, r.running)
		}
	})
}

func TestOrderOfGroups(t *testing.T) {
	got := inOrder([][]string{{"web"}, {"db", "eu"}, nil, {"eu", "web"}, {"db"}}, []string{"eu", "db"})
	if want := []int{1, 3, 4, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
