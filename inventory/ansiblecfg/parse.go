package ansiblecfg

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// option is an option of a section, and its line.
type option struct {
	value string
	line  int
}

// section has its options by their names in lower case.
type section map[string]option

var (
	header     = regexp.MustCompile(`^\[(.+)\]`)
	assignment = regexp.MustCompile(`^(.*?)\s*[=:]\s*(.*)$`)
)

// parser reads the lines of an ansible.cfg.
type parser struct {
	file     string
	sections map[string]section
	current  section
	name     string // of the option that the next lines may continue
	indent   int    // of its line
}

// parse reads an ansible.cfg as Python's configparser does for Ansible: ";" behind a blank begins a comment, what is
// indented more than its option continues it, and nothing may stand twice.
func parse(file string, data []byte) (map[string]section, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: is not UTF-8", file)
	}
	p := &parser{file: file, sections: map[string]section{}}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
	for i, line := range strings.Split(text, "\n") {
		if err := p.line(i+1, line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	for _, s := range p.sections {
		for name, o := range s {
			o.value = strings.TrimRightFunc(o.value, unicode.IsSpace)
			s[name] = o
		}
	}
	return p.sections, nil
}

// withoutComment is the line without a comment, and whether there was one.
func withoutComment(line string) (string, bool) {
	if t := strings.TrimSpace(line); strings.HasPrefix(t, "#") || strings.HasPrefix(t, ";") {
		return "", true
	}
	for i := range len(line) {
		if line[i] == ';' && (i == 0 || strings.IndexByte(" \t\v\f", line[i-1]) >= 0) {
			return line[:i], true
		}
	}
	return line, false
}

func (p *parser) line(number int, line string) error {
	line, comment := withoutComment(line)
	value := strings.TrimSpace(line)
	if value == "" {
		if !comment && p.name != "" {
			p.more("")
		}
		return nil
	}
	indent := len(line) - len(strings.TrimLeftFunc(line, unicode.IsSpace))
	if p.name != "" && indent > p.indent {
		p.more(value)
		return nil
	}
	p.indent = indent
	if m := header.FindStringSubmatch(value); m != nil {
		if p.sections[m[1]] != nil && m[1] != "DEFAULT" {
			return fmt.Errorf("the section [%s] stands twice, which Ansible refuses", m[1])
		}
		if p.sections[m[1]] == nil {
			p.sections[m[1]] = section{}
		}
		p.current, p.name = p.sections[m[1]], ""
		return nil
	}
	m := assignment.FindStringSubmatch(value)
	switch {
	case p.current == nil:
		return fmt.Errorf("there is no [section] before this line, which Ansible refuses")
	case m == nil || m[1] == "":
		return fmt.Errorf("this is no name = value, which Ansible refuses")
	}
	name := strings.ToLower(m[1])
	if _, twice := p.current[name]; twice {
		return fmt.Errorf("%s stands twice in its section, which Ansible refuses", name)
	}
	p.current[name], p.name = option{m[2], number}, name
	return nil
}

// more continues the option.
func (p *parser) more(value string) {
	o := p.current[p.name]
	o.value += "\n" + value
	p.current[p.name] = o
}
