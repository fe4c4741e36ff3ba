package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
)

// fleetYAML lets a rollout go on as far as it can.
const fleetYAML = `version: v1
inventory: inventory.yaml
cluster: {proxy_server: "teleport.example.com:443"}
bot: {name: fleet, roles: [access]}
rollout: {canary: 0, batch: 100%, max_failures: 100%}
`

// A fleet is enrolled by a controller that is killed at random moments, while hosts reboot, hang and fail at random steps.
// Whatever state that leaves: one run with nothing in its way makes all of them what they should be, with tbot up on each, and
// the run after it finds nothing to do.
func TestAnEnrollThatIsKilledConverges(t *testing.T) {
	t.Parallel()
	first := number(t, "CHAOS_SEED", 1)
	for seed := first; seed < first+number(t, "CHAOS_SEEDS", 1); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { enrollAndKill(t, uint64(seed)) })
	}
}

func enrollAndKill(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a seed that can be repeated
	f := newFleet(t, number(t, "CHAOS_ENROLL_HOSTS", 12), seed, healed())
	cluster := memcluster.NewCluster(t, "18.4.0")
	f.env = append(f.env, serve(t, cluster)...)
	f.write("fleet.yaml", []byte(fleetYAML))
	var calm atomic.Bool
	for _, m := range f.members {
		m.Cluster = cluster
		m.Before = trouble(&calm, rand.New(rand.NewPCG(seed, r.Uint64()))) //nolint:gosec // likewise
	}
	for range number(t, "CHAOS_KILLS", 4) {
		cmd := f.enrolling()
		began := f.server.Server().Stats().Authenticated
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		f.met(began + 1)
		time.Sleep(time.Duration(r.Int64N(int64(2500 * time.Millisecond))))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	calm.Store(true)
	rep := f.enroll()
	for _, h := range rep.Hosts {
		if h.Outcome != "ok" && h.Outcome != "changed" {
			t.Errorf("%s: %s %s: %s", h.Host, h.Outcome, h.Status, h.Message)
		}
	}
	for name, m := range f.members {
		m.With(func(s *enrolltest.State) {
			if s.Service.State != "active" || !s.Service.Enabled {
				t.Errorf("%s: tbot is %q, enabled %v", name, s.Service.State, s.Service.Enabled)
			}
		})
		if cluster.Joins(m.TPM.EKHash()) == 0 {
			t.Errorf("%s has never joined", name)
		}
	}
	again := f.enroll()
	if again.Recap.Counts["ok"] != len(f.members) {
		t.Errorf("the run after it: %v", again.Recap.Counts)
	}
}

// healed is no fault at all: hosts are troubled for a while, and well in the end.
func healed() []fault { return []fault{{name: "it was troubled", statuses: []string{""}}} }

// trouble lets every fifteenth thing that a host is asked go wrong, until it is calm.
func trouble(calm *atomic.Bool, r *rand.Rand) func(enrolltest.Event) error {
	var mu sync.Mutex // the answer to a controller that was killed may be on its way
	return func(enrolltest.Event) error {
		if calm.Load() {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		switch r.IntN(45) {
		case 0:
			return enrolltest.ErrDrop
		case 1:
			return enrolltest.ErrHang
		case 2:
			return errors.New("no space left on device")
		}
		return nil
	}
}

func (f *fleet) enrolling() *exec.Cmd {
	return f.command("enroll", "-o", "json", "--no-progress", "--timeout", "30s", "--forks", "6")
}

// enroll enrolls the fleet to its end.
func (f *fleet) enroll() (r report) {
	f.t.Helper()
	cmd := f.enrolling()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if uerr := json.Unmarshal(out.Bytes(), &r); err != nil || uerr != nil {
		f.t.Errorf("enroll: %v, %v\n%s", err, uerr, tail(stderr.String()))
	}
	f.t.Logf("enroll: %v", r.Recap.Counts)
	f.sums(r)
	return r
}
