package inventory

import (
	"cmp"
	"fmt"
	"slices"

	"fleetctl/inventory/values"
)

// The two groups that every inventory has.
const (
	groupAll       = "all"
	groupUngrouped = "ungrouped"
)

// host is a host while the sources are read: what was written about it, in whichever source.
type host struct {
	name   string
	vars   map[string]any // inline variables; nil when there are none
	groups []*group       // the groups that it was put in, without their ancestors
	left   bool           // it was put into ungrouped, too, but some other group has it
	pos    Pos
}

// group is a group while the sources are read.
type group struct {
	name     string
	vars     map[string]any
	priority int // ansible_group_priority
	depth    int // longest way from all; known after graph.finish
	hosts    []*host
	children []*group
	parents  []*group
}

// graph is what the sources say together: groups and hosts in the order in which they were first named.
type graph struct {
	groups     map[string]*group
	hosts      map[string]*host
	groupOrder []*group
	hostOrder  []*host
	warnings   []string
	origins    origins // nil: nobody will ask
	sealedBy   string  // the encrypted file that is being read, whose variables are secret; "" for others
}

func newGraph() *graph {
	g := &graph{groups: map[string]*group{}, hosts: map[string]*host{}}
	all, ungrouped := g.addGroup(groupAll), g.addGroup(groupUngrouped)
	all.children = append(all.children, ungrouped)
	ungrouped.parents = append(ungrouped.parents, all)
	return g
}

func (g *graph) warn(pos Pos, format string, args ...any) {
	g.warnings = append(g.warnings, pos.String()+": "+fmt.Sprintf(format, args...))
}

// addGroup returns the group of that name, new or not. The name isn't empty.
func (g *graph) addGroup(name string) *group {
	if grp, ok := g.groups[name]; ok {
		return grp
	}
	grp := &group{name: name, priority: 1}
	g.groups[name] = grp
	g.groupOrder = append(g.groupOrder, grp)
	return grp
}

// addHost puts the host of that name into the group. A port counts only where the host is first named, as in Ansible.
func (g *graph) addHost(name string, grp *group, port int, pos Pos) (*host, error) {
	if name == "" {
		return nil, errorAt(pos, "a host name is empty")
	}
	h, ok := g.hosts[name]
	if !ok {
		h = &host{name: name, pos: pos}
		if port != 0 {
			h.vars = map[string]any{"ansible_port": port}
			g.origins.note(name, false, "ansible_port", port, pos)
		}
		g.hosts[name] = h
		g.hostOrder = append(g.hostOrder, h)
	}
	g.join(h, grp)
	return h, nil
}

// join makes the host a direct member of the group, once.
func (g *graph) join(h *host, grp *group) {
	if slices.Contains(h.groups, grp) {
		return
	}
	h.groups = append(h.groups, grp)
	grp.hosts = append(grp.hosts, h)
}

// setHostVar sets an inline variable of the host. Where a group has the same name, Ansible gives the variable to the
// group; so do we.
func (g *graph) setHostVar(h *host, key string, value any, pos Pos) error {
	if grp, ok := g.groups[h.name]; ok {
		return g.setGroupVar(grp, key, value, pos)
	}
	if h.vars == nil {
		h.vars = make(map[string]any)
	}
	h.vars[key] = g.conceal(value)
	g.origins.note(h.name, false, key, h.vars[key], pos)
	return nil
}

// conceal hides a value that comes out of an encrypted file.
func (g *graph) conceal(value any) any {
	if g.sealedBy == "" {
		return value
	}
	return values.NewSecret(value, g.sealedBy)
}

// setGroupVar sets a variable of the group, or its priority.
func (g *graph) setGroupVar(grp *group, key string, value any, pos Pos) error {
	if key == "ansible_group_priority" {
		n, ok := values.PythonInt(value)
		if !ok {
			return errorAt(pos, "ansible_group_priority of group %q is not a whole number", grp.name)
		}
		grp.priority = n
		return nil
	}
	if grp.vars == nil {
		grp.vars = make(map[string]any)
	}
	grp.vars[key] = g.conceal(value)
	g.origins.note(grp.name, true, key, grp.vars[key], pos)
	return nil
}

// addChild puts a group below another one; a cycle is an error.
func (g *graph) addChild(parent, child *group, pos Pos) error {
	if slices.Contains(child.parents, parent) { // a group has few parents, but all may have 100,000 children
		return nil
	}
	if child.name == groupUngrouped {
		return errorAt(pos, "ungrouped cannot be a child of group %q: Ansible would lose its hosts; name them in a group of their own",
			parent.name)
	}
	if child.name == groupAll {
		return errorAt(pos, "all cannot be a child of group %q: every group is below all", parent.name)
	}
	if parent == child {
		return errorAt(pos, "group %q is its own child", parent.name)
	}
	if ancestors(parent)[child] {
		return errorAt(pos, "group %q as a child of %q closes a cycle: %[2]q is already below %[1]q", child.name, parent.name)
	}
	parent.children = append(parent.children, child)
	child.parents = append(child.parents, parent)
	return nil
}

// ancestors are all groups above the group.
func ancestors(grp *group) map[*group]bool {
	seen := make(map[*group]bool)
	todo := slices.Clone(grp.parents)
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[next] {
			continue
		}
		seen[next] = true
		todo = append(todo, next.parents...)
	}
	return seen
}

// finish puts in order what all sources together left open: groups without a parent belong to all, hosts without a
// group to ungrouped, and hosts with a group not to ungrouped.
func (g *graph) finish() error {
	all, ungrouped := g.groups[groupAll], g.groups[groupUngrouped]
	for _, grp := range g.groupOrder {
		if grp == all || len(grp.parents) > 0 {
			continue
		}
		if err := g.addChild(all, grp, Pos{}); err != nil {
			return err
		}
	}
	for _, h := range g.hostOrder {
		if g.groups[h.name] != nil {
			g.warn(h.pos, "%q names both a host and a group; inline variables of the host go to the group", h.name)
		}
		elsewhere := slices.ContainsFunc(h.groups, func(grp *group) bool { return grp != all && grp != ungrouped })
		if !elsewhere {
			if err := g.ungroup(h); err != nil {
				return err
			}
		} else if i := slices.Index(h.groups, ungrouped); i >= 0 {
			h.groups = slices.Delete(h.groups, i, i+1)
			h.left = true
		}
	}
	ungrouped.hosts = slices.DeleteFunc(ungrouped.hosts, func(h *host) bool { return h.left })
	g.measureDepth()
	return nil
}

// ungroup puts a host without a group into ungrouped. Where a group has the name of the host, Ansible puts the group
// there.
func (g *graph) ungroup(h *host) error {
	ungrouped := g.groups[groupUngrouped]
	if grp := g.groups[h.name]; grp != nil && !slices.Contains(h.groups, ungrouped) {
		return g.addChild(ungrouped, grp, h.pos)
	}
	g.join(h, ungrouped)
	return nil
}

// measureDepth sets the depth of every group: the length of the longest way down from all.
func (g *graph) measureDepth() {
	missing := make(map[*group]int, len(g.groupOrder))
	for _, grp := range g.groupOrder {
		missing[grp] = len(grp.parents)
	}
	ready := []*group{g.groups[groupAll]}
	for len(ready) > 0 {
		grp := ready[0]
		ready = ready[1:]
		for _, child := range grp.children {
			child.depth = max(child.depth, grp.depth+1)
			if missing[child]--; missing[child] == 0 {
				ready = append(ready, child)
			}
		}
	}
}

// groupsOf are all groups that hold the host, all and ungrouped included, in the order in which their variables apply:
// the later one wins.
func groupsOf(h *host) []*group {
	seen := make(map[*group]bool)
	for _, grp := range h.groups {
		seen[grp] = true
		for a := range ancestors(grp) {
			seen[a] = true
		}
	}
	groups := make([]*group, 0, len(seen))
	for grp := range seen {
		if h.left && grp.name == groupUngrouped {
			continue // even where ungrouped is above another group of the host
		}
		groups = append(groups, grp)
	}
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(a.priority, b.priority), cmp.Compare(a.name, b.name))
	})
	return groups
}

// hostsBelow are the hosts of the group and of the groups below it, each once, level by level.
func hostsBelow(grp *group) []*host {
	var hosts []*host
	seenHost, seenGroup := make(map[*host]bool), map[*group]bool{grp: true}
	for level := []*group{grp}; len(level) > 0; {
		var next []*group
		for _, g := range level {
			for _, h := range g.hosts {
				if !seenHost[h] {
					seenHost[h] = true
					hosts = append(hosts, h)
				}
			}
			for _, child := range g.children {
				if !seenGroup[child] {
					seenGroup[child] = true
					next = append(next, child)
				}
			}
		}
		level = next
	}
	return hosts
}
