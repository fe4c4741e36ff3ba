package enroll

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
)

// binding is what the records belong to, and what was found.
type binding struct {
	store.Bound
	name    string       // of the fleet, bound or not yet
	found   tctl.Cluster // that tctl speaks to; zero where nobody asks one
	unknown error        // why it is not known that this is the records' cluster; nil: it is, or nobody asks
}

var (
	errNoName = errors.New("tctl status prints no name of a cluster")

	// errUnbound is a run that went well otherwise, and doesn't know with which cluster.
	errUnbound = outcome.Mark(errors.New("it is not known whether tctl speaks to the cluster of these records"), outcome.ErrHostsFailed)
)

// belongs checks that the records are those of fleet.yaml's fleet, and of the cluster that tctl speaks to where it is asked.
func (f Fleet) belongs(ctx context.Context, opts TokensOptions) (b binding, err error) {
	if b.Bound, err = f.Store.Bound(ctx); err != nil {
		return b, err
	}
	if b.name, err = f.nameOf(b.Bound, opts.Out); err != nil {
		return b, err
	}
	if f.Cluster == nil || !opts.asks() {
		return b, nil
	}
	if b.found, err = f.Cluster.Cluster(ctx); err != nil {
		if opts.Check { // it has something to say without a cluster, too, and says that nothing else could be asked
			err = nil
		}
		return b, err
	}
	if err := b.refusal(opts); err != nil {
		return b, err
	}
	if b.found.Name == "" && !b.pinned() {
		b.unknown = errNoName
		f.Watcher.Note(ClusterSilent{About: AboutCluster, Err: b.unknown})
	}
	return b, nil
}

// nameOf is the fleet's name: fleet.yaml's, or that of the records. Where neither says one, it is that of the files which are there,
// made by records that were lost since; and that of the token when nothing was ever made.
func (f Fleet) nameOf(b store.Bound, out string) (string, error) {
	if name := f.Config.Fleet; name != "" && b.Fleet != "" && name != b.Fleet {
		return "", &outcome.InputError{
			Msg:  fmt.Sprintf("these are the records of fleet %s, and fleet.yaml is that of fleet %s", b.Fleet, name),
			Hint: "use the records of this fleet, or correct \"fleet:\" in fleet.yaml"}
	}
	name := cmp.Or(f.Config.Fleet, b.Fleet)
	if out == "" {
		return cmp.Or(name, f.Config.Token.Name), nil
	}
	files, err := token.FleetsOfFiles(out)
	if err != nil {
		return "", err
	}
	for _, other := range files {
		switch name = cmp.Or(name, other); {
		case other == name:
		case f.Config.Fleet == "" && b.Fleet == "":
			return "", &outcome.InputError{
				Msg: fmt.Sprintf("%s holds tokens of the fleets %s, and fleet.yaml doesn't say which this is", out,
					strings.Join(files, " and ")),
				Hint: "name the fleet in fleet.yaml (\"fleet:\"), and give each fleet a directory of its own"}
		default:
			return "", &outcome.InputError{Msg: fmt.Sprintf("%s holds tokens of fleet %s, and this is fleet %s", out, other, name),
				Hint: "give each fleet a directory of its own, or correct \"fleet:\" in fleet.yaml"}
		}
	}
	return cmp.Or(name, f.Config.Token.Name), nil
}

// pinned says whether the cluster has a CA that that of the records had.
func (b binding) pinned() bool {
	return slices.ContainsFunc(b.found.Pins, func(pin string) bool { return slices.Contains(b.Pins, pin) })
}

// refusal is an error when it is another cluster. CAs are rotated: the new ones are taken while an old one is there. When
// nothing looked for so long that none is left, a person has to say that it is the same.
func (b binding) refusal(opts TokensOptions) error {
	another := b.found.Name != "" && b.Cluster != "" && b.found.Name != b.Cluster
	switch {
	case another:
		return &outcome.InputError{
			Msg:  fmt.Sprintf("these are the records of a fleet of cluster %s, and tctl speaks to %s", b.Cluster, b.found.Name),
			Hint: "log tctl in to the right cluster, or use other records for this one"}
	case len(b.Pins) > 0 && len(b.found.Pins) > 0 && !b.pinned() && (!opts.AcceptPolicy || opts.Check):
		return outcome.Mark(&outcome.InputError{
			Msg: fmt.Sprintf("cluster %s has none of the CAs that it had: its pins are %s, and were %s", cmp.Or(b.found.Name, b.Cluster),
				strings.Join(b.found.Pins, ", "), strings.Join(b.Pins, ", ")),
			Hint: "is it another cluster of the same name? Then log tctl in to the right one"}, ErrPins)
	}
	return nil
}

// ErrPins is a cluster of the right name with other CAs.
var ErrPins = errors.New("the cluster has other CAs")

// bind binds the records to fleet.yaml's fleet and to the cluster, or checks that they belong to these; and asks for a
// person's word where the policy has changed. Nothing is written before it says yes. A dry run shows, and doesn't ask.
func (f Fleet) bind(ctx context.Context, opts TokensOptions) (b binding, err error) {
	if b, err = f.belongs(ctx, opts); err != nil {
		return b, err
	}
	now, err := f.policy()
	if err != nil {
		return b, err
	}
	if err := f.confirmPolicy(b.Bound, now, opts); err != nil || opts.Check {
		return b, err
	}
	next := store.Bound{Fleet: b.name, Cluster: cmp.Or(b.Cluster, b.found.Name), Pins: b.Pins}
	if len(b.found.Pins) > 0 && !slices.Equal(b.found.Pins, b.Pins) {
		if next.Pins = b.found.Pins; len(b.Pins) > 0 {
			f.Watcher.Note(PinsRotated{Cluster: next.Cluster, Was: b.Pins, Now: next.Pins})
		}
	}
	if next.Policy, err = json.Marshal(now); err != nil {
		return b, err
	}
	if next.Fleet == b.Fleet && next.Cluster == b.Cluster && slices.Equal(next.Pins, b.Pins) && string(next.Policy) == string(b.Policy) {
		return b, nil
	}
	return b, f.Store.Bind(ctx, next)
}
