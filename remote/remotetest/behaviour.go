package remotetest

import (
	"context"
	"net"
	"slices"
)

// Behaviour is one way in which a host is hostile or broken.
type Behaviour struct {
	Name string
	Make func(h *Host) // turns a healthy host into such a one
	Fine bool          // odd, but to be served all the same
	Huge bool          // sends packets as large as SSH allows, of which x/crypto holds one or two, whatever we do
	Race bool          // may be served before it does what it does
}

// Behaviours are all of them, in the order in which a connection comes by. Whatever a host does of this, a client ends
// within its limits, holds little for it, keeps nothing, and serves the other hosts.
func Behaviours() []Behaviour {
	return slices.Concat(transportBehaviours(), authBehaviours(), connectionBehaviours(), sessionBehaviours(), scriptBehaviours())
}

// BehaviourOf is the behaviour of that name.
func BehaviourOf(name string) (Behaviour, bool) {
	all := Behaviours()
	i := slices.IndexFunc(all, func(b Behaviour) bool { return b.Name == name })
	if i < 0 {
		return Behaviour{}, false
	}
	return all[i], true
}

// raw is a behaviour that speaks for itself instead of SSH.
func raw(name string, serve func(ctx context.Context, c net.Conn)) Behaviour {
	return Behaviour{Name: name, Make: func(h *Host) { h.Fault.Raw = serve }}
}

// faulty is a behaviour that a Fault has words for.
func faulty(name string, set func(f *Fault)) Behaviour {
	return Behaviour{Name: name, Make: func(h *Host) { set(&h.Fault) }}
}

// until calls step until it fails or ctx ends.
func until(ctx context.Context, step func() error) {
	for ctx.Err() == nil {
		if step() != nil {
			return
		}
	}
}
