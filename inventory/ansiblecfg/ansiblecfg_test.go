package ansiblecfg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The values are compared with Ansible's in the tests of inventory.
func TestMistakesAreNamedWithFileAndLine(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no section":      {"\nforks = 7\n", "ansible.cfg:2: there is no [section]"},
		"no assignment":   {"[defaults]\n\nforks\n", "ansible.cfg:3: this is no name = value"},
		"twice":           {"[defaults]\nforks=1\nFORKS=2\n", "ansible.cfg:3: forks stands twice"},
		"a section twice": {"[a]\n[b]\n[a]\n", "ansible.cfg:3: the section [a] stands twice"},
		"no number":       {"[defaults]\nforks=many\n", `ansible.cfg:2: DEFAULT_FORKS: "many" is no whole number`},
		"no text":         {"[defaults]\nremote_user=\xff\n", "is not UTF-8"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "ansible.cfg"), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(dir, func(string) (string, bool) { return "", false })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestNothingWasReadWithoutAConfig(t *testing.T) {
	var c *Config
	if _, ok := c.Get(Forks); ok || c.Text(RemoteUser) != "" || c.Int(Forks) != 0 || c.Bool(Become) || c.List(Inventory) != nil {
		t.Error("a Config that is nil says something")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[defaults]\ninventory = a,\n  b\n; c\n[x] # y\nk: v ; c\n")
	f.Fuzz(func(t *testing.T, text string) {
		sections, err := parse("f", []byte(text))
		if err != nil && sections != nil {
			t.Error("sections beside an error")
		}
		for _, s := range sections {
			for name, o := range s {
				if name != strings.ToLower(name) || o.line < 1 || strings.TrimRight(o.value, " \n") != o.value {
					t.Errorf("%q: %+v", name, o)
				}
			}
		}
	})
}
