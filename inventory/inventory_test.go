package inventory

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeFile writes a file below the directory, which it makes.
func writeFile(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// loadText loads an inventory from a file of that name with that text, in a directory of its own.
func loadText(t *testing.T, name, text string) (*Inventory, error) {
	t.Helper()
	dir := t.TempDir()
	return Load(context.Background(), []string{writeFile(t, filepath.Join(dir, name), text, 0o644)}, Options{NoAnsible: true, PlaybookDir: dir})
}

func TestAYAMLInventoryGivesHostsWithMergedVariables(t *testing.T) {
	inv, err := loadText(t, "inventory.yaml", `
all:
  vars: {ansible_user: root, site: a}
  children:
    web:
      vars: {site: b}
      hosts:
        web[01:02].example.com: {ansible_port: 2222}
`)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("web", "web02*")
	if err != nil || len(hosts) != 1 {
		t.Fatalf("got %v, %v", hosts, err)
	}
	conn, err := hosts[0].Connection()
	if err != nil || conn.Host != "web02.example.com" || conn.Port != 2222 || conn.User != "root" {
		t.Errorf("got %+v, %v", conn, err)
	}
	if hosts[0].Vars["site"] != "b" || hosts[0].Pos.Line != 8 {
		t.Errorf("got %+v", hosts[0])
	}
}

func TestStandardInputTakesEveryFormat(t *testing.T) {
	for name, text := range map[string]string{
		"YAML":                "web:\n  hosts:\n    a: {x: 1}\n    b:\n",
		"YAML with a marker":  "---\nweb: {hosts: {a: {x: 1}, b: }}\n",
		"INI":                 "[web]\na x=1\nb\n",
		"a YAML file as JSON": `{"web": {"hosts": {"a": {"x": 1}, "b": null}}}`,
		"a listing":           `{"_meta": {"hostvars": {"a": {"x": 1}}}, "web": {"hosts": ["a", "b"]}}`,
		"a short listing":     `{"web": ["a", "b"], "_meta": {"hostvars": {"a": {"x": 1}}}}`,
		"a byte order mark":   "\ufeff[web]\na x=1\nb\n",
		"Windows line ends":   "[web]\r\na x=1\r\nb\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inv, err := Load(context.Background(), []string{stdin}, Options{Stdin: strings.NewReader(text)})
			if err != nil {
				t.Fatal(err)
			}
			hosts, err := inv.Select("web")
			if err != nil || len(hosts) != 2 || hosts[0].Vars["x"] != 1 || hosts[1].Name != "b" || hosts[0].Pos.File != "<stdin>" {
				t.Errorf("got %+v, %v", hosts, err)
			}
		})
	}
	inv, err := Load(context.Background(), []string{stdin}, Options{Stdin: strings.NewReader("a\nb # c\n\nweb[01:02]\n")})
	if err != nil {
		t.Fatal(err)
	}
	if hosts, err := inv.Select(); err != nil || !slices.Equal(names(hosts), []string{"a", "b", "web01", "web02"}) {
		t.Errorf("a plain list: got %v, %v", names(hosts), err)
	}
}

func TestVariablesBesideStandardInputDoNotCount(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "host_vars/a.yml"), "x: 1\n", 0o644)
	inv, err := Load(context.Background(), []string{stdin}, Options{Stdin: strings.NewReader("a"), PlaybookDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if hosts, err := inv.Select("a"); err != nil || len(hosts[0].Vars) != 0 {
		t.Errorf("got %v, %v", hosts, err)
	}
}

func TestAHostIsAValue(t *testing.T) {
	inv, err := loadText(t, "hosts", "[web]\na\nb\n[web:vars]\nx=1\n")
	if err != nil {
		t.Fatal(err)
	}
	first, err := inv.Select("a")
	if err != nil {
		t.Fatal(err)
	}
	first[0].Vars["x"], first[0].Groups[0] = "changed", "changed"
	again, err := inv.Select("a", "b:a")
	if err != nil || again[0].Vars["x"] != 1 || again[0].Groups[0] != "web" {
		t.Errorf("got %+v, %v", again, err)
	}
}

func TestWhatIsSkippedIsAWarning(t *testing.T) {
	inv, err := loadText(t, "i.yml", "version: 1\nweb:\n  hosts: {web: }\n  comment: x\n")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(inv.Warnings(), "\n")
	for _, want := range []string{`i.yml:1:1: "version" is skipped`, `i.yml:4:3: key "comment" of group "web"`, `i.yml:3:11: "web" names both`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestSelectSaysWhatItCannotDo(t *testing.T) {
	inv, err := loadText(t, "hosts", "[web]\na\nb\n")
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]string{
		"wbe":           `no host or group of the inventory matches "wbe"`,
		"web:&nothing":  `matches "nothing"`,
		"~(":            "missing closing",
		"~a(?!b)":       "invalid or unsupported Perl syntax",
		"web[7]":        `pattern "web[7]": there are only 2 hosts`,
		"@/nonexistent": "limit file /nonexistent: no such file",
		"web,!":         "a part of the pattern is empty",
	} {
		if hosts, err := inv.Select(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want …%s…", pattern, names(hosts), err, want)
		}
	}
}
