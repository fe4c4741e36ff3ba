package remote_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// costEach makes TestAHostileHostCostsLittle look at each behaviour alone, with many hosts; without it all are looked at
// together.
const costEach = "HOSTILE_EACH"

// maxCost is what a hostile host may cost more than an honest one, in bytes.
const maxCost = 128 << 10

// maxPacket is what x/crypto holds of a connection whose host sends the largest packets: one and its copy, in bytes.
const maxPacket = 2 * 256 << 10

// The memory is that of a process of its own: the hosts' would count otherwise.
func TestAHostileHostCostsLittle(t *testing.T) {
	honest := remotetest.Behaviour{Name: "honest", Make: func(*remotetest.Host) {}}
	all := remotetest.Behaviours()
	if os.Getenv(costEach) == "" {
		base := costOf(t, repeat(honest, len(all)))
		cost := (costOf(t, all) - base) / int64(len(all))
		t.Logf("%d honest hosts hold %d KiB, a hostile one %d KiB more", len(all), base>>10, cost>>10)
		if cost > maxCost {
			t.Errorf("a hostile host costs %d KiB more than an honest one", cost>>10)
		}
		return
	}
	const n = 50
	base := costOf(t, repeat(honest, n))
	for _, b := range all {
		cost := (costOf(t, repeat(b, n)) - base) / n
		t.Logf("%6d KiB: %s", cost>>10, b.Name)
		limit := int64(maxCost)
		if b.Huge {
			limit += maxPacket
		}
		if cost > limit {
			t.Errorf("%s costs %d KiB more than an honest host", b.Name, cost>>10)
		}
	}
}

func repeat(b remotetest.Behaviour, n int) []remotetest.Behaviour {
	out := make([]remotetest.Behaviour, n)
	for i := range out {
		out[i] = b
	}
	return out
}

// costOf visits such hosts at once and returns what the heap held at most, in bytes.
func costOf(t *testing.T, behaviours []remotetest.Behaviour) int64 {
	t.Helper()
	hosts := startHostile(t, behaviours)
	defer func() { _ = hosts.Close() }()
	targets := make([]remote.Target, len(behaviours))
	for i := range targets {
		targets[i] = hosts.target(jumpsOfHostile + i)
		targets[i].Password = "secret"
	}
	in, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestVisitsInAProcessOfTheirOwn$", "-test.v")
	cmd.Env = append(os.Environ(), visitEnv+"=yes")
	cmd.Stdin = strings.NewReader(string(in))
	out, err := cmd.CombinedOutput()
	_, said, found := strings.Cut(string(out), "held at most ")
	var held int64
	if _, scanErr := fmt.Sscan(said, &held); err != nil || !found || scanErr != nil {
		t.Fatalf("%v, %v: %s", err, scanErr, out)
	}
	return held
}

const visitEnv = "FLEETCTL_TEST_VISITS"

// TestVisitsInAProcessOfTheirOwn is no test: it is the process of costOf.
func TestVisitsInAProcessOfTheirOwn(t *testing.T) {
	if os.Getenv(visitEnv) == "" {
		t.Skip("part of another test")
	}
	var targets []remote.Target
	if err := json.NewDecoder(os.Stdin).Decode(&targets); err != nil {
		t.Fatal(err)
	}
	debug.SetGCPercent(20)
	d := newDialer(t, hostileLimits())
	held := watchHeap()
	var wg sync.WaitGroup
	for _, target := range targets {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			defer cancel()
			_ = visit(ctx, d, target)
		})
	}
	wg.Wait()
	fmt.Printf("held at most %d\n", held())
}

// watchHeap looks again and again at what the heap holds; the function that it returns says the most. Garbage is none of it:
// how much of that there is depends on how fast the hosts are.
func watchHeap() (most func() int64) {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		var held uint64
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		for {
			runtime.GC()
			metrics.Read(live)
			held = max(held, live[0].Value.Uint64())
			select {
			case <-stop:
				result <- int64(held)
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-result
	}
}
