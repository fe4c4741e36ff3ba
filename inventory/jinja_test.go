package inventory

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/inventory/jinja"
)

// TestExpressionsAreWhatAnsibleEvaluates: testdata/jinja/hosts.yml says how to read its names.
func TestExpressionsAreWhatAnsibleEvaluates(t *testing.T) {
	for name, value := range map[string]string{"CASE_ENV": "From ENV", "CASE_LIST": "[1, 2]", "CASE_TEMPLATE": "{{ domain }}"} {
		t.Setenv(name, value)
	}
	dir, err := filepath.Abs("testdata/jinja")
	if err != nil {
		t.Fatal(err)
	}
	peer := startAnsible(t)
	inv, err := Load(t.Context(), []string{filepath.Join(dir, "hosts.yml")}, Options{PlaybookDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select()
	if err != nil {
		t.Fatal(err)
	}
	theirs := peer.variables(t, dir, "", filepath.Join(dir, "hosts.yml"))
	refused := 0
	for _, h := range hosts {
		for name := range h.Vars {
			if !strings.HasPrefix(name, "no_") || name == "no_" {
				continue
			}
			refused++
			if got, err := h.Var(name); !errors.Is(err, jinja.ErrUnsupported) {
				t.Errorf("%s: got %#v, %v, which is not to be evaluated", name, got.Value, err)
			}
			if want := theirs[h.Name][name]; want.Error != "" {
				t.Errorf("%s: Ansible doesn't evaluate it either: %s", name, want.Error)
			}
			delete(h.Vars, name)
		}
	}
	if n := sameAsAnsible(t, hosts, theirs); n < 250 || refused < 30 {
		t.Errorf("only %d expressions were compared, and %d refused", n, refused)
	}
}

var (
	expressions    = flag.Int("expressions", 400, "how many random expressions are compared with Ansible")
	expressionSeed = flag.Uint64("expressions.seed", 1, "the seed of the random expressions")
)

// exprGen makes random expressions that mostly have a value.
type exprGen struct{ *rand.Rand }

func (g exprGen) pick(choices ...string) string { return choices[g.IntN(len(choices))] }

func (g exprGen) atom() string {
	return g.pick("domain", "port", "empty", "nothing", "yes_", "no_", "words", "numbers", "nested", "one", "quoted", "lines", "missing",
		"looks_list", "looks_bool", "env", "chain3", "1", "0", "-2", "1.5", "'a'", "'A.b-C'", "''", "'[1]'", "true", "none", "[]", "['x', 1]",
		"{'k': 'v'}", "inventory_hostname", "groups['web']", "hostvars['web-01.example.com'].rack", "group_names")
}

func (g exprGen) filter() string {
	return g.pick("lower", "upper", "default('d')", "default('', true)", "default(nothing)", "replace('.', '-')", "replace('a', 'bb')", "join",
		"join('-')", "ternary('t', 'f')", "ternary(1, [2], 'n')", "first", "last", "trim", "string", "int", "bool", "int(5)",
		`regex_replace('[a-c]', '<\g<0>>')`, `regex_replace('^(.)(.*)$', '\2\1')`, `regex_replace('\W+', '')`, `regex_replace('e*', '.')`,
		`regex_replace('(x)?(\w)', '\1\2,')`, `regex_replace('\b', '|')`)
}

func (g exprGen) expression(depth int) string {
	if depth == 0 {
		return g.atom()
	}
	x, y := g.expression(depth-1), g.expression(g.IntN(depth))
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		return g.pick(x, "("+x+")") + " | " + g.filter()
	case 4:
		return x + " ~ " + y
	case 5:
		return "(" + x + ") " + g.pick("==", "!=", "<", ">=", "in", "not in", "and", "or", "+", "-", "*", "~") + " (" + y + ")"
	case 6:
		return x + " if " + y + " else " + g.atom()
	case 7:
		return "(" + x + ") is " + g.pick("defined", "undefined", "none", "not none", "not defined")
	case 8:
		return "(" + x + ")" + g.pick("[0]", "[-1]", ".only", "['n']", ".list", ".0", "[9]")
	case 9:
		return "[" + x + ", " + y + "]"
	case 10:
		return "not " + x
	}
	return g.pick("not (", "(") + x + ")"
}

func (g exprGen) template() string {
	t := g.pick("", "", "", "a", "[", "-o x=", "\n") + "{{ " + g.expression(g.IntN(4)) + " }}" + g.pick("", "", "", ".z", "]", "\n", "{{ port }}")
	return "'" + strings.ReplaceAll(strings.ReplaceAll(t, "'", "''"), "\n", " ") + "'"
}

// TestRandomExpressionsAreWhatAnsibleEvaluates: what fleetctl doesn't evaluate is left out, and there is not much of it.
func TestRandomExpressionsAreWhatAnsibleEvaluates(t *testing.T) {
	t.Parallel()
	peer, dir := startAnsible(t), t.TempDir()
	corpus, err := os.ReadFile("testdata/jinja/hosts.yml")
	if err != nil {
		t.Fatal(err)
	}
	upTo, _, _ := strings.Cut(string(corpus), "        case.sub.example.com:\n")
	var b strings.Builder
	b.WriteString(upTo + "        case:\n")
	g := exprGen{rand.New(rand.NewPCG(*expressionSeed, 0))}
	for i := range *expressions {
		fmt.Fprintf(&b, "          r%d: %s\n", i, g.template())
	}
	file := writeFile(t, filepath.Join(dir, "hosts.yml"), b.String(), 0o644)
	inv, err := Load(t.Context(), []string{file}, Options{PlaybookDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("case")
	if err != nil {
		t.Fatal(err)
	}
	theirs := peer.variables(t, dir, "", file)["case"]
	all, refused, undefined := len(hosts[0].Vars), 0, 0
	for name := range hosts[0].Vars {
		_, err := hosts[0].Var(name)
		switch {
		case strings.Contains(string(theirs[name].Value), "{{"): // Ansible gave the template back: it failed when it was compiled
			delete(hosts[0].Vars, name)
		case errors.Is(err, jinja.ErrUnsupported):
			refused++
			delete(hosts[0].Vars, name)
		case err != nil: // Ansible writes "AnsibleUndefined(…)" into a list, or looks at it as true
			undefined++
			delete(hosts[0].Vars, name)
		}
	}
	t.Logf("%d expressions: %d undefined, %d refused", all, undefined, refused)
	if refused > all/2 || undefined > all/2 {
		t.Errorf("of %d expressions %d were refused and %d undefined: there is little left to compare", all, refused, undefined)
	}
	if sameAsAnsible(t, hosts, map[string]map[string]theirVar{"case": theirs}); t.Failed() {
		for name, value := range hosts[0].Vars {
			t.Logf("%s: %s", name, value)
		}
	}
}

// TestTheAnsibleCommandSaysTheSame: the other tests ask Ansible's library; this one runs its command.
func TestTheAnsibleCommandSaysTheSame(t *testing.T) {
	t.Parallel()
	peer := startAnsible(t)
	dir, err := filepath.Abs("testdata/jinja")
	if err != nil {
		t.Fatal(err)
	}
	inv, err := Load(t.Context(), []string{filepath.Join(dir, "hosts.yml")}, Options{PlaybookDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("case.sub.example.com")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"c_name", "c_jump", "c_re", "c_ternary", "c_default_attr", "c_groups_join", "c_hostvars3", "c_if_nested", "c_concat"}
	answer := peer.run(t, "adhoc", dir, "case.sub.example.com", "-i", "hosts.yml", "-c", "local", "-m", "debug",
		"-a", "var=["+strings.Join(names, ",")+"]")
	for _, name := range names {
		v, err := hosts[0].Var(name)
		if text, ok := v.Value.(string); err != nil || !ok || !strings.Contains(answer.Stdout, `"`+text+`"`) {
			t.Errorf("%s: got %#v, %v; ansible says %s%s", name, v.Value, err, answer.Stdout, answer.Stderr)
		}
	}
}
