package inventory

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// ErrNoMatch says that a pattern names neither a host nor a group: most often a typing error.
var ErrNoMatch = errors.New("no host or group of the inventory matches")

// Select returns the hosts that match every given pattern (a host pattern, then --limit), in the order of the first
// pattern; without a pattern, all hosts. The patterns are Ansible's: names of hosts and groups, * ? and [abc], ~regex
// (RE2 syntax), united by , or :, cut down by & and !, sliced by [0], [-1], [1:3]; @file takes a pattern a line from a
// file. They match names, never addresses, and there is no implicit localhost.
//
// Ansible only warns where a part of a pattern matches nothing; so does Select, silently, as long as another part
// matches. When nothing is left of a pattern of which some part names nothing, the error is ErrNoMatch.
func (inv *Inventory) Select(patterns ...string) ([]Host, error) {
	if len(patterns) == 0 {
		patterns = []string{groupAll}
	}
	var selected []*host
	for i, pattern := range patterns {
		hosts, err := inv.graph.match(pattern)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			selected = hosts
		} else {
			selected = keep(selected, hosts, true)
		}
	}
	r := inv.resolver()
	out := make([]Host, 0, len(selected))
	for _, h := range selected {
		out = append(out, r.host(h))
	}
	return out, nil
}

// keep returns the hosts that are (want) or aren't (!want) among the others.
func keep(hosts, others []*host, want bool) []*host {
	among := make(map[*host]bool, len(others))
	for _, h := range others {
		among[h] = true
	}
	var out []*host
	for _, h := range hosts {
		if among[h] == want {
			out = append(out, h)
		}
	}
	return out
}

// match returns the hosts of a pattern, each once.
func (g *graph) match(pattern string) ([]*host, error) {
	terms, err := patternTerms(pattern)
	if err != nil {
		return nil, err
	}
	m := &matcher{graph: g, seen: map[*host]bool{}}
	for _, term := range terms {
		if err := m.add(term); err != nil {
			return nil, err
		}
	}
	if len(m.hosts) == 0 && len(m.missing) > 0 {
		return nil, fmt.Errorf("%w %q", ErrNoMatch, m.missing[0])
	}
	return m.hosts, nil
}

// patternTerms splits a pattern, reads the files in it, and puts the terms in the order in which they apply: unions,
// intersections, exclusions. Without a union, the rest cuts down all hosts.
func patternTerms(pattern string) ([]string, error) {
	var unions, intersections, exclusions []string
	for _, part := range splitPattern(pattern) {
		terms := []string{part}
		if file, ok := strings.CutPrefix(part, "@"); ok {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("limit file %s: %w", file, bare(err))
			}
			terms = strings.Split(string(data), "\n")
		}
		for _, term := range terms {
			switch term = strings.TrimSpace(term); {
			case term == "":
			case term[0] == '!':
				exclusions = append(exclusions, term)
			case term[0] == '&':
				intersections = append(intersections, term)
			default:
				unions = append(unions, term)
			}
		}
	}
	if len(unions) == 0 {
		unions = []string{groupAll}
	}
	return append(append(unions, intersections...), exclusions...), nil
}

// splitPattern splits at commas, or, where there are none, at colons and blanks, but not inside of brackets and of what
// is one address or host name with a port.
func splitPattern(pattern string) []string {
	var parts []string
	if strings.ContainsRune(pattern, ',') {
		for part := range strings.SplitSeq(pattern, ",") {
			if part = strings.TrimSpace(part); part != "" {
				parts = append(parts, part)
			}
		}
		return parts
	}
	if _, _, ok := splitPort(pattern); ok {
		return []string{strings.TrimSpace(pattern)}
	}
	return patternPart.FindAllString(pattern, -1)
}

var (
	patternPart      = regexp.MustCompile(`(?:[^\s:\[\]]|\[[^\]]*\])+`)
	patternSubscript = regexp.MustCompile(`^(.+)\[(?:(-?[0-9]+)|([0-9]+)[:-]([0-9]*))\]$`)
)

// matcher collects the hosts of a pattern's terms.
type matcher struct {
	graph   *graph
	hosts   []*host
	seen    map[*host]bool
	missing []string // terms that match nothing
}

func (m *matcher) add(term string) error {
	if h, ok := m.graph.hosts[term]; ok { // a host may be called !x
		m.append(h)
		return nil
	}
	operator := term[0]
	if operator == '!' || operator == '&' {
		term = term[1:]
	}
	hosts, err := m.graph.matchTerm(term)
	if err != nil {
		return err
	}
	switch operator {
	case '!':
		m.hosts = keep(m.hosts, hosts, false)
		return nil
	case '&':
		m.hosts = keep(m.hosts, hosts, true)
	default:
		m.append(hosts...)
	}
	if len(hosts) == 0 && m.graph.groups[term] == nil {
		m.missing = append(m.missing, term)
	}
	return nil
}

func (m *matcher) append(hosts ...*host) {
	for _, h := range hosts {
		if !m.seen[h] {
			m.seen[h] = true
			m.hosts = append(m.hosts, h)
		}
	}
}

// matchTerm returns the hosts of one term, without its operator.
func (g *graph) matchTerm(term string) ([]*host, error) {
	if term == "" {
		return nil, errors.New("a part of the pattern is empty: & and ! stand before a host or group")
	}
	expr, sub := term, []string(nil)
	if term[0] != '~' {
		if sub = patternSubscript.FindStringSubmatch(term); sub != nil {
			expr = sub[1]
		}
	}
	hosts, err := g.enumerate(expr)
	if err != nil || sub == nil || len(hosts) == 0 {
		return hosts, err
	}
	return slice(hosts, sub, term)
}

// enumerate returns the hosts of the groups that match, and the hosts that match themselves: always when the term has
// wildcards or dots, otherwise only where no group matches. A host comes once for each group that matches, as in Ansible,
// whose slices count them so.
func (g *graph) enumerate(expr string) ([]*host, error) {
	matches, err := compileTerm(expr)
	if err != nil {
		return nil, err
	}
	if matches == nil {
		return g.enumeratePlain(expr), nil
	}
	var hosts []*host
	for _, grp := range g.groupOrder {
		if matches(grp.name) {
			hosts = append(hosts, hostsBelow(grp)...)
		}
	}
	for _, h := range g.hostOrder {
		if matches(h.name) {
			hosts = append(hosts, h)
		}
	}
	return hosts, nil
}

// enumeratePlain is enumerate for a term that matches nothing but itself.
func (g *graph) enumeratePlain(name string) (hosts []*host) {
	grp := g.groups[name]
	if grp != nil {
		hosts = hostsBelow(grp)
	}
	if h := g.hosts[name]; h != nil && (grp == nil || strings.ContainsRune(name, '.')) {
		hosts = append(hosts, h)
	}
	return hosts
}

// compileTerm returns a function that matches names, or nil for a term that only matches itself.
func compileTerm(expr string) (matches func(string) bool, err error) {
	if text, ok := strings.CutPrefix(expr, "~"); ok {
		re, err := regexp.Compile("^(?:" + text + ")")
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", expr, err)
		}
		return re.MatchString, nil
	}
	if !strings.ContainsAny(expr, "*?[") {
		return nil, nil
	}
	re, err := regexp.Compile(globExpression(expr))
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", expr, err)
	}
	return re.MatchString, nil
}

// globExpression is the regular expression of a shell pattern as Python's fnmatch reads it.
func globExpression(glob string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for rest := glob; rest != ""; {
		switch c := rest[0]; c {
		case '*':
			b.WriteString(".*")
			rest = rest[1:]
		case '?':
			b.WriteString(".")
			rest = rest[1:]
		case '[':
			class, n := globClass(rest)
			b.WriteString(class)
			rest = rest[n:]
		default:
			i := strings.IndexAny(rest, "*?[")
			if i < 0 {
				i = len(rest)
			}
			b.WriteString(regexp.QuoteMeta(rest[:i]))
			rest = rest[i:]
		}
	}
	b.WriteString(`\z`)
	return b.String()
}

// globClass is the expression of the [class] that s begins with, and its length in s. A bracket that nothing closes is
// itself.
func globClass(s string) (class string, n int) {
	first := 1
	if strings.HasPrefix(s[first:], "!") {
		first++
	}
	if strings.HasPrefix(s[first:], "]") {
		first++
	}
	end := strings.IndexByte(s[first:], ']')
	if end < 0 {
		return `\[`, 1
	}
	body := s[1 : first+end]
	n = first + end + 1
	negated := strings.HasPrefix(body, "!")
	body = strings.TrimPrefix(body, "!")
	ranges := globRanges([]rune(body))
	switch {
	case ranges == "" && negated:
		return ".", n
	case ranges == "":
		return `[^\x{0}-\x{10FFFF}]`, n // only empty ranges: matches nothing
	case negated:
		return "[^" + ranges + "]", n
	}
	return "[" + ranges + "]", n
}

// globRanges writes the characters and the ranges of a class; a range that runs backwards is empty.
func globRanges(body []rune) string {
	var b strings.Builder
	for i := 0; i < len(body); i++ {
		from, to := body[i], body[i]
		if i+2 < len(body) && body[i+1] == '-' {
			to = body[i+2]
			i += 2
		}
		if from <= to {
			fmt.Fprintf(&b, `\x{%X}-\x{%X}`, from, to)
		}
	}
	return b.String()
}

// slice takes [i] or the inclusive [from:to] out of the hosts.
func slice(hosts []*host, sub []string, term string) ([]*host, error) {
	if sub[2] != "" {
		i, err := strconv.Atoi(sub[2])
		if i < 0 {
			i += len(hosts)
		}
		if err != nil || i < 0 || i >= len(hosts) {
			return nil, fmt.Errorf("pattern %q: there are only %d hosts", term, len(hosts))
		}
		return hosts[i : i+1], nil
	}
	from, err := strconv.Atoi(sub[3])
	if err != nil {
		return nil, fmt.Errorf("pattern %q: there are only %d hosts", term, len(hosts))
	}
	to := len(hosts) - 1
	if sub[4] != "" {
		if n, err := strconv.Atoi(sub[4]); err == nil {
			to = min(to, n)
		}
	}
	if sub[4] != "" && to == 0 {
		to = from // as Ansible has it: [2:0] is [2]
	}
	if from > to || from >= len(hosts) {
		return nil, nil
	}
	return hosts[from : to+1], nil
}
