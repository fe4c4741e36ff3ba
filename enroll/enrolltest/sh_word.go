package enrolltest

import (
	"regexp"
	"strconv"
	"strings"
)

var shName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)

// simple parses assignments, words and redirections, or the definition of a function.
func (p *shParser) simple() shCmd {
	c := shCmd{kind: "simple"}
	if name := shName.FindString(p.s[p.pos:]); name != "" && strings.HasPrefix(p.s[p.pos+len(name):], "()") {
		p.pos += len(name) + 2
		p.blanks(true)
		body := p.command()
		return shCmd{kind: "func", name: name, body: shList{{pipes: []shPipe{{cmds: []shCmd{body}}}}}}
	}
	begin := p.pos
	for {
		p.blanks(false)
		if r, ok := p.redir(); ok {
			c.redirs = append(c.redirs, r)
			continue
		}
		if p.pos >= len(p.s) || strings.IndexByte("\n;&|()", p.peek()) >= 0 {
			break
		}
		if name := shName.FindString(p.s[p.pos:]); len(c.words) == 0 && name != "" && strings.HasPrefix(p.s[p.pos+len(name):], "=") {
			p.pos += len(name) + 1
			c.assigns = append(c.assigns, shAssign{name, p.word()})
			continue
		}
		c.words = append(c.words, p.word())
	}
	if p.pos == begin {
		p.fail("no command")
	}
	return c
}

var shRedirection = regexp.MustCompile(`^([0-9]*)(>>|>&|<&|>\||<>|>|<)`)

func (p *shParser) redir() (shRedir, bool) {
	m := shRedirection.FindStringSubmatch(p.s[p.pos:])
	if m == nil {
		return shRedir{}, false
	}
	p.pos += len(m[0])
	if m[2] == "<" && p.peek() == '<' {
		p.fail("a here-document")
	}
	r := shRedir{fd: -1, op: m[2]}
	if n, err := strconv.Atoi(m[1]); err == nil {
		r.fd = n
	}
	p.blanks(false)
	r.target = p.word()
	return r, true
}

// word parses one word; an empty one is a word, too, where an assignment has no value.
func (p *shParser) word() shWord {
	var out shWord
	for p.pos < len(p.s) {
		switch c := p.peek(); {
		case c == '\'':
			n := strings.IndexByte(p.s[p.pos+1:], '\'')
			if n < 0 {
				p.fail("an open quote")
			}
			out = append(out, shPart{text: p.s[p.pos+1 : p.pos+1+n], quoted: true})
			p.pos += n + 2
		case c == '"':
			p.pos++
			out = append(out, shPart{quoted: true}) // "" is a word
			out = append(out, p.inQuotes('"')...)
		case c == '\\' && p.has("\\\n"):
			p.pos += 2
		case c == '\\' && p.pos+1 < len(p.s):
			out = append(out, shPart{text: p.s[p.pos+1 : p.pos+2], quoted: true})
			p.pos += 2
		case c == '$':
			out = append(out, p.dollar(false))
		case c == '`':
			p.fail("a backquote")
		case strings.IndexByte(" \t\n;&|<>()", c) >= 0 || c == '}' && p.braces > 0:
			return out
		default:
			out = append(out, shPart{text: string(c)})
			p.pos++
		}
	}
	return out
}

// inQuotes parses up to the closing character, as between double quotes.
func (p *shParser) inQuotes(end byte) shWord {
	var out shWord
	for p.peek() != end {
		switch c := p.peek(); {
		case p.pos >= len(p.s):
			p.fail("an open quote")
		case c == '\\' && p.pos+1 < len(p.s) && strings.IndexByte("$\"\\`\n", p.s[p.pos+1]) >= 0:
			if p.s[p.pos+1] != '\n' {
				out = append(out, shPart{text: p.s[p.pos+1 : p.pos+2], quoted: true})
			}
			p.pos += 2
		case c == '$':
			out = append(out, p.dollar(true))
		case c == '`':
			p.fail("a backquote")
		default:
			out = append(out, shPart{text: string(c), quoted: true})
			p.pos++
		}
	}
	p.pos++
	return out
}

// dollar parses an expansion.
func (p *shParser) dollar(quoted bool) shPart {
	p.pos++
	switch {
	case p.has("(("):
		return p.arithmetic(quoted)
	case p.accept("("):
		part := shPart{isSub: true, quoted: quoted, sub: p.list()}
		if !p.accept(")") {
			p.fail("an open $(")
		}
		return part
	case p.accept("{"):
		return p.parameter(quoted)
	}
	name := shName.FindString(p.s[p.pos:])
	if name == "" && p.pos < len(p.s) && strings.IndexByte("0123456789@*#?$", p.peek()) >= 0 {
		name = p.s[p.pos : p.pos+1]
	}
	if name == "" {
		return shPart{text: "$", quoted: quoted}
	}
	p.pos += len(name)
	return shPart{name: name, quoted: quoted}
}

func (p *shParser) parameter(quoted bool) shPart {
	part := shPart{quoted: quoted}
	if part.name = shName.FindString(p.s[p.pos:]); part.name == "" {
		part.name = p.s[p.pos : p.pos+1]
	}
	p.pos += len(part.name)
	for _, op := range []string{":-", "##", "%%", "#", "%"} {
		if p.accept(op) {
			part.op, part.arg = op, p.argument()
			return part
		}
	}
	if !p.accept("}") {
		p.fail("an expansion")
	}
	return part
}

// argument parses what stands behind an operator of ${ }, up to the brace: blanks are part of it.
func (p *shParser) argument() shWord {
	p.braces++
	defer func() { p.braces-- }()
	var out shWord
	for !p.accept("}") {
		begin := p.pos
		out = append(out, p.word()...)
		if p.peek() == '}' || p.pos > begin {
			continue
		}
		if p.pos >= len(p.s) {
			p.fail("an open ${")
		}
		out = append(out, shPart{text: p.s[p.pos : p.pos+1]})
		p.pos++
	}
	return out
}

// arithmetic keeps the text of $(( )): what is defined and never called may have some.
func (p *shParser) arithmetic(quoted bool) shPart {
	n := strings.Index(p.s[p.pos:], "))")
	if n < 0 {
		p.fail("an open $((")
	}
	text := p.s[p.pos+2 : p.pos+n]
	p.pos += n + 2
	return shPart{name: "((", text: text, quoted: quoted}
}
