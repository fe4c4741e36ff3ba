package inventory

import (
	"slices"

	"gopkg.in/yaml.v3"
)

// isListing says whether a JSON document is what an executable inventory prints: groups with lists of hosts and
// children, and _meta. A YAML inventory, which may be written as JSON too, has mappings there.
func isListing(doc *document) bool {
	pairs, err := doc.pairs(doc.root, 0)
	if err != nil {
		return false
	}
	for _, p := range pairs {
		body := follow(p.value)
		if p.text == "_meta" || body.Kind == yaml.SequenceNode {
			return true
		}
		if body.Kind != yaml.MappingNode {
			continue
		}
		for i := 0; i+1 < len(body.Content); i += 2 {
			key := body.Content[i].Value
			if (key == "hosts" || key == "children") && follow(body.Content[i+1]).Kind == yaml.SequenceNode {
				return true
			}
		}
	}
	return false
}

// listing reads what an executable inventory prints.
type listing struct {
	*document
	graph    *graph
	hosts    []*host
	hostvars map[string]pair // of _meta; nil when there is no _meta
}

// askHost asks for the variables of one host, where the listing has no _meta.
type askHost func(name string) (map[string]any, error)

// addListing adds what an executable inventory printed to the graph. ask may be nil: then hosts without _meta have no
// variables.
func addListing(g *graph, doc *document, ask askHost) error {
	l := &listing{document: doc, graph: g}
	pairs, err := l.pairs(doc.root, 0)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if p.text == "_meta" {
			err = l.meta(p)
		} else {
			err = l.group(p)
		}
		if err != nil {
			return err
		}
	}
	return l.variables(ask)
}

func (l *listing) meta(p pair) error {
	body := follow(p.value)
	if body.Kind != yaml.MappingNode {
		return errorAt(l.pos(body), "_meta must be an object")
	}
	pairs, err := l.pairs(body, 0)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(pairs, func(p pair) bool { return p.text == "hostvars" })
	if i < 0 {
		return nil
	}
	vars := follow(pairs[i].value)
	if vars.Kind != yaml.MappingNode {
		return errorAt(l.pos(vars), "hostvars of _meta must be an object")
	}
	hosts, err := l.pairs(vars, 0)
	if err != nil {
		return err
	}
	l.hostvars = make(map[string]pair, len(hosts))
	for _, h := range hosts {
		l.hostvars[h.text] = h
	}
	return nil
}

// group reads one group: an object with hosts, vars and children, a list of hosts, or an object of variables, which
// stands for a host of the group's name in a group with these variables.
func (l *listing) group(p pair) error {
	if p.text == "" {
		return errorAt(l.pos(p.key), "a group name is empty")
	}
	grp, body := l.graph.addGroup(p.text), follow(p.value)
	if body.Kind != yaml.MappingNode {
		return l.members(grp, body)
	}
	pairs, err := l.pairs(body, 0)
	if err != nil {
		return err
	}
	parts := make(map[string]*yaml.Node)
	for _, s := range pairs {
		if s.text == "hosts" || s.text == "vars" || s.text == "children" {
			parts[s.text] = follow(s.value)
		}
	}
	if len(parts) == 0 {
		if err := l.member(grp, p.text, l.pos(p.key)); err != nil {
			return err
		}
		return l.groupVars(grp, pairs)
	}
	return l.parts(grp, parts)
}

func (l *listing) parts(grp *group, parts map[string]*yaml.Node) error {
	if n := parts["hosts"]; n != nil {
		if err := l.members(grp, n); err != nil {
			return err
		}
	}
	if n := parts["vars"]; n != nil {
		if n.Kind != yaml.MappingNode {
			return errorAt(l.pos(n), "vars of group %q must be an object", grp.name)
		}
		pairs, err := l.pairs(n, 0)
		if err != nil {
			return err
		}
		if err := l.groupVars(grp, pairs); err != nil {
			return err
		}
	}
	if n := parts["children"]; n != nil {
		return l.children(grp, n)
	}
	return nil
}

func (l *listing) members(grp *group, n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return errorAt(l.pos(n), "the hosts of group %q must be a list of names", grp.name)
	}
	for _, item := range n.Content {
		name, isString, err := l.keyText(item)
		if err != nil || !isString {
			return errorAt(l.pos(item), "a host of group %q is not a string", grp.name)
		}
		if err := l.member(grp, name, l.pos(item)); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) member(grp *group, name string, pos Pos) error {
	h, err := l.graph.addHost(name, grp, 0, pos)
	if err != nil {
		return err
	}
	l.hosts = append(l.hosts, h)
	return nil
}

func (l *listing) groupVars(grp *group, pairs []pair) error {
	for _, p := range pairs {
		v, err := l.value(p.value)
		if err != nil {
			return err
		}
		if err := l.graph.setGroupVar(grp, p.text, v, l.pos(p.key)); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) children(grp *group, n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return errorAt(l.pos(n), "the children of group %q must be a list of names", grp.name)
	}
	for _, item := range n.Content {
		name, isString, err := l.keyText(item)
		if err != nil || !isString || name == "" {
			return errorAt(l.pos(item), "a child of group %q is not the name of a group", grp.name)
		}
		if err := l.graph.addChild(grp, l.graph.addGroup(name), l.pos(item)); err != nil {
			return err
		}
	}
	return nil
}

// variables gives the hosts what _meta has for them, or what the executable says when it is asked for each.
func (l *listing) variables(ask askHost) error {
	done := make(map[*host]bool, len(l.hosts))
	for _, h := range l.hosts {
		if done[h] {
			continue
		}
		done[h] = true
		var err error
		switch p, ok := l.hostvars[h.name]; {
		case ok:
			err = l.metaVars(h, p)
		case l.hostvars == nil && ask != nil:
			err = l.askedVars(h, ask)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) metaVars(h *host, p pair) error {
	body, err := l.expand(p.value)
	if err != nil {
		return err
	}
	if body.Kind != yaml.MappingNode {
		return errorAt(l.pos(body), "the variables of host %q must be an object", h.name)
	}
	pairs, err := l.pairs(body, 0)
	if err != nil {
		return err
	}
	for _, e := range pairs {
		v, err := l.value(e.value)
		if err != nil {
			return err
		}
		if err := l.graph.setHostVar(h, e.text, v, l.pos(e.key)); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) askedVars(h *host, ask askHost) error {
	vars, err := ask(h.name)
	if err != nil {
		return err
	}
	for name, v := range vars {
		if err := l.graph.setHostVar(h, name, v, h.pos); err != nil {
			return err
		}
	}
	return nil
}
