package shparse

import (
	"regexp"
	"strconv"
	"strings"
)

var shName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)

// simple parses assignments, words and redirections, or the definition of a function.
func (p *parser) simple() Cmd {
	c := Cmd{Kind: "simple"}
	if name := shName.FindString(p.s[p.pos:]); name != "" && strings.HasPrefix(p.s[p.pos+len(name):], "()") {
		p.pos += len(name) + 2
		p.blanks(true)
		body := p.command()
		return Cmd{Kind: "func", Name: name, Body: List{{Pipes: []Pipe{{Cmds: []Cmd{body}}}}}}
	}
	begin := p.pos
	for {
		p.blanks(false)
		if r, ok := p.redir(); ok {
			c.Redirs = append(c.Redirs, r)
			continue
		}
		if p.pos >= len(p.s) || strings.IndexByte("\n;&|()", p.peek()) >= 0 {
			break
		}
		if name := shName.FindString(p.s[p.pos:]); len(c.Words) == 0 && name != "" && strings.HasPrefix(p.s[p.pos+len(name):], "=") {
			p.pos += len(name) + 1
			c.Assigns = append(c.Assigns, Assign{name, p.word()})
			continue
		}
		c.Words = append(c.Words, p.word())
	}
	if p.pos == begin {
		p.fail("no command")
	}
	return c
}

var shRedirection = regexp.MustCompile(`^([0-9]*)(>>|>&|<&|>\||<>|>|<)`)

func (p *parser) redir() (Redir, bool) {
	m := shRedirection.FindStringSubmatch(p.s[p.pos:])
	if m == nil {
		return Redir{}, false
	}
	p.pos += len(m[0])
	if m[2] == "<" && p.peek() == '<' {
		p.fail("a here-document")
	}
	r := Redir{Fd: -1, Op: m[2]}
	if n, err := strconv.Atoi(m[1]); err == nil {
		r.Fd = n
	}
	p.blanks(false)
	r.Target = p.word()
	return r, true
}

// word parses one word; an empty one is a word, too, where an assignment has no value.
func (p *parser) word() Word {
	var out Word
	for p.pos < len(p.s) {
		switch c := p.peek(); {
		case c == '\'':
			n := strings.IndexByte(p.s[p.pos+1:], '\'')
			if n < 0 {
				p.fail("an open quote")
			}
			out = append(out, Part{Text: p.s[p.pos+1 : p.pos+1+n], Quoted: true})
			p.pos += n + 2
		case c == '"':
			p.pos++
			out = append(out, Part{Quoted: true}) // "" is a word
			out = append(out, p.inQuotes('"')...)
		case c == '\\' && p.has("\\\n"):
			p.pos += 2
		case c == '\\' && p.pos+1 < len(p.s):
			out = append(out, Part{Text: p.s[p.pos+1 : p.pos+2], Quoted: true})
			p.pos += 2
		case c == '$':
			out = append(out, p.dollar(false))
		case c == '`':
			p.fail("a backquote")
		case strings.IndexByte(" \t\n;&|<>()", c) >= 0 || c == '}' && p.braces > 0:
			return out
		default:
			out = append(out, Part{Text: string(c)})
			p.pos++
		}
	}
	return out
}

// inQuotes parses up to the closing character, as between double quotes.
func (p *parser) inQuotes(end byte) Word {
	var out Word
	for p.peek() != end {
		switch c := p.peek(); {
		case p.pos >= len(p.s):
			p.fail("an open quote")
		case c == '\\' && p.pos+1 < len(p.s) && strings.IndexByte("$\"\\`\n", p.s[p.pos+1]) >= 0:
			if p.s[p.pos+1] != '\n' {
				out = append(out, Part{Text: p.s[p.pos+1 : p.pos+2], Quoted: true})
			}
			p.pos += 2
		case c == '$':
			out = append(out, p.dollar(true))
		case c == '`':
			p.fail("a backquote")
		default:
			out = append(out, Part{Text: string(c), Quoted: true})
			p.pos++
		}
	}
	p.pos++
	return out
}

// dollar parses an expansion.
func (p *parser) dollar(quoted bool) Part {
	p.pos++
	switch {
	case p.has("(("):
		return p.arithmetic(quoted)
	case p.accept("("):
		part := Part{IsSub: true, Quoted: quoted, Sub: p.list()}
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
		return Part{Text: "$", Quoted: quoted}
	}
	p.pos += len(name)
	return Part{Name: name, Quoted: quoted}
}

func (p *parser) parameter(quoted bool) Part {
	part := Part{Quoted: quoted}
	if part.Name = shName.FindString(p.s[p.pos:]); part.Name == "" {
		part.Name = p.s[p.pos : p.pos+1]
	}
	p.pos += len(part.Name)
	for _, op := range []string{":-", "##", "%%", "#", "%"} {
		if p.accept(op) {
			part.Op, part.Arg = op, p.argument()
			return part
		}
	}
	if !p.accept("}") {
		p.fail("an expansion")
	}
	return part
}

// argument parses what stands behind an operator of ${ }, up to the brace: blanks are part of it.
func (p *parser) argument() Word {
	p.braces++
	defer func() { p.braces-- }()
	var out Word
	for !p.accept("}") {
		begin := p.pos
		out = append(out, p.word()...)
		if p.peek() == '}' || p.pos > begin {
			continue
		}
		if p.pos >= len(p.s) {
			p.fail("an open ${")
		}
		out = append(out, Part{Text: p.s[p.pos : p.pos+1]})
		p.pos++
	}
	return out
}

// arithmetic keeps the text of $(( )): what is defined and never called may have some.
func (p *parser) arithmetic(quoted bool) Part {
	n := strings.Index(p.s[p.pos:], "))")
	if n < 0 {
		p.fail("an open $((")
	}
	text := p.s[p.pos+2 : p.pos+n]
	p.pos += n + 2
	return Part{Name: "((", Text: text, Quoted: quoted}
}
