package jinja

import (
	"slices"
	"strconv"
	"strings"
)

// node is a part of an expression.
type node interface {
	eval(e *evaluation) (any, error)
}

// The nodes.
type (
	literal  struct{ value any }
	variable struct{ name string }
	list     struct{ items []node }
	dict     struct{ keys, values []node }
	item     struct { // of[key], of.key
		of, key node
		dot     bool
	}
	unary struct {
		op string
		x  node
	}
	binary struct {
		op   string
		x, y node
	}
	compare struct {
		x   node
		ops []string
		ys  []node
	}
	choice struct{ yes, cond, no node } // no may be nil
	test   struct {
		x    node
		name string
		not  bool
	}
	call struct { // a filter, or a function where x is nil
		x     node
		name  string
		args  []node
		named map[string]node
	}
)

// parser parses the tokens of one expression, in Jinja's grammar.
type parser struct {
	tokens []token
	depth  int
}

func parse(tokens []token) (node, error) {
	p := &parser{tokens: tokens}
	n, err := p.condition()
	if err != nil {
		return nil, err
	}
	if len(p.tokens) > 0 {
		return nil, p.unexpected()
	}
	return n, nil
}

func (p *parser) unexpected() error {
	if len(p.tokens) == 0 {
		return refuse("an expression that ends too early")
	}
	return refuse("%q where it stands", p.tokens[0].text)
}

// peek says whether an operator or a keyword comes next.
func (p *parser) peek(words ...string) bool {
	if len(p.tokens) == 0 || p.tokens[0].kind != operator && p.tokens[0].kind != name {
		return false
	}
	return slices.Contains(words, p.tokens[0].text)
}

// take takes the operator or keyword, if it comes next.
func (p *parser) take(words ...string) (string, bool) {
	if !p.peek(words...) {
		return "", false
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t.text, true
}

func (p *parser) need(word string) error {
	if _, ok := p.take(word); !ok {
		return p.unexpected()
	}
	return nil
}

// condition is x if y else z.
func (p *parser) condition() (node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	n, err := p.or()
	for err == nil {
		if _, ok := p.take("if"); !ok {
			return n, nil
		}
		c := choice{yes: n}
		if c.cond, err = p.or(); err != nil {
			return nil, err
		}
		if _, ok := p.take("else"); ok {
			if c.no, err = p.condition(); err != nil {
				return nil, err
			}
		}
		n = c
	}
	return n, err
}

// chain is a row of operands with the operators between them, bound to the left.
func (p *parser) chain(operand func() (node, error), ops ...string) (node, error) {
	n, err := operand()
	for err == nil {
		op, ok := p.take(ops...)
		if !ok {
			return n, nil
		}
		b := binary{op: op, x: n}
		b.y, err = operand()
		n = b
	}
	return nil, err
}

func (p *parser) or() (node, error)  { return p.chain(p.and, "or") }
func (p *parser) and() (node, error) { return p.chain(p.not, "and") }

func (p *parser) not() (node, error) {
	if _, ok := p.take("not"); !ok {
		return p.comparison()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	n, err := p.not()
	return unary{"not", n}, err
}

// enter goes a level deeper, and leave comes back.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return refuse("an expression that is nested more than %d deep", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) comparison() (node, error) {
	n, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := compare{x: n}
	for {
		op, ok := p.take("==", "!=", "<", "<=", ">", ">=", "in")
		if !ok && p.peek("not") && len(p.tokens) > 1 && p.tokens[1] == (token{name, "in"}) {
			p.tokens, op, ok = p.tokens[2:], "not in", true
		}
		if !ok {
			break
		}
		y, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.ops, c.ys = append(c.ops, op), append(c.ys, y)
	}
	if c.ops == nil {
		return n, nil
	}
	return c, nil
}

func (p *parser) sum() (node, error)     { return p.chain(p.joined, "+", "-") }
func (p *parser) joined() (node, error)  { return p.chain(p.product, "~") }
func (p *parser) product() (node, error) { return p.chain(p.filtered, "*", "/", "//", "%", "**") }

// filtered is a value with what stands behind it, filters and tests included.
func (p *parser) filtered() (node, error) {
	n, err := p.signed()
	for err == nil {
		switch {
		case p.peek("|"):
			p.tokens = p.tokens[1:]
			n, err = p.filter(n)
		case p.peek("is"):
			p.tokens = p.tokens[1:]
			n, err = p.test(n)
		default:
			return n, nil
		}
	}
	return nil, err
}

func (p *parser) signed() (node, error) {
	if op, ok := p.take("-", "+"); ok {
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer p.leave()
		n, err := p.signed()
		return unary{op, n}, err
	}
	n, err := p.primary()
	if err != nil {
		return nil, err
	}
	return p.behind(n)
}

// behind are the subscripts and attributes of a value.
func (p *parser) behind(n node) (node, error) {
	for {
		switch {
		case p.peek("."):
			p.tokens = p.tokens[1:]
			if len(p.tokens) == 0 || p.tokens[0].kind != name && p.tokens[0].kind != integer {
				return nil, p.unexpected()
			}
			key := p.tokens[0]
			p.tokens = p.tokens[1:]
			i := item{of: n, key: literal{key.text}, dot: true}
			if key.kind == integer {
				number, err := strconv.Atoi(key.text)
				if err != nil {
					return nil, refuse("the number %s", key.text)
				}
				i = item{of: n, key: literal{number}}
			}
			n = i
		case p.peek("["):
			p.tokens = p.tokens[1:]
			key, err := p.condition()
			if err != nil {
				return nil, err
			}
			if p.peek(":") {
				return nil, refuse("a slice")
			}
			if err := p.need("]"); err != nil {
				return nil, err
			}
			n = item{of: n, key: key}
		case p.peek("("):
			v, ok := n.(variable)
			if !ok {
				return nil, refuse("a call of a method")
			}
			c := call{name: v.name}
			if err := p.arguments(&c); err != nil {
				return nil, err
			}
			n = c
		default:
			return n, nil
		}
	}
}

// words of the language that no variable can have as its name.
var keywords = []string{"and", "or", "not", "in", "is", "if", "else", "elif", "for"}

func (p *parser) primary() (node, error) {
	if len(p.tokens) == 0 {
		return nil, p.unexpected()
	}
	t := p.tokens[0]
	switch {
	case t.kind == operator && t.text == "(":
		return p.parens()
	case t.kind == operator && t.text == "[":
		p.tokens = p.tokens[1:]
		items, err := p.items("]")
		return list{items}, err
	case t.kind == operator && t.text == "{":
		return p.dict()
	case t.kind == operator, t.kind == name && slices.Contains(keywords, t.text):
		return nil, p.unexpected()
	}
	p.tokens = p.tokens[1:]
	switch t.kind {
	case name:
		switch t.text {
		case "true", "True":
			return literal{true}, nil
		case "false", "False":
			return literal{false}, nil
		case "none", "None":
			return literal{nil}, nil
		}
		return variable{t.text}, nil
	case text:
		s := t.text
		for len(p.tokens) > 0 && p.tokens[0].kind == text { // as in Python, strings in a row are one
			s += p.tokens[0].text
			p.tokens = p.tokens[1:]
		}
		return literal{s}, nil
	case float:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			return nil, refuse("the number %s", t.text)
		}
		return literal{f}, nil
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(t.text, "_", ""), 0, 0)
	if err != nil {
		return nil, refuse("the number %s", t.text)
	}
	return literal{int(n)}, nil
}

func (p *parser) parens() (node, error) {
	p.tokens = p.tokens[1:]
	n, err := p.condition()
	if err != nil {
		return nil, err
	}
	if p.peek(",") {
		return nil, refuse("a tuple")
	}
	return n, p.need(")")
}

// items are expressions with commas between them, up to what closes them.
func (p *parser) items(closing string) (items []node, err error) {
	for {
		if _, ok := p.take(closing); ok {
			return items, nil
		}
		n, err := p.condition()
		if err != nil {
			return nil, err
		}
		items = append(items, n)
		if !p.peek(closing) {
			if err := p.need(","); err != nil {
				return nil, err
			}
		}
	}
}

func (p *parser) dict() (node, error) {
	p.tokens = p.tokens[1:]
	var d dict
	for {
		if _, ok := p.take("}"); ok {
			return d, nil
		}
		key, err := p.condition()
		if err != nil {
			return nil, err
		}
		if err := p.need(":"); err != nil {
			return nil, err
		}
		value, err := p.condition()
		if err != nil {
			return nil, err
		}
		d.keys, d.values = append(d.keys, key), append(d.values, value)
		if !p.peek("}") {
			if err := p.need(","); err != nil {
				return nil, err
			}
		}
	}
}

// dotted is a name with dots in it.
func (p *parser) dotted() (string, error) {
	full := ""
	for {
		if len(p.tokens) == 0 || p.tokens[0].kind != name {
			return "", p.unexpected()
		}
		full += p.tokens[0].text
		p.tokens = p.tokens[1:]
		if _, ok := p.take("."); !ok {
			return full, nil
		}
		full += "."
	}
}

func (p *parser) filter(x node) (node, error) {
	full, err := p.dotted()
	if err != nil {
		return nil, err
	}
	c := call{x: x, name: full}
	if !p.peek("(") {
		return c, nil
	}
	return c, p.arguments(&c)
}

// arguments are those of a call, by place and by name.
func (p *parser) arguments(c *call) error {
	p.tokens = p.tokens[1:]
	for {
		if _, ok := p.take(")"); ok {
			return nil
		}
		var key string
		if len(p.tokens) > 1 && p.tokens[0].kind == name && p.tokens[1] == (token{operator, "="}) {
			key, p.tokens = p.tokens[0].text, p.tokens[2:]
		}
		n, err := p.condition()
		if err != nil {
			return err
		}
		switch {
		case key == "" && c.named != nil:
			return refuse("an argument behind one with a name")
		case key == "":
			c.args = append(c.args, n)
		default:
			if c.named == nil {
				c.named = map[string]node{}
			}
			if c.named[key] != nil {
				return refuse("the argument %s twice", key)
			}
			c.named[key] = n
		}
		if !p.peek(")") {
			if err := p.need(","); err != nil {
				return err
			}
		}
	}
}

func (p *parser) test(x node) (node, error) {
	_, not := p.take("not")
	full, err := p.dotted()
	if err != nil {
		return nil, err
	}
	if len(p.tokens) > 0 && (p.tokens[0].kind != operator || p.peek("(", "[", "{")) && !p.peek("else", "or", "and") {
		return nil, refuse("an argument of the test %s", full) // which "if" is to Jinja, too
	}
	switch full {
	case "defined", "undefined", "none":
		return test{x, full, not}, nil
	}
	return nil, refuse("the test %q", full)
}
