package enroll

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/enroll/versions"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// HostStatus is how one host is.
type HostStatus struct {
	Host           string       `json:"host"`
	State          outcome.Code `json:"state"`
	outcome.Reason              // of a failure: "host-key-changed", "no-tbot"…
	Drift          []string     `json:"drift,omitempty"` // what an enroll would change
	Tbot           string       `json:"tbot_version,omitempty"`
	Token          string       `json:"token,omitempty"`
	Service        string       `json:"service,omitempty"` // active, failed…
	Ready          string       `json:"readyz,omitempty"`
	EKHash         string       `json:"ek_public_hash,omitempty"`
	Joined         *time.Time   `json:"joined_at,omitempty"`    // the latest join that the cluster or the records know of
	Instance       *tctl.Join   `json:"bot_instance,omitempty"` // what the cluster knows of it
	Since          *time.Time   `json:"enrolled_at,omitempty"`

	Warnings []outcome.Warning `json:"warnings,omitempty"` // what deserves attention although it stands in nobody's way
}

// StrangeJoin is a TPM that joined as a bot of ours and belongs to no host of the inventory.
type StrangeJoin struct {
	EKHash string `json:"ek_public_hash"`
	Host   string `json:"host,omitempty"` // whom the records know it as
	tctl.Join
}

// StatusReport is how a fleet is.
type StatusReport struct {
	Counts  map[outcome.Code]int `json:"counts"`
	Hosts   []HostStatus         `json:"-"`                 // in the order of hosts; documents have them one by one
	Strange []StrangeJoin        `json:"strange,omitempty"` // by EKPub hash
	Rules   []OpenRule           `json:"rules,omitempty"`   // that somebody should look at
	Alarms  []token.Alarm        `json:"alarms,omitempty"`  // about the tokens of the cluster
}

// Status looks at the chosen hosts and at the cluster and changes nothing. The error is ErrHostsFailed when a host is not
// well, ErrChanges for drift or a strange join, else of what ended it early; there is no report then. told, where there is one,
// hears of each host as soon as it is known how it is, of one at a time; the report has the last word.
func Status(ctx context.Context, f Fleet, told func(HostStatus)) (StatusReport, error) {
	if err := check(f); err != nil {
		return StatusReport{}, err
	}
	f, err := f.withClock(ctx)
	if err != nil {
		return StatusReport{}, err
	}
	bound, err := f.belongs(ctx, TokensOptions{Check: true, Diff: true})
	if err != nil {
		return StatusReport{}, err
	}
	crew, err := f.newCrew(func(name string) string { return f.recordedToken(ctx, name) })
	if err != nil {
		return StatusReport{}, err
	}
	defer crew.close()
	if err := crew.prepare(ctx, f.Hosts); err != nil {
		return StatusReport{}, err
	}
	reach, closeAll, err := f.reach(ctx, f.Hosts)
	if err != nil {
		return StatusReport{}, err
	}
	defer closeAll()
	crew.at(0, reach)
	_ = crew.askVersion(ctx) // a cluster that is silent is named for what it doesn't say
	known := f.askCluster(ctx)
	if known.silent == nil && known.verify == config.VerifyFull {
		known.silent = bound.unknown
	}
	rep := StatusReport{Counts: map[outcome.Code]int{}, Hosts: make([]HostStatus, len(f.Hosts)), Alarms: known.alarms}
	f.Watcher.Begin(StageStatus, len(f.Hosts))
	report := crew.now.Reporter()
	var telling sync.Mutex
	work.Each(ctx, reach.Forks, reach.Timeout, f.Hosts, func(ctx context.Context, i int, h inventory.Host) {
		rep.Hosts[i] = crew.status(ctx, h, known)
		rep.Hosts[i].expect(expectation(h), f)
		report(rep.Hosts[i].result())
		if told != nil {
			telling.Lock()
			defer telling.Unlock()
			told(rep.Hosts[i])
		}
	})
	f.Watcher.End()
	if err := f.addPending(ctx, &rep); err != nil {
		return StatusReport{}, err
	}
	for _, h := range rep.Hosts {
		rep.Counts[h.State]++
	}
	if err := context.Cause(ctx); err != nil {
		return StatusReport{}, err
	}
	if rep.Strange, err = f.strange(ctx, known.joins); err != nil {
		return StatusReport{}, err
	}
	if rep.Rules, err = f.openRules(ctx, known.joins); err != nil {
		return StatusReport{}, err
	}
	return rep, rep.verdict()
}

// cluster is what the cluster knows of the hosts.
type cluster struct {
	verify string               // who has to say that a host joined: cluster.verify, settled
	strict bool                 // it was written
	joins  map[string]tctl.Join // by EKPub hash; nil when it doesn't say, or nobody asks it
	rules  map[string]string    // host → how its rule differs from the records
	alarms []token.Alarm        // about the tokens
	silent error                // why it doesn't say what it should know
}

// asksHost says whether a host's own word is all that there is of its join.
func (c cluster) asksHost(hash string) bool {
	_, known := c.joins[hash]
	_, vague := c.joins[tctl.Unattributed]
	return c.verify == config.VerifyHost || c.verify == config.VerifyFull && !known && vague && !c.strict
}

// askCluster asks the cluster for everything that it knows of the hosts. That a cluster of an old version doesn't know who
// joined is no fault of it: its version is asked where it doesn't say.
func (f Fleet) askCluster(ctx context.Context) (c cluster) {
	c.strict = f.Config.Cluster.Verify != ""
	if c.verify = f.verifies(versions.Version{}); f.Cluster == nil {
		if c.verify == config.VerifyFull {
			c.silent = f.Unasked
		}
		return c
	}
	var err error
	if c.rules, c.alarms, err = f.ruleDrift(ctx); err != nil {
		f.Watcher.Note(ClusterSilent{About: AboutTokens, Err: err})
	}
	if c.verify != config.VerifyFull {
		return c
	}
	c.silent = err
	if c.joins, err = f.clusterJoins(ctx); err == nil {
		return c
	}
	text, verr := f.Cluster.ClusterVersion(ctx)
	v, known := versions.Parse(text)
	if c.verify = f.verifies(v); verr != nil || !known || c.verify == config.VerifyFull {
		c.verify, c.silent = config.VerifyFull, err
	}
	return c
}

// ruleDrift says for hosts how their rules in the cluster differ from the records, and what else is odd about the tokens.
func (f Fleet) ruleDrift(ctx context.Context) (map[string]string, []token.Alarm, error) {
	d, err := f.clusterDiff(ctx)
	if err != nil {
		return nil, nil, err
	}
	f.noteAlarms(d)
	drift := map[string]string{}
	for _, t := range d.Tokens {
		for _, host := range t.Added {
			drift[host] = "there is none in token " + t.Name
		}
		for _, r := range t.Changed {
			drift[r.Host] = r.What
		}
	}
	return drift, d.Alarms(), nil
}

// verdict is about the fleet as a whole: a host that is not well weighs more than drift.
func (r StatusReport) verdict() error {
	drifted := r.Counts[outcome.StateDrifted]
	bad := len(r.Hosts) - r.Counts[outcome.StateHealthy] - r.Counts[outcome.StateExpected] - drifted
	switch {
	case bad > 0:
		return outcome.Mark(fmt.Errorf("%d of %d hosts are not well", bad, len(r.Hosts)), outcome.ErrHostsFailed)
	case verdict(r.Alarms, false) != nil:
		return verdict(r.Alarms, false)
	case drifted > 0 || len(r.Strange) > 0:
		return fmt.Errorf("%d of %d hosts drifted: %w", drifted, len(r.Hosts), outcome.ErrChanges)
	}
	return nil
}

// HostStates are the states of a host, from good to bad.
func HostStates() []outcome.Code {
	return []outcome.Code{
		outcome.StateHealthy, outcome.StateExpected, outcome.StateDrifted, outcome.StateUnverified, outcome.StateStale,
		outcome.StateNeverJoined,
		outcome.StateUnhealthy, outcome.StateUnfinished, outcome.StateUndoPending, outcome.StateNotEnrolled, outcome.StateBroken,
		outcome.StateUnreachable,
	}
}

// result is the status as a run's result, for progress.
func (s HostStatus) result() outcome.Result {
	r := outcome.Result{Host: s.Host, Outcome: outcome.OK, Reason: s.Reason, Warnings: s.Warnings}
	switch s.State {
	case outcome.StateUnreachable:
		r.Outcome = outcome.Unreachable
	case outcome.StateBroken, outcome.StateUnhealthy, outcome.StateNeverJoined, outcome.StateStale, outcome.StateUnverified:
		r.Outcome = outcome.Failed
	}
	return r
}

// status looks at one host, and changes nothing.
func (c *crew) status(ctx context.Context, h inventory.Host, known cluster) HostStatus {
	s := HostStatus{Host: h.Name, State: outcome.StateHealthy}
	rec, err := c.record(ctx, h.Name)
	if err != nil {
		return s.failed(outcome.Failure(ctx, h, err))
	}
	if rec.Accepted != nil {
		s.EKHash = rec.Accepted.EKHash
	}
	if rec.Installed != nil {
		s.Since = &rec.Installed.At
	}
	d, err := c.known(ctx, h)
	if err != nil {
		return s.failed(outcome.Failure(ctx, h, err))
	}
	v, err := c.visit(ctx, h, d)
	if err != nil {
		return s.failed(outcome.Failure(ctx, h, err))
	}
	defer v.close()
	steps := host.Plan(v.facts, v.desired)
	s.observe(v.facts, steps, c.tokenOf(h.Name))
	s.Warnings = c.warnings(v.facts)
	if drift := known.rules[h.Name]; drift != "" {
		s.Drift = append(s.Drift, "rule in the cluster: "+drift)
	}
	s.judge(v.facts, steps, rec.Installed)
	s.judgeJoin(known, rec.Installed, v.desired.Fresh())
	if s.runs() && v.facts.Systemd > 0 && known.asksHost(s.EKHash) {
		s.judgeWord(ctx, v)
	}
	return s
}

// runs says whether a host does well by its own word.
func (s *HostStatus) runs() bool {
	return s.State == outcome.StateHealthy || s.State == outcome.StateDrifted
}

// judgeWord asks the host whether its tbot has joined, where nobody else says it.
func (s *HostStatus) judgeWord(ctx context.Context, v visit) {
	h, err := host.Verify(ctx, v.conn, v.facts, v.desired, host.VerifyOptions{Running: true, Limit: time.Second})
	switch {
	case err != nil:
		*s = s.failed(outcome.Failure(ctx, v.host, err))
	case !h.Joined():
		s.State, s.Reason = outcome.StateUnverified, h.Explain(v.facts.Skew)
	}
}

func (s HostStatus) failed(r outcome.Result) HostStatus {
	s.State, s.Reason = outcome.StateUnreachable, r.Reason
	if r.Outcome == outcome.Failed {
		s.State = outcome.StateBroken
	}
	return s
}

func (s *HostStatus) observe(f *host.Facts, steps host.Steps, token string) {
	s.Tbot, s.Service, s.Ready, s.Token = f.TbotVersion().String(), f.Active(), f.Ready(), token
	for _, step := range steps {
		if step.Changes() {
			s.Drift = append(s.Drift, step.Name)
		}
	}
}

// judge finds the worst that can be said of the host itself.
func (s *HostStatus) judge(f *host.Facts, steps host.Steps, in *store.Installed) {
	bad := steps.Problems()
	switch {
	case !f.Enrolled() && in == nil:
		s.State, s.Message, s.Drift = outcome.StateNotEnrolled, "enroll has not been here", nil
	case len(bad) > 0:
		s.State, s.Reason = outcome.StateBroken, bad[0]
	case in != nil && in.State != "":
		s.State, s.Message = outcome.StateUnfinished, "an earlier run stopped at: "+in.Step
		s.Hint = "fleetctl enroll completes it"
	case f.Systemd > 0 && f.Active() != "active":
		s.State, s.Message = outcome.StateUnhealthy, host.UnitName+" is "+cmp.Or(f.Active(), "not there")
		s.Hint = "journalctl -u tbot on the host says why"
	case f.Trouble() != "" && (!f.Silent() || len(s.Drift) == 0): // a new diag_addr is nothing to ask yet
		s.State, s.Message = outcome.StateUnhealthy, f.Trouble()
	case len(s.Drift) > 0:
		s.State = outcome.StateDrifted
		s.Hint = "fleetctl enroll repairs it; a dry run shows what"
	}
}

// judgeJoin adds what the cluster knows. It cannot make a host better than it is by its own word.
func (s *HostStatus) judgeJoin(c cluster, in *store.Installed, fresh time.Duration) {
	runs := s.runs()
	j, joined := c.joins[s.EKHash]
	_, vague := c.joins[tctl.Unattributed]
	seen := in != nil && in.JoinedAt != nil
	if seen {
		s.Joined = in.JoinedAt
	}
	switch {
	case s.EKHash == "":
	case c.silent != nil && runs:
		s.State, s.Message = outcome.StateUnverified, "the cluster doesn't say whether it joined: "+remote.Line(c.silent.Error())
	case joined:
		s.Joined, s.Instance = &j.At, &j
		s.judgeInstance(j, runs, fresh)
	case c.joins == nil || !runs || vague && !c.strict:
	case vague:
		s.State, s.Message = outcome.StateUnverified, "the cluster doesn't say whose the joins are that it has"
	case seen: // an instance is kept for as long as its certificates are valid
		s.State = outcome.StateStale
		s.notice("the cluster has no join of this EK any more: the last one that was seen was at " + in.JoinedAt.UTC().Format(time.RFC3339))
	default:
		s.State, s.Message = outcome.StateNeverJoined, "the cluster knows of no join of this EK"
		s.Hint = outcome.Lookup(outcome.StateNeverJoined).Do
	}
}

// judgeInstance judges by what tbot told the cluster of itself, which may be half an hour old: the host's own /readyz counts
// more. Its own service is left out, since it may stay unhealthy after a renewal that succeeded later (#65258).
func (s *HostStatus) judgeInstance(j tctl.Join, runs bool, fresh time.Duration) {
	if runs && time.Since(j.At) > fresh {
		s.State = outcome.StateStale
		s.notice("its latest join was at " + j.At.UTC().Format(time.RFC3339))
	}
	if s.Token != "" && j.Token != "" && j.Token != s.Token {
		if runs {
			s.State = outcome.StateUnverified
		}
		s.notice("it has not joined with token " + s.Token + " yet, the last time with " + remote.Line(j.Token))
	}
	if j.Version != "" && s.Tbot != "" && strings.TrimPrefix(j.Version, "v") != s.Tbot {
		s.notice("the tbot that joined last was " + remote.Line(j.Version))
	}
	for _, service := range j.Services {
		if service.Health != "unhealthy" || service.Name == "identity" || s.Ready != "" {
			continue
		}
		if runs {
			s.State = outcome.StateUnhealthy
		}
		why := ""
		if service.Reason != "" {
			why = " (" + remote.Line(service.Reason) + ")"
		}
		s.notice("tbot told the cluster that " + remote.Line(service.Name) + " is unhealthy" + why)
	}
}

// notice adds to what is said of the host.
func (s *HostStatus) notice(text string) {
	if s.Message != "" {
		s.Message += "; "
	}
	s.Message += text
}

// freshJoin is how long after its latest join a tbot may still be at work. One that renews does so every 20 minutes.
const freshJoin = 2 * time.Hour

// strange finds fresh joins of our bot that no host of the inventory accounts for.
func (f Fleet) strange(ctx context.Context, joins map[string]tctl.Join) ([]StrangeJoin, error) {
	if len(joins) == 0 {
		return nil, nil
	}
	inInventory := map[string]bool{}
	for _, h := range f.Inventory {
		inInventory[h.Name] = true
	}
	known, owner := map[string]bool{}, map[string]string{}
	for r, err := range f.Store.Records(ctx) {
		if err != nil {
			return nil, err
		}
		for _, id := range []*store.Identity{r.Accepted, r.Pending} {
			if id != nil {
				owner[id.EKHash] = r.Host
				known[id.EKHash] = known[id.EKHash] || inInventory[r.Host]
			}
		}
	}
	var out []StrangeJoin
	for _, hash := range slices.Sorted(maps.Keys(joins)) {
		if j := joins[hash]; hash != tctl.Unattributed && j.Bot == f.Config.Bot.Name && !known[hash] && time.Since(j.At) < freshJoin {
			out = append(out, StrangeJoin{EKHash: hash, Host: owner[hash], Join: j})
		}
	}
	return out, nil
}
