// Package shparse parses the POSIX shell that fleetctl's scripts are written in, into a tree that a model can run.
package shparse

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
	// List are commands one after the other.
	List []AndOr
	// AndOr are pipes between && and ||.
	AndOr struct {
		Pipes []Pipe
		Ops   []string // "&&" or "||", between them
	}
	// Pipe are commands with | between them.
	Pipe struct {
		Not  bool
		Cmds []Cmd
	}
	// Cmd is one command, with everything in it where it is a compound one.
	Cmd struct {
		Kind     string // simple, if, case, for, while, until, group, subshell, func
		Assigns  []Assign
		Words    []Word
		Redirs   []Redir
		Branches []Branch // if and elif; the loop of while and until
		Other    List     // else
		Subject  Word     // of case
		Items    []Item
		Body     List   // of for, group, subshell, func
		Name     string // of for's variable, of func
	}
	// Assign is NAME=VALUE before a command.
	Assign struct {
		Name  string
		Value Word
	}
	// Redir is a redirection.
	Redir struct {
		Fd     int // -1: the operator's own
		Op     string
		Target Word
	}
	// Branch is of if, while and until.
	Branch struct{ Cond, Body List }
	// Item is of case.
	Item struct {
		Patterns []Word
		Body     List
	}
	// Word is what becomes one argument, or several where it expands to them.
	Word []Part
	// Part is a literal, a parameter or a substitution.
	Part struct {
		Text   string // literal
		Quoted bool
		Name   string // of a parameter; "" for a literal
		Op     string // "", ":-", "##", "#", "%%", "%"
		Arg    Word
		Sub    List // of $( )
		IsSub  bool
	}
)

type parser struct {
	s      string
	pos    int
	braces int // how many ${ are open
}

var errShell = errors.New("not shell that is understood")

// Parse reads a script. The error names what is not understood, and where.
func Parse(script string) (list List, err error) {
	p := &parser{s: script}
	defer func() {
		if r, ok := recover().(syntax); ok {
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
type syntax string

func (p *parser) fail(what string) { panic(syntax(what)) }

func (p *parser) near() string {
	end := min(len(p.s), p.pos+40)
	return p.s[min(p.pos, end):end]
}

func (p *parser) peek() byte {
	if p.pos < len(p.s) {
		return p.s[p.pos]
	}
	return 0
}

func (p *parser) has(prefix string) bool { return strings.HasPrefix(p.s[p.pos:], prefix) }

func (p *parser) accept(prefix string) bool {
	if p.has(prefix) {
		p.pos += len(prefix)
		return true
	}
	return false
}

// blanks skips blanks and continued lines; with lines also newlines, and comments.
func (p *parser) blanks(lines bool) {
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
func (p *parser) reserved() string {
	end := p.pos
	for end < len(p.s) && strings.IndexByte(" \t\n;&|<>()'\"$\\", p.s[end]) < 0 {
		end++
	}
	return p.s[p.pos:end]
}

func (p *parser) keyword(w string) bool {
	p.blanks(true)
	if p.reserved() != w {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *parser) need(w string) {
	if !p.keyword(w) {
		p.fail("no " + w)
	}
}

func (p *parser) list() List {
	var out List
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

func (p *parser) andOr() AndOr {
	out := AndOr{Pipes: []Pipe{p.pipe()}}
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
		out.Ops, out.Pipes = append(out.Ops, op), append(out.Pipes, p.pipe())
	}
}

func (p *parser) pipe() Pipe {
	var out Pipe
	p.blanks(false)
	if p.reserved() == "!" {
		p.pos++
		out.Not = true
		p.blanks(false)
	}
	for {
		out.Cmds = append(out.Cmds, p.command())
		p.blanks(false)
		if p.has("||") || !p.accept("|") {
			return out
		}
		p.blanks(true)
	}
}

func (p *parser) command() Cmd {
	p.blanks(false)
	var c Cmd
	switch w := p.reserved(); {
	case p.accept("("):
		c = Cmd{Kind: "subshell", Body: p.list()}
		if !p.accept(")") {
			p.fail("an open (")
		}
	case w == "{":
		p.pos++
		c = Cmd{Kind: "group", Body: p.list()}
		p.need("}")
	case w == "if":
		c = p.ifCmd()
	case w == "case":
		c = p.caseCmd()
	case w == "for":
		c = p.forCmd()
	case w == "while", w == "until":
		p.pos += len(w)
		b := Branch{Cond: p.list()}
		p.need("do")
		b.Body = p.list()
		p.need("done")
		c = Cmd{Kind: w, Branches: []Branch{b}}
	default:
		return p.simple()
	}
	for {
		p.blanks(false)
		r, ok := p.redir()
		if !ok {
			return c
		}
		c.Redirs = append(c.Redirs, r)
	}
}

func (p *parser) ifCmd() Cmd {
	c := Cmd{Kind: "if"}
	for p.keyword("if") || p.keyword("elif") {
		b := Branch{Cond: p.list()}
		p.need("then")
		b.Body = p.list()
		c.Branches = append(c.Branches, b)
	}
	if p.keyword("else") {
		c.Other = p.list()
	}
	p.need("fi")
	return c
}

func (p *parser) caseCmd() Cmd {
	p.need("case")
	p.blanks(false)
	c := Cmd{Kind: "case", Subject: p.word()}
	p.need("in")
	for !p.keyword("esac") {
		var item Item
		p.accept("(")
		for {
			p.blanks(true)
			item.Patterns = append(item.Patterns, p.word())
			p.blanks(false)
			if !p.accept("|") {
				break
			}
		}
		if !p.accept(")") {
			p.fail("a pattern without )")
		}
		item.Body = p.list()
		p.accept(";;")
		c.Items = append(c.Items, item)
	}
	return c
}

func (p *parser) forCmd() Cmd {
	p.need("for")
	p.blanks(false)
	c := Cmd{Kind: "for", Name: p.reserved()}
	p.pos += len(c.Name)
	p.need("in")
	for {
		p.blanks(false)
		if p.peek() == ';' || p.peek() == '\n' {
			p.pos++
			break
		}
		c.Words = append(c.Words, p.word())
	}
	p.need("do")
	c.Body = p.list()
	p.need("done")
	return c
}
