package inventory

import (
	"fmt"
	"strings"

	"fleetctl/inventory/values"
)

// List is the whole inventory as JSON, as `ansible-inventory --list` prints it: each group with its hosts and children,
// and the resolved variables of every host under _meta. It ends with a newline.
func (inv *Inventory) List() []byte {
	out := make(map[string]any, len(inv.graph.groupOrder)+1)
	for _, grp := range inv.graph.groupOrder {
		body := map[string]any{}
		if len(grp.hosts) > 0 && grp.name != groupAll {
			body["hosts"] = hostNames(grp.hosts)
		}
		if len(grp.children) > 0 {
			body["children"] = groupNames(grp.children)
		}
		if len(body) > 0 {
			out[grp.name] = body
		}
	}
	hostvars := make(map[string]any)
	r := inv.resolver()
	for _, h := range inv.graph.hostOrder {
		if vars := inv.visible(r.host(h)); len(vars) > 0 {
			hostvars[h.name] = vars
		}
	}
	out["_meta"] = map[string]any{"hostvars": hostvars}
	return append(values.AppendJSON(nil, out, 0), '\n')
}

// Host is the variables of one host as JSON, as `ansible-inventory --host` prints them. The pattern must select exactly
// one host.
func (inv *Inventory) Host(pattern string) ([]byte, error) {
	hosts, err := inv.Select(pattern)
	if err != nil {
		return nil, err
	}
	if len(hosts) != 1 {
		return nil, fmt.Errorf("%q selects %d hosts, not one", pattern, len(hosts))
	}
	return append(values.AppendJSON(nil, inv.visible(hosts[0]), 0), '\n'), nil
}

// Graph is the tree of groups and hosts below a group ("all" for everything) as `ansible-inventory --graph` prints it.
func (inv *Inventory) Graph(name string) (string, error) {
	grp := inv.graph.groups[name]
	if grp == nil {
		return "", fmt.Errorf("%w %q: the graph begins at a group", ErrNoMatch, name)
	}
	var b strings.Builder
	writeGraph(&b, grp, 0)
	return b.String(), nil
}

func writeGraph(b *strings.Builder, grp *group, depth int) {
	writeNode(b, "@"+grp.name+":", depth)
	for _, child := range grp.children {
		writeGraph(b, child, depth+1)
	}
	if grp.name == groupAll {
		return
	}
	for _, h := range grp.hosts {
		writeNode(b, h.name, depth+1)
	}
}

func writeNode(b *strings.Builder, name string, depth int) {
	b.WriteString(strings.Repeat("  |", depth))
	if depth > 0 {
		b.WriteString("--")
	}
	b.WriteString(name)
	b.WriteByte('\n')
}

func hostNames(hosts []*host) []any {
	names := make([]any, len(hosts))
	for i, h := range hosts {
		names[i] = h.name
	}
	return names
}

func groupNames(groups []*group) []any {
	names := make([]any, len(groups))
	for i, grp := range groups {
		names[i] = grp.name
	}
	return names
}

// Revealed is the inventory with listings in which everything that can be decrypted stands in clear.
func (inv *Inventory) Revealed() *Inventory {
	clear := *inv
	clear.reveal = true
	return &clear
}

// visible are the variables without those that Ansible keeps to itself, even where the user wrote them.
func (inv *Inventory) visible(h Host) map[string]any {
	for _, name := range []string{
		"ansible_diff_mode", "ansible_config_file", "ansible_facts", "ansible_forks", "ansible_inventory_sources",
		"ansible_limit", "ansible_playbook_python", "ansible_run_tags", "ansible_skip_tags", "ansible_verbosity",
		"ansible_version", "inventory_dir", "inventory_file", "inventory_hostname", "inventory_hostname_short", "groups",
		"group_names", "omit", "playbook_dir",
	} {
		delete(h.Vars, name)
	}
	if !inv.reveal {
		return h.Vars
	}
	for name, value := range h.Vars {
		h.Vars[name] = inv.keys.clear(value)
	}
	return h.Vars
}
