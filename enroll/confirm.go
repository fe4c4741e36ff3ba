package enroll

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/halt"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

// verifies settles who has to say that a host joined (cluster.verify), by what the cluster is, if it can be asked. That it
// doesn't answer is no reason to be content with less: what was meant to be asked, and could not be, is not verified.
func (f Fleet) verifies(version versions.Version) string {
	says := f.Config.Cluster.Verify
	switch {
	case f.Cluster == nil && f.Unasked == nil && says != config.VerifyNone: // nobody wants it asked
		return config.VerifyHost
	case says != "":
		return says
	case versions.Has(versions.BotInstance, version) == versions.No:
		return config.VerifyHost
	}
	return config.VerifyFull
}

// clusterJoins asks the cluster who joined. Where it doesn't say, the error says why, and the watcher hears of it.
func (f Fleet) clusterJoins(ctx context.Context) (map[string]tctl.Join, error) {
	if f.Cluster == nil {
		return nil, f.Unasked
	}
	joins, err := f.askJoins(ctx)
	if err != nil {
		f.Watcher.Note(ClusterSilent{About: AboutJoins, Err: err})
	}
	return joins, err
}

// confirmation asks the cluster which hosts joined: two questions a run, however many hosts there are.
type confirmation struct {
	*crew
	before map[string]tctl.Join // by EKPub hash, as it was before the run
	silent error                // why the cluster doesn't say
	began  time.Time
}

// begin remembers how things are before anything is done.
func (c *confirmation) begin(ctx context.Context) {
	c.began = time.Now()
	c.before, c.silent = c.clusterJoins(ctx)
}

// proven is the join of a host that nothing was changed on, where the cluster has one that proves that it is joined as it
// is; nil for none. It can be asked of a nil confirmation.
func (c *confirmation) proven(ctx context.Context, name string, fresh time.Duration) *tctl.Join {
	if c == nil {
		return nil
	}
	if j, ok := c.before[c.acceptedHash(ctx, name)]; ok && c.proves(ctx, name, j, fresh) {
		return &j
	}
	return nil
}

// proves says whether a join is of the host as it is now: by the token that it has, not older than a join stays fresh, and
// later than the last change, unless a run has seen a join since.
func (c *confirmation) proves(ctx context.Context, name string, j tctl.Join, fresh time.Duration) bool {
	token := c.tokenOf(name)
	rec, err := c.record(ctx, name)
	if err != nil || j.Token != token || time.Since(j.At) > fresh {
		return false
	}
	in := rec.Installed
	firstSeen := in != nil && in.ChangedAt == nil && !in.At.Before(c.began) // under this name, and nothing was done
	return in == nil || firstSeen || in.JoinedBy(token) || j.At.After(lastChange(in))
}

// lastChange is when a run last changed a host's tbot.
func lastChange(in *store.Installed) time.Time {
	if in.ChangedAt != nil {
		return *in.ChangedAt
	}
	return in.At
}

// keep notes a join in the records: an instance ends with its certificates, and what was seen stays known.
func (c *confirmation) keep(ctx context.Context, host string, v verified) {
	rec, err := c.Store.Record(ctx, host)
	if err == nil && rec.Installed != nil {
		v.note(rec.Installed, c.now.ID)
		err = c.Store.SetInstalled(ctx, host, rec.Installed)
	}
	if err != nil {
		c.Watcher.Logf("%s: its join is not noted: %v", host, err)
	}
}

// How often and how long apart the cluster is asked for joins that it doesn't have yet.
const (
	confirmTries = 3
	confirmPause = 2 * time.Second
)

// lastWord is how long the cluster is asked after a run that was interrupted: what was done is told as it is.
const lastWord = 10 * time.Second

// end lets the cluster confirm the results of hosts that joined by their own word. A host of which it shows no join has
// failed; where it doesn't say, the host is not verified, which is no good end either.
func (c *confirmation) end(ctx context.Context, results []outcome.Result) {
	open := map[int]string{}
	for i, r := range results {
		if r.Joined == byReadyz || r.Joined == byJournal {
			open[i] = c.acceptedHash(context.WithoutCancel(ctx), r.Host)
		}
	}
	if ctx.Err() != nil && len(open) > 0 { // it belongs to what was done on the hosts
		var done func()
		ctx, done = halt.Outlive(ctx, lastWord)
		defer done()
	}
	vague := c.ask(ctx, results, open)
	for i := range results {
		if _, left := open[i]; !left {
			continue
		}
		r := &results[i]
		switch {
		case vague && c.Config.Cluster.Verify == "": // whose the joins are, this cluster can't say: the host's word counts
			c.keep(ctx, r.Host, verified{time.Now().UTC(), c.tokenOf(r.Host)})
			continue
		case vague:
			unverified(r, "the cluster doesn't say whose the joins are that it has")
		case c.silent != nil:
			unverified(r, "the cluster doesn't say whether it joined: "+remote.Line(c.silent.Error()))
		default:
			r.Outcome = outcome.Failed
			r.Reason = outcome.Because(outcome.JoinUnconfirmed, "the host says that tbot joined ("+r.Joined+
				"), and the cluster shows no join of this EK with its token")
		}
		c.Watcher.Note(HostRefused{Result: *r})
	}
}

// unverified makes a result one of a host that does well by its own word alone.
func unverified(r *outcome.Result, why string) {
	r.Outcome = outcome.Failed
	r.Reason = outcome.Because(outcome.StateUnverified, "tbot joined by the host's own word ("+r.Joined+"); "+why)
}

// ask asks for the joins of the hosts in open, which holds their EKPub hashes, and takes out those that are confirmed. vague:
// there are joins of which the cluster doesn't say whose they are.
func (c *confirmation) ask(ctx context.Context, results []outcome.Result, open map[int]string) (vague bool) {
	for try := 0; len(open) > 0 && c.silent == nil && !vague; try++ {
		if try == confirmTries || try > 0 && wait(ctx, cmp.Or(c.pause, confirmPause)) != nil {
			return false
		}
		var joins map[string]tctl.Join
		if joins, c.silent = c.clusterJoins(ctx); c.silent != nil {
			return false
		}
		for i, hash := range open {
			if j, ok := joins[hash]; ok && hash != "" && c.confirms(ctx, results[i], j) {
				results[i].Joined, results[i].Instance = results[i].Joined+"+"+byCluster, j.Instance
				c.keep(ctx, results[i].Host, verified{j.At, j.Token})
				delete(open, i)
			}
		}
		_, vague = joins[tctl.Unattributed]
	}
	return vague
}

// confirms says whether a join is that of a result: one that the cluster didn't have before the host was started.
func (c *confirmation) confirms(ctx context.Context, r outcome.Result, j tctl.Join) bool {
	if r.Outcome == outcome.Changed {
		return j.Token == c.tokenOf(r.Host) && j.At.After(c.before[c.acceptedHash(ctx, r.Host)].At)
	}
	return c.proves(ctx, r.Host, j, c.fresh(r.Host))
}

// fresh is how old the latest join of a chosen host may be.
func (c *confirmation) fresh(name string) time.Duration {
	for _, h := range c.Hosts {
		if h.Name != name {
			continue
		}
		if d, err := c.desired(h); err == nil {
			return d.Fresh()
		}
	}
	return freshJoin
}

// What says that a tbot joined: results name them, joined by "+".
const (
	byReadyz  = "readyz"
	byJournal = "journal"
	byCluster = "cluster"
)

// evidence counts what said that hosts joined, for the recap.
func evidence(results []outcome.Result) map[string]int {
	by := map[string]int{}
	for _, r := range results {
		if r.Joined != "" && !r.Bad() {
			by[r.Joined]++
		}
	}
	return by
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", context.Cause(ctx))
	}
}
