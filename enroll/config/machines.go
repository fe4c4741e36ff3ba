package config

import (
	"slices"

	"fleetctl/inventory"
)

// Machines says which names of the inventory are one machine: host → the name that it is another name of (host variable
// fleetctl_same_as). The zero value says that every name is a machine of its own.
type Machines map[string]string

// MachinesOf reads the names from the inventory. A host whose variables cannot be read is a machine of its own; Host
// says what is wrong with it.
func MachinesOf(hosts []inventory.Host) Machines {
	m := Machines{}
	for _, h := range hosts {
		if v, err := Host(h); err == nil && v.SameAs != "" {
			m[h.Name] = v.SameAs
		}
	}
	return m
}

// Name is the name that a machine goes by, whichever of its names is given. Names in a circle go by the first of them
// in the order of names.
func (m Machines) Name(host string) string {
	var seen []string
	for {
		if i := slices.Index(seen, host); i >= 0 {
			return slices.Min(seen[i:])
		}
		next := m[host]
		if next == "" {
			return host
		}
		seen = append(seen, host)
		host = next
	}
}

// Same says whether all of these names are one machine.
func (m Machines) Same(names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return m.Name(n) != m.Name(names[0]) })
}
