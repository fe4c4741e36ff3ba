package inventory

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Inventory is a loaded inventory. It doesn't change any more; its methods may be called at the same time.
type Inventory struct {
	graph *graph
	files *varsFiles
	keys  *keys

	scopes *scopes

	reveal bool // listings show what was decrypted
}

// Warnings are the things that were skipped, as "file:line:column: what", in the order of reading: what Ansible warns of
// and then ignores.
func (inv *Inventory) Warnings() []string {
	return slices.Concat(inv.keys.warnings, inv.graph.warnings, inv.files.warnings)
}

// Groups are the names of all groups, in the order in which they were first written, "all" included.
func (inv *Inventory) Groups() []string {
	names := make([]string, len(inv.graph.groupOrder))
	for i, grp := range inv.graph.groupOrder {
		names[i] = grp.name
	}
	return names
}

// resolver resolves the variables of many hosts. Hosts of the same groups share the work.
type resolver struct {
	inv    *Inventory
	layers map[string]*layer
	index  map[*group]uint32
}

// maxLayers bounds the memory where every host has a group of its own, as inventories of clouds have.
const maxLayers = 10_000

// layer is what the groups of a host say.
type layer struct {
	names  []string // of the groups, sorted, without all
	vars   map[string]any
	sealed []sealedFile
}

func (inv *Inventory) resolver() *resolver {
	r := &resolver{inv: inv, layers: map[string]*layer{}, index: map[*group]uint32{}}
	for i, grp := range inv.graph.groupOrder {
		r.index[grp] = uint32(i)
	}
	return r
}

// host makes the host that the caller sees. Inline variables of the host win over those of its groups, and host_vars
// over both.
func (r *resolver) host(h *host) Host {
	l := r.layer(h)
	own := r.inv.files.hosts[h.name]
	vars := make(map[string]any, len(l.vars)+len(h.vars))
	maps.Copy(vars, l.vars)
	maps.Copy(vars, h.vars)
	sealed := l.sealed
	for _, f := range own {
		maps.Copy(vars, f.vars)
		sealed = append(slices.Clip(sealed), f.sealed...)
	}
	return Host{Name: h.name, Groups: slices.Clone(l.names), Vars: vars, Pos: h.pos, sealed: slices.Clone(sealed), scopes: r.inv.scopes}
}

func (r *resolver) layer(h *host) *layer {
	ids := make([]uint32, len(h.groups))
	for i, grp := range h.groups {
		ids[i] = r.index[grp]
	}
	slices.Sort(ids)
	key := make([]byte, 0, 4*len(ids)+1)
	for _, id := range ids {
		key = binary.BigEndian.AppendUint32(key, id)
	}
	if h.left {
		key = append(key, 1)
	}
	if l, ok := r.layers[string(key)]; ok {
		return l
	}
	l := r.inv.groupLayer(groupsOf(h))
	if len(r.layers) < maxLayers {
		r.layers[string(key)] = l
	}
	return l
}

// groupLayer puts the variables of the groups together, in Ansible's order: inline variables of all, of the other
// groups, then group_vars/all of every directory, then group_vars of the other groups, directory by directory.
func (inv *Inventory) groupLayer(groups []*group) *layer {
	l := &layer{vars: map[string]any{}}
	var others []*group
	for _, grp := range groups {
		maps.Copy(l.vars, grp.vars) // all comes first: nothing else has depth 0
		if grp.name != groupAll {
			others = append(others, grp)
			l.names = append(l.names, grp.name)
		}
	}
	slices.Sort(l.names)
	for _, f := range inv.files.groups[groupAll] {
		l.apply(f)
	}
	for dir := range inv.files.dirs {
		for _, grp := range others {
			if files := inv.files.groups[grp.name]; files != nil {
				l.apply(files[dir])
			}
		}
	}
	return l
}

func (l *layer) apply(f fileVars) {
	maps.Copy(l.vars, f.vars)
	l.sealed = append(l.sealed, f.sealed...)
}
