package jinja

import (
	"slices"
	"strconv"
	"strings"
)

func (n literal) eval(*evaluation) (any, error) { return n.value, nil }

func (n variable) eval(e *evaluation) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	switch n.name {
	case "omit":
		return omitted{}, nil
	case "hostvars":
		if e.scope.Host != nil {
			return hostvars{}, nil
		}
	}
	v, ok := e.scope.Var(n.name)
	if !ok && slices.Contains(theirs, n.name) {
		return nil, refuse("%s, which only Ansible knows,", n.name)
	}
	if !ok {
		return undefined{what: strconv.Quote(n.name)}, nil
	}
	return e.variable(v)
}

// theirs are names that mean something to Ansible wherever they stand: here they are not undefined, but unknown.
var theirs = strings.Fields(`ansible_check_mode ansible_config_file ansible_dependent_role_names ansible_diff_mode ansible_facts
	ansible_forks ansible_inventory_sources ansible_limit ansible_parent_role_names ansible_play_batch ansible_play_hosts
	ansible_play_hosts_all ansible_play_name ansible_play_role_names ansible_playbook_python ansible_role_names ansible_run_tags
	ansible_search_path ansible_skip_tags ansible_verbosity ansible_version environment play_hosts role_names vars
	cycler dict finalize joiner lipsum lookup namespace now q query range undef`)

func (n list) eval(e *evaluation) (any, error) {
	out := make([]any, len(n.items))
	for i, item := range n.items {
		v, err := whole(e, item)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (n dict) eval(e *evaluation) (any, error) {
	out := make(map[string]any, len(n.keys))
	for i := range n.keys {
		key, err := whole(e, n.keys[i])
		if err != nil {
			return nil, err
		}
		text, ok := key.(string)
		if !ok {
			return nil, refuse("a key of a mapping that is no text")
		}
		if out[text], err = whole(e, n.values[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// whole is a node evaluated to the bottom.
func whole(e *evaluation, n node) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	v, err := n.eval(e)
	if err != nil {
		return nil, err
	}
	return e.settle(v)
}

// settle evaluates what is left to be evaluated of a value, which then is one of an inventory.
func (e *evaluation) settle(v any) (any, error) {
	v, err := e.force(v)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case omitted:
		return nil, refuse("omit in an expression")
	case native:
		return string(v), nil
	}
	return v, nil
}

func (n item) eval(e *evaluation) (any, error) {
	of, err := n.of.eval(e)
	if err != nil {
		return nil, err
	}
	if u, ok := of.(undefined); ok {
		return u, nil // as in Ansible, so that default() finds what was missing first
	}
	key, err := whole(e, n.key)
	if err != nil {
		return nil, err
	}
	if s, ok := of.(native); ok {
		of = string(s)
	}
	if n.dot && isMethod(of, key.(string)) {
		return nil, refuse("the method %s", key)
	}
	return e.subscript(of, key)
}

// subscript is of[key], or undefined.
func (e *evaluation) subscript(of, key any) (any, error) {
	in := e
	raw := of
	if l, ok := of.(lazy); ok {
		raw, in = l.value, l.in
	}
	missing := undefined{what: "[" + shown(key) + "] of a value"}
	switch v := raw.(type) {
	case hostvars:
		name, _ := key.(string)
		scope, ok := e.scope.Host(name)
		if !ok {
			return undefined{what: "hostvars[" + shown(key) + "]"}, nil
		}
		return hostOf{&evaluation{scope: scope, budget: e.budget}}, nil
	case hostOf:
		name, _ := key.(string)
		value, ok := v.scope.Var(name)
		if !ok {
			return undefined{what: "[" + shown(key) + "] of that host's variables"}, nil
		}
		return v.variable(value)
	case map[string]any:
		name, isText := key.(string)
		value, ok := v[name]
		switch {
		case !isText:
			return nil, refuse("a key of a mapping that is no text")
		case !ok && isMethod(raw, name):
			return nil, refuse("the method %s", name)
		case !ok:
			return undefined{what: shown(key)}, nil
		case in != e || isLazy(of):
			return in.variable(value)
		}
		return value, nil
	case []any:
		i, ok := index(key, len(v))
		if !ok {
			return missing, nil
		}
		if isLazy(of) {
			return in.variable(v[i])
		}
		return v[i], nil
	case string:
		runes := []rune(v)
		if i, ok := index(key, len(runes)); ok {
			return string(runes[i]), nil
		}
	}
	return missing, nil
}

func isLazy(v any) bool {
	_, ok := v.(lazy)
	return ok
}

// index is the place in a list; a negative one counts from the end.
func index(key any, length int) (int, bool) {
	i, ok := key.(int)
	if b, isBool := key.(bool); isBool {
		i, ok = boolInt(b), true
	}
	if i < 0 {
		i += length
	}
	return i, ok && i >= 0 && i < length
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// shown is a key for people.
func shown(key any) string {
	switch v := key.(type) {
	case string:
		return strconv.Quote(v)
	case int:
		return strconv.Itoa(v)
	}
	return "…"
}

func (n unary) eval(e *evaluation) (any, error) {
	v, err := whole(e, n.x)
	if err != nil {
		return nil, err
	}
	switch x := v.(type) {
	case int:
		if n.op == "-" {
			return -x, nil
		} else if n.op == "+" {
			return x, nil
		}
	case float64:
		if n.op == "-" {
			return -x, nil
		} else if n.op == "+" {
			return x, nil
		}
	}
	if n.op == "not" {
		return !truth(v), nil
	}
	return nil, refuse("%s before something that is no number", n.op)
}

func (n binary) eval(e *evaluation) (any, error) {
	x, err := whole(e, n.x)
	if err != nil {
		return nil, err
	}
	if n.op == "and" && !truth(x) || n.op == "or" && truth(x) {
		return x, nil
	}
	y, err := whole(e, n.y)
	if err != nil {
		return nil, err
	}
	switch n.op {
	case "and", "or":
		return y, nil
	case "~":
		return concat(x, y)
	}
	return arithmetic(n.op, x, y)
}

func concat(x, y any) (any, error) {
	a, err := str(x)
	if err != nil {
		return nil, err
	}
	b, err := str(y)
	if err != nil {
		return nil, err
	}
	if len(a)+len(b) > maxText {
		return nil, tooLong()
	}
	return a + b, nil
}

// arithmetic is what + and - and * make of numbers, and + of texts and lists.
func arithmetic(op string, x, y any) (any, error) {
	a, isText := x.(string)
	b, bothText := y.(string)
	if op == "+" && isText && bothText {
		return concat(a, b)
	}
	p, isList := x.([]any)
	q, bothLists := y.([]any)
	if op == "+" && isList && bothLists {
		if len(p)+len(q) > maxSteps {
			return nil, tooLong()
		}
		return slices.Concat(p, q), nil
	}
	i, isInt := whole32(x)
	j, bothInt := whole32(y)
	if isInt && bothInt {
		switch op {
		case "+":
			return i + j, nil
		case "-":
			return i - j, nil
		case "*":
			return i * j, nil
		}
	}
	return nil, refuse("%s between these values", op)
}

// whole32 is a number that no sum and no product of two makes too large.
func whole32(v any) (int, bool) {
	i, ok := v.(int)
	if b, isBool := v.(bool); isBool {
		i, ok = boolInt(b), true
	}
	return i, ok && i < 1<<31 && i > -1<<31
}

func (n compare) eval(e *evaluation) (any, error) {
	x, err := whole(e, n.x)
	if err != nil {
		return nil, err
	}
	for i, op := range n.ops {
		y, err := n.ys[i].eval(e)
		if err != nil {
			return nil, err
		}
		if _, ok := y.(hostvars); !ok {
			if y, err = e.settle(y); err != nil {
				return nil, err
			}
		}
		ok, err := e.holds(op, x, y)
		if err != nil || !ok {
			return false, err
		}
		x = y
	}
	return true, nil
}

func (e *evaluation) holds(op string, x, y any) (bool, error) {
	switch op {
	case "==":
		return equal(x, y), nil
	case "!=":
		return !equal(x, y), nil
	case "in", "not in":
		in, err := e.contains(y, x)
		return in == (op == "in"), err
	}
	order, ok := ordered(x, y)
	if !ok {
		return false, refuse("%s between these values", op)
	}
	switch op {
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	}
	return order >= 0, nil
}

func (n choice) eval(e *evaluation) (any, error) {
	cond, err := whole(e, n.cond)
	if err != nil {
		return nil, err
	}
	if truth(cond) {
		return n.yes.eval(e)
	}
	if n.no == nil {
		return undefined{soft: true}, nil
	}
	return n.no.eval(e)
}

func (n test) eval(e *evaluation) (any, error) {
	v, err := n.x.eval(e)
	if err != nil {
		return nil, err
	}
	_, missing := v.(undefined)
	var is bool
	switch n.name {
	case "defined":
		is = !missing
	case "undefined":
		is = missing
	default: // none
		is = v == nil
	}
	return is != n.not, nil
}
