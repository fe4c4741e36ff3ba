package life

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/inventory"
)

// propose makes a plan of what applying would do, as a person looks at it before.
func (a *actor) propose(ctx context.Context, f enroll.Fleet) error {
	report, err := enroll.Tokens(ctx, f, enroll.TokensOptions{Out: a.c.out, Format: "tctl", Check: true, Diff: true})
	if report.Diff == nil || a.cluster != 0 {
		return err
	}
	raw, jsonErr := json.Marshal(report.Set.Propose(*report.Diff)) // by way of its file
	a.w.must(jsonErr)
	a.c.plan = raw
	return err
}

// applyPlan applies what was planned before, or nothing.
func (a *actor) applyPlan(ctx context.Context, f enroll.Fleet) error {
	if a.c.plan == nil {
		return nil
	}
	p, err := token.ParseProposal(a.c.plan)
	a.w.must(err)
	a.proposal = p
	_, err = enroll.Tokens(ctx, f, enroll.TokensOptions{Out: a.c.out, Format: "tctl", Apply: true, Proposal: p})
	return err
}

// checkPlan: what was shown is what is written, or nothing is.
func (w *world) checkPlan(a *actor) {
	if a.proposal == nil {
		return
	}
	stale := errors.Is(a.err, outcome.ErrInput)
	for _, wrote := range a.wrote {
		if stale {
			w.broken("STALE PLAN: it was refused (%v), and wrote %q", a.err, wrote)
		}
	}
	for name := range a.last {
		if !slices.ContainsFunc(a.proposal.Changes, func(s token.ProposedStep) bool { return s.Name == "token/"+name }) {
			w.broken("NOT PLANNED: token %s was written, and the plan has %v", name, a.proposal.Changes)
		}
	}
}

// pattern are the hosts of the inventory whose names a person chooses at once.
func (w *world) pattern(c *controller, o op) []string {
	var all []string
	for i, h := range w.inventory(c) {
		if i%4 == o.A%4 || i%4 == o.B%4 {
			all = append(all, h.Name)
		}
	}
	return all
}

// removePattern removes what a pattern chooses: asked for the number, a person gives it or, when it is more than he thought,
// none.
func (a *actor) removePattern(ctx context.Context, f enroll.Fleet, st store.Store) error {
	f.Select = func(patterns ...string) (hosts []inventory.Host, _ error) {
		for _, h := range f.Inventory {
			if slices.Contains(a.names, h.Name) {
				hosts = append(hosts, h)
			}
		}
		return hosts, nil
	}
	opts := enroll.RemoveOptions{Names: []string{"some*"}, Offline: a.op.B%5 == 0, Out: a.c.out}
	if a.op.A%3 == 0 { // a script with another number
		opts.Yes, opts.Removals = true, 99
		a.unsaid = a.takesOut(ctx, st)
	} else {
		a.word(ctx, st, "remove")
		opts.Ask = func(context.Context, enroll.RemovalQuestion) (bool, error) { return true, nil }
	}
	_, err := enroll.Remove(ctx, f, opts)
	return err
}

// takesOut says whether a removal takes a machine out that nobody has removed before.
func (a *actor) takesOut(ctx context.Context, st store.Store) bool {
	out := map[string]bool{}
	for m, err := range st.Machines(ctx) {
		a.w.must(err)
		out[m.EKHash] = m.State == store.Removed
	}
	return slices.ContainsFunc(a.names, func(name string) bool {
		rec, err := st.Record(ctx, name)
		return err != nil || rec.Accepted == nil || !out[rec.Accepted.EKHash]
	})
}

// checkPattern: another number than was said is nobody's word.
func (w *world) checkPattern(a *actor) {
	if a.unsaid && len(a.wrote) > 0 {
		w.broken("UNCONFIRMED: %v: it wrote %q", a.err, a.wrote)
	}
}

// newSibling is another fleet.yaml beside the same records: one of the same fleet, or of another.
func (w *world) newSibling(of *controller, n int) {
	c := w.newController(of)
	c.db = of.db
	if n%3 == 0 {
		c.config.Fleet = "other"
	}
	c.config.Token.Name = pick([]string{"fleet", "prod", "site"}, n)
	c.config.Bot.Name = pick([]string{"fleet", "fleet", "second"}, n)
}

// rival is a controller with records of its own, beside the first one; nil where there can be none.
func (w *world) rival() *controller {
	for range 2 {
		for _, c := range w.ctls[1:] {
			if c.db != w.ctls[0].db {
				return c
			}
		}
		w.do(op{Kind: "controller"})
	}
	return nil
}

// offline says whether a removal was to leave the hosts alone.
func (a *actor) offline() bool {
	return a.op.Kind == "remove-offline" || a.op.Kind == "remove-pattern" && a.op.B%5 == 0
}

// bound says whether the records of a controller know their cluster.
func (w *world) bound(c *controller) bool {
	ctx := context.Background()
	st, err := store.OpenWith(ctx, c.db, store.Options{Existing: true})
	if err != nil {
		return false
	}
	defer func() { w.must(st.Close()) }()
	b, err := st.Bound(ctx)
	return err == nil && b.Cluster != ""
}

// forget notes that records were lost, or older ones brought back: what scans have seen is not known any more.
func (w *world) forget() {
	w.forgot = true
	for _, m := range w.machines {
		m.scanned = ""
	}
}
