package enroll

import (
	"cmp"
	"context"
	"errors"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/halt"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// installation makes hosts what they should be, one at a time.
type installation struct {
	*crew
	check      bool // change nothing: the results say what would be done
	noRollback bool // leave changed files as they are when something fails
	verifying  host.VerifyOptions
	verify     string        // of cluster.verify, settled: who has to say that a host joined
	joins      *confirmation // what the cluster knew before; nil in a dry run, and where nobody asks it
}

// hostInTime is host with the time that one may take.
func (e *installation) hostInTime(ctx context.Context, h inventory.Host, may bool) (outcome.Result, deed) {
	start := time.Now()
	if limit := e.reachHosts.Timeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = remote.WithLimit(ctx, limit)
		defer cancel()
	}
	r, did := e.host(ctx, h, may)
	r.Took = outcome.Took(time.Since(start))
	return r, did
}

// host takes one host all the way: facts, plan, apply, verify. Without may, one on which there is something to do is left as
// it is, and deferred.
func (e *installation) host(ctx context.Context, h inventory.Host, may bool) (outcome.Result, deed) {
	d, err := e.known(ctx, h)
	if err != nil {
		return outcome.Failure(ctx, h, err), deed{}
	}
	if hopeless := d.Hopeless(); hopeless != nil {
		return refused(h.Name, hopeless.Problems()), deed{refused: true}
	}
	v, err := e.visit(ctx, h, d)
	if err != nil {
		return outcome.Failure(ctx, h, err), deed{}
	}
	defer v.close()
	c := change{visit: v, steps: host.Plan(v.facts, v.desired)}
	switch bad := c.steps.Problems(); {
	case len(bad) > 0:
		r := refused(h.Name, bad)
		r.Warnings = e.warnings(v.facts)
		return r, deed{refused: true}
	case e.check:
		return e.planned(c), deed{}
	case !c.steps.Changes():
		return e.unchanged(ctx, c), deed{}
	case !may:
		return outcome.Result{}, deed{deferred: true}
	}
	if err := ctx.Err(); err != nil {
		return outcome.Failure(ctx, h, err), deed{}
	}
	ctx, finished := halt.Finish(ctx)
	defer finished()
	if err := e.beforeHost(ctx, c); err != nil {
		r := outcome.Failure(ctx, h, err)
		r.Code, r.Hint = outcome.Hook, "nothing was changed on the host"
		return r, deed{touched: true} // it would have been
	}
	r := e.change(ctx, c)
	e.afterHost(ctx, h, &r)
	return r, deed{touched: true}
}

// change is one host's plan with what it was made from.
type change struct {
	visit
	steps   host.Steps
	done    int // steps that are done
	journal *hostJournal
}

// planned is the result of a plan that isn't applied: in a dry run, or because there is nothing to do.
func (e *installation) planned(c change) outcome.Result {
	r := outcome.Result{Host: c.host.Name, Outcome: outcome.OK, Steps: e.stepResults(c.steps)}
	if c.steps.Changes() {
		r.Outcome = outcome.Changed
	} else if why := c.facts.Trouble(); why != "" {
		r.Warnings = append(r.Warnings, outcome.Warning{Reason: outcome.Because(outcome.NotReady, why)})
	}
	e.note(&r, c.facts)
	return r
}

// unchanged is the result of a plan without anything to do, on a host that is joined; that the run has been there is noted.
func (e *installation) unchanged(ctx context.Context, c change) outcome.Result {
	if err := c.openJournal(ctx, e); err != nil {
		return outcome.Failure(ctx, c.host, err)
	}
	w, err := e.witness(ctx, c)
	if err != nil {
		r := notWell(ctx, c, err)
		r.Warnings = e.warnings(c.facts)
		return r
	}
	if err := c.finish(ctx, w.join); err != nil {
		return outcome.Failure(ctx, c.host, err)
	}
	r := e.planned(c)
	r.Joined, r.Instance = w.by, w.instance
	return r
}

// witness is who said that a host has joined: nobody where nobody has to, or where nothing starts tbot.
type witness struct {
	by       string    // as results have it
	instance string    // of the bot, where the cluster said it
	join     *verified // nil: the cluster has to confirm it yet
}

// witness looks whether the tbot of a host has joined as it is now: a join of long ago, or of another process, is none. The
// cluster is asked at the run's end for what the host says, where it has to confirm it.
func (e *installation) witness(ctx context.Context, c change) (witness, error) {
	if e.verify == config.VerifyNone || c.facts.Systemd == 0 {
		return witness{}, nil
	}
	opts := e.verifying
	if opts.Running = !c.steps.Starts(); opts.Running {
		if j := e.joins.proven(ctx, c.host.Name, c.desired.Fresh()); j != nil {
			return witness{byCluster, j.Instance, &verified{j.At, j.Token}}, nil
		}
	}
	work.At(ctx, work.Joining)
	h, err := host.Verify(ctx, c.conn, c.facts, c.desired, opts)
	switch {
	case err != nil:
		return witness{}, err
	case !h.Joined():
		return witness{}, &notJoined{cause: &outcome.Error{Reason: h.Explain(c.facts.Skew)}, log: h.Log}
	case e.verify == config.VerifyFull:
		return witness{by: h.By}, nil
	}
	return witness{by: h.By, join: &verified{time.Now().UTC(), e.tokenOf(c.host.Name)}}, nil
}

// notWell is the result of a host that something went wrong with, with what tbot said of it.
func notWell(ctx context.Context, c change, err error) outcome.Result {
	r := outcome.Failure(ctx, c.host, err)
	if nj := (*notJoined)(nil); errors.As(err, &nj) {
		r.Outcome, r.Reason, r.Log = outcome.Failed, nj.cause.Reason, nj.log
	}
	return r
}

// mayHave notes the tokens that a host may be configured with from now on: that which is in its tbot.yaml, and that which is
// about to be written. It is durable before anything is written: their rules stay until one of them is known to be left.
func (e *installation) mayHave(ctx context.Context, c change) error {
	ek := e.acceptedHash(ctx, c.host.Name)
	if ek == "" {
		return nil
	}
	known, err := e.ours(ctx)
	if err != nil {
		return err
	}
	var ways []store.Way
	for _, token := range []string{c.facts.ConfiguredToken(c.desired), e.tokenOf(c.host.Name)} {
		if known[token] {
			ways = append(ways, store.Way{EKHash: ek, Token: token, Evidence: store.ByInstall, Run: e.now.ID})
		}
	}
	return e.Store.AddWays(ctx, ways...)
}

func (c *change) openJournal(ctx context.Context, e *installation) (err error) {
	if err := e.mayHave(ctx, *c); err != nil {
		return err
	}
	c.journal, err = openJournal(ctx, e.Store, c.host.Name, e.now.ID)
	return err
}

// finish notes in the records what the host is like now, and its join where one is verified.
func (c change) finish(ctx context.Context, join *verified) error {
	now, err := c.desired.Installed(c.facts)
	if err != nil {
		return err
	}
	return c.journal.finish(ctx, now, join)
}

// note adds what deserves attention although it stands in nobody's way.
func (e *installation) note(r *outcome.Result, f *host.Facts) {
	r.Warnings = append(r.Warnings, e.warnings(f)...)
	if f.Systemd == 0 {
		r.Reason = outcome.Because(outcome.NoSystemd, "tbot is configured, but systemd doesn't run here: nothing starts it")
	}
}

// change applies a plan and verifies what came of it.
func (e *installation) change(ctx context.Context, c change) outcome.Result {
	if err := c.openJournal(ctx, e); err != nil {
		return outcome.Failure(ctx, c.host, err)
	}
	work.At(ctx, work.Changing)
	var w witness
	err := e.installFirst(ctx, &c)
	if err == nil {
		var done int
		done, err = host.Apply(ctx, c.conn, c.steps[c.done:], host.ApplyOptions{
			Pending: c.steps.Starts(), Jitter: e.Config.Rollout.Jitter.Value(), Journal: c.journal,
		})
		c.done += done
	}
	if err == nil {
		w, err = e.witness(ctx, c)
	}
	if err != nil {
		return e.failed(ctx, c, err)
	}
	r := outcome.Result{Host: c.host.Name, Outcome: outcome.Changed, Steps: e.stepResults(c.steps), Joined: w.by, Instance: w.instance}
	e.note(&r, c.facts)
	if err := c.finish(ctx, w.join); err != nil {
		return outcome.Failure(ctx, c.host, err)
	}
	return r
}

// installFirst brings the new tbot where the plan has one, and makes the rest of the plan anew: the unit and the
// configuration depend on where tbot is and on what it can. The step stays in the plan, as done and with its undo.
func (e *installation) installFirst(ctx context.Context, c *change) error {
	i := c.steps.Installation()
	if i < 0 {
		return nil
	}
	c.steps = c.steps[i : i+1]
	if _, err := host.Apply(ctx, c.conn, c.steps, host.ApplyOptions{Pending: c.facts.Systemd > 0, Journal: c.journal}); err != nil {
		return err
	}
	c.done = 1
	var f *host.Facts
	var err error
	if c.desired, f, err = host.Look(ctx, c.conn, c.desired); err != nil {
		return err
	}
	rest := host.Plan(f, c.desired)
	if rest.Installation() >= 0 {
		return outcome.NewError(outcome.InstallFailed, "a tbot was installed, and it is not the one that was asked for: it is "+
			cmp.Or(f.TbotVersion().String(), "of no known version"))
	}
	f.Now = c.facts.Now // as it was before anything changed
	c.facts, c.steps = f, append(c.steps, rest...)
	return nil
}

// notJoined is a tbot that was started and didn't join.
type notJoined struct {
	cause *outcome.Error
	log   []string // the journal's last lines
}

func (e *notJoined) Error() string { return e.cause.Error() }
func (e *notJoined) Unwrap() error { return e.cause }

// rollbackLimit is how long a rollback may take, whatever is left of the host's time: some files, a restart, and a look at what
// comes of it.
const rollbackLimit = 90 * time.Second

// failed is the result of a plan that went wrong. What was changed is taken back, as far as there was something before.
func (e *installation) failed(ctx context.Context, c change, err error) outcome.Result {
	r := notWell(ctx, c, err)
	r.Steps, r.Warnings = e.stepResults(c.steps[:min(len(c.steps), c.done)]), e.warnings(c.facts)
	if jerr := c.journal.fail(ctx); jerr != nil {
		r.Message += "; " + remote.Line(jerr.Error())
	}
	// Whoever interrupts a run twice wants its end, and where the connection is gone there is nobody to ask. That the host's
	// own time is over is no reason: it would be left with what doesn't work.
	if e.noRollback || errors.Is(ctx.Err(), context.Canceled) || errors.Is(err, remote.ErrDisconnected) {
		return r
	}
	ctx, done := halt.Outlive(ctx, rollbackLimit)
	defer done()
	rolled, rerr := host.Rollback(ctx, c.conn, c.steps, c.facts, c.desired)
	if rolled.Said != "" {
		r.Message += "; " + rolled.Said
	}
	if rerr != nil {
		r.Message += "; " + remote.Line(rerr.Error())
	}
	if jerr := c.journal.undone(ctx, rolled.Undone); jerr != nil {
		r.Message += "; " + remote.Line(jerr.Error())
	}
	return r
}
