package inventory

import (
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"fleetctl/inventory/values"
)

// seedCorpus adds the files of the corpus that match to the seeds.
func seedCorpus(f *testing.F, match func(name string) bool) {
	f.Helper()
	files, err := filepath.Glob("testdata/ansible/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, member := range archive.Files {
			if match(member.Name) {
				f.Add(string(member.Data))
			}
		}
	}
}

// longNumbers keeps ranges of a million hosts, which are valid, out of the fuzzing.
var longNumbers = regexp.MustCompile(`[0-9]{3,}|\[.*\[.*\[`)

// checkLoaded loads the text as a file with that extension. What loads must list, and the listing must load again and
// list the same.
func checkLoaded(t *testing.T, ext, text string) {
	if longNumbers.MatchString(text) {
		return
	}
	l := &loader{graph: newGraph(), keys: &keys{}, ansible: &installed{opts: Options{NoAnsible: true}}}
	if l.content(t.Context(), "fuzz"+ext, ext, []byte(text)) != nil || l.graph.finish() != nil {
		return
	}
	inv := &Inventory{graph: l.graph, files: &varsFiles{}, keys: l.keys}
	hosts, err := inv.Select()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		_, _ = h.Connection()
	}
	if _, err := inv.Graph(groupAll); err != nil {
		t.Fatal(err)
	}
	listing := string(inv.List())
	if ambiguous(inv, listing) {
		return
	}
	again, err := Load(context.Background(), []string{stdin}, Options{Stdin: strings.NewReader(listing)})
	if err != nil {
		t.Fatalf("%v in\n%s", err, listing)
	}
	if second := string(again.List()); second != listing {
		t.Errorf("listed again:\n%s\nfirst:\n%s", second, listing)
	}
}

// ambiguous says whether the listing cannot say what the inventory says: JSON has no infinity, and a name that is both a
// host and a group, or a group called _meta, means something else in it.
func ambiguous(inv *Inventory, listing string) bool {
	shared := slices.ContainsFunc(inv.graph.hostOrder, func(h *host) bool { return inv.graph.groups[h.name] != nil })
	return shared || inv.graph.groups["_meta"] != nil || strings.Contains(listing, "__ansible") ||
		strings.Contains(listing, "Infinity") || strings.Contains(listing, "NaN")
}

func FuzzYAML(f *testing.F) {
	seedCorpus(f, func(name string) bool { return strings.HasSuffix(name, ".yml") })
	f.Fuzz(func(t *testing.T, text string) { checkLoaded(t, ".yml", text) })
}

func FuzzINI(f *testing.F) {
	seedCorpus(f, func(name string) bool { return filepath.Ext(name) == "" })
	f.Fuzz(func(t *testing.T, text string) { checkLoaded(t, ".ini", text) })
}

func FuzzJSON(f *testing.F) {
	seedCorpus(f, func(name string) bool { return strings.HasSuffix(name, ".json") })
	f.Add(`{"_meta": {"hostvars": {"a": {"x": [1, 1.5, "y", null, {"__ansible_vault": "z"}]}}}, "g": {"hosts": ["a"]}}`)
	f.Add(`{"g": ["a"], "h": {"x": 1}, "i": {"children": ["g"], "vars": {"ansible_group_priority": 3}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		checkLoaded(t, ".json", text)
		doc, err := parseJSON("fuzz", []byte(text), false)
		deviant := strings.Contains(text, "NaN") || strings.Contains(text, "Infinity") // Python's JSON, not ours
		if valid := json.Valid([]byte(text)); valid != (err == nil) && !deviant {
			t.Fatalf("valid is %v, but parseJSON says %v", valid, err)
		}
		if err != nil || !doc.isMapping() || longNumbers.MatchString(text) {
			return
		}
		_ = addListing(newGraph(), doc, nil)
	})
}

func FuzzHostList(f *testing.F) {
	f.Add("a,b:22,[::1]:2222,web[1:3],")
	f.Fuzz(func(t *testing.T, list string) {
		if g := newGraph(); !longNumbers.MatchString(list) && addHostList(g, list) == nil && g.hosts[""] != nil {
			t.Error("a host without a name")
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"all", "web:&db:!h1", "~w.*", "web[0:2]", "*[-1]", "[!a-c]*", "@x", "fe80::1", "a, b"} {
		f.Add(seed)
	}
	g := newGraph()
	lines, err := parseINI("hosts", []byte(patternInventory))
	if err != nil {
		f.Fatal(err)
	}
	if err := addINI(g, lines); err != nil {
		f.Fatal(err)
	}
	if err := g.finish(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if strings.ContainsRune(pattern, '@') {
			return // reads files
		}
		hosts, err := g.match(pattern)
		if err != nil {
			return
		}
		seen := map[*host]bool{}
		for _, h := range hosts {
			if seen[h] || g.hosts[h.name] != h {
				t.Errorf("%q selects %q twice, or it is not in the inventory", pattern, h.name)
			}
			seen[h] = true
		}
	})
}

func FuzzRanges(f *testing.F) {
	for _, seed := range []string{"web[01:10].x", "[a:f]", "a[1:9:2]b[x:z]", "[fe80::[1:3]]:22", "h:99", "a[5:1]", "[", "a]b["} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		names, port, err := expandHosts(pattern)
		if err != nil {
			return
		}
		if len(names) == 0 || len(names) > maxRange || port < 0 {
			t.Errorf("%q: %d names, port %d", pattern, len(names), port)
		}
		sorted := slices.Clone(names)
		slices.Sort(sorted)
		if len(slices.Compact(sorted)) != len(names) && strings.Count(pattern, "[") == 1 {
			t.Errorf("%q: a name comes twice", pattern)
		}
	})
}

func FuzzLiteral(f *testing.F) {
	for _, seed := range []string{"1", "-0x1F", "[1, 'a', (2,)]", "{'a': {1: None}}", `'\x41\u00e9'`, "1_0.5e-3", "b'x'", "''''''"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := values.LiteralOrText(text)
		if s, ok := v.(values.PythonBytes); ok {
			t.Errorf("%q is still bytes: %q", text, s)
		}
		_ = values.AppendJSON(nil, v, 0)
	})
}
