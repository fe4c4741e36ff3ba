package values

import (
	"errors"
	"math/big"
	"strings"
	"unicode/utf8"
)

// LiteralOrText is a value of an INI inventory: what Python's ast.literal_eval makes of it ("22" is a number, "True" a
// boolean, "[1, 'a']" and "1,2" are lists), or else the text itself.
func LiteralOrText(s string) any {
	if s == "" || s[0] >= 'a' && s[0] <= 'z' && !strings.ContainsAny(s, `'"`) {
		return s // most values are names, which no literal begins like
	}
	p := &literalParser{rest: strings.TrimLeft(s, " \t")}
	v, err := p.top()
	if err != nil {
		return s
	}
	if raw, ok := v.(PythonBytes); ok {
		if !utf8.ValidString(string(raw)) {
			return s
		}
		return string(raw)
	}
	return v
}

// errNoLiteral ends the parsing: the text is no literal. Nobody sees it.
var errNoLiteral = errors.New("no Python literal")

// maxParens is how deep Python nests brackets.
const maxParens = 200

// PythonBytes is b'…' before it becomes text.
type PythonBytes string

// literalParser parses the Python literals that JSON can hold.
type literalParser struct {
	rest  string
	depth int
}

func (p *literalParser) skip() {
	p.rest = strings.TrimLeft(p.rest, " \t\f")
}

func (p *literalParser) take(prefix string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.rest, prefix)
	if ok {
		p.rest = rest
	}
	return ok
}

// top is an expression, or a tuple without parentheses, up to the end or a comment.
func (p *literalParser) top() (any, error) {
	v, err := p.expr()
	if err != nil {
		return nil, err
	}
	if p.take(",") {
		list := []any{v}
		for !p.atEnd() {
			if v, err = p.item(); err != nil {
				return nil, err
			}
			list = append(list, v)
			if !p.take(",") {
				break
			}
		}
		v = list
		if _, isBytes := list[0].(PythonBytes); isBytes {
			return nil, errNoLiteral
		}
	}
	if !p.atEnd() {
		return nil, errNoLiteral
	}
	return v, nil
}

func (p *literalParser) atEnd() bool {
	p.skip()
	return p.rest == "" || p.rest[0] == '#'
}

// item is an expression inside of a list: anything but bytes, which JSON cannot hold.
func (p *literalParser) item() (any, error) {
	v, err := p.expr()
	if _, isBytes := v.(PythonBytes); isBytes {
		return nil, errNoLiteral
	}
	return v, err
}

func (p *literalParser) expr() (any, error) {
	p.skip()
	if p.rest == "" {
		return nil, errNoLiteral
	}
	if c := p.rest[0]; c == '+' || c == '-' {
		p.rest = p.rest[1:]
		p.skip()
		if p.rest == "" || p.rest[0] == '+' || p.rest[0] == '-' {
			return nil, errNoLiteral
		}
		v, err := p.atom()
		if err != nil {
			return nil, err
		}
		return signed(v, c == '-')
	}
	return p.atom()
}

// signed applies a sign to a number; nothing else can have one.
func signed(v any, negative bool) (any, error) {
	switch v := v.(type) {
	case int:
		if negative {
			return -v, nil
		}
		return v, nil
	case *big.Int:
		if negative {
			return shrink(new(big.Int).Neg(v)), nil
		}
		return v, nil
	case float64:
		if negative {
			return -v, nil
		}
		return v, nil
	}
	return nil, errNoLiteral
}

// shrink is the number as an int where it fits.
func shrink(n *big.Int) any {
	if n.IsInt64() && int64(int(n.Int64())) == n.Int64() {
		return int(n.Int64())
	}
	return n
}

func (p *literalParser) atom() (any, error) {
	switch c := p.rest[0]; {
	case c >= '0' && c <= '9' || c == '.':
		return p.number()
	case c == '(':
		return p.parens()
	case c == '[':
		p.rest = p.rest[1:]
		list, _, err := p.items("]")
		return list, err
	case c == '{':
		return p.braces()
	}
	for word, v := range map[string]any{"True": true, "False": false, "None": nil} {
		if rest, ok := strings.CutPrefix(p.rest, word); ok && !startsName(rest) {
			p.rest = rest
			return v, nil
		}
	}
	return p.strings()
}

// startsName says whether the text begins with a character of a Python name.
func startsName(s string) bool {
	return s != "" && (s[0] == '_' || s[0] >= 0x80 || isAlnum(s[0]))
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// items reads expressions up to the closing bracket; comma says whether the last one had a comma behind it.
func (p *literalParser) items(closing string) (list []any, comma bool, err error) {
	if p.depth++; p.depth > maxParens {
		return nil, false, errNoLiteral
	}
	defer func() { p.depth-- }()
	list = []any{}
	for !p.take(closing) {
		if len(list) > 0 && !comma {
			return nil, false, errNoLiteral
		}
		v, err := p.item()
		if err != nil {
			return nil, false, err
		}
		list = append(list, v)
		comma = p.take(",")
	}
	return list, comma, nil
}

// parens is a value in parentheses or a tuple.
func (p *literalParser) parens() (any, error) {
	p.rest = p.rest[1:]
	list, comma, err := p.items(")")
	if err != nil || len(list) != 1 || comma {
		return list, err
	}
	return list[0], nil
}

// braces is a dict, or a set, which becomes a list.
func (p *literalParser) braces() (any, error) {
	p.rest = p.rest[1:]
	before := p.rest
	if p.take("}") {
		return map[string]any{}, nil
	}
	if _, err := p.item(); err != nil {
		return nil, err
	}
	isDict := p.take(":")
	p.rest = before
	if !isDict {
		list, _, err := p.items("}")
		return list, err
	}
	return p.dict()
}

func (p *literalParser) dict() (any, error) {
	if p.depth++; p.depth > maxParens {
		return nil, errNoLiteral
	}
	defer func() { p.depth-- }()
	m := make(map[string]any)
	for comma := true; !p.take("}"); comma = p.take(",") {
		if !comma {
			return nil, errNoLiteral
		}
		key, err := p.key()
		if err != nil {
			return nil, err
		}
		if !p.take(":") {
			return nil, errNoLiteral
		}
		v, err := p.item()
		if err != nil {
			return nil, err
		}
		m[key] = v
	}
	return m, nil
}

// key is the key of a dict as JSON writes it.
func (p *literalParser) key() (string, error) {
	v, err := p.item()
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case []any, map[string]any:
		return "", errNoLiteral
	}
	return string(AppendJSON(nil, v, 0)), nil
}

// number is an integer or a float; a complex number is no literal for us, as JSON has none.
func (p *literalParser) number() (any, error) {
	n := 0
	for n < len(p.rest) {
		c := p.rest[n]
		isExponentSign := (c == '+' || c == '-') && n > 0 && p.rest[n-1]|0x20 == 'e' && !hasBase(p.rest)
		if !isAlnum(c) && c != '_' && c != '.' && !isExponentSign {
			break
		}
		n++
	}
	token := p.rest[:n]
	if startsName(p.rest[n:]) {
		return nil, errNoLiteral
	}
	p.rest = p.rest[n:]
	return parseNumber(token)
}

func hasBase(s string) bool {
	return len(s) > 1 && s[0] == '0' && strings.IndexByte("xXoObB", s[1]) >= 0
}

func parseNumber(token string) (any, error) {
	base, digits := 10, token
	if hasBase(token) {
		base = map[byte]int{'x': 16, 'o': 8, 'b': 2}[token[1]|0x20]
		digits = strings.TrimPrefix(token[2:], "_") // 0x_ff is valid
	}
	if !underscoresFit(digits) {
		return nil, errNoLiteral
	}
	digits = strings.ReplaceAll(digits, "_", "")
	if base == 10 && strings.ContainsAny(digits, ".eE") {
		f, err := pythonFloat(digits)
		if err != nil {
			return nil, errNoLiteral
		}
		return f, nil
	}
	if base == 10 && digits[0] == '0' && strings.Trim(digits, "0") != "" || base == 10 && len(digits) > 4300 {
		return nil, errNoLiteral // 0644 is no number in Python 3, and 4300 digits are its limit
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok {
		return nil, errNoLiteral
	}
	return shrink(n), nil
}

// underscoresFit says whether every underscore stands between two digits.
func underscoresFit(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] != '_' {
			continue
		}
		if i == 0 || i+1 == len(s) || !isAlnum(s[i-1]) || !isAlnum(s[i+1]) || s[i-1]|0x20 == 'e' || s[i+1]|0x20 == 'e' {
			return false
		}
	}
	return true
}
