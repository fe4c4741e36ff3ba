package records

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

// ErrClaim is an acceptance that would put a claim in the place of a proof.
var ErrClaim = errors.New("nobody has proven its new EK, and the accepted one is proven")

// Acceptance is a changed identity that was accepted.
type Acceptance struct {
	Host string `json:"host"`
	Old  string `json:"old_ek_public_hash"`
	New  string `json:"new_ek_public_hash"`
}

// AcceptOptions of Accept.
type AcceptOptions struct {
	Inventory []inventory.Host // says which names are one machine; it may be nil
	Unproven  bool             // a claim may take the place of a proof
}

// Accept makes the changed identities of hosts their accepted ones: all of them or, when one cannot be accepted, none. An
// EK that another machine would still hold after it is refused, so machines that swapped their boards are accepted together. A
// claim takes the place of a proof only where that is asked for (ErrClaim). Errors are ErrInput but for those of the store.
func Accept(ctx context.Context, st store.Store, opts AcceptOptions, hosts ...string) ([]Acceptance, error) {
	hosts = slices.Compact(slices.Sorted(slices.Values(hosts)))
	a := acceptance{AcceptOptions: opts, fleet: claim.FleetOf(opts.Inventory), chosen: hosts, now: map[string]store.Record{}}
	if err := a.read(ctx, st); err != nil {
		return nil, err
	}
	var accepted []Acceptance
	var errs []error
	for _, host := range hosts {
		if err := a.refusal(host); err != nil {
			errs = append(errs, err)
			continue
		}
		r := a.now[host]
		accepted = append(accepted, Acceptance{Host: host, Old: r.Accepted.EKHash, New: r.Pending.EKHash})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return accepted, st.Accept(ctx, hosts...)
}

// acceptance is one Accept.
type acceptance struct {
	AcceptOptions
	fleet  claim.Fleet
	chosen []string
	now    map[string]store.Record   // by host, before it
	after  map[string][]store.Record // by EK, as they would be after it
}

// read takes in the records. Only what identifies a host is kept: there may be many.
func (a *acceptance) read(ctx context.Context, st store.Store) error {
	a.after = map[string][]store.Record{}
	for r, err := range st.Records(ctx) {
		if err != nil {
			return err
		}
		r.Last, r.Installed = nil, nil
		a.now[r.Host] = r
		if slices.Contains(a.chosen, r.Host) && r.Pending != nil {
			r.Accepted, r.Pending = r.Pending, nil
		}
		if r.Accepted != nil {
			a.after[r.Accepted.EKHash] = append(a.after[r.Accepted.EKHash], r)
		}
	}
	return nil
}

// refusal is why a host's new EK cannot be accepted; nil when it can.
func (a *acceptance) refusal(host string) error {
	r, ok := a.now[host]
	switch {
	case !ok:
		return &outcome.InputError{Msg: host + ": there is no record of this host", Hint: "\"fleetctl records\" lists them"}
	case r.Pending == nil:
		return &outcome.InputError{Msg: host + ": its EK has not changed: there is nothing to accept"}
	case !a.Unproven && r.Accepted != nil && r.Accepted.Proven && !r.Pending.Proven:
		return outcome.Mark(fmt.Errorf("%s: %w", host, ErrClaim), outcome.ErrInput)
	}
	d := claim.Judge(r.Pending.EKHash, a.after[r.Pending.EKHash], a.fleet)
	if d.Holds(host) {
		return nil
	}
	refused := &outcome.InputError{
		Msg:  fmt.Sprintf("%s: its new EK is also that of %s", host, d.OthersText(host)),
		Hint: "forget the host that does not exist any more, or set fleetctl_same_as when they are one machine"}
	if together := a.together(host); together != nil {
		refused.Hint = "they swapped their boards? Then accept them together: fleetctl records accept " + strings.Join(together, " ")
	}
	return refused
}

// together are the hosts that have to be accepted with one, because each waits for the EK that the next one has until then;
// nil when the last of them has nothing that waits.
func (a *acceptance) together(host string) []string {
	owner := map[string]string{}
	for _, r := range a.now {
		if r.Accepted != nil {
			owner[r.Accepted.EKHash] = r.Host
		}
	}
	all := []string{host}
	for {
		next := owner[a.now[all[len(all)-1]].Pending.EKHash]
		if next == "" || slices.Contains(all, next) {
			break
		}
		if a.now[next].Pending == nil {
			return nil
		}
		all = append(all, next)
	}
	if len(all) == 1 {
		return nil
	}
	slices.Sort(all)
	return all
}
