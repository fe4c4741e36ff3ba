package enroll

import (
	"context"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tctl"
)

// confirmation asks the cluster which hosts joined in this run: two questions a run, however many hosts there are.
type confirmation struct {
	tctl   *tctl.Tctl
	bots   []string // to ask for; none: all
	logf   func(string, ...any)
	before map[string]tctl.Join // nil: the cluster doesn't say
}

// begin remembers how things are before anything is done.
func (c *confirmation) begin(ctx context.Context) {
	if c.tctl == nil {
		return
	}
	before, err := c.tctl.Joins(ctx, c.bots...)
	if err != nil {
		c.say("the cluster doesn't say which bots joined: %v", err)
		return
	}
	c.before = before
}

func (c *confirmation) say(format string, args ...any) {
	if c.logf != nil {
		c.logf(format, args...)
	}
}

// How often and how long apart the cluster is asked for joins that it doesn't have yet.
const (
	confirmTries = 3
	confirmPause = 2 * time.Second
)

// end marks the results of hosts that were started: the cluster has a join of that EK that it didn't have before, or
// the result gets a warning.
func (c *confirmation) end(ctx context.Context, results []outcome.Result, hashOf func(host string) string) {
	open := map[int]string{}
	for i := range results {
		if results[i].Joined != "" {
			if hash := hashOf(results[i].Host); hash != "" {
				open[i] = hash
			}
		}
	}
	if c.before == nil || len(open) == 0 {
		return
	}
	for try := range confirmTries {
		joins, err := c.tctl.Joins(ctx, c.bots...)
		if err != nil {
			c.say("the cluster doesn't say which bots joined: %v", err)
			return
		}
		for i, hash := range open {
			if j, ok := joins[hash]; ok && j.At.After(c.before[hash].At) {
				results[i].Joined, results[i].Instance = results[i].Joined+"+cluster", j.Instance
				delete(open, i)
			}
		}
		if len(open) == 0 || try == confirmTries-1 || wait(ctx, confirmPause) != nil {
			break
		}
	}
	for i := range open {
		results[i].Warnings = append(results[i].Warnings, outcome.Warning{
			Reason: outcome.Because(outcome.JoinUnconfirmed, "the host says that tbot joined, and the cluster shows no join of this EK"),
		})
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
