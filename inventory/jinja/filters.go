package jinja

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"fleetctl/inventory/values"
)

// filter is a filter: the names of its arguments, how many it needs, and what it does. Arguments that weren't given are
// not in args.
type filter struct {
	params []string
	need   int
	apply  func(e *evaluation, x any, args map[string]any) (any, error)
	ours   bool // it is Ansible's, and has a qualified name, too
}

var filters = map[string]filter{
	"default":       {params: []string{"default_value", "boolean"}}, // see call.eval
	"lower":         {apply: folded(strings.ToLower)},
	"upper":         {apply: folded(strings.ToUpper)},
	"trim":          {params: []string{"chars"}, apply: trim},
	"string":        {apply: func(_ *evaluation, x any, _ map[string]any) (any, error) { s, err := str(x); return native(s), err }},
	"replace":       {params: []string{"old", "new", "count"}, need: 2, apply: replace},
	"join":          {params: []string{"d"}, apply: join},
	"first":         {apply: func(_ *evaluation, x any, _ map[string]any) (any, error) { return end1(x, false) }},
	"last":          {apply: func(_ *evaluation, x any, _ map[string]any) (any, error) { return end1(x, true) }},
	"int":           {params: []string{"default"}, apply: toInt},
	"bool":          {apply: toBool, ours: true},
	"ternary":       {params: []string{"true_val", "false_val", "none_val"}, need: 2, apply: ternary, ours: true},
	"regex_replace": {params: []string{"pattern", "replacement", "ignorecase", "multiline"}, apply: regexReplace, ours: true},
}

// eval evaluates a filter, or a lookup.
func (n call) eval(e *evaluation) (any, error) {
	if n.x == nil {
		return n.lookup(e)
	}
	name, qualified := strings.CutPrefix(n.name, "ansible.builtin.")
	if name == "d" {
		name = "default"
	}
	f, ok := filters[name]
	if !ok || qualified && !f.ours {
		return nil, refuse("the filter %s", n.name)
	}
	if name == "default" {
		return n.fallback(e)
	}
	x, err := whole(e, n.x)
	if err != nil {
		return nil, err
	}
	args, err := n.arguments(e, f)
	if err != nil {
		return nil, err
	}
	return f.apply(e, x, args)
}

// arguments are those of the call, by name.
func (n call) arguments(e *evaluation, f filter) (map[string]any, error) {
	if len(n.args) > len(f.params) {
		return nil, refuse("%s with %d arguments", n.name, len(n.args))
	}
	args := map[string]any{}
	for i, arg := range n.args {
		v, err := whole(e, arg)
		if err != nil {
			return nil, err
		}
		args[f.params[i]] = v
	}
	for name, arg := range n.named {
		if _, twice := args[name]; twice || !slices.Contains(f.params, name) {
			return nil, refuse("%s with the argument %s", n.name, name)
		}
		v, err := whole(e, arg)
		if err != nil {
			return nil, err
		}
		args[name] = v
	}
	for _, name := range f.params[:f.need] {
		if _, ok := args[name]; !ok {
			return nil, refuse("%s without the argument %s", n.name, name)
		}
	}
	return args, nil
}

// fallback is the filter default, which alone may be told of what isn't there, and to omit.
func (n call) fallback(e *evaluation) (any, error) {
	x, err := n.x.eval(e)
	if err != nil {
		return nil, err
	}
	_, missing := x.(undefined)
	boolean, err := n.argument(e, 1, "boolean", false)
	if err != nil {
		return nil, err
	}
	if !missing && truth(boolean) {
		if x, err = e.settle(x); err != nil {
			return nil, err
		}
		missing = !truth(x)
	}
	if !missing {
		return x, nil
	}
	return n.argument(e, 0, "default_value", "")
}

func (n call) argument(e *evaluation, i int, name string, def any) (any, error) {
	switch {
	case len(n.args) > 2 || len(n.named) > 2 || len(n.args) > i && n.named[name] != nil:
		return nil, refuse("default with these arguments")
	case len(n.args) > i:
		return n.args[i].eval(e)
	case n.named[name] != nil:
		return n.named[name].eval(e)
	}
	for other := range n.named {
		if other != "default_value" && other != "boolean" {
			return nil, refuse("default with the argument %s", other)
		}
	}
	return def, nil
}

// folded changes the case of ASCII; other characters change in Python in ways of their own.
func folded(to func(string) string) func(*evaluation, any, map[string]any) (any, error) {
	return func(_ *evaluation, x any, _ map[string]any) (any, error) {
		s, err := str(x)
		if err != nil {
			return nil, err
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf && unicode.IsLetter(r) }) {
			return nil, refuse("lower or upper of letters that are not ASCII")
		}
		return to(s), nil
	}
}

func trim(_ *evaluation, x any, args map[string]any) (any, error) {
	s, err := str(x)
	if err != nil {
		return nil, err
	}
	switch chars := args["chars"].(type) {
	case nil:
		return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }), nil
	case string:
		return strings.Trim(s, chars), nil
	}
	return nil, refuse("trim with this argument")
}

func replace(_ *evaluation, x any, args map[string]any) (any, error) {
	var texts [3]string
	for i, v := range []any{x, args["old"], args["new"]} {
		var err error
		if texts[i], err = str(v); err != nil {
			return nil, err
		}
	}
	count := -1
	switch n := args["count"].(type) {
	case nil:
	case int:
		count = n
	default:
		return nil, refuse("replace with this count")
	}
	times := strings.Count(texts[0], texts[1])
	if count >= 0 {
		times = min(times, count)
	}
	if len(texts[0])+times*len(texts[2]) > maxText {
		return nil, tooLong()
	}
	return strings.Replace(texts[0], texts[1], texts[2], count), nil
}

func join(_ *evaluation, x any, args map[string]any) (any, error) {
	items, ok := x.([]any)
	if s, isText := x.(string); isText {
		for _, r := range s {
			items = append(items, string(r))
		}
		ok = true
	}
	if !ok {
		return nil, refuse("join of something that is no list")
	}
	between := ""
	if d, given := args["d"]; given {
		var err error
		if between, err = str(d); err != nil {
			return nil, err
		}
	}
	var b strings.Builder
	for i, item := range items {
		s, err := str(item)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteString(between)
		}
		b.WriteString(s)
		if b.Len() > maxText {
			return nil, tooLong()
		}
	}
	return b.String(), nil
}

// end1 is the first or the last of a list or a text.
func end1(x any, last bool) (any, error) {
	var items []any
	switch v := x.(type) {
	case []any:
		items = v
	case string:
		for _, r := range v {
			items = append(items, string(r))
		}
	default:
		return nil, refuse("first or last of something that is no list")
	}
	switch {
	case len(items) == 0:
		return undefined{what: "the first or last of nothing"}, nil
	case last:
		return items[len(items)-1], nil
	}
	return items[0], nil
}

func toInt(_ *evaluation, x any, args map[string]any) (any, error) {
	switch v := x.(type) {
	case bool:
		return boolInt(v), nil
	case int:
		return v, nil
	case float64:
		if v > -1<<53 && v < 1<<53 {
			return int(v), nil
		}
		return nil, refuse("int of this number")
	case string:
		s := strings.TrimSpace(v)
		if n, err := strconv.Atoi(s); err == nil {
			return n, nil
		}
		if strings.Trim(s, "0123456789+-") != "" && !strings.ContainsFunc(s, unicode.IsNumber) {
			break // neither a whole number nor another one
		}
		if strings.Trim(s, "0123456789.+-") == "" && strings.Count(s, ".") == 1 {
			if f, err := strconv.ParseFloat(s, 64); err == nil && f > -1<<53 && f < 1<<53 {
				return int(f), nil
			}
		}
		return nil, refuse("int of this text")
	}
	if def, ok := args["default"]; ok {
		return def, nil
	}
	return 0, nil
}

func toBool(_ *evaluation, x any, _ map[string]any) (any, error) {
	switch v := x.(type) {
	case nil, bool:
		return v, nil
	case string:
		return slices.Contains([]string{"yes", "on", "1", "true"}, strings.ToLower(v)), nil
	}
	return equal(x, 1), nil
}

func ternary(_ *evaluation, x any, args map[string]any) (any, error) {
	switch none := args["none_val"]; {
	case x == nil && none != nil:
		return none, nil
	case truth(x):
		return args["true_val"], nil
	}
	return args["false_val"], nil
}

// lookup reads the environment or a file of the controller.
func (n call) lookup(e *evaluation) (any, error) {
	if n.name != "lookup" {
		return nil, refuse("the function %s", n.name)
	}
	if len(n.named) > 0 || len(n.args) != 2 {
		return nil, refuse("lookup with other arguments than a kind and one name")
	}
	var words [2]string
	for i, arg := range n.args {
		v, err := whole(e, arg)
		if err != nil {
			return nil, err
		}
		var ok bool
		if words[i], ok = v.(string); !ok {
			return nil, refuse("lookup with something that is no text")
		}
	}
	switch strings.TrimPrefix(words[0], "ansible.builtin.") {
	case "env":
		return e.bounded(e.scope.Env(words[1]))
	case "file":
		content, err := e.scope.File(words[1])
		if sealed, ok := content.(values.Vault); ok && err == nil {
			content, err = e.variable(sealed)
		}
		if err != nil {
			return nil, err
		}
		return e.bounded(strings.TrimRightFunc(content.(string), func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }))
	}
	return nil, refuse("the lookup %s", strconv.Quote(words[0]))
}

func (e *evaluation) bounded(s string) (any, error) {
	switch {
	case len(s) > maxText:
		return nil, tooLong()
	case !utf8.ValidString(s):
		return nil, refuse("a text that is not UTF-8")
	}
	return s, nil
}
