package remote

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// penalised recognises what sshd (OpenSSH 9.8 and later) says instead of its version to an address that PerSourcePenalties
// holds something against: a login that failed, a connection that was left.
func penalised(words string) bool { return strings.Contains(words, "Not allowed at this time") }

// Bounds of the waiting for a penalty to pass. sshd's are 15 seconds at the least, 10 minutes at the most.
const (
	maxPenaltyPause = time.Minute
	maxPenaltyTries = 8
)

// penalties are the addresses whose sshd penalises this machine: nobody knocks there before it may be over, since hosts with
// one address in common would go on paying for each other.
type penalties struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// add notes a penalty. It returns false where waiting leads to nothing any more: it was waited for often enough (tries), or
// ctx ends before.
func (p *penalties) add(ctx context.Context, addr string, pause time.Duration, tries *int) bool {
	if *tries++; *tries > maxPenaltyTries {
		return false
	}
	pause = min(pause<<(*tries-1), maxPenaltyPause)
	until := time.Now().Add(pause)
	if due, ok := ctx.Deadline(); ok && due.Before(until) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until[addr]) {
		p.until[addr] = until
	}
	return true
}

// wait waits until a penalty may be over, and a moment more, so that not all who wait come at once.
func (p *penalties) wait(ctx context.Context, addr string) error {
	p.mu.Lock()
	left := time.Until(p.until[addr])
	p.mu.Unlock()
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left + rand.N(left/4+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
