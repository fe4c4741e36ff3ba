package enrolltest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"

	"fleetctl/enroll/enrolltest/shparse"
)

// shell runs scripts over a host's state, whose lock it has.
type shell struct {
	host *Host
	ctx  context.Context
	user string // who it runs as
	in   io.Reader
	out  io.Writer
	err  io.Writer

	vars    map[string]string
	args    []string // $0, $1…
	funcs   map[string]shparse.Cmd
	umask   uint32
	errexit bool
	tested  int    // above zero where a failure does not end the script
	exited  bool   // the script ends
	leaves  string // return, break or continue, until what it leaves has ended
	last    int    // $?
}

func (h *Host) newShell(ctx context.Context, user string, in io.Reader, out, err io.Writer) *shell {
	return &shell{
		host: h, ctx: ctx, user: user, in: in, out: out, err: err,
		vars: map[string]string{}, args: []string{"sh"}, funcs: map[string]shparse.Cmd{}, umask: 0o022,
	}
}

func (s *shell) root() bool { return s.user == "root" }

// sub is a copy for a subshell, a pipe or a substitution.
func (s *shell) sub() *shell {
	c := *s
	c.vars, c.funcs = maps.Clone(s.vars), maps.Clone(s.funcs)
	return &c
}

// unknown fails the test for what the shell does not model, and ends the script.
func (s *shell) unknown(format string, args ...any) int {
	s.host.failf("not modelled: "+format, args...)
	s.exited, s.last = true, exitNotFound
	return exitNotFound
}

const exitNotFound = 127

func (s *shell) complain(format string, args ...any) int {
	_, _ = fmt.Fprintf(s.err, format+"\n", args...)
	return 1
}

// script parses and runs a script and returns its exit code.
func (s *shell) script(text string) int {
	list, err := parsed(text)
	if err != nil {
		return s.unknown("%v", err)
	}
	s.list(list)
	return s.last
}

func (s *shell) list(list shparse.List) {
	for _, a := range list {
		if s.exited || s.leaves != "" || s.ctx.Err() != nil {
			return
		}
		s.andOr(a)
	}
}

func (s *shell) andOr(a shparse.AndOr) {
	for i, pipe := range a.Pipes {
		if i > 0 && (a.Ops[i-1] == "&&") != (s.last == 0) {
			continue
		}
		final := i == len(a.Pipes)-1
		if !final || pipe.Not {
			s.tested++
		}
		s.last = s.pipe(pipe)
		if !final || pipe.Not {
			s.tested--
		}
		if s.exited || s.leaves != "" {
			return
		}
		if final && !pipe.Not && s.last != 0 && s.errexit && s.tested == 0 {
			s.exited = true
		}
	}
}

// pipe runs commands one after the other, each on the whole output of the one before it.
func (s *shell) pipe(p shparse.Pipe) int {
	code := 0
	if len(p.Cmds) == 1 {
		code = s.command(p.Cmds[0])
	} else {
		in := s.in
		for i, c := range p.Cmds {
			var out bytes.Buffer
			sub := s.sub()
			sub.in = in
			if i < len(p.Cmds)-1 {
				sub.out = &out
			}
			code = sub.command(c)
			in = &out
		}
	}
	if p.Not {
		return truth(code != 0)
	}
	return code
}

func truth(ok bool) int {
	if ok {
		return 0
	}
	return 1
}

func (s *shell) command(c shparse.Cmd) int {
	if c.Kind == "func" {
		s.funcs[c.Name] = c
		return 0
	}
	saved := *s
	done, ok := s.redirect(c.Redirs)
	if !ok {
		return 1
	}
	defer func() {
		done()
		s.in, s.out, s.err = saved.in, saved.out, saved.err
	}()
	switch c.Kind {
	case "simple":
		return s.simple(c)
	case "if":
		return s.ifCmd(c)
	case "case":
		return s.caseCmd(c)
	case "for":
		return s.forCmd(c)
	case "group":
		return s.block(c.Body)
	case "subshell":
		sub := s.sub()
		sub.list(c.Body)
		return sub.last
	}
	return s.unknown("a %s loop", c.Kind)
}

func (s *shell) block(l shparse.List) int {
	s.last = 0
	s.list(l)
	return s.last
}

func (s *shell) ifCmd(c shparse.Cmd) int {
	for _, b := range c.Branches {
		s.tested++
		code := s.block(b.Cond)
		s.tested--
		if s.exited {
			return s.last
		}
		if code == 0 {
			return s.block(b.Body)
		}
	}
	return s.block(c.Other)
}

func (s *shell) caseCmd(c shparse.Cmd) int {
	subject := s.text(c.Subject)
	for _, item := range c.Items {
		for _, pattern := range item.Patterns {
			if s.pattern(pattern).MatchString(subject) {
				return s.block(item.Body)
			}
		}
	}
	return 0
}

func (s *shell) forCmd(c shparse.Cmd) int {
	for _, w := range s.fields(c.Words) {
		s.vars[c.Name] = w
		s.block(c.Body)
		if s.leaves == "continue" {
			s.leaves = ""
		}
		if s.exited || s.leaves != "" {
			break
		}
	}
	if s.leaves == "break" {
		s.leaves = ""
	}
	return s.last
}

func (s *shell) simple(c shparse.Cmd) int {
	args := s.fields(c.Words)
	if s.exited {
		return s.last
	}
	if len(args) == 0 {
		s.last = 0
	}
	for _, a := range c.Assigns {
		s.vars[a.Name] = s.text(a.Value) // before a command they would be its environment: nothing here reads it
	}
	if len(args) == 0 {
		return s.last // of a substitution
	}
	return s.call(args)
}

// call runs a function of the model, a function of the script or a command, in this order.
func (s *shell) call(args []string) int {
	if f := shNatives[args[0]]; f != nil {
		return f(s, args)
	}
	if f, ok := s.funcs[args[0]]; ok {
		saved := s.args
		s.args = append([]string{s.args[0]}, args[1:]...)
		s.list(f.Body)
		s.args, s.leaves = saved, ""
		return s.last
	}
	if f := shCommands[args[0]]; f != nil {
		return f(s, args)
	}
	if strings.HasPrefix(args[0], "/") || args[0] == "tbot" {
		return s.program(args)
	}
	return s.unknown("command %q", args)
}

// scripts are those that were parsed: a fleet is told the same again and again.
var scripts struct {
	sync.Mutex
	parsed map[string]shparse.List
}

const maxScripts = 1000

func parsed(text string) (shparse.List, error) {
	scripts.Lock()
	defer scripts.Unlock()
	if list, ok := scripts.parsed[text]; ok {
		return list, nil
	}
	list, err := shparse.Parse(text)
	if err != nil {
		return nil, err
	}
	if scripts.parsed == nil || len(scripts.parsed) >= maxScripts {
		scripts.parsed = map[string]shparse.List{}
	}
	scripts.parsed[text] = list
	return list, nil
}
