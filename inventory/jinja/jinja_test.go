package jinja

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"fleetctl/inventory/values"
)

// scopeOf is a scope of some variables, without hosts and files.
func scopeOf(vars map[string]any) *Scope {
	return &Scope{
		Var:  func(name string) (any, bool) { v, ok := vars[name]; return v, ok },
		Open: func(v values.Vault) (string, error) { return "opened " + v.Text, nil },
		Env:  func(name string) string { return "env " + name },
		File: func(path string) (any, error) { return nil, errors.New("no files here") },
	}
}

// What is compared with Ansible stands in the tests of inventory; here are the bounds.
func TestEverythingThatGrowsIsBounded(t *testing.T) {
	deep := map[string]any{"long": strings.Repeat("x", 60<<10), "short": strings.Repeat("x", 1000)}
	for i := range 40 {
		deep[fmt.Sprint("v", i)] = fmt.Sprintf("{{ v%d }}", i+1)
		deep[fmt.Sprint("w", i)] = fmt.Sprintf("{{ w%d }}{{ w%d }}", i+1, i+1)
		deep[fmt.Sprint("l", i)] = []any{fmt.Sprintf("{{ l%d }}", i+1), fmt.Sprintf("{{ l%d }}", i+1)}
	}
	deep["w20"], deep["l20"] = "", ""
	for name, template := range map[string]string{
		"a long template":        "{{ 'a' }}" + strings.Repeat(" ", 4<<10),
		"variables in variables": "{{ v0 }}",
		"many variables":         "{{ w0 }}",
		"many in lists":          "{{ l0 }}",
		"parentheses":            "{{ " + strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100) + " }}",
		"lists":                  "{{ " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + " }}",
		"not":                    "{{ " + strings.Repeat("not ", 1000) + "1 }}",
		"signs":                  "{{ " + strings.Repeat("-", 1000) + "1 }}",
		"else":                   "{{ " + strings.Repeat("1 if 0 else ", 300) + "1 }}",
		"a long text":            "{{ long ~ long }}",
		"a long replacement":     "{{ long | replace('x', 'yyy') }}",
		"a long join":            "{{ long | join('--') }}",
		"many matches":           "{{ long | regex_replace('y*', 'y') }}",
		"many short matches":     "{{ short | regex_replace('y*', 'y') }}",
		"a long result":          "{{ long | regex_replace('x', 'yy') }}",
	} {
		t.Run(name, func(t *testing.T) {
			v, _, err := scopeOf(deep).Resolve(template)
			if !errors.Is(err, ErrTooMuch) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("got %.50v…, %v", v, err)
			}
		})
	}
}

func TestAResultKnowsThatSomeOfItWasEncrypted(t *testing.T) {
	scope := scopeOf(map[string]any{
		"sealed": values.Vault{Text: "x"}, "file": values.NewSecret("{{ plain }}", "f"), "plain": "p", "via": "{{ sealed }}",
		"map": map[string]any{"a": values.Vault{Text: "y"}, "b": 1},
	})
	for template, want := range map[string]struct {
		value  string
		secret bool
	}{
		"{{ plain }}": {"p", false}, "{{ sealed }}": {"opened x", true}, "{{ file }}": {"p", true}, "a{{ via }}": {"aopened x", true},
		"{{ map.b }}": {"1", false}, "{{ map.a }}": {"opened y", true}, "{{ plain if 1 else sealed }}": {"p", false},
	} {
		if v, secret, err := scope.Resolve(template); fmt.Sprint(v) != want.value || secret != want.secret || err != nil {
			t.Errorf("%s: got %v, %v, %v", template, v, secret, err)
		}
	}
	if v, secret, err := scope.Resolve("{{ missing | default(omit) }}"); v != nil || secret || err != nil {
		t.Errorf("what is omitted is %v, %v, %v", v, secret, err)
	}
}

func FuzzResolve(f *testing.F) {
	for _, seed := range []string{
		"{{ a }}", "x{{ a ~ 'b' | upper }}y", "{{ b[0].c | default('d', true) }}", "{{ 'a1' | regex_replace('(\\w)(\\d)', '\\2\\1') }}",
		"{{ 1 if a else [2, {'k': 3.5}] }}", "{# c #}{{- a -}} ", "{{ not a in b and 1 <= 2 }}", "{{ lookup('env', a) }}",
		"{{ a is not defined }}", "{{ -1 + 2 * 3 }}", "{{ b | join(',') | replace('a', 'b', 1) | int(2) }}", "[{{ a }}, true]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, template string) {
		scope := scopeOf(map[string]any{"a": "{{ b[1] }}", "b": []any{map[string]any{"c": nil}, 5, "t", 1.5, true}, "c": template})
		v, _, err := scope.Resolve(template)
		if err != nil {
			return
		}
		if s, ok := v.(string); ok && len(s) > maxText+len(template) || ok && utf8.ValidString(template) && !utf8.ValidString(s) {
			t.Errorf("%q became %q", template, s)
		}
		if !IsTemplate(template) && v != any(template) {
			t.Errorf("%q is no template and became %v", template, v)
		}
	})
}
