package main

import (
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/config"
)

// TestInitWritesEveryKey: those that are commented out, too, and with a comment above each.
func TestInitWritesEveryKey(t *testing.T) {
	t.Parallel()
	content, err := draft{
		Fleet: field{Text: "a"}, Proxy: field{Text: "x:443"}, Bot: field{Text: "b"}, Roles: field{Text: "[c]"}, Token: field{Text: "d"},
	}.render()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Parse("fleet.yaml", content); err != nil {
		t.Error(err)
	}
	all := uncommented(string(content))
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(all), &doc); err != nil {
		t.Fatalf("%v\n%s", err, all)
	}
	if _, err := config.Parse("fleet.yaml", []byte(strings.Replace(all, "  auth_server", "  # auth_server", 1))); err != nil {
		t.Errorf("what is commented out does not load: %v\n%s", err, all)
	}
	wantKeys(t, doc.Content[0], reflect.TypeFor[config.Config](), "")
}

// uncommented is the file without comments that are prose: a key has no blank before its colon.
func uncommented(content string) string {
	var b strings.Builder
	for line := range strings.Lines(content) {
		if code, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "# "); ok {
			key, _, isKey := strings.Cut(strings.TrimSpace(code), ":")
			if !isKey || strings.ContainsAny(key, " ,") || strings.HasPrefix(code, "none:") {
				continue
			}
			line = strings.Replace(line, "# ", "", 1)
		}
		b.WriteString(line)
	}
	return b.String()
}

// wantKeys wants every key of a type in a mapping.
func wantKeys(t *testing.T, n *yaml.Node, typ reflect.Type, at string) {
	t.Helper()
	has := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		has[n.Content[i].Value] = n.Content[i+1]
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch value := has[key]; {
		case key == "":
		case value == nil:
			t.Errorf("init writes no %s%s", at, key)
		case f.Type.Kind() == reflect.Struct:
			wantKeys(t, value, f.Type, at+key+".")
		}
	}
}
