package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/host"
	"fleetctl/enroll/host/origin"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/templates"
)

// crew works on hosts one by one: it knows what each should be like, what tbot is installed from, and how a host is
// reached. Nothing that one host says reaches another through it.
type crew struct {
	Fleet
	now        work.Run                 // the run that it works in
	reachHosts work.Reach               // how
	tokenOf    func(host string) string // the token that a host joins with; "" for none
	adopt      bool                     // replace a configuration or a unit that somebody else wrote
	showDiff   bool                     // results hold diffs of file contents

	dir        string                       // temporary, for what installers unpack
	installers map[string]*origin.Installer // by their configuration, as JSON
	version    versions.Version             // of the cluster; the zero Version when it isn't known
	client     *http.Client                 // for the cluster's version and its installer; nil: the default one
}

// newCrew makes a crew for hosts. close takes its temporary files away.
func (f Fleet) newCrew(tokenOf func(string) string) (*crew, error) {
	if f.Templates == nil {
		set, err := templates.Load("")
		if err != nil {
			return nil, err
		}
		f.Templates = set
	}
	dir, err := os.MkdirTemp("", "fleetctl-")
	if err != nil {
		return nil, err
	}
	return &crew{Fleet: f, tokenOf: tokenOf, dir: dir, installers: map[string]*origin.Installer{}}, nil
}

func (c *crew) close() {
	_ = os.RemoveAll(c.dir) // a temporary directory: there is nobody to tell
}

// at says where the crew works: in which run of the records, and by which access.
func (c *crew) at(run int64, reach work.Reach) {
	c.now, c.reachHosts = c.run(run), reach
}

// askVersion asks the cluster which version it runs; not to know it is no reason to stop.
func (c *crew) askVersion(ctx context.Context) error {
	if c.Cluster == nil {
		return nil
	}
	v, err := c.Cluster.ClusterVersion(ctx)
	c.version, _ = versions.Parse(v)
	return err
}

// warnings are what deserves attention on a host although it stands in nobody's way.
func (c *crew) warnings(f *host.Facts) []outcome.Warning {
	var out []outcome.Warning
	if err := versions.Compatible(f.TbotVersion(), c.version); err != nil {
		out = append(out, outcome.Warning{Reason: outcome.Because(outcome.VersionSkew, err.Error())})
	}
	if f.Skew.Abs() > host.SkewLimit {
		out = append(out, outcome.Warning{
			Reason: outcome.Because(outcome.ClockOff, "the host's clock is off by "+f.Skew.Abs().Round(time.Second).String()),
		})
	}
	return out
}

// ours are the tokens that fleetctl made.
func (c *crew) ours(ctx context.Context) (map[string]bool, error) {
	tokens, err := c.Store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, t := range tokens {
		known[t.Name] = true
	}
	return known, nil
}

// check finds what is wrong with the configuration, the inventory's overrides and the templates for any chosen host,
// before one is contacted. The error is an ErrInput that names up to 20 hosts.
func check(f Fleet) error {
	c, err := f.newCrew(func(string) string { return "" })
	if err != nil {
		return err
	}
	defer c.close()
	return errors.Join(f.Config.CheckOrder(f.Groups), host.Check(f.Hosts, f.Config, c.Templates))
}

// prepare makes the installers that hosts need. What is wrong with one is found before any host is contacted.
func (c *crew) prepare(ctx context.Context, hosts []inventory.Host) error {
	var errs []error
	for _, h := range hosts {
		d, err := c.desired(h)
		if err == nil {
			err = c.prepareInstaller(ctx, d)
		}
		if err != nil && len(errs) < 20 {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// prepareInstaller makes a host's installer, unless another host has the same one.
func (c *crew) prepareInstaller(ctx context.Context, d host.Desired) error {
	key := installKey(d.Tbot.Install)
	if _, ok := c.installers[key]; ok {
		return nil
	}
	c.installers[key] = nil // one that fails is reported once
	dir := filepath.Join(c.dir, strconv.Itoa(len(c.installers)))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	in, err := origin.Prepare(ctx, c.client, dir, d.Tbot.Install, c.Config.Cluster)
	if err != nil {
		return err
	}
	c.installers[key] = in
	return nil
}

func installKey(c config.Install) string {
	raw, _ := json.Marshal(c) // strings and maps of strings: it can't fail
	return string(raw)
}

// desired is what a host should be like.
func (c *crew) desired(h inventory.Host) (host.Desired, error) {
	d, err := host.Desire(h, c.Config, c.tokenOf(h.Name), c.Templates)
	if err != nil {
		return d, err
	}
	d.Adopt, d.Version = c.adopt, c.version
	return d.Installing(c.installers[installKey(d.Tbot.Install)]), nil
}

// visit is a host while somebody works on it.
type visit struct {
	host    inventory.Host
	conn    host.Conn
	desired host.Desired
	facts   *host.Facts
	close   func()
}

// known is what a host should be like with what the records know to be on it.
func (c *crew) known(ctx context.Context, h inventory.Host) (host.Desired, error) {
	d, err := c.desired(h)
	if err == nil && ctx.Err() != nil { // records that were not asked to the end say "no token"
		err = context.Cause(ctx)
	}
	if err != nil {
		return d, err
	}
	rec, err := c.record(ctx, h.Name)
	if err != nil {
		return d, err
	}
	return d.Knowing(host.MadeBy(rec.Installed)), nil
}

// visit connects to a host and looks at it.
func (c *crew) visit(ctx context.Context, h inventory.Host, d host.Desired) (visit, error) {
	conn, err := c.connect(ctx, h)
	if err != nil {
		return visit{}, err
	}
	work.At(ctx, work.Looking)
	d, f, err := host.Look(ctx, conn, d)
	if err != nil {
		_ = conn.Close() // the error says why
		return visit{}, err
	}
	// What was done on the host is known before it is left.
	return visit{host: h, conn: conn, desired: d, facts: f, close: func() { _ = conn.Close() }}, nil
}

func (c *crew) connect(ctx context.Context, h inventory.Host) (host.Conn, error) {
	if c.Dial == nil {
		return c.reachHosts.Dial(ctx, h)
	}
	t, err := c.reachHosts.Target(h)
	if err != nil {
		return nil, err
	}
	return c.Fleet.Dial(ctx, t)
}

// refused is the result of a plan with problems: nothing is done, and all of them are named.
func refused(name string, problems []outcome.Reason) outcome.Result {
	r := outcome.Result{Host: name, Outcome: outcome.Failed, Reason: problems[0]}
	for _, p := range problems[1:] {
		r.Message += "; " + p.Message
	}
	return r
}

// stepResults is a plan as results have it.
func (c *crew) stepResults(steps host.Steps) []outcome.StepResult {
	out := make([]outcome.StepResult, len(steps))
	for i, s := range steps {
		out[i] = outcome.StepResult{Step: s.Name, Changed: s.Changes(), Reason: s.Reason}
		if c.showDiff {
			out[i].Diff = s.Diff
		}
	}
	return out
}

// notStarted is the result of a host whose turn never came.
func notStarted(name, why string) outcome.Result {
	if why == whyInterrupted {
		return outcome.Result{Host: name, Outcome: outcome.Canceled,
			Reason: outcome.Reason{Code: outcome.WasCanceled, Message: "not started: " + why}}
	}
	return outcome.End(name, outcome.Skipped, outcome.NotStarted, "not started: "+why)
}

// names are the names of hosts.
func names(hosts []inventory.Host) []string {
	all := make([]string, 0, len(hosts))
	for h := range slices.Values(hosts) {
		all = append(all, h.Name)
	}
	return all
}
