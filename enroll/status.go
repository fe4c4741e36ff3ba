package enroll

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
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
	Joined         *time.Time   `json:"joined_at,omitempty"` // the latest join that the cluster knows of
	Since          *time.Time   `json:"enrolled_at,omitempty"`
}

// StrangeJoin is a TPM that joined as a bot of ours and belongs to no host of the inventory.
type StrangeJoin struct {
	EKHash string `json:"ek_public_hash"`
	Host   string `json:"host,omitempty"` // whom the records know it as
	tctl.Join
}

// StatusOptions of Status.
type StatusOptions struct {
	EnrollOptions
	Inventory []inventory.Host  // all of it: a join of another TPM is strange
	RuleDrift map[string]string // host → how its rule in the cluster differs; nil when the cluster wasn't asked
}

// StatusReport is how a fleet is.
type StatusReport struct {
	Counts  map[outcome.Code]int `json:"counts"`
	Hosts   []HostStatus         `json:"hosts"`             // in the order of hosts
	Strange []StrangeJoin        `json:"strange,omitempty"` // by EKPub hash
}

// Status looks at hosts and at the cluster and changes nothing.
func Status(ctx context.Context, hosts []inventory.Host, opts StatusOptions) (StatusReport, error) {
	opts.Check = true
	e, err := newEnroller(ctx, hosts, opts.EnrollOptions)
	if err != nil {
		return StatusReport{}, err
	}
	defer e.close()
	var joins map[string]tctl.Join
	if opts.Tctl != nil {
		if joins, err = opts.Tctl.Joins(ctx); err != nil && opts.Logf != nil {
			opts.Logf("the cluster doesn't say which bots joined: %v", err)
		}
	}
	rep := StatusReport{Counts: map[outcome.Code]int{}, Hosts: make([]HostStatus, len(hosts))}
	report := work.Reporter(opts.OnResult)
	work.Each(ctx, opts.Forks, opts.Timeout, hosts, func(ctx context.Context, i int, h inventory.Host) {
		rep.Hosts[i] = e.status(ctx, h, joins, opts.RuleDrift)
		report(rep.Hosts[i].result())
	})
	for _, h := range rep.Hosts {
		rep.Counts[h.State]++
	}
	if err := context.Cause(ctx); err != nil {
		return rep, err
	}
	rep.Strange, err = strange(ctx, opts, joins)
	return rep, err
}

// result is the status as a run's result, for progress.
func (s HostStatus) result() outcome.Result {
	r := outcome.Result{Host: s.Host, Outcome: outcome.OK, Reason: s.Reason}
	switch s.State {
	case outcome.StateUnreachable:
		r.Outcome = outcome.Unreachable
	case outcome.StateBroken, outcome.StateUnhealthy, outcome.StateNeverJoined:
		r.Outcome = outcome.Failed
	}
	return r
}

func (e *enroller) status(ctx context.Context, h inventory.Host, joins map[string]tctl.Join, rules map[string]string) HostStatus {
	s := HostStatus{Host: h.Name, State: outcome.StateHealthy}
	rec, err := e.opts.Store.Record(ctx, h.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return s.failed(outcome.Failure(ctx, h, err))
	}
	if rec.Accepted != nil {
		s.EKHash = rec.Accepted.EKHash
	}
	if rec.Installed != nil {
		s.Since = &rec.Installed.At
	}
	f, steps, err := e.look(ctx, h)
	if err != nil {
		return s.failed(outcome.Failure(ctx, h, err))
	}
	s.observe(f, steps, e.opts.TokenOf(h.Name))
	if rules[h.Name] != "" {
		s.Drift = append(s.Drift, "rule in the cluster: "+rules[h.Name])
	}
	s.judge(f, steps, rec.Installed)
	s.judgeJoin(joins)
	return s
}

// look gathers facts and plans, and changes nothing.
func (e *enroller) look(ctx context.Context, h inventory.Host) (*host.Facts, host.Steps, error) {
	d, err := e.desired(h)
	if err != nil {
		return nil, nil, err
	}
	conn, err := e.connect(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close() // nothing was changed
	f, err := host.GatherFacts(ctx, conn, d)
	if err != nil {
		return nil, nil, err
	}
	return f, host.Plan(f, d), nil
}

func (s HostStatus) failed(r outcome.Result) HostStatus {
	s.State, s.Reason = outcome.StateUnreachable, r.Reason
	if r.Outcome == outcome.Failed {
		s.State = outcome.StateBroken
	}
	return s
}

func (s *HostStatus) observe(f *host.Facts, steps []host.Step, token string) {
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
	case f.Trouble() != "":
		s.State, s.Message = outcome.StateUnhealthy, f.Trouble()
	case len(s.Drift) > 0:
		s.State = outcome.StateDrifted
		s.Hint = "fleetctl enroll repairs it; a dry run shows what"
	}
}

// judgeJoin adds what the cluster knows.
func (s *HostStatus) judgeJoin(joins map[string]tctl.Join) {
	if joins == nil || s.EKHash == "" {
		return
	}
	if j, ok := joins[s.EKHash]; ok {
		s.Joined = &j.At
		return
	}
	if s.State == outcome.StateHealthy || s.State == outcome.StateDrifted {
		s.State, s.Message, s.Hint = outcome.StateNeverJoined, "the cluster knows of no join of this EK", "journalctl -u tbot on the host says why"
	}
}

// freshJoin is how long after its latest join a tbot may still be at work. One that renews does so every 20 minutes.
const freshJoin = 2 * time.Hour

// strange finds fresh joins of our bot that no host of the inventory accounts for.
func strange(ctx context.Context, opts StatusOptions, joins map[string]tctl.Join) ([]StrangeJoin, error) {
	if len(joins) == 0 {
		return nil, nil
	}
	inInventory := map[string]bool{}
	for _, h := range opts.Inventory {
		inInventory[h.Name] = true
	}
	known, owner := map[string]bool{}, map[string]string{}
	for r, err := range opts.Store.Records(ctx) {
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
		if j := joins[hash]; j.Bot == opts.Config.Bot.Name && !known[hash] && time.Since(j.At) < freshJoin {
			out = append(out, StrangeJoin{EKHash: hash, Host: owner[hash], Join: j})
		}
	}
	return out, nil
}
