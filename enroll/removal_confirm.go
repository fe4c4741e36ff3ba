package enroll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// What keeps a removal from being made before anything is done; the command line knows what to say to it.
var (
	ErrUnconfirmed    = errors.New("nobody confirmed it")
	ErrRemovalsDiffer = errors.New("another number of machines was expected")
)

// RemovalQuestion is what a person is asked before anything is removed.
type RemovalQuestion struct {
	Machines int // that go
	Chosen   int // of them, those that a pattern chose: the person has to give the number
}

// Leaving is what goes with a host.
type Leaving struct {
	Host   string
	Chosen bool     // by a pattern
	With   string   // the host whose EK it presents, too; "": it was named or chosen itself
	Alias  bool     // the inventory says that it is another name of With
	EKs    []string // hashes
	Token  string   // that has its rule, as far as the records know; "" for none
	Things []string // on the host, as far as the records know: "unit tbot.service", "user teleport"…
	Record bool     // the records forget it
}

// described says what goes with each host.
func (r *removal) described() []Leaving {
	all := make([]Leaving, 0, len(r.leaving))
	for _, l := range r.leaving {
		d := Leaving{Host: l.name, Chosen: l.chosen, With: l.with, Alias: l.alias, Token: l.rec.Token, Record: l.known}
		for _, m := range l.eks {
			d.EKs = append(d.EKs, m.EKHash)
		}
		if !r.opts.Offline {
			d.Things = l.things()
		}
		all = append(all, d)
	}
	return all
}

// things are what the records know to be on the host.
func (l *leaving) things() []string {
	in := l.rec.Installed
	if in == nil {
		return nil
	}
	return append([]string{"unit " + host.UnitName}, host.Goes(host.MadeBy(in))...)
}

// confirm lets a person say that the machines go, and how many they are where nobody named them. Without anybody to ask
// nothing happens that was not confirmed beforehand.
func (r *removal) confirm(ctx context.Context) error {
	if r.opts.Resume {
		return nil // the machines are removed
	}
	q := r.question()
	if r.opts.Yes {
		return errors.Join(r.checkCount(q), r.checkNamed())
	}
	if r.opts.Ask == nil {
		return fmt.Errorf("%w: %d hosts would be removed (%s), and there is no terminal to ask at: %w", outcome.ErrInput, len(r.leaving),
			strings.Join(r.names(), ", "), ErrUnconfirmed)
	}
	yes, err := r.opts.Ask(ctx, q)
	if err == nil && !yes {
		err = &outcome.InputError{Msg: "nothing was removed"}
	}
	return err
}

// removed says whether somebody removed the machine before: nothing is taken from it now.
func (l *leaving) removed() bool {
	return len(l.eks) > 0 && !slices.ContainsFunc(l.eks, func(m store.Machine) bool { return m.State != store.Removed })
}

// question counts machines. A host without an identity counts as one; one that was removed before is not chosen anew.
func (r *removal) question() (q RemovalQuestion) {
	var counted []*leaving
	for _, l := range r.leaving {
		if slices.ContainsFunc(counted, l.shares) || l.with != "" {
			continue
		}
		counted = append(counted, l)
		q.Machines++
		named := slices.ContainsFunc(r.leaving, func(o *leaving) bool { return (o == l || o.shares(l)) && !o.chosen && o.with == "" })
		if !named && !l.removed() {
			q.Chosen++
		}
	}
	return q
}

func (r *removal) checkCount(q RemovalQuestion) error {
	if q.Chosen == r.opts.Removals || q.Chosen == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w: %d machines are chosen by a pattern, and %d was said", outcome.ErrInput, ErrRemovalsDiffer, q.Chosen,
		r.opts.Removals)
}

// checkNamed wants every name of a machine to be named that the inventory does not say is its own: it may be a clone,
// somebody else's machine.
func (r *removal) checkNamed() error {
	var errs []error
	for _, l := range r.leaving {
		if l.with == "" || l.alias {
			continue
		}
		errs = append(errs, &outcome.InputError{
			Msg: fmt.Sprintf("%s presents the EK of %s, too: its machine is removed with it", l.name, l.with),
			Hint: fmt.Sprintf("name both: fleetctl remove %s %s; or, when %s is but an old name, forget that record: "+
				"fleetctl records forget %s", l.with, l.name, l.with, l.with),
		})
	}
	return errors.Join(errs...)
}
