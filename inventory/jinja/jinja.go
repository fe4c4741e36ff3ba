// Package jinja evaluates the Jinja expressions that inventories have in variables of a connection: names, attributes and
// subscripts, literals, comparisons, inline if, a short list of filters, and the lookups env and file. It gives what
// Ansible gives, or an error that names what it doesn't know: it has no statements, calls no methods, and never guesses.
// Everything that an expression can grow by is bounded. It knows nothing of inventories but what its Scope says.
package jinja

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"fleetctl/inventory/values"
)

// Why a template has no value.
var (
	ErrUnsupported = errors.New("is not evaluated by fleetctl")
	ErrUndefined   = errors.New("is undefined")
	ErrTooMuch     = errors.New("is too much to evaluate")
)

// Bounds.
const (
	maxSource = 4 << 10  // of one template, in bytes
	maxDepth  = 32       // of expressions in expressions, and of variables in variables
	maxText   = 64 << 10 // of every text that comes into being, in bytes
	maxSteps  = 10_000   // of one evaluation
)

// Scope is what the expressions of one host see.
type Scope struct {
	// Var is a variable as it was written; ok is false where there is none.
	Var func(name string) (value any, ok bool)

	// Host is the scope of another host, for hostvars.
	Host func(name string) (*Scope, bool)

	// Open decrypts a value.
	Open func(values.Vault) (string, error)

	// Env is a variable of the environment, "" where there is none; File is the content of a file: a text, or a
	// values.Vault.
	Env  func(name string) string
	File func(path string) (any, error)
}

// Plain is a value for a Scope in which no text is a template: the hosts of a group may be many.
type Plain struct{ Value any }

// Resolve makes of a value what Ansible makes of it: every template in it evaluated, everything encrypted in clear. The
// result has no Unsafe, Vault or Secret in it. secret says that some of it was encrypted.
func (s *Scope) Resolve(v any) (value any, secret bool, err error) {
	e := &evaluation{scope: s, budget: &budget{}}
	value, err = e.variable(v)
	if err == nil {
		value, err = e.force(value)
	}
	if err != nil {
		return nil, e.secret, err
	}
	switch v := value.(type) {
	case omitted:
		return nil, e.secret, nil
	case native:
		return string(v), e.secret, nil
	}
	return value, e.secret, nil
}

// budget is what one evaluation has spent, the evaluations for other hosts in it included.
type budget struct {
	steps, depth int
	secret       bool
}

// evaluation evaluates for one host.
type evaluation struct {
	scope *Scope
	*budget
}

// Values that only evaluations have, besides those of an inventory.
type (
	undefined struct { // something that isn't there
		what string
		soft bool // it is nothing to Ansible, and no error
	}
	omitted  struct{}              // the variable omit
	native   string                // a text that stays one, whatever it looks like
	hostvars struct{}              // of all hosts
	hostOf   struct{ *evaluation } // the variables of one host
	lazy     struct {              // a list or mapping as it was written, templates in it
		value any
		in    *evaluation
	}
)

func (e *evaluation) step() error {
	if e.steps++; e.steps > maxSteps {
		return fmt.Errorf("%w: it takes more than %d steps", ErrTooMuch, maxSteps)
	}
	return nil
}

// variable is a value that somebody wrote, evaluated as far as it is no list and no mapping.
func (e *evaluation) variable(v any) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	if e.depth++; e.depth > maxDepth {
		return nil, fmt.Errorf("%w: variables refer to variables more than %d deep, or in a circle", ErrTooMuch, maxDepth)
	}
	defer func() { e.depth-- }()
	switch v := v.(type) {
	case values.Secret:
		e.secret = true
		return e.variable(v.Reveal())
	case values.Vault:
		e.secret = true
		return e.scope.Open(v) // Ansible evaluates nothing in it
	case values.Unsafe:
		return string(v), nil
	case Plain:
		return v.Value, nil
	case []any, map[string]any:
		return lazy{v, e}, nil
	case string:
		return e.render(v)
	}
	return v, nil
}

// force evaluates lists and mappings to the bottom.
func (e *evaluation) force(v any) (any, error) {
	switch v := v.(type) {
	case lazy:
		return v.in.deep(v.value)
	case hostvars, hostOf:
		return nil, refuse("the variables of a host as a whole")
	case undefined:
		if v.soft {
			return "", nil
		}
		return nil, v.err()
	}
	return v, nil
}

func (u undefined) err() error { return fmt.Errorf("%s %w", u.what, ErrUndefined) }

func (e *evaluation) deep(v any) (any, error) {
	one := func(item any) (any, error) {
		item, err := e.variable(item)
		if err == nil {
			item, err = e.force(item)
		}
		switch v := item.(type) {
		case omitted:
			return nil, refuse("omit in a list or mapping")
		case native:
			return string(v), err
		}
		return item, err
	}
	var err error
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			if out[i], err = one(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			if out[key], err = one(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// onlyName is a template that is a name and nothing else: Ansible then takes numbers and booleans as they are.
var onlyName = regexp.MustCompile(`^\{\{\s*([\pL_][\pL\pN_]*)\s*\}\}$`)

// render evaluates a template.
func (e *evaluation) render(s string) (any, error) {
	if !IsTemplate(s) {
		return s, nil
	}
	if len(s) > maxSource {
		return nil, fmt.Errorf("%w: the template has more than %d bytes", ErrTooMuch, maxSource)
	}
	if strings.HasPrefix(s, "#jinja2:") {
		return nil, refuse("#jinja2:, which changes the language")
	}
	if m := onlyName.FindStringSubmatch(s); m != nil {
		if v, ok := e.plainVariable(m[1]); ok {
			return v, nil
		}
	}
	pieces, err := split(s)
	if err != nil {
		return nil, err
	}
	out, err := e.put(pieces)
	if text, ok := out.(string); ok && err == nil {
		return text + strings.Repeat("\n", max(0, newlines(s)-newlines(text))), nil
	}
	return out, err
}

// newlines counts those at the end.
func newlines(s string) int { return len(s) - len(strings.TrimRight(s, "\n")) }

// plainVariable is a variable that is a number, a boolean or null.
func (e *evaluation) plainVariable(name string) (any, bool) {
	v, ok := e.scope.Var(name)
	if s, isSecret := v.(values.Secret); isSecret {
		v, e.secret = s.Reveal(), true
	}
	switch v.(type) {
	case nil, bool, int, *big.Int, float64:
		return v, ok
	}
	return nil, false
}

// put puts the parts of a template together. What looks like a list, a mapping or a boolean becomes one, as in
// ansible-core up to 2.18.
func (e *evaluation) put(pieces []piece) (any, error) {
	var b strings.Builder
	for _, p := range pieces {
		if !p.isExpr {
			b.WriteString(p.text)
			continue
		}
		v, err := e.expression(p.expr)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case omitted:
			if len(pieces) == 1 {
				return v, nil
			}
			return nil, refuse("omit as a part of a text")
		case native:
			if len(pieces) == 1 {
				return string(v), nil
			}
		case []any, map[string]any:
			if len(pieces) == 1 {
				return v, nil
			}
		case nil:
			continue
		}
		text, err := str(v)
		if err != nil {
			return nil, err
		}
		b.WriteString(text)
		if b.Len() > maxText {
			return nil, tooLong()
		}
	}
	return fromText(b.String()), nil
}

func tooLong() error {
	return fmt.Errorf("%w: a text has more than %d KiB", ErrTooMuch, maxText>>10)
}

func (e *evaluation) expression(tokens []token) (any, error) {
	n, err := parse(tokens)
	if err != nil {
		return nil, err
	}
	v, err := n.eval(e)
	if err != nil {
		return nil, err
	}
	return e.force(v)
}

// jsonWords are names that Ansible takes for Python's; between brackets, a newline is a blank.
var jsonWords = regexp.MustCompile(`'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b|\n`)

// fromText makes a list, a mapping or a boolean of a text that looks like one.
func fromText(s string) any {
	switch {
	case s == "True":
		return true
	case s == "False":
		return false
	case !strings.HasPrefix(s, "[") && !strings.HasPrefix(s, "{"):
		return s
	}
	v := values.LiteralOrText(jsonWords.ReplaceAllStringFunc(s, func(word string) string {
		if python, ok := map[string]string{"true": "True", "false": "False", "null": "None", "\n": " "}[word]; ok {
			return python
		}
		return word
	}))
	if _, isText := v.(string); isText {
		return s
	}
	return v
}
