package inventory

import (
	"gopkg.in/yaml.v3"
)

// yamlInventory reads an inventory in YAML: top-level keys are groups, which have hosts, vars and children.
type yamlInventory struct {
	*document
	graph *graph
}

// addYAML adds a parsed document, whose root is a mapping, to the graph.
func addYAML(g *graph, doc *document) error {
	y := &yamlInventory{document: doc, graph: g}
	pairs, err := y.pairs(doc.root, 0)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if _, err := y.group(p, 0); err != nil {
			return err
		}
	}
	return nil
}

// group reads one group and what is below it. It returns nil for what is no group, which Ansible skips with a warning.
func (y *yamlInventory) group(p pair, depth int) (*group, error) {
	if err := y.checkName(p, "group"); err != nil {
		return nil, err
	}
	if depth > 1000 {
		return nil, errorAt(y.pos(p.key), "groups are nested too deeply, or in a circle of aliases")
	}
	body := follow(p.value)
	switch {
	case y.isNull(body):
		return y.graph.addGroup(p.text), nil
	case body.Kind != yaml.MappingNode:
		y.graph.warn(y.pos(p.key), "%q is skipped: a group is a mapping with hosts, vars and children", p.text)
		return nil, nil
	}
	grp := y.graph.addGroup(p.text)
	sections, err := y.pairs(body, 0)
	if err != nil {
		return nil, err
	}
	for _, s := range sections {
		if err := y.section(grp, s, depth); err != nil {
			return nil, err
		}
	}
	return grp, nil
}

// section reads vars, children or hosts of a group; each is a mapping, or the single name as a string.
func (y *yamlInventory) section(grp *group, s pair, depth int) error {
	known := s.text == "vars" || s.text == "children" || s.text == "hosts"
	value := follow(s.value)
	if y.isNull(value) {
		return nil
	}
	if !known {
		y.graph.warn(y.pos(s.key), "key %q of group %q is skipped: only hosts, vars and children have a meaning there",
			s.text, grp.name)
		return nil
	}
	entries, err := y.entries(grp, s.text, value)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch s.text {
		case "vars":
			err = y.groupVar(grp, e)
		case "children":
			err = y.child(grp, e, depth)
		case "hosts":
			err = y.hosts(grp, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (y *yamlInventory) entries(grp *group, section string, value *yaml.Node) ([]pair, error) {
	if value.Kind == yaml.MappingNode {
		return y.pairs(value, 0)
	}
	if value.Kind == yaml.ScalarNode {
		if text, isString, err := y.keyText(value); err == nil && isString {
			null := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: value.Line, Column: value.Column}
			return []pair{{key: value, value: null, text: text, isString: true}}, nil
		}
	}
	return nil, errorAt(y.pos(value), "%s of group %q must be a mapping (names with a colon behind them), not %s",
		section, grp.name, kindName(value))
}

func kindName(n *yaml.Node) string {
	if n.Kind == yaml.SequenceNode {
		return "a list"
	}
	return "a single value"
}

func (y *yamlInventory) groupVar(grp *group, e pair) error {
	v, err := y.value(e.value)
	if err != nil {
		return err
	}
	return y.graph.setGroupVar(grp, e.text, v, y.pos(e.key))
}

func (y *yamlInventory) child(grp *group, e pair, depth int) error {
	child, err := y.group(e, depth+1)
	if err != nil {
		return err
	}
	if child == nil {
		if child = y.graph.groups[e.text]; child == nil {
			return errorAt(y.pos(e.key), "child %q of group %q must be a mapping with hosts, vars and children, or empty",
				e.text, grp.name)
		}
	}
	return y.graph.addChild(grp, child, y.pos(e.key))
}

// hosts reads one key below hosts: a name, perhaps with ranges and a port, and its variables.
func (y *yamlInventory) hosts(grp *group, e pair) error {
	if err := y.checkName(e, "host"); err != nil {
		return err
	}
	names, port, err := expandHosts(e.text)
	if err != nil {
		return &Error{Pos: y.pos(e.key), Msg: err.Error()}
	}
	vars, err := y.hostVars(e)
	if err != nil {
		return err
	}
	for _, name := range names {
		h, err := y.graph.addHost(name, grp, port, y.pos(e.key))
		if err != nil {
			return err
		}
		for _, v := range vars {
			if err := y.graph.setHostVar(h, v.name, v.value, v.pos); err != nil {
				return err
			}
		}
	}
	return nil
}

// hostVar is a variable and where it was written.
type hostVar struct {
	name  string
	value any
	pos   Pos
}

func (y *yamlInventory) hostVars(e pair) ([]hostVar, error) {
	body := follow(e.value)
	if body.Kind != yaml.MappingNode {
		v, err := y.value(e.value)
		if err != nil {
			return nil, err
		}
		if isFalsy(v) {
			return nil, nil
		}
		return nil, errorAt(y.pos(body), "the variables of host %q must be a mapping, not %s", e.text, kindName(body))
	}
	pairs, err := y.pairs(body, 0)
	if err != nil {
		return nil, err
	}
	vars := make([]hostVar, 0, len(pairs))
	for _, p := range pairs {
		v, err := y.value(p.value)
		if err != nil {
			return nil, err
		}
		vars = append(vars, hostVar{p.text, v, y.pos(p.key)})
	}
	return vars, nil
}

// isFalsy says whether Python takes the value for false: Ansible reads a host with such a value as one without variables.
func isFalsy(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case int:
		return v == 0
	case float64:
		return v == 0
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	}
	return false
}

// checkName refuses a name that YAML 1.1 takes for something else than a string.
func (y *yamlInventory) checkName(p pair, what string) error {
	switch {
	case !p.isString:
		return errorAt(y.pos(p.key), "the %s name %s is no string in YAML; put it in quotes", what, p.key.Value)
	case p.text == "":
		return errorAt(y.pos(p.key), "a %s name is empty", what)
	}
	return nil
}
