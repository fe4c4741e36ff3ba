package inventory

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"fleetctl/inventory/values"
)

var (
	iniSection = regexp.MustCompile(`^\[([^:\]\s]+)(?::([\pL\pN_]+))?\]\s*(?:#.*)?$`)
	iniChild   = regexp.MustCompile(`^([^:\]\s]+)\s*(?:#.*)?$`)
)

// iniLine is one line of an INI inventory that says something.
type iniLine struct {
	pos   Pos
	state string // of the section: hosts, children or vars
	group string // of the section
	head  bool   // the line is the section's header

	hosts []string  // hosts: the names, ranges written out
	port  int       // hosts
	vars  []hostVar // hosts: the inline variables; vars: the one variable
	child string    // children
}

// parseINI reads the lines of an INI inventory. Lines before the first header are hosts without a group, so that a plain
// list of host names is an INI inventory, too.
func parseINI(file string, data []byte) ([]iniLine, error) {
	state, group := "hosts", groupUngrouped
	var lines []iniLine
	first := map[string]int{} // the line of each variable of a vars section
	for i, raw := range splitLines(string(data)) {
		text := strings.TrimSpace(raw)
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		indent := len(raw) - len(strings.TrimLeftFunc(raw, unicode.IsSpace))
		line := iniLine{pos: Pos{File: file, Line: i + 1, Column: utf8.RuneCountInString(raw[:indent]) + 1}}
		m := iniSection.FindStringSubmatch(text)
		switch {
		case m != nil:
			if state = m[2]; state == "" {
				state = "hosts"
			}
			if state != "hosts" && state != "children" && state != "vars" {
				return nil, errorAt(line.pos, "section [%s:%s]: write hosts, children or vars behind the colon", m[1], state)
			}
			group, line.head = m[1], true
			clear(first)
		case strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]"):
			return nil, errorAt(line.pos, "section %s is invalid: there may be no blanks and no colons but the one before "+
				"hosts, children or vars", text)
		}
		line.state, line.group = state, group
		if !line.head {
			if err := line.parse(text); err != nil {
				return nil, err
			}
			if err := line.checkDuplicates(first); err != nil {
				return nil, err
			}
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// splitLines splits where Python's str.splitlines does.
func splitLines(s string) []string {
	var lines []string
	start := 0
	for i, r := range s {
		switch r {
		case '\n':
			if i > 0 && s[i-1] == '\r' {
				start = i + 1 // the second half of \r\n
				continue
			}
			fallthrough
		case '\r', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
			lines = append(lines, s[start:i])
			start = i + utf8.RuneLen(r)
		}
	}
	if start < len(s) {
		lines = append(lines, s[start:])
	}
	return lines
}

// at is the place of a byte of the line's text.
func (l *iniLine) at(text string, off int) Pos {
	pos := l.pos
	pos.Column += utf8.RuneCountInString(text[:off])
	return pos
}

func (l *iniLine) parse(text string) error {
	switch l.state {
	case "hosts":
		return l.parseHosts(text)
	case "vars":
		return l.parseVar(text)
	}
	m := iniChild.FindStringSubmatch(text)
	if m == nil {
		return errorAt(l.pos, "%q is not the name of a group", text)
	}
	l.child = m[1]
	return nil
}

// checkDuplicates refuses a variable that comes twice behind one host or in one vars section, where Ansible silently
// takes the last one. first has the lines of the section's variables.
func (l *iniLine) checkDuplicates(first map[string]int) error {
	if l.state == "hosts" {
		for i, v := range l.vars {
			if slices.ContainsFunc(l.vars[:i], func(o hostVar) bool { return o.name == v.name }) {
				return errorAt(v.pos, "duplicate key %q: it already stands in this line", v.name)
			}
		}
		return nil
	}
	for _, v := range l.vars {
		if line, ok := first[v.name]; ok {
			return errorAt(v.pos, "duplicate key %q: it already stands in line %d", v.name, line)
		}
		first[v.name] = v.pos.Line
	}
	return nil
}

// parseVar reads "name = value"; the value goes to the end of the line.
func (l *iniLine) parseVar(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return errorAt(l.pos, "expected name=value in section [%s:vars], got %q", l.group, text)
	}
	l.vars = []hostVar{{strings.TrimSpace(name), values.LiteralOrText(strings.TrimSpace(value)), l.pos}}
	return nil
}

// parseHosts reads a name, perhaps with ranges and a port, and name=value pairs, quoted as in a shell.
func (l *iniLine) parseHosts(text string) error {
	words, off, err := shellSplit(text, true)
	if err != nil {
		return errorAt(l.at(text, off), "%v", err)
	}
	pattern := words[0].text
	if pattern == "" {
		return errorAt(l.pos, "a host name is empty")
	}
	if l.hosts, l.port, err = expandHosts(pattern); err != nil {
		return &Error{Pos: l.pos, Msg: err.Error()}
	}
	if strings.HasSuffix(strings.TrimSpace(pattern), ":") && l.port == 0 {
		return errorAt(l.pos, "host name %q ends with a colon: write a port behind it, or name the file .yml if it is YAML", pattern)
	}
	if strings.TrimSpace(pattern) == "---" {
		return errorAt(l.pos, "--- begins a YAML document, but the file is no YAML inventory")
	}
	for _, word := range words[1:] {
		name, value, ok := strings.Cut(word.text, "=")
		if !ok {
			return errorAt(l.at(text, word.off), "expected name=value behind host %q, got %q", pattern, word.text)
		}
		l.vars = append(l.vars, hostVar{name, values.LiteralOrText(value), l.at(text, word.off)})
	}
	return nil
}

// iniGroups keeps the groups that were named but not yet declared.
type iniGroups struct {
	graph   *graph
	pending map[string]*pendingGroup
	order   []string
}

// pendingGroup is a group that some line needs and no line has declared yet.
type pendingGroup struct {
	line    iniLine
	parents []string
}

// addINI adds the lines of an INI inventory to the graph.
func addINI(g *graph, lines []iniLine) error {
	ini := &iniGroups{graph: g, pending: map[string]*pendingGroup{}}
	for _, line := range lines {
		if err := ini.add(line); err != nil {
			return err
		}
	}
	for _, name := range ini.order {
		p := ini.pending[name]
		switch {
		case p == nil:
		case p.line.state == "vars":
			return errorAt(p.line.pos, "section [%s:vars] has variables of a group that no section declares: add [%[1]s]", name)
		default:
			return errorAt(p.line.pos, "group %q is a child of %q, but no section declares it: add [%[1]s]", name,
				p.parents[len(p.parents)-1])
		}
	}
	return nil
}

func (ini *iniGroups) add(line iniLine) error {
	switch {
	case line.head:
		return ini.header(line)
	case line.state == "vars":
		return ini.graph.setGroupVar(ini.graph.groups[line.group], line.vars[0].name, line.vars[0].value, line.pos)
	case line.state == "children":
		return ini.child(line)
	}
	for _, name := range line.hosts {
		h, err := ini.graph.addHost(name, ini.graph.groups[line.group], line.port, line.pos)
		if err != nil {
			return err
		}
		for _, v := range line.vars {
			if err := ini.graph.setHostVar(h, v.name, v.value, v.pos); err != nil {
				return err
			}
		}
	}
	return nil
}

// header declares the group, except for a vars section, which needs another section to declare it.
func (ini *iniGroups) header(line iniLine) error {
	name := line.group
	if ini.graph.groups[name] == nil {
		if line.state == "vars" && ini.pending[name] == nil {
			ini.await(name, line)
		}
		ini.graph.addGroup(name)
	}
	p := ini.pending[name]
	switch {
	case p == nil || line.state == "vars":
		return nil
	case p.line.state == "vars":
		delete(ini.pending, name)
		return nil
	}
	return ini.declare(name, line.pos, map[string]bool{})
}

func (ini *iniGroups) await(name string, line iniLine) *pendingGroup {
	p := &pendingGroup{line: line}
	ini.pending[name] = p
	ini.order = append(ini.order, name)
	return p
}

// child puts a group below the section's group, now or when it is declared.
func (ini *iniGroups) child(line iniLine) error {
	if child := ini.graph.groups[line.child]; child != nil {
		return ini.graph.addChild(ini.graph.groups[line.group], child, line.pos)
	}
	p := ini.pending[line.child]
	if p == nil {
		p = ini.await(line.child, line)
	}
	p.parents = append(p.parents, line.group)
	return nil
}

// declare gives a declared group the parents that waited for it, and theirs. busy breaks circles, which addChild reports.
func (ini *iniGroups) declare(name string, pos Pos, busy map[string]bool) error {
	p := ini.pending[name]
	if busy[name] || p == nil {
		return nil
	}
	busy[name] = true
	for _, parent := range p.parents {
		if err := ini.graph.addChild(ini.graph.groups[parent], ini.graph.groups[name], p.line.pos); err != nil {
			return err
		}
		if up := ini.pending[parent]; up != nil && up.line.state == "children" {
			if err := ini.declare(parent, pos, busy); err != nil {
				return err
			}
		}
	}
	delete(ini.pending, name)
	return nil
}
