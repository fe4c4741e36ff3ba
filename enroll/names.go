package enroll

import (
	"context"
	"sync"

	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
)

// troubles are the machines that failed in a rollout, with the name under which they did.
type troubles struct {
	mu     sync.Mutex
	failed map[string]string // machine → name
}

func (t *troubles) note(machine, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		t.failed = map[string]string{}
	}
	t.failed[machine] = name
}

func (t *troubles) of(machine string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed[machine]
}

// oneName takes a host all the way. A change that failed under one name of a machine, and was taken back, is not tried again
// under another in the same rollout; a name under which the machine wasn't reached says nothing about the others.
func (e *installation) oneName(ctx context.Context, h inventory.Host, before *troubles, may bool) (outcome.Result, deed) {
	machine := e.now.Machines.Name(h.Name)
	if other := before.of(machine); other != "" {
		return notStarted(h.Name, other+", another name of this machine, failed"), deed{}
	}
	r, did := e.hostInTime(ctx, h, may)
	if r.Outcome == outcome.Failed && len(r.Steps) > 0 {
		before.note(machine, h.Name)
	}
	return r, did
}
