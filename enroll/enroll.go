package enroll

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/versions"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fleetctl/templates"
)

// EnrollOptions of Enroll.
type EnrollOptions struct {
	Config     config.Config
	Dialer     work.Dialer
	Store      store.Store              // keeps what was installed; nil: nothing does
	TokenOf    func(host string) string // the token that a host joins with; "" for none
	Templates  *templates.Set
	Check      bool // change nothing: the results say what would be done
	Diff       bool // results hold diffs of file contents
	Adopt      bool // replace a configuration or a unit that somebody else wrote
	Strict     bool // take what tbot would ignore in its services for errors
	NoRollback bool // leave changed files as they are when something fails
	Forks      int
	Timeout    time.Duration // a host
	Become     work.Become
	Password   string          // --ask-pass
	Run        int64           // of the store
	Tctl       *tctl.Tctl      // asks the cluster who joined; nil: nobody does
	Stop       <-chan struct{} // closed: no new hosts start, those that run come to their end
	Verify     host.VerifyOptions
	OnResult   func(outcome.Result) // after every host, one at a time, in the order of completion; may be nil
	Logf       func(string, ...any)

	client *http.Client                                            // for the cluster's version and its installer; nil: the default one
	dial   func(context.Context, remote.Target) (host.Conn, error) // tests put their own there
}

// Enroll makes every host what fleet.yaml, the inventory and its token say: facts, plan, apply, verify, in a rollout.
// What is wrong with the configuration, an override or a template is found before any host is contacted: the error is
// an ErrInput then. Results are in the order of hosts.
func Enroll(ctx context.Context, hosts []inventory.Host, opts EnrollOptions) ([]outcome.Result, error) {
	e, err := newEnroller(ctx, hosts, opts)
	if err != nil {
		return nil, err
	}
	defer e.close()
	p := newPace(opts.Config.Rollout, opts.Forks, len(hosts))
	groups := make([][]string, len(hosts))
	for i := range hosts {
		groups[i] = hosts[i].Groups
	}
	order := inOrder(groups, opts.Config.Rollout.Order)
	results := make([]outcome.Result, len(hosts))
	report := work.Reporter(opts.OnResult)
	r := rollout{
		pace: p, n: len(hosts), stop: opts.Stop,
		run: func(ctx context.Context, i int) bool {
			res := e.hostInTime(ctx, hosts[order[i]])
			results[order[i]] = res
			report(res)
			return res.Outcome != outcome.Failed && res.Outcome != outcome.Unreachable
		},
		skip: func(i int, why string) {
			res := skipped(hosts[order[i]].Name, why)
			results[order[i]] = res
			report(res)
		},
	}
	if opts.Check {
		r.pace = pace{workers: p.workers, batch: len(hosts), budget: len(hosts)} // looking needs no canary
	}
	joins := confirmation{tctl: opts.Tctl, logf: opts.Logf}
	e.askVersion(ctx)
	if opts.Check {
		r.do(ctx)
		return results, context.Cause(ctx)
	}
	if err := e.beforeRun(ctx, hosts); err != nil {
		return nil, err
	}
	joins.begin(ctx)
	r.do(ctx)
	joins.end(ctx, results, e.acceptedHash(ctx))
	e.afterRun(ctx, hosts, results)
	return results, context.Cause(ctx)
}

// askVersion asks the cluster which version it runs; not to know it is no reason to stop.
func (e *enroller) askVersion(ctx context.Context) {
	if e.opts.Tctl == nil {
		return
	}
	v, err := e.opts.Tctl.ClusterVersion(ctx)
	if err != nil && e.opts.Logf != nil {
		e.opts.Logf("the cluster's version is not known: %v", err)
	}
	e.version, _ = versions.Parse(v)
}

// acceptedHash finds the EKPub hash that a host has a rule for.
func (e *enroller) acceptedHash(ctx context.Context) func(host string) string {
	return func(host string) string {
		if e.opts.Store == nil {
			return ""
		}
		rec, err := e.opts.Store.Record(ctx, host)
		if err != nil || rec.Accepted == nil {
			return ""
		}
		return rec.Accepted.EKHash
	}
}

func skipped(host, why string) outcome.Result {
	if why == whyInterrupted {
		return outcome.Result{Host: host, Outcome: outcome.Canceled, Reason: outcome.Reason{Code: outcome.WasCanceled, Message: "not started: " + why}}
	}
	return outcome.Result{Host: host, Outcome: outcome.Skipped, Reason: outcome.Because(outcome.NotStarted, "not started: "+why)}
}

type enroller struct {
	opts       EnrollOptions
	dir        string                     // temporary, for what installers unpack
	installers map[string]*host.Installer // by their configuration, as JSON
	version    versions.Version           // of the cluster; the zero Version when it isn't known
}

func newEnroller(ctx context.Context, hosts []inventory.Host, opts EnrollOptions) (*enroller, error) {
	if opts.Templates == nil {
		set, err := templates.Load("")
		if err != nil {
			return nil, err
		}
		opts.Templates = set
	}
	if opts.dial == nil {
		opts.dial = func(ctx context.Context, t remote.Target) (host.Conn, error) { return opts.Dialer.Dial(ctx, t) }
	}
	e := &enroller{opts: opts, installers: map[string]*host.Installer{}}
	var err error
	if e.dir, err = os.MkdirTemp("", "fleetctl-"); err != nil {
		return nil, err
	}
	if err := e.check(ctx, hosts); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *enroller) close() {
	_ = os.RemoveAll(e.dir) // a temporary directory: there is nobody to tell
}

// check computes what every host should be like and prepares what shall be installed; it names up to 20 hosts with
// errors.
func (e *enroller) check(ctx context.Context, hosts []inventory.Host) error {
	var errs []error
	if warnings := host.Warnings(hosts, e.opts.Config); e.opts.Strict {
		errs = append(errs, host.Strict(warnings))
	} else if e.opts.Logf != nil {
		for _, w := range warnings {
			e.opts.Logf("%s", w.Message)
		}
	}
	for _, h := range hosts {
		d, err := e.desired(h)
		if err != nil {
			err = config.HostError(h, err)
		} else {
			err = e.prepare(ctx, d)
		}
		if err != nil && len(errs) < 20 {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// prepare makes a host's installer, unless another host has the same one.
func (e *enroller) prepare(ctx context.Context, d host.Desired) error {
	key := installKey(d.Tbot.Install)
	if _, ok := e.installers[key]; ok {
		return nil
	}
	e.installers[key] = nil // one that fails is reported once
	dir := filepath.Join(e.dir, strconv.Itoa(len(e.installers)))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	in, err := host.Prepare(ctx, e.opts.client, dir, d.Tbot.Install, e.opts.Config.Cluster)
	if err != nil {
		return err
	}
	e.installers[key] = in
	return nil
}

func installKey(c config.Install) string {
	raw, _ := json.Marshal(c) // strings and maps of strings: it can't fail
	return string(raw)
}

func (e *enroller) desired(h inventory.Host) (host.Desired, error) {
	d, err := host.Desire(h, e.opts.Config, e.opts.TokenOf(h.Name), e.opts.Templates)
	d.Adopt, d.Version = e.opts.Adopt, e.version
	return d.Installing(e.installers[installKey(d.Tbot.Install)]), err
}

func (e *enroller) hostInTime(ctx context.Context, h inventory.Host) outcome.Result {
	start := time.Now()
	if e.opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, e.opts.Timeout)
		defer cancel()
	}
	r := e.host(ctx, h)
	r.Took = time.Since(start)
	return r
}

// host takes one host all the way.
func (e *enroller) host(ctx context.Context, h inventory.Host) outcome.Result {
	d, err := e.desired(h)
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	if hopeless := d.Hopeless(); hopeless != nil {
		return refused(h.Name, hopeless)
	}
	conn, err := e.connect(ctx, h)
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	defer conn.Close() // what was done on the host is known by now
	f, err := host.GatherFacts(ctx, conn, d)
	if err != nil {
		return outcome.Failure(ctx, h, err)
	}
	steps := host.Plan(f, d)
	switch {
	case len(steps.Problems()) > 0:
		return refused(h.Name, steps)
	case e.opts.Check:
		return e.planned(h, f, steps)
	case !steps.Changes():
		return e.unchanged(ctx, change{host: h, facts: f, desired: d, steps: steps})
	}
	c := change{host: h, facts: f, desired: d, steps: steps}
	if err := e.beforeHost(ctx, c); err != nil {
		r := outcome.Failure(ctx, h, err)
		r.Code, r.Hint = outcome.Hook, "nothing was changed on the host"
		return r
	}
	r := e.change(ctx, conn, c)
	e.afterHost(ctx, h, &r)
	return r
}

func (e *enroller) connect(ctx context.Context, h inventory.Host) (host.Conn, error) {
	t, err := work.Target(h, e.opts.Become, e.opts.Password)
	if err != nil {
		return nil, err
	}
	return e.opts.dial(ctx, t)
}

// installFirst brings the new tbot where the plan has one, and makes the rest of the plan anew: the unit and the
// configuration depend on where tbot is and on what it can. The step stays in the plan, as done and with its undo.
func (e *enroller) installFirst(ctx context.Context, conn host.Conn, c *change) error {
	i := c.steps.Installation()
	if i < 0 {
		return nil
	}
	c.steps = c.steps[i : i+1]
	opts := host.ApplyOptions{Pending: c.facts.Systemd > 0, Journal: c.journal}
	if _, err := host.Apply(ctx, conn, c.steps, opts); err != nil {
		return err
	}
	c.done = 1
	f, err := host.GatherFacts(ctx, conn, c.desired)
	if err != nil {
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

// refused is the result of a plan with problems: nothing is done, and all of them are named.
func refused(name string, steps host.Steps) outcome.Result {
	r := outcome.Result{Host: name, Outcome: outcome.Failed}
	for i, p := range steps.Problems() {
		if i == 0 {
			r.Reason = p
			continue
		}
		r.Message += "; " + p.Message
	}
	return r
}

// planned is the result of a plan that isn't applied: because of --check, or because there is nothing to do.
func (e *enroller) planned(h inventory.Host, f *host.Facts, steps host.Steps) outcome.Result {
	r := outcome.Result{Host: h.Name, Outcome: outcome.OK, Steps: e.stepResults(steps)}
	if steps.Changes() {
		r.Outcome = outcome.Changed
	} else if why := f.Trouble(); why != "" {
		r.Warnings = append(r.Warnings, outcome.Warning{Reason: outcome.Because(outcome.NotReady, why)})
	}
	e.note(&r, f)
	return r
}

// unchanged is the result of a plan without anything to do; that the run has been there is noted.
func (e *enroller) unchanged(ctx context.Context, c change) outcome.Result {
	var err error
	if c.journal, err = openJournal(ctx, e.opts.Store, c.host.Name, e.opts.Run); err == nil {
		err = e.finish(ctx, c)
	}
	if err != nil {
		return outcome.Failure(ctx, c.host, err)
	}
	return e.planned(c.host, c.facts, c.steps)
}

// note adds what deserves attention although it stands in nobody's way.
func (e *enroller) note(r *outcome.Result, f *host.Facts) {
	if err := versions.Compatible(f.TbotVersion(), e.version); err != nil {
		r.Warnings = append(r.Warnings, outcome.Warning{Reason: outcome.Because(outcome.VersionSkew, err.Error())})
	}
	if f.Skew.Abs() > host.SkewLimit {
		r.Warnings = append(r.Warnings, outcome.Warning{
			Reason: outcome.Because(outcome.ClockOff, "the host's clock is off by "+f.Skew.Abs().Round(time.Second).String()),
		})
	}
	if f.Systemd == 0 {
		r.Code, r.Message = outcome.NoSystemd, "tbot is configured, but systemd doesn't run here: nothing starts it"
	}
}

func (e *enroller) stepResults(steps host.Steps) []outcome.StepResult {
	out := make([]outcome.StepResult, len(steps))
	for i, s := range steps {
		out[i] = outcome.StepResult{Step: s.Name, Changed: s.Changes(), Reason: s.Reason}
		if e.opts.Diff {
			out[i].Diff = s.Diff
		}
	}
	return out
}

// change is one host's plan with what it was made from.
type change struct {
	host    inventory.Host
	facts   *host.Facts
	desired host.Desired
	steps   host.Steps
	done    int // steps that are done
	journal *hostJournal
}

// change applies a plan and verifies what came of it.
func (e *enroller) change(ctx context.Context, conn host.Conn, c change) outcome.Result {
	var err error
	var joined string
	if c.journal, err = openJournal(ctx, e.opts.Store, c.host.Name, e.opts.Run); err != nil {
		return outcome.Failure(ctx, c.host, err)
	}
	err = e.installFirst(ctx, conn, &c)
	if err == nil {
		var done int
		done, err = host.Apply(ctx, conn, c.steps[c.done:], host.ApplyOptions{
			Pending: c.steps.Starts(), Jitter: e.jitter(), Journal: c.journal,
		})
		c.done += done
	}
	if err == nil && c.steps.Starts() {
		joined, err = e.verify(ctx, conn, c)
	}
	if err != nil {
		return e.failed(ctx, conn, c, err)
	}
	r := outcome.Result{Host: c.host.Name, Outcome: outcome.Changed, Steps: e.stepResults(c.steps), Joined: joined}
	e.note(&r, c.facts)
	if err := e.finish(ctx, c); err != nil {
		return outcome.Failure(ctx, c.host, err)
	}
	return r
}

// finish notes in the records what the host is like now.
func (e *enroller) finish(ctx context.Context, c change) error {
	now, err := c.desired.Installed(c.facts)
	if err != nil {
		return err
	}
	return c.journal.finish(ctx, now)
}

func (e *enroller) jitter() time.Duration {
	return e.opts.Config.Rollout.Jitter.Value()
}

// notJoined is a tbot that was started and didn't join.
type notJoined struct {
	cause *outcome.Error
	log   []string // the journal's last lines
}

func (e *notJoined) Error() string { return e.cause.Error() }

func (e *notJoined) Unwrap() error { return e.cause }

// verify waits until tbot has joined, and returns what says so.
func (e *enroller) verify(ctx context.Context, conn host.Conn, c change) (string, error) {
	h, err := host.Verify(ctx, conn, c.facts, c.desired, e.opts.Verify)
	if err != nil {
		return "", err
	}
	if h.Joined() {
		return h.By, nil
	}
	return "", &notJoined{cause: &outcome.Error{Reason: h.Explain(c.facts.Skew)}, log: h.Log}
}

// failed is the result of a plan that went wrong. What was changed is taken back, as far as there was something before.
func (e *enroller) failed(ctx context.Context, conn host.Conn, c change, err error) outcome.Result {
	r := outcome.Failure(ctx, c.host, err)
	if nj := (*notJoined)(nil); errors.As(err, &nj) {
		r.Outcome, r.Reason, r.Log = outcome.Failed, nj.cause.Reason, nj.log
	}
	r.Steps = e.stepResults(c.steps[:min(len(c.steps), c.done)])
	if jerr := c.journal.fail(ctx); jerr != nil {
		r.Message += "; " + remote.Clean(jerr.Error())
	}
	if e.opts.NoRollback || ctx.Err() != nil || errors.Is(err, remote.ErrDisconnected) {
		return r
	}
	// The step that failed may have replaced its file: it is taken back, too.
	said, rerr := host.Rollback(ctx, conn, c.steps[:min(len(c.steps), c.done+1)], c.facts)
	switch {
	case rerr != nil:
		r.Message += "; " + remote.Clean(rerr.Error())
	case said != "":
		r.Message += "; " + said
	}
	return r
}
