package enrolltest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The scripts of plans are run by a small shell of our own over a Host: what POSIX sh does, as far as those scripts go.
// It is a parser and not a table of lines, so that a script that is worded anew is still understood, and one that does
// something new is not.

type (
	shList  []shAndOr
	shAndOr struct {
		pipes []shPipe
		ops   []string // "&&" or "||", between them
	}
	shPipe struct {
		not  bool
		cmds []shCmd
	}
	shCmd struct {
		kind     string // simple, if, case, for, while, until, group, subshell, func
		assigns  []shAssign
		words    []shWord
		redirs   []shRedir
		branches []shBranch // if and elif; the loop of while and until
		other    shList     // else
		subject  shWord     // of case
		items    []shItem
		body     shList // of for, group, subshell, func
		name     string // of for's variable, of func
	}
	shAssign struct {
		name  string
		value shWord
	}
	shRedir struct {
		fd     int // -1: the operator's own
		op     string
		target shWord
	}
	shBranch struct{ cond, body shList }
	shItem   struct {
		patterns []shWord
		body     shList
	}
	shWord []shPart
	shPart struct {
		text   string // literal
		quoted bool
		name   string // of a parameter; "" for a literal
		op     string // "", ":-", "##", "#", "%%", "%"
		arg    shWord
		sub    shList // of $( )
		isSub  bool
	}
)

type shParser struct {
	s      string
	pos    int
	braces int // how many ${ are open
}

var errShell = errors.New("not shell that is understood")

func parseShell(script string) (list shList, err error) {
	p := &shParser{s: script}
	defer func() {
		if r, ok := recover().(shSyntax); ok {
			err = fmt.Errorf("%w: %s at %q", errShell, string(r), p.near())
		}
	}()
	list = p.list()
	if p.pos < len(p.s) {
		p.fail("unexpected text")
	}
	return list, nil
}

// shSyntax unwinds the parser: its only panics.
type shSyntax string

func (p *shParser) fail(what string) { panic(shSyntax(what)) }

func (p *shParser) near() string {
	end := min(len(p.s), p.pos+40)
	return p.s[min(p.pos, end):end]
}

func (p *shParser) peek() byte {
	if p.pos < len(p.s) {
		return p.s[p.pos]
	}
	return 0
}

func (p *shParser) has(prefix string) bool { return strings.HasPrefix(p.s[p.pos:], prefix) }

func (p *shParser) accept(prefix string) bool {
	if p.has(prefix) {
		p.pos += len(prefix)
		return true
	}
	return false
}

// blanks skips blanks and continued lines; with lines also newlines, and comments.
func (p *shParser) blanks(lines bool) {
	for p.pos < len(p.s) {
		switch c := p.peek(); {
		case c == ' ' || c == '\t' || lines && c == '\n':
			p.pos++
		case p.has("\\\n"):
			p.pos += 2
		case c == '#':
			if n := strings.IndexByte(p.s[p.pos:], '\n'); n >= 0 {
				p.pos += n
			} else {
				p.pos = len(p.s)
			}
		default:
			return
		}
	}
}

var shReserved = []string{"then", "else", "elif", "fi", "do", "done", "esac", "}"}

// word returns the unquoted characters that come next, for reserved words.
func (p *shParser) reserved() string {
	end := p.pos
	for end < len(p.s) && strings.IndexByte(" \t\n;&|<>()'\"$\\", p.s[end]) < 0 {
		end++
	}
	return p.s[p.pos:end]
}

func (p *shParser) keyword(w string) bool {
	p.blanks(true)
	if p.reserved() != w {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *shParser) need(w string) {
	if !p.keyword(w) {
		p.fail("no " + w)
	}
}

func (p *shParser) list() shList {
	var out shList
	for {
		p.blanks(true)
		if p.has(";;") || p.pos >= len(p.s) || p.peek() == ')' || slices.Contains(shReserved, p.reserved()) {
			return out
		}
		out = append(out, p.andOr())
		p.blanks(false)
		switch {
		case p.has(";;"):
		case p.peek() == ';' || p.peek() == '\n':
			p.pos++
		case p.peek() == '&':
			p.fail("a job in the background")
		}
	}
}

func (p *shParser) andOr() shAndOr {
	out := shAndOr{pipes: []shPipe{p.pipe()}}
	for {
		p.blanks(false)
		var op string
		switch {
		case p.accept("&&"):
			op = "&&"
		case p.accept("||"):
			op = "||"
		default:
			return out
		}
		p.blanks(true)
		out.ops, out.pipes = append(out.ops, op), append(out.pipes, p.pipe())
	}
}

func (p *shParser) pipe() shPipe {
	var out shPipe
	p.blanks(false)
	if p.reserved() == "!" {
		p.pos++
		out.not = true
		p.blanks(false)
	}
	for {
		out.cmds = append(out.cmds, p.command())
		p.blanks(false)
		if p.has("||") || !p.accept("|") {
			return out
		}
		p.blanks(true)
	}
}

func (p *shParser) command() shCmd {
	p.blanks(false)
	var c shCmd
	switch w := p.reserved(); {
	case p.accept("("):
		c = shCmd{kind: "subshell", body: p.list()}
		if !p.accept(")") {
			p.fail("an open (")
		}
	case w == "{":
		p.pos++
		c = shCmd{kind: "group", body: p.list()}
		p.need("}")
	case w == "if":
		c = p.ifCmd()
	case w == "case":
		c = p.caseCmd()
	case w == "for":
		c = p.forCmd()
	case w == "while", w == "until":
		p.pos += len(w)
		b := shBranch{cond: p.list()}
		p.need("do")
		b.body = p.list()
		p.need("done")
		c = shCmd{kind: w, branches: []shBranch{b}}
	default:
		return p.simple()
	}
	for {
		p.blanks(false)
		r, ok := p.redir()
		if !ok {
			return c
		}
		c.redirs = append(c.redirs, r)
	}
}

func (p *shParser) ifCmd() shCmd {
	c := shCmd{kind: "if"}
	for p.keyword("if") || p.keyword("elif") {
		b := shBranch{cond: p.list()}
		p.need("then")
		b.body = p.list()
		c.branches = append(c.branches, b)
	}
	if p.keyword("else") {
		c.other = p.list()
	}
	p.need("fi")
	return c
}

func (p *shParser) caseCmd() shCmd {
	p.need("case")
	p.blanks(false)
	c := shCmd{kind: "case", subject: p.word()}
	p.need("in")
	for !p.keyword("esac") {
		var item shItem
		p.accept("(")
		for {
			p.blanks(true)
			item.patterns = append(item.patterns, p.word())
			p.blanks(false)
			if !p.accept("|") {
				break
			}
		}
		if !p.accept(")") {
			p.fail("a pattern without )")
		}
		item.body = p.list()
		p.accept(";;")
		c.items = append(c.items, item)
	}
	return c
}

func (p *shParser) forCmd() shCmd {
	p.need("for")
	p.blanks(false)
	c := shCmd{kind: "for", name: p.reserved()}
	p.pos += len(c.name)
	p.need("in")
	for {
		p.blanks(false)
		if p.peek() == ';' || p.peek() == '\n' {
			p.pos++
			break
		}
		c.words = append(c.words, p.word())
	}
	p.need("do")
	c.body = p.list()
	p.need("done")
	return c
}
