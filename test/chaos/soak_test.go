package chaos

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"fleetctl/enroll"
	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// level is what a process holds.
type level struct {
	heap, goroutines, files int
}

func measure(t *testing.T) level {
	t.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers free
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	return level{int(m.HeapAlloc >> 10), runtime.NumGoroutine(), len(files)}
}

// One process scans a fleet again and again, hosts that are not well included: for as long as SOAK says (5s). What it holds
// between two scans doesn't grow: memory, goroutines, descriptors. The hosts are in this process, too, which makes what it
// holds more, and not less.
func TestASoakLeavesNothing(t *testing.T) {
	length := 5 * time.Second
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK=%s: %v", text, err)
		}
	}
	f := newFleet(t, number(t, "SOAK_HOSTS", 60), uint64(number(t, "CHAOS_SEED", 1)), quick())
	s := newSoak(t, f)
	ctx := t.Context()
	s.scan(ctx)
	s.scan(ctx) // whatever is made once is there
	before, rounds := measure(t), 0
	last := before
	for begin, told := time.Now(), time.Now(); time.Since(begin) < length || rounds < 2; rounds++ {
		s.scan(ctx)
		if last = measure(t); time.Since(told) > time.Minute {
			told = time.Now()
			t.Logf("after %d scans: heap %d KiB, %d goroutines, %d descriptors", rounds+1, last.heap, last.goroutines, last.files)
		}
	}
	t.Logf("%d scans of %d hosts: heap %d → %d KiB, goroutines %d → %d, descriptors %d → %d", rounds, len(f.members),
		before.heap, last.heap, before.goroutines, last.goroutines, before.files, last.files)
	if last.goroutines > before.goroutines+5 || last.files > before.files+5 || last.heap > before.heap*5/4+8<<10 {
		t.Errorf("it grows: %+v, then %+v", before, last)
	}
}

// soak is a fleet that one process scans again and again.
type soak struct {
	t     *testing.T
	fleet *fleet
	hosts []inventory.Host
	store store.Store
	ask   scan.Ask
}

func newSoak(t *testing.T, f *fleet) *soak {
	t.Helper()
	inv, err := inventory.Load(t.Context(), []string{filepath.Join(f.dir, "inventory.yaml")}, inventory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("all")
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), filepath.Join(f.dir, "soak.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	helpers, err := enrolltest.Helpers("amd64")
	if err != nil {
		t.Fatal(err)
	}
	return &soak{t: t, fleet: f, hosts: hosts, store: st, ask: scan.Ask{Helpers: helpers, Proof: true}}
}

// scan scans once, with a dialer of its own, as a run of the command does.
func (s *soak) scan(ctx context.Context) {
	s.t.Helper()
	report, err := enroll.Scan(ctx, enroll.Fleet{
		Config: config.Default(), Inventory: s.hosts, Hosts: s.hosts, Store: s.store, Watcher: quiet{},
		Access: func(context.Context, []inventory.Host) (work.Reach, func(), error) {
			d, err := remote.NewDialer(remote.Options{ConnectTimeout: 5 * time.Second, Retries: -1})
			if err != nil {
				return work.Reach{}, nil, err
			}
			return work.Reach{Dialer: d, Forks: 50, Timeout: 30 * time.Second}, func() { _ = d.Close() }, nil
		},
	}, enroll.ScanOptions{Ask: s.ask})
	if report.Results == nil {
		s.t.Fatal(err)
	}
	for _, r := range report.Results {
		m := s.fleet.members[r.Host]
		if m.fault == nil && r.Outcome != outcome.OK {
			s.t.Errorf("%s is well, and ended %s %s: %s", r.Host, r.Outcome, r.Code, r.Message)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); s.fleet.server.Server().Stats().Open > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
}

// quiet is a watcher who says nothing.
type quiet struct{}

func (quiet) Run(int64)               {}
func (quiet) Begin(enroll.Stage, int) {}
func (quiet) Host(outcome.Result)     {}
func (quiet) End()                    {}
func (quiet) Note(enroll.Note)        {}
func (quiet) At(string, work.Doing)   {}
func (quiet) Pace(work.Pace)          {}
func (quiet) Logf(string, ...any)     {}
