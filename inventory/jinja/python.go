package jinja

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"fleetctl/inventory/values"
)

// str is the value as Python's str writes it.
func str(v any) (string, error) {
	var b strings.Builder
	if s, ok := v.(string); ok {
		b.WriteString(s)
	} else if s, ok := v.(native); ok {
		b.WriteString(string(s))
	} else if err := repr(&b, v); err != nil {
		return "", err
	}
	if b.Len() > maxText {
		return "", tooLong()
	}
	return b.String(), nil
}

// repr writes the value as Python's repr does. A mapping of several keys has an order in Python, which was not kept.
func repr(b *strings.Builder, v any) error {
	if b.Len() > maxText {
		return tooLong()
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int:
		b.WriteString(strconv.Itoa(v))
	case *big.Int:
		b.WriteString(v.String())
	case float64:
		b.WriteString(values.PythonFloat(v))
	case string:
		return reprString(b, v)
	case native:
		return reprString(b, string(v))
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := repr(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case map[string]any:
		return reprMap(b, v)
	default:
		return refuse("this value as a text")
	}
	return nil
}

func reprMap(b *strings.Builder, m map[string]any) error {
	if len(m) > 1 {
		return refuse("a mapping as a text")
	}
	b.WriteByte('{')
	for key, item := range m {
		if err := reprString(b, key); err != nil {
			return err
		}
		b.WriteString(": ")
		if err := repr(b, item); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func reprString(b *strings.Builder, s string) error {
	quote := '\''
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		quote = '"'
	}
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(b, `\x%02x`, r)
		case r > 0x7f && !unicode.IsPrint(r):
			return refuse("the character %U in a list as a text", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteRune(quote)
	return nil
}

// truth is what Python takes for true.
func truth(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

// number is a number as Python compares it: booleans are 0 and 1.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case bool:
		return float64(boolInt(v)), true
	case int:
		return float64(v), v < 1<<53 && v > -1<<53
	case float64:
		return v, true
	}
	return 0, false
}

func equal(x, y any) bool {
	if a, ok := number(x); ok {
		b, ok := number(y)
		return ok && a == b
	}
	switch a := x.(type) {
	case nil:
		return y == nil
	case int:
		b, ok := y.(int)
		return ok && a == b
	case *big.Int:
		b, ok := y.(*big.Int)
		return ok && a.Cmp(b) == 0
	case string:
		b, ok := y.(string)
		return ok && a == b
	case []any:
		b, ok := y.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := y.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key, item := range a {
			if other, ok := b[key]; !ok || !equal(item, other) {
				return false
			}
		}
		return true
	}
	return false
}

// ordered compares numbers with numbers and texts with texts.
func ordered(x, y any) (int, bool) {
	if a, ok := number(x); ok {
		b, ok := number(y)
		return cmp.Compare(a, b), ok && a == a && b == b
	}
	a, ok := x.(string)
	b, both := y.(string)
	return strings.Compare(a, b), ok && both
}

// contains says whether something is in a list, a mapping's keys or a text.
func (e *evaluation) contains(in, x any) (bool, error) {
	switch in := in.(type) {
	case hostvars:
		name, ok := x.(string)
		if !ok {
			return false, nil
		}
		_, ok = e.scope.Host(name)
		return ok, nil
	case []any:
		return slices.ContainsFunc(in, func(item any) bool { return equal(item, x) }), nil
	case map[string]any:
		name, ok := x.(string)
		if !ok {
			return false, refuse("a key of a mapping that is no text")
		}
		_, ok = in[name]
		return ok, nil
	case string:
		if part, ok := x.(string); ok {
			return strings.Contains(in, part), nil
		}
	}
	return false, refuse("in with these values")
}

// methods are the attributes that Python's values have, by what they are.
var methods = map[string][]string{
	"str": strings.Fields(`capitalize casefold center count encode endswith expandtabs find format format_map index isalnum isalpha
		isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip maketrans
		partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip
		swapcase title translate upper zfill`),
	"list": strings.Fields(`append clear copy count extend index insert pop remove reverse sort`),
	"dict": strings.Fields(`clear copy fromkeys get items keys pop popitem setdefault update values`),
	"number": strings.Fields(`as_integer_ratio bit_count bit_length conjugate denominator from_bytes fromhex hex imag is_integer
		numerator real to_bytes`),
	"hostvars": strings.Fields(`get items keys raw_get set_host_facts set_host_variable set_inventory set_nonpersistent_facts
		set_variable_manager values`),
}

// isMethod says whether the name is an attribute of the value in Python, and no key.
func isMethod(v any, name string) bool {
	if strings.HasPrefix(name, "__") {
		return true
	}
	if l, ok := v.(lazy); ok {
		v = l.value
	}
	kind := "number"
	switch v.(type) {
	case string:
		kind = "str"
	case []any:
		kind = "list"
	case map[string]any:
		kind = "dict"
	case hostvars, hostOf:
		kind = "hostvars"
	case nil:
		return false
	}
	return slices.Contains(methods[kind], name)
}
