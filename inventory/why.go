package inventory

import (
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"

	"fleetctl/inventory/values"
)

// Origin is a place where a variable of a host is set.
type Origin struct {
	Scope string // "group NAME", "host" or "settings"
	Place string // file:line:column, as far as it is known
	Value any    // as it was written
}

// Why is every place where a variable of the host is set, in the order of Ansible's precedence: the last one counts. The
// inventory was loaded with Trace.
func (inv *Inventory) Why(name string, h Host) ([]Origin, error) {
	node := inv.graph.hosts[h.Name]
	if inv.graph.origins == nil || node == nil {
		return nil, fmt.Errorf("nothing was kept of where the variables of %s were written", h.Name)
	}
	var all []Origin
	if v, ok := inv.scopes.defaults[name]; ok {
		all = append(all, Origin{Scope: "settings", Value: v})
	}
	groups := groupsOf(node)
	for _, grp := range groups {
		all = append(all, inv.graph.origins[originKey{grp.name, true, name}]...)
	}
	add := func(scope string, f fileVars) {
		v, ok := f.vars[name]
		if !ok {
			return
		}
		o := Origin{scope, f.places[name].String(), v}
		all = slices.DeleteFunc(all, func(other Origin) bool { // a directory may count twice
			return other.Scope == o.Scope && other.Place == o.Place
		})
		all = append(all, o)
	}
	for _, f := range inv.files.groups[groupAll] {
		add("group all", f)
	}
	for dir := range inv.files.dirs {
		for _, grp := range groups {
			if files := inv.files.groups[grp.name]; files != nil && grp.name != groupAll {
				add("group "+grp.name, files[dir])
			}
		}
	}
	all = append(all, inv.graph.origins[originKey{h.Name, false, name}]...)
	for _, f := range inv.files.hosts[h.Name] {
		add("host", f)
	}
	return all, nil
}

// origins are the places of inline variables.
type origins map[originKey][]Origin

type originKey struct {
	of      string // the group's or the host's name
	isGroup bool
	name    string
}

// note keeps a place, if somebody will ask for it.
func (o origins) note(of string, isGroup bool, name string, value any, pos Pos) {
	if o == nil {
		return
	}
	scope := "host"
	if isGroup {
		scope = "group " + of
	}
	key := originKey{of, isGroup, name}
	o[key] = append(o[key], Origin{scope, pos.String(), value})
}

// note keeps the places of the keys of a document.
func (f *fileVars) note(doc *document) {
	if f.places == nil {
		f.places = map[string]Pos{}
	}
	root := follow(doc.root)
	if root.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		f.places[root.Content[i].Value] = doc.pos(root.Content[i])
	}
}

// Shown is a value as JSON on one line; nothing is shown of what is encrypted, or was.
func Shown(v any) string {
	if values.Hidden(v) {
		return "(encrypted)"
	}
	fields := []byte{}
	blank := false
	for _, c := range values.AppendJSON(nil, v, 0) {
		if c == '\n' {
			blank = true
			continue
		}
		if blank && c == ' ' {
			continue
		}
		if blank && !slices.Contains([]byte("]}"), c) && len(fields) > 0 && fields[len(fields)-1] == ',' {
			fields = append(fields, ' ')
		}
		blank, fields = false, append(fields, c)
	}
	return string(fields)
}
