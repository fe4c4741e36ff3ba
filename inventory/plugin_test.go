package inventory

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pluginFiles are sources that only Ansible can read, and an inventory for them to work on.
var pluginFiles = map[string]string{
	"a-hosts.yml": "web:\n  hosts:\n    web-01: {os: debian, ansible_host: 10.0.0.1}\n    web-02: {os: fedora}\n  vars: {tier: front}\n",
	"constructed.yml": "plugin: ansible.builtin.constructed\nstrict: true\ngroups:\n  debians: os | default('') == 'debian'\n" +
		"compose:\n  ansible_user: os | default('any') ~ '-user'\nkeyed_groups:\n  - {key: os | default('none'), prefix: os}\n",
	"of.config":     "plugin: x\n",
	"generator.yml": "plugin: ansible.builtin.generator\nhosts:\n  name: \"{{ kind }}-{{ number }}\"\nlayers:\n  kind: [db, cache]\n  number: [1, 2]\n",
	"t.toml":        "[web.hosts]\nt1 = {}\n",
	"broken.yml":    "plugin: no.such.plugin\n",
}

func writePluginFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range pluginFiles {
		writeFile(t, filepath.Join(dir, name), content, 0o600)
	}
	return dir
}

func TestPluginsAreRunByAnsible(t *testing.T) {
	t.Parallel()
	peer := startAnsible(t)
	dir := writePluginFiles(t)
	for _, sources := range [][]string{{"generator.yml", "a-hosts.yml", "constructed.yml"}} {
		var said, flags []string
		opts := Options{PlaybookDir: dir, Logf: func(format string, _ ...any) { said = append(said, format) }}
		var paths []string
		for _, s := range sources {
			paths, flags = append(paths, filepath.Join(dir, s)), append(flags, "-i", s)
		}
		inv, err := Load(t.Context(), paths, opts)
		if err != nil {
			t.Errorf("%v: %v", sources, err)
			continue
		}
		theirs := peer.run(t, "inventory", dir, append(flags, "--list")...)
		if got := string(inv.List()); !sameHosts(t, got, theirs.Stdout) {
			t.Errorf("%v: got\n%s\nAnsible has\n%s", sources, got, theirs.Stdout)
		}
		if len(said) == 0 {
			t.Errorf("%v: nothing was said of running a program", sources)
		}
	}
}

// sameHosts compares listings by the variables of hosts: Ansible alone knows in which order a plugin made groups.
func sameHosts(t *testing.T, ours, theirs string) bool {
	t.Helper()
	cut := func(s string) string {
		_, s, _ = strings.Cut(s, `"hostvars": `)
		vars, _, _ := strings.Cut(s, "\n    },")
		return strings.TrimSuffix(vars, "}")
	}
	return cut(ours) == cut(theirs) && cut(ours) != ""
}

func TestWhatOnlyAnsibleReadsIsAMistakeWithoutIt(t *testing.T) {
	t.Parallel()
	startAnsible(t) // skips
	dir := writePluginFiles(t)
	for name, want := range map[string]string{
		"constructed.yml": "constructed.yml:1:1: this configures an inventory plugin of Ansible",
		"of.config":       "of.config:1:1: this configures an inventory plugin of Ansible",
		"t.toml":          "t.toml: TOML inventories are read by Ansible alone",
	} {
		_, err := Load(t.Context(), []string{filepath.Join(dir, name)}, Options{PlaybookDir: dir, NoAnsible: true})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "`ansible-inventory -i") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := Load(t.Context(), []string{filepath.Join(dir, "broken.yml")}, Options{PlaybookDir: dir})
	if err == nil || !strings.Contains(err.Error(), "broken.yml:1:1") || !strings.Contains(err.Error(), "no.such.plugin") {
		t.Errorf("a plugin that isn't there: %v", err)
	}
}

func TestIniFilesOfADirectory(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(dir, "a.ini"), "[ini]\nof-ini\n", 0o600)
	writeFile(t, filepath.Join(dir, "b.yml"), "yml: {hosts: {of-yml: }}\n", 0o600)
	writeFile(t, filepath.Join(dir, "c.cfg"), "[cfg]\nof-cfg\n", 0o600)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	says := func(version string) {
		writeFile(t, filepath.Join(bin, "ansible-inventory"), "#!/bin/sh\necho 'ansible-inventory [core "+version+"]'\n", 0o700)
	}
	for _, c := range []struct {
		name, version string
		opts          Options
		want, said    string
	}{
		{"2.14", "2.14.18", Options{}, "of-yml", "a.ini: skipped: the installed ansible-core 2.14.18 skips *.ini"},
		{"2.18", "2.18.0rc1", Options{}, "of-yml", "2.18.0rc1 skips *.ini"},
		{"2.19", "2.19.0b1", Options{}, "of-ini of-yml", "read, as the installed ansible-core 2.19.0b1 does"},
		{"3.0", "3.0.1", Options{}, "of-ini of-yml", "read, as the installed ansible-core 3.0.1"},
		{"no Ansible", "2.14.18", Options{NoAnsible: true}, "of-ini of-yml", "read, as ansible-core 2.19 does"},
		{"one that says nothing", "", Options{}, "of-ini of-yml", "read, as ansible-core 2.19 does"},
		{"a setting", "2.14.18", Options{IgnoredExtensions: []string{".yml"}}, "of-cfg of-ini", ""},
		{"a setting that ignores it", "2.19.0", Options{IgnoredExtensions: []string{".cfg", ".ini"}}, "of-yml", "the settings of Ansible skip *.ini"},
		{"patterns", "2.19.0", Options{IgnoredPatterns: []string{"^a", `b\.y`}}, "", "read, as"},
	} {
		says(c.version)
		c.opts.PlaybookDir = t.TempDir()
		inv, err := Load(t.Context(), []string{dir}, c.opts)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		hosts, err := inv.Select("all")
		if got := strings.Join(names(hosts), " "); sorted(got) != c.want || err != nil {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
		if said := strings.Join(inv.Warnings(), "\n"); !strings.Contains(said, c.said) {
			t.Errorf("%s: said %q, want %q", c.name, said, c.said)
		}
	}
}

func sorted(words string) string {
	return strings.Join(slices.Sorted(strings.FieldsSeq(words)), " ")
}
