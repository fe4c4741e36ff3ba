package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCommandsOfFleetYAMLWorkFromAnyDirectory(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	dir := filepath.Join(t.TempDir(), "my fleet")
	for _, file := range []string{"tctl.sh", "my tools/tctl 17"} {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, command string
		want          []string
	}{
		{"a name stays one for PATH", "tctl", []string{"tctl"}},
		{"kubectl keeps the slashes of its arguments", "kubectl exec -i deploy/auth -- tctl", []string{"kubectl", "exec", "-i", "deploy/auth", "--", "tctl"}},
		{"a script beside fleet.yaml", "./tctl.sh", []string{dir + "/tctl.sh"}},
		{"one with arguments", "./tctl.sh -c ./teleport.yaml", []string{dir + "/tctl.sh", "-c", "./teleport.yaml"}},
		{"a script that is not there yet", "bin/tctl", []string{dir + "/bin/tctl"}},
		{"a path with blanks", "my tools/tctl 17", []string{dir + "/my tools/tctl 17"}},
		{"an absolute path with blanks", dir + "/my tools/tctl 17", []string{dir + "/my tools/tctl 17"}},
		{"a quoted path with blanks and an argument", `"./my tools/tctl 17" --debug`, []string{dir + "/my tools/tctl 17", "--debug"}},
		{"an absolute path", "/usr/local/bin/tctl", []string{"/usr/local/bin/tctl"}},
		{"a path below the home directory", "~/bin/tctl", []string{home + "/bin/tctl"}},
		{"a home directory elsewhere", "ssh auth ~/bin/tctl", []string{"ssh", "auth", "~/bin/tctl"}},
		{"a quoted command for another shell", `ssh auth 'sudo tctl'`, []string{"ssh", "auth", "sudo tctl"}},
		{"an escaped blank", `./my\ tools/tctl\ 17 x`, []string{dir + "/my tools/tctl 17", "x"}},
	} {
		resolved := resolveCommand(dir, tt.command)
		if got, err := CommandWords(resolved); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q became %q: %q, %v", tt.name, tt.command, resolved, got, err)
		}
		if again := resolveCommand("/elsewhere", resolved); again != resolved {
			t.Errorf("%s: resolved again, it becomes %q", tt.name, again)
		}
	}
}

func TestTctlIsRelativeToAFleetYAMLThatIsNamed(t *testing.T) {
	dir := t.TempDir()
	write := func(tctl string) string {
		file := filepath.Join(dir, "fleet.yaml")
		text := "version: v1\ncluster: {proxy_server: 'x.example.com:443', tctl: '" + tctl + "'}\nbot: {name: a, roles: [b]}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	c, err := Load(write("kubectl exec -i deploy/auth -- tctl"))
	if err != nil || c.Cluster.Tctl != "kubectl exec -i deploy/auth -- tctl" {
		t.Errorf("%q, %v", c.Cluster.Tctl, err)
	}
	t.Chdir(dir)
	write("./tctl.sh")
	if c, err = Load("fleet.yaml"); err != nil || c.Cluster.Tctl != filepath.Join(dir, "tctl.sh") {
		t.Errorf("%q, %v", c.Cluster.Tctl, err)
	}
}

func TestAQuoteThatIsNotClosedIsAnError(t *testing.T) {
	t.Parallel()
	for _, command := range []string{`ssh auth 'sudo tctl`, `"x`, `x\`} {
		if words, err := CommandWords(command); err == nil {
			t.Errorf("%s: %q", command, words)
		}
		if got := resolveCommand("/dir", command); got != command {
			t.Errorf("%s became %s", command, got)
		}
	}
}

func FuzzCommandWords(f *testing.F) {
	f.Add("kubectl exec -i deploy/auth -- tctl")
	f.Add(`"a b" 'c'\''d' e\ f`)
	f.Fuzz(func(t *testing.T, command string) {
		words, err := CommandWords(command)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = quoteWord(w)
		}
		if again, err := CommandWords(strings.Join(quoted, " ")); err != nil || !slices.Equal(again, words) {
			t.Errorf("%q became %q: %v", words, again, err)
		}
	})
}
