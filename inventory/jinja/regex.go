package jinja

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// Bounds of an expression that can match nothing, each match of which costs a compilation.
const (
	maxEmptyMatches = 200
	maxEmptyText    = 4 << 10
)

// regexReplace is re.sub of Python. Go's expressions are another dialect: where the two could differ, it refuses.
func regexReplace(_ *evaluation, x any, args map[string]any) (any, error) {
	texts := map[string]string{"x": "", "pattern": "", "replacement": ""}
	for name, v := range map[string]any{"x": x, "pattern": args["pattern"], "replacement": args["replacement"]} {
		if v == nil {
			if name == "x" {
				return nil, refuse("regex_replace of nothing")
			}
			continue
		}
		s, err := str(v)
		if err != nil {
			return nil, err
		}
		texts[name] = s
	}
	flags := ""
	if truth(args["ignorecase"]) {
		flags += "i"
	}
	if truth(args["multiline"]) {
		flags += "m"
	}
	pattern, err := translate(texts["pattern"], texts["x"], flags)
	if err != nil {
		return nil, err
	}
	parts, err := parseReplacement(texts["replacement"], pattern)
	if err != nil {
		return nil, err
	}
	matches, err := findAll(pattern, texts["x"])
	if err != nil {
		return nil, err
	}
	return substitute(matches, texts["x"], parts)
}

// foreign is what Go's expressions have and Python's don't, or have in another way.
var foreign = regexp.MustCompile(`\\[pPQECzKGXRhHvVNuU]|\[\[:|\(\?[^:P]|\(\?P[^<]|\{,|\\x\{|\\[0-9]`)

// translate makes a Go expression of a Python one.
func translate(pattern, subject, flags string) (string, error) {
	plain := strings.ReplaceAll(pattern, `\\`, "")
	if m := foreign.FindString(plain); m != "" {
		return "", refuse("%q in a regular expression", m)
	}
	for _, s := range []string{pattern, subject} {
		if strings.ContainsFunc(s, func(r rune) bool { return r >= 0x7f || r < 0x20 && r != '\n' && r != '\t' }) {
			return "", refuse("regex_replace of characters that are not ASCII")
		}
	}
	if strings.HasSuffix(subject, "\n") && strings.ContainsRune(pattern, '$') {
		return "", refuse("$ in a regular expression for a text that ends with a newline")
	}
	pattern = strings.ReplaceAll(pattern, `\Z`, `\z`)
	if flags != "" {
		pattern = "(?" + flags + ":" + pattern + ")"
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("%w: the regular expression: %v", ErrUnsupported, err) //nolint:errorlint // its text alone
	}
	if canBeEmpty(tree) && (strings.ContainsRune(pattern, '|') || lazyLoop(tree)) {
		return "", refuse("a regular expression that may prefer to match nothing")
	}
	if emptyLoop(tree) {
		return "", refuse("a group that may be empty, repeated, in a regular expression")
	}
	return pattern, nil
}

// canBeEmpty says whether the expression may match the empty text.
func canBeEmpty(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral, syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpNoMatch:
		return len(re.Rune) == 0 && re.Op == syntax.OpLiteral
	case syntax.OpCapture, syntax.OpPlus:
		return canBeEmpty(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min == 0 || canBeEmpty(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if !canBeEmpty(sub) {
				return false
			}
		}
		return true
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if canBeEmpty(sub) {
				return true
			}
		}
		return false
	}
	return true // *, ? and what has no width
}

// lazyLoop says whether some repetition prefers to be short.
func lazyLoop(re *syntax.Regexp) bool {
	if re.Flags&syntax.NonGreedy != 0 && isLoop(re) {
		return true
	}
	for _, sub := range re.Sub {
		if lazyLoop(sub) {
			return true
		}
	}
	return false
}

func isLoop(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar || re.Op == syntax.OpPlus || re.Op == syntax.OpQuest || re.Op == syntax.OpRepeat
}

// emptyLoop says whether something with a group in it, which may be empty, is repeated: implementations differ in what
// the group then is.
func emptyLoop(re *syntax.Regexp) bool {
	if isLoop(re) && re.MaxCap() > 0 && canBeEmpty(re.Sub[0]) {
		return true
	}
	for _, sub := range re.Sub {
		if emptyLoop(sub) {
			return true
		}
	}
	return false
}

// part is a part of a replacement: text, or a group where group >= 0.
type part struct {
	text  string
	group int
}

// parseReplacement reads a replacement in Python's syntax.
func parseReplacement(s, pattern string) (parts []part, err error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, refuse("the regular expression")
	}
	for s != "" {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			return append(parts, part{s, -1}), nil
		}
		if i > 0 {
			parts = append(parts, part{s[:i], -1})
		}
		p, size, err := escape(s[i:], re)
		if err != nil {
			return nil, err
		}
		parts, s = append(parts, p), s[i+size:]
	}
	return parts, nil
}

var groupName = regexp.MustCompile(`^\\g<([A-Za-z_]\w*|\d+)>`)

// escape reads what begins with a backslash.
func escape(s string, re *regexp.Regexp) (part, int, error) {
	group := func(n, size int) (part, int, error) {
		if n > re.NumSubexp() {
			return part{}, 0, refuse("a replacement with group %d, which the expression doesn't have", n)
		}
		return part{group: n}, size, nil
	}
	if m := groupName.FindStringSubmatch(s); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return group(n, len(m[0]))
		}
		if n := re.SubexpIndex(m[1]); n >= 0 {
			return group(n, len(m[0]))
		}
		return part{}, 0, refuse("a replacement with group %q, which the expression doesn't have", m[1])
	}
	if len(s) == 1 {
		return part{}, 0, refuse("a backslash at the end of a replacement")
	}
	c := s[1]
	switch {
	case c >= '1' && c <= '9':
		size := 2
		if len(s) > 2 && s[2] >= '0' && s[2] <= '9' {
			size = 3
			if len(s) > 3 && s[3] >= '0' && s[3] <= '9' {
				return part{}, 0, refuse("%q in a replacement", s[:4]) // perhaps an octal number
			}
		}
		n, _ := strconv.Atoi(s[1:size]) // digits alone
		return group(n, size)
	case c == '\\':
		return part{`\`, -1}, 2, nil
	case c == 'n':
		return part{"\n", -1}, 2, nil
	case c == 't':
		return part{"\t", -1}, 2, nil
	case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return part{}, 0, refuse("%q in a replacement", s[:2])
	}
	return part{s[:2], -1}, 2, nil // Python keeps the backslash
}

// substitute puts the replacement in the place of every match.
func substitute(matches [][]int, s string, parts []part) (any, error) {
	var b strings.Builder
	at := 0
	for _, loc := range matches {
		b.WriteString(s[at:loc[0]])
		for _, p := range parts {
			if p.group >= 0 && loc[2*p.group] >= 0 {
				b.WriteString(s[loc[2*p.group]:loc[2*p.group+1]])
			}
			b.WriteString(p.text)
			if b.Len() > maxText {
				return nil, tooLong()
			}
		}
		at = loc[1]
	}
	b.WriteString(s[at:])
	return b.String(), nil
}

// findAll finds all matches as Python does: an empty one counts right behind one that was not empty, too, which Go passes
// over.
func findAll(pattern, s string) (all [][]int, err error) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, refuse("the regular expression")
	}
	if !canBeEmpty(tree) {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, refuse("a regular expression of this size")
		}
		return re.FindAllStringSubmatchIndex(s, -1), nil
	}
	if len(s) > maxEmptyText {
		return nil, fmt.Errorf("%w: regex_replace of more than %d bytes by an expression that can match nothing", ErrTooMuch, maxEmptyText)
	}
	for at, emptyAt := 0, -1; at <= len(s); {
		loc, err := find(pattern, s, at)
		switch {
		case err != nil:
			return nil, err
		case loc == nil:
			return all, nil
		case loc[0] == loc[1] && loc[0] == emptyAt: // where one was: one character on
			at, emptyAt = at+1, -1
			continue
		case len(all) == maxEmptyMatches:
			return nil, fmt.Errorf("%w: regex_replace finds more than %d places", ErrTooMuch, maxEmptyMatches)
		}
		all = append(all, loc)
		if at = loc[1]; loc[0] == loc[1] {
			emptyAt = at
		}
	}
	return all, nil
}

// find finds the first match at or behind a place, in the sight of what stands before it.
func find(pattern, s string, at int) ([]int, error) {
	re, err := regexp.Compile(`\A(?s:` + regexp.QuoteMeta(s[:at]) + `.*?)((?:` + pattern + `))`)
	if err != nil {
		return nil, refuse("a regular expression, or a text for one, of this size")
	}
	loc := re.FindStringSubmatchIndex(s)
	if loc == nil {
		return nil, nil
	}
	return loc[2:], nil
}
