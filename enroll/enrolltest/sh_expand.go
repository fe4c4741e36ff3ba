package enrolltest

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/enrolltest/shparse"
)

// text expands a word to one string.
func (s *shell) text(w shparse.Word) string {
	var b strings.Builder
	for _, part := range w {
		b.WriteString(s.expand(part))
	}
	return b.String()
}

// fields expands words; what is not quoted is split.
func (s *shell) fields(words []shparse.Word) []string {
	var out []string
	for _, w := range words {
		f := fieldMaker{shell: s}
		f.word(w, false)
		f.end()
		out = append(out, f.done...)
	}
	return out
}

// fieldMaker makes the fields of one word.
type fieldMaker struct {
	*shell
	done    []string
	current strings.Builder
	open    bool // there is a current field, however empty
}

func (f *fieldMaker) end() {
	if f.open {
		f.done = append(f.done, f.current.String())
	}
	f.current.Reset()
	f.open = false
}

func (f *fieldMaker) add(text string) {
	f.current.WriteString(text)
	f.open = true
}

func (f *fieldMaker) word(w shparse.Word, quoted bool) {
	for i, part := range w {
		part.Quoted = part.Quoted || quoted
		switch {
		case part.Name == "@":
			for n, a := range f.args[1:] {
				if n > 0 {
					f.end()
				}
				f.add(a)
			}
		case part.Quoted && part.Text == "" && i+1 < len(w) && w[i+1].Name == "@": // "$@" without any is no field
		case part.Op == ":-" && f.param(part.Name) == "":
			f.word(part.Arg, part.Quoted)
		case part.Quoted:
			f.add(f.expand(part))
		case part.Name == "" && !part.IsSub && strings.TrimSpace(part.Text) == "": // of an operator's argument
			f.end()
		case part.Name == "" && !part.IsSub:
			if strings.ContainsAny(part.Text, "*?") {
				f.unknown("a file name pattern")
			}
			f.add(part.Text)
		default:
			f.split(f.expand(part))
		}
	}
}

// split adds what blanks part into fields of their own.
func (f *fieldMaker) split(text string) {
	if strings.TrimLeft(text, " \t\n") != text {
		f.end()
	}
	for i, field := range strings.Fields(text) {
		if i > 0 {
			f.end()
		}
		f.add(field)
	}
	if strings.TrimRight(text, " \t\n") != text {
		f.end()
	}
}

func (s *shell) expand(part shparse.Part) string {
	switch {
	case part.IsSub:
		return s.substitute(part.Sub)
	case part.Name == "((":
		s.unknown("arithmetic %q", part.Text)
		return ""
	case part.Name == "":
		return part.Text
	}
	value := s.param(part.Name)
	switch part.Op {
	case ":-":
		if value == "" {
			return s.text(part.Arg)
		}
	case "##", "#", "%%", "%":
		return trimPattern(value, part.Op, s.pattern(part.Arg))
	}
	return value
}

func (s *shell) substitute(l shparse.List) string {
	var out bytes.Buffer
	sub := s.sub()
	sub.out = &out
	sub.list(l)
	s.last = sub.last
	return strings.TrimRight(out.String(), "\n")
}

func (s *shell) param(name string) string {
	switch {
	case name == "?":
		return fmt.Sprint(s.last)
	case name == "#":
		return fmt.Sprint(len(s.args) - 1)
	case name == "$":
		return "4242"
	case name == "*", name == "@":
		return strings.Join(s.args[1:], " ")
	case name[0] >= '0' && name[0] <= '9':
		if n := int(name[0] - '0'); n < len(s.args) {
			return s.args[n]
		}
		return ""
	}
	return s.vars[name]
}

// pattern makes a regular expression of a pattern; quoted parts are themselves.
func (s *shell) pattern(w shparse.Word) *regexp.Regexp {
	var b strings.Builder
	for _, part := range w {
		text := s.expand(part)
		if !part.Quoted {
			text = strings.NewReplacer(`\*`, `.*`, `\?`, `.`, `\[`, `[`, `\]`, `]`, `!`, `^`).Replace(regexp.QuoteMeta(text))
		} else {
			text = regexp.QuoteMeta(text)
		}
		b.WriteString(text)
	}
	re, err := regexp.Compile(`^(?s:` + b.String() + `)$`)
	if err != nil {
		s.unknown("pattern: %v", err)
		return regexp.MustCompile(`$^`)
	}
	return re
}

// trimPattern takes the part off that matches: # and % the shortest, ## and %% the longest.
func trimPattern(value, op string, re *regexp.Regexp) string {
	var cuts []int
	for i := range len(value) + 1 {
		cuts = append(cuts, i)
	}
	if op == "##" || op == "%" {
		slices.Reverse(cuts)
	}
	for _, i := range cuts {
		switch {
		case op[0] == '#' && re.MatchString(value[:i]):
			return value[i:]
		case op[0] == '%' && re.MatchString(value[i:]):
			return value[:i]
		}
	}
	return value
}
