package enroll

import (
	"cmp"
	"context"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tctl"
)

// confirmation asks the cluster which hosts joined in this run: two questions a run, however many hosts there are.
type confirmation struct {
	Fleet
	before map[string]tctl.Join // nil: the cluster doesn't say
}

// begin remembers how things are before anything is done.
func (c *confirmation) begin(ctx context.Context) { c.before = c.joins(ctx) }

// keep notes a join in the records: an instance ends with its certificates, and what was seen stays known.
func (c *confirmation) keep(ctx context.Context, host string, j tctl.Join) {
	rec, err := c.Store.Record(ctx, host)
	if err == nil && rec.Installed != nil {
		rec.Installed.JoinedAt, rec.Installed.JoinedWith = &j.At, j.Token
		err = c.Store.SetInstalled(ctx, host, rec.Installed)
	}
	if err != nil {
		c.Watcher.Logf("%s: its join is not noted: %v", host, err)
	}
}

// of is the join of a host that the cluster knew before; nil for none. It can be asked of a nil confirmation.
func (c *confirmation) of(ctx context.Context, host string) *tctl.Join {
	if c == nil || c.before == nil {
		return nil
	}
	if j, ok := c.before[c.acceptedHash(ctx, host)]; ok {
		return &j
	}
	return nil
}

// How often and how long apart the cluster is asked for joins that it doesn't have yet.
const (
	confirmTries = 3
	confirmPause = 2 * time.Second
)

// end marks the results of hosts that were started: the cluster has a join of that EK that it didn't have before, or
// the result gets a warning.
func (c *confirmation) end(ctx context.Context, results []outcome.Result) {
	if c.before == nil {
		return
	}
	open := map[int]string{}
	for i := range results {
		if results[i].Joined != "" {
			if hash := c.acceptedHash(ctx, results[i].Host); hash != "" {
				open[i] = hash
			}
		}
	}
	if len(open) == 0 {
		return
	}
	for try := range confirmTries {
		joins := c.joins(ctx)
		if joins == nil {
			return
		}
		for i, hash := range open {
			if j, ok := joins[hash]; ok && j.At.After(c.before[hash].At) {
				results[i].Joined, results[i].Instance = results[i].Joined+"+cluster", j.Instance
				c.keep(ctx, results[i].Host, j)
				delete(open, i)
			}
		}
		if _, vague := joins[tctl.Unattributed]; vague {
			return // whose they are, nobody can say
		}
		if len(open) == 0 || try == confirmTries-1 || wait(ctx, cmp.Or(c.pause, confirmPause)) != nil {
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
