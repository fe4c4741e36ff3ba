package enroll

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

// choose finds the hosts that go, and all other names of their machines. One that nobody knows is a mistake; one that
// only the records have can be removed when they know how to reach it, or without contacting it.
func (r *removal) choose(ctx context.Context) error {
	if len(r.opts.Names) == 0 && !r.opts.Resume {
		return &outcome.InputError{Msg: "which hosts? Name them, as the inventory does"}
	}
	c := &choice{removal: r, byName: map[string]*leaving{}}
	if err := c.read(ctx); err != nil {
		return err
	}
	if r.opts.Resume {
		if len(r.opts.Names) > 0 {
			return &outcome.InputError{Msg: "to complete earlier removals and to name hosts exclude each other"}
		}
		c.addPending()
	}
	for _, name := range r.opts.Names {
		if err := c.add(name); err != nil {
			return err
		}
	}
	c.identify()
	c.addOtherNames()
	r.leaving = c.sorted()
	r.chooseVisits()
	return r.checkReach()
}

// choice is how a removal finds what goes.
type choice struct {
	*removal
	records  map[string]store.Record
	out      map[string]store.Machine // by EK hash: those that were removed before, or whose record was forgotten
	accepted map[string][]string      // EK hash → the names whose accepted EK it is
	byName   map[string]*leaving
}

func (c *choice) read(ctx context.Context) error {
	c.records, c.out, c.accepted = map[string]store.Record{}, map[string]store.Machine{}, map[string][]string{}
	for rec, err := range c.Store.Records(ctx) {
		if err != nil {
			return err
		}
		c.records[rec.Host] = rec
		if rec.Accepted != nil {
			c.accepted[rec.Accepted.EKHash] = append(c.accepted[rec.Accepted.EKHash], rec.Host)
		}
	}
	for m, err := range c.Store.Machines(ctx) {
		if err != nil {
			return err
		}
		if m.State == store.Removed || m.State == store.Forgotten {
			c.out[m.EKHash] = m
		}
	}
	return nil
}

// add takes a name, or what a pattern chooses. What is the name of a host is no pattern.
func (c *choice) add(name string) error {
	if c.knows(name) {
		l := c.take(name)
		l.chosen = false
		return nil
	}
	nobody := &outcome.InputError{Msg: name + " is neither in the inventory nor in the records"}
	if c.Select == nil {
		return nobody
	}
	hosts, err := c.Select(name)
	switch {
	case errors.Is(err, inventory.ErrNoMatch):
		return nobody
	case err != nil:
		return outcome.Mark(err, outcome.ErrInput)
	case len(hosts) == 0:
		return &outcome.InputError{Msg: name + " chooses no host"}
	}
	for _, h := range hosts {
		if c.byName[h.Name] == nil {
			c.take(h.Name).chosen = true
		}
	}
	return nil
}

// knows says whether a name is that of a host: of the inventory, of the records, or of one that was removed.
func (c *choice) knows(name string) bool {
	_, recorded := c.records[name]
	if recorded || slices.ContainsFunc(c.Inventory, func(h inventory.Host) bool { return h.Name == name }) {
		return true
	}
	return slices.ContainsFunc(slices.Collect(maps.Values(c.out)), func(m store.Machine) bool { return m.Host == name })
}

// take adds a host to what goes.
func (c *choice) take(name string) *leaving {
	if l := c.byName[name]; l != nil {
		return l
	}
	l := &leaving{name: name}
	l.rec, l.known = c.records[name]
	if i := slices.IndexFunc(c.Inventory, func(h inventory.Host) bool { return h.Name == name }); i >= 0 {
		l.host, l.listed = &c.Inventory[i], true
	} else if in := l.rec.Installed; in != nil && in.Vars != nil {
		l.host = &inventory.Host{Name: name, Vars: in.Vars}
	}
	c.byName[name] = l
	return l
}

// identify finds the EKs of the names that go.
func (c *choice) identify() {
	for _, l := range c.byName {
		if id := l.rec.Accepted; id != nil {
			l.eks = append(l.eks, c.machine(l.name, *id))
		}
		if id := l.rec.Pending; id != nil && len(c.accepted[id.EKHash]) == 0 {
			l.eks = append(l.eks, c.machine(l.name, *id))
		}
		if len(l.eks) > 0 {
			continue
		}
		for _, m := range c.out { // its record is gone already
			if m.Host == l.name {
				l.eks = append(l.eks, m)
			}
		}
		slices.SortFunc(l.eks, func(a, b store.Machine) int { return strings.Compare(a.EKHash, b.EKHash) })
	}
}

func (c *choice) machine(name string, id store.Identity) store.Machine {
	if m, ok := c.out[id.EKHash]; ok {
		return m
	}
	return store.Machine{EKHash: id.EKHash, EKSerial: id.EKSerial, Host: name}
}

// addOtherNames takes the other names of the machines that go: a machine is admitted by its EK, whatever its name.
func (c *choice) addOtherNames() {
	for _, m := range machinesOf(c.sorted()) {
		for _, name := range c.accepted[m.EKHash] {
			if c.byName[name] != nil {
				continue
			}
			l := c.take(name)
			l.with, l.eks = m.Host, []store.Machine{m}
			l.alias = c.Fleet.machines().Same([]string{name, m.Host})
		}
	}
}

// sorted are the names that go, in order.
func (c *choice) sorted() []*leaving {
	return slices.SortedFunc(maps.Values(c.byName), func(a, b *leaving) int { return strings.Compare(a.name, b.name) })
}

// chooseVisits finds which name of each machine is contacted: one of those that the inventory says are one machine, each
// of the others.
func (r *removal) chooseVisits() {
	machines := r.Fleet.machines()
	for _, l := range r.leaving {
		if l.host == nil {
			continue
		}
		first := slices.IndexFunc(r.leaving, func(o *leaving) bool {
			return o.visit == o.name && o.shares(l) && (machines.Same([]string{o.name, l.name}) || !l.listed)
		})
		if l.visit = l.name; first >= 0 {
			l.visit = r.leaving[first].name
		}
	}
	for _, l := range r.leaving { // an old name, of which nobody knows how to reach it
		if l.host != nil {
			continue
		}
		if i := slices.IndexFunc(r.leaving, func(o *leaving) bool { return o.visit == o.name && o.shares(l) }); i >= 0 {
			l.visit = r.leaving[i].name
		}
	}
}

// shares says whether two names have the same EK.
func (l *leaving) shares(o *leaving) bool {
	return slices.ContainsFunc(l.eks, func(m store.Machine) bool {
		return slices.ContainsFunc(o.eks, func(n store.Machine) bool { return m.EKHash == n.EKHash })
	})
}

// checkReach refuses a host that nobody knows how to reach.
func (r *removal) checkReach() error {
	for _, l := range r.leaving {
		if l.visit != "" || r.opts.Offline || r.opts.Resume || !l.known || l.with != "" {
			continue
		}
		return &outcome.InputError{Msg: l.name + " is not in the inventory, only in the records",
			Hint: "its rule and its record can be removed without contacting it"}
	}
	return nil
}
