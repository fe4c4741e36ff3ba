package records

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

// StateChange is a machine that was taken out or let in again.
type StateChange struct {
	Host   string `json:"host"`
	EKHash string `json:"ek_public_hash"`
	Was    string `json:"was"` // its state before
	Now    string `json:"now"`

	Also []string `json:"also,omitempty"` // other names that have this EK
}

// Changed says whether the state is another one than before.
func (c StateChange) Changed() bool { return c.Was != c.Now }

// Disable takes the rules of hosts out of the tokens that are made next. Their records stay, and so does what the hosts are
// configured with; Enable makes everything as it was. All of them or, when one cannot be disabled (ErrInput), none.
func Disable(ctx context.Context, st store.Store, hosts ...string) ([]StateChange, error) {
	return setStates(ctx, st, hosts, "disable", store.Disabled, 0)
}

// Enable ends what Disable did. run is that of the change; a machine that was disabled in a later one, by records that are lost,
// is noted with that, so that no file of tombstones takes it out again.
func Enable(ctx context.Context, st store.Store, run int64, hosts ...string) ([]StateChange, error) {
	return setStates(ctx, st, hosts, "enable", "", run)
}

// setStates disables or enables hosts. What is so already stays as it was noted: by whom, when and why.
// run is at least that of the change; 0: the one that goes on.
func setStates(ctx context.Context, st store.Store, hosts []string, action, state string, run int64) ([]StateChange, error) {
	r, err := readRoll(ctx, st)
	if err != nil {
		return nil, err
	}
	var changes []StateChange
	var machines []store.Machine
	var errs []error
	done := map[string]bool{}
	for _, host := range hosts {
		m, err := r.ofHost(host)
		switch {
		case err != nil:
			errs = append(errs, err)
			continue
		case done[m.EKHash]:
			continue
		case m.State != "" && m.State != store.Disabled:
			errs = append(errs, &outcome.InputError{Msg: fmt.Sprintf("%s: its machine was %s", host, m.State),
				Hint: "if it shall be let in again: fleetctl records readmit " + host})
			continue
		}
		done[m.EKHash] = true
		c := StateChange{Host: host, EKHash: m.EKHash, Was: m.State, Now: state, Also: othersThan(r.names[m.EKHash], host)}
		changes = append(changes, c)
		if c.Changed() {
			change := store.Machine{EKHash: m.EKHash, EKSerial: m.EKSerial, Host: host, State: state}
			if run > 0 {
				change.Run = max(run, m.Run)
			}
			machines = append(machines, change)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return changes, st.SetStates(ctx, action, machines...)
}

// Readmit lets machines in again that were removed or replaced, named by the host that they were or by their EK hash, or its
// first digits, 12 at least. All of them or, when one cannot be let in (ErrInput), none. run is that of the change; a
// machine that was taken out in a later one, by records that are lost, is noted with that, so that no file of tombstones
// takes it out again.
func Readmit(ctx context.Context, st store.Store, run int64, names ...string) ([]StateChange, error) {
	r, err := readRoll(ctx, st)
	if err != nil {
		return nil, err
	}
	var changes []StateChange
	var machines []store.Machine
	var errs []error
	for _, name := range names {
		m, err := r.outAs(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if slices.ContainsFunc(machines, func(o store.Machine) bool { return o.EKHash == m.EKHash }) {
			continue
		}
		changes = append(changes, StateChange{Host: m.Host, EKHash: m.EKHash, Was: m.State, Also: othersThan(r.names[m.EKHash], m.Host)})
		machines = append(machines, store.Machine{EKHash: m.EKHash, EKSerial: m.EKSerial, Host: m.Host, Run: max(run, m.Run)})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return changes, st.SetStates(ctx, "readmit", machines...)
}

// minPrefix is how many digits of an EK hash name a machine.
const minPrefix = 12

// roll is who is in and who is out.
type roll struct {
	accepted map[string]store.Identity // by host; the zero one where it has none
	names    map[string][]string       // by accepted EK, sorted
	machines map[string]store.Machine  // by EK
}

func readRoll(ctx context.Context, st store.Store) (*roll, error) {
	r := &roll{accepted: map[string]store.Identity{}, names: map[string][]string{}, machines: map[string]store.Machine{}}
	for rec, err := range st.Records(ctx) {
		if err != nil {
			return nil, err
		}
		r.accepted[rec.Host] = store.Identity{}
		if rec.Accepted != nil {
			r.accepted[rec.Host] = *rec.Accepted
			r.names[rec.Accepted.EKHash] = append(r.names[rec.Accepted.EKHash], rec.Host)
		}
	}
	for m, err := range st.Machines(ctx) {
		if err != nil {
			return nil, err
		}
		r.machines[m.EKHash] = m
	}
	return r, nil
}

// ofHost is the machine of a host's accepted EK.
func (r *roll) ofHost(host string) (store.Machine, error) {
	id, ok := r.accepted[host]
	switch {
	case !ok:
		return store.Machine{}, &outcome.InputError{Msg: host + ": there is no record of this host",
			Hint: "\"fleetctl records\" lists them"}
	case id.EKHash == "":
		return store.Machine{}, &outcome.InputError{Msg: host + ": its TPM has never been identified: it has no rule"}
	}
	m := r.machines[id.EKHash]
	m.EKHash, m.EKSerial = id.EKHash, id.EKSerial
	return m, nil
}

// outAs is the machine that was removed or replaced and that a name means.
func (r *roll) outAs(name string) (store.Machine, error) {
	var found []store.Machine
	disabled := false
	for ek, m := range r.machines {
		if !m.Out() || m.State == store.Forgotten || m.Host != name && !slices.Contains(r.names[ek], name) && !isPrefix(name, ek) {
			continue
		}
		if m.State == store.Disabled {
			disabled = true
			continue
		}
		found = append(found, m)
	}
	slices.SortFunc(found, func(a, b store.Machine) int { return strings.Compare(a.EKHash, b.EKHash) })
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var all []string
		for _, m := range found {
			all = append(all, m.EKHash[:minPrefix]+" ("+m.State+")")
		}
		return store.Machine{}, &outcome.InputError{Msg: fmt.Sprintf("%s means several machines: %s", name, strings.Join(all, ", ")),
			Hint: "name one by the first digits of its EK hash"}
	case disabled:
		return store.Machine{}, &outcome.InputError{Msg: name + ": it is disabled", Hint: "fleetctl records enable " + name}
	}
	return store.Machine{}, &outcome.InputError{Msg: name + ": no machine of this name or EK hash was removed or replaced",
		Hint: "\"fleetctl records log\" says who was taken out"}
}

func othersThan(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

func isPrefix(name, ek string) bool {
	return len(name) >= minPrefix && strings.HasPrefix(ek, strings.ToLower(name))
}

// Renaming is a host that has another name from then on.
type Renaming struct {
	From   string `json:"from"`
	To     string `json:"to"`
	EKHash string `json:"ek_public_hash,omitempty"`
	United bool   `json:"united"` // both names had a record, and these are one now
}

// Rename gives a host another name, with everything that is known of it. Where the new name has a record already, both have
// to have the same EK: then it takes over what was assigned to the old one and installed there. A name that the inventory
// (it may be nil) still has is not old: several names of one machine are something else. Errors are ErrInput but for those of
// the store.
func Rename(ctx context.Context, st store.Store, inv []inventory.Host, from, to string) (Renaming, error) {
	bad := func(hint, format string, args ...any) (Renaming, error) {
		return Renaming{}, &outcome.InputError{Msg: fmt.Sprintf(format, args...), Hint: hint}
	}
	r, err := readRoll(ctx, st)
	if err != nil {
		return Renaming{}, err
	}
	old, known := r.accepted[from]
	now, taken := r.accepted[to]
	switch {
	case !known:
		return bad("\"fleetctl records\" lists them", "%s: there is no record of this host", from)
	case from == to || to == "":
		return bad("", "%s: this is no other name", from)
	case slices.ContainsFunc(inv, func(h inventory.Host) bool { return h.Name == from }):
		return bad("take it out of the inventory first; two names of one machine are told by fleetctl_same_as",
			"%s is still in the inventory", from)
	case taken && now.EKHash == "":
		return bad("fleetctl records forget "+to+", then rename", "%s has a record already, and its TPM has never been identified", to)
	case taken && now.EKHash != old.EKHash:
		return bad("only a machine that presents the same EK can take over its old name's record",
			"%s has a record already, of another machine", to)
	}
	return Renaming{From: from, To: to, EKHash: old.EKHash, United: taken}, st.Rename(ctx, from, to)
}

// Removed yields the machines that a person took out, by EK hash.
func Removed(ctx context.Context, st store.Store) iter.Seq2[store.Machine, error] {
	return func(yield func(store.Machine, error) bool) {
		for m, err := range st.Machines(ctx) {
			if (err != nil || m.Out()) && !yield(m, err) {
				return
			}
		}
	}
}

// Log yields the journal: of a host, all entries of that name, of machines that were ever known by it in the journal or have
// it in the records now; "" for everything.
func Log(ctx context.Context, st store.Store, host string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		eks, err := eksOf(ctx, st, host)
		if err != nil {
			yield(store.Entry{}, err)
			return
		}
		for e, err := range st.Journal(ctx) {
			if (err != nil || host == "" || e.Host == host || e.EKHash != "" && eks[e.EKHash]) && !yield(e, err) {
				return
			}
		}
	}
}

// eksOf are the EKs that a name stands or stood for.
func eksOf(ctx context.Context, st store.Store, host string) (map[string]bool, error) {
	eks := map[string]bool{}
	if host == "" {
		return eks, nil
	}
	rec, err := st.Record(ctx, host)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, err
	case rec.Accepted != nil:
		eks[rec.Accepted.EKHash] = true
	}
	for e, err := range st.Journal(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Host == host {
			eks[e.EKHash] = true
		}
	}
	return eks, nil
}

// Backup copies the records into a new file; one that is there already is ErrInput.
func Backup(ctx context.Context, st store.Store, path string) error {
	err := st.Backup(ctx, path)
	if errors.Is(err, fs.ErrExist) {
		return &outcome.InputError{Msg: path + " is there already", Hint: "a backup never writes over a file: name another one"}
	}
	return err
}
