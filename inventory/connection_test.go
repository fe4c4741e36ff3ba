package inventory

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/inventory/values"
)

func TestConnectionReadsEveryVariableAndItsOldSpellings(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name string
		vars map[string]any
		want Connection
	}{
		{"nothing is said", nil, Connection{Host: "h"}},
		{"the names of today", map[string]any{
			"ansible_connection": "ssh", "ansible_host": "10.0.0.1", "ansible_port": 2222, "ansible_user": "u",
			"ansible_password": "p w", "ansible_ssh_private_key_file": "~/k", "ansible_ssh_common_args": "-o 'A=b c'",
			"ansible_ssh_extra_args": "-J x", "ansible_become": true, "ansible_become_method": "doas",
			"ansible_become_user": "bu", "ansible_become_password": "bp", "ansible_become_exe": "/x", "ansible_become_flags": "-n",
		}, Connection{
			Type: "ssh", Host: "10.0.0.1", Port: 2222, User: "u", Password: "p w", PrivateKeyFile: "~/k",
			SSHArgs: []string{"-o", "A=b c", "-J", "x"}, Become: &yes, BecomeMethod: "doas", BecomeUser: "bu",
			BecomePassword: "bp", BecomeExe: "/x", BecomeFlags: "-n",
		}},
		{"the old names", map[string]any{
			"ansible_ssh_host": "10.0.0.1", "ansible_ssh_port": "2222", "ansible_ssh_user": "u", "ansible_ssh_pass": "p",
			"ansible_private_key_file": "k", "ansible_sudo": "yes", "ansible_sudo_pass": "bp", "ansible_sudo_user": "bu",
		}, Connection{
			Host: "10.0.0.1", Port: 2222, User: "u", Password: "p", PrivateKeyFile: "k", Become: &yes, BecomeMethod: "sudo",
			BecomeUser: "bu", BecomePassword: "bp",
		}},
		{"both spellings: the one that Ansible's ssh plugin reads last", map[string]any{
			"ansible_host": "new", "ansible_ssh_host": "old", "ansible_become_pass": "2", "ansible_become_password": "1",
		}, Connection{Host: "old", BecomePassword: "2"}},
		{"become wins over sudo", map[string]any{"ansible_sudo": true, "ansible_become": "off"}, Connection{Host: "h", Become: &no, BecomeMethod: "sudo"}},
		{"numbers are text", map[string]any{"ansible_user": 1000, "ansible_password": 12345}, Connection{Host: "h", User: "1000", Password: "12345"}},
		{"unsafe text is literal", map[string]any{"ansible_password": values.Unsafe("{{x}}")}, Connection{Host: "h", Password: "{{x}}"}},
		{"null is nothing", map[string]any{"ansible_user": nil, "ansible_port": nil, "ansible_become": nil}, Connection{Host: "h"}},
		{"full names of plugins", map[string]any{"ansible_connection": "ansible.builtin.ssh", "ansible_become_method": "ansible.builtin.su",
			"ansible_su_pass": "x"}, Connection{Type: "ssh", Host: "h", BecomeMethod: "su", BecomePassword: "x"}},
		{"names from before collections", map[string]any{"ansible_connection": "ansible.legacy.paramiko_ssh",
			"ansible_become_method": "ansible.legacy.sudo", "ansible_sudo_flags": "-n"},
			Connection{Type: "ssh", Host: "h", BecomeMethod: "sudo", BecomeFlags: "-n"}},
		{"doas, which has moved", map[string]any{"ansible_become_method": "community.general.doas", "ansible_doas_exe": "x"},
			Connection{Host: "h", BecomeMethod: "doas", BecomeExe: "x"}},
		{"a collection's own plugin is not one of Ansible's", map[string]any{"ansible_become_method": "example.site.sudo", "ansible_sudo_exe": "x"},
			Connection{Host: "h", BecomeMethod: "example.site.sudo"}},
		{"a timeout", map[string]any{"ansible_timeout": 60}, Connection{Host: "h", Timeout: time.Minute}},
		{"a timeout of the plugin", map[string]any{"ansible_ssh_timeout": "30", "ansible_timeout": 60}, Connection{Host: "h", Timeout: 30 * time.Second}},
		{"prompts of su", map[string]any{"ansible_become_method": "su", "ansible_su_prompt_l10n": []any{"Passwort", "a.b"}},
			Connection{Host: "h", BecomeMethod: "su", BecomePrompt: `(?i)(\w+'s )?(Passwort|a\.b) ?(:|：) ?$`}},
		{"ansible_ssh_args come first", map[string]any{"ansible_ssh_extra_args": "-c", "ansible_ssh_args": "-a", "ansible_ssh_common_args": "-b"},
			Connection{Host: "h", SSHArgs: []string{"-a", "-b", "-c"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Host{Name: "h", Vars: c.vars}.Connection()
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v (%v), want %+v", got, err, c.want)
			}
		})
	}
}

func TestConnectionVariablesThatCannotBeUsedAreErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		vars   map[string]any
		want   string
		sealed bool
	}{
		{"a vault value", map[string]any{"ansible_password": values.Vault{Text: "x"}}, "ansible_password is encrypted with Ansible Vault", true},
		{"a vault value, what to do", map[string]any{"ansible_become_pass": values.Vault{Text: "x"}}, "no vault password was given", true},
		{"a Jinja expression", map[string]any{"ansible_host": "{{ ip }}"}, `ansible_host "ip" is undefined`, false},
		{"a Jinja statement", map[string]any{"ansible_user": "{% if x %}a{% endif %}"}, "ansible_user is not evaluated by fleetctl: a statement", false},
		{"Jinja in a port", map[string]any{"ansible_ssh_port": "{{ p }}"}, `ansible_ssh_port "p" is undefined`, false},
		{"Jinja in a boolean", map[string]any{"ansible_become": "{{ b }}"}, `ansible_become "b" is undefined`, false},
		{"Jinja in arguments", map[string]any{"ansible_ssh_common_args": "-J {{ b }}"}, `ansible_ssh_common_args "b" is undefined`, false},
		{"a port that is none", map[string]any{"ansible_port": 70000}, `ansible_port is "70000": a port is a number from 1 to 65535`, false},
		{"a port with letters", map[string]any{"ansible_port": "ssh"}, `ansible_port is "ssh"`, false},
		{"a user that is a boolean", map[string]any{"ansible_user": true}, "ansible_user must be a string, not a boolean", false},
		{"a host that is a list", map[string]any{"ansible_host": []any{"a"}}, "ansible_host must be a string, not a list", false},
		{"a boolean that is none", map[string]any{"ansible_become": "perhaps"}, `ansible_become is "perhaps"`, false},
		{"an open quote", map[string]any{"ansible_ssh_extra_args": "-o 'x"}, "ansible_ssh_extra_args cannot be split", false},
		{"another connection", map[string]any{"ansible_connection": "local"}, `ansible_connection is "local": fleetctl reaches hosts over SSH alone`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Host{Name: "h", Vars: c.vars}.Connection()
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, values.ErrSealed) != c.sealed {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
		})
	}
}

func TestAnEncryptedValueIsNotWrittenAsYAML(t *testing.T) {
	if out, err := yaml.Marshal(map[string]any{"a": []any{values.Vault{Text: "x"}}}); !errors.Is(err, values.ErrSealed) {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestAnEncryptedVarsFileIsTheErrorOfItsHostsAlone(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "hosts"), "[web]\na ansible_user=u\n[db]\nb\nc\n", 0o644)
	writeFile(t, filepath.Join(dir, "group_vars/web/vault.yml"), "$ANSIBLE_VAULT;1.1;AES256\n66\n", 0o644)
	writeFile(t, filepath.Join(dir, "host_vars/b"), "$ANSIBLE_VAULT;1.1;AES256\n66\n", 0o644)
	inv, err := Load(context.Background(), []string{file}, Options{PlaybookDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := inv.Warnings(); len(got) != 2 || !strings.Contains(got[0], "vault.yml: skipped: the file is encrypted") {
		t.Errorf("warnings: %q", got)
	}
	hosts, err := inv.Select()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		_, err := h.Connection()
		if wantErr := h.Name != "c"; errors.Is(err, values.ErrSealed) != wantErr {
			t.Errorf("%s: got %v", h.Name, err)
		}
		if h.Name == "b" && !strings.Contains(err.Error(), "host_vars/b is encrypted with Ansible Vault") {
			t.Errorf("got %v", err)
		}
	}
}

// What the error for an encrypted file tells the user to do must work.
func TestThePipedListingOfAnsibleInventoryHasEncryptedFilesInClear(t *testing.T) {
	startAnsible(t) // skips
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "hosts"), "[web]\na\n", 0o644)
	password := writeFile(t, filepath.Join(dir, "password"), "secret\n", 0o600)
	vars := writeFile(t, filepath.Join(dir, "group_vars/web.yml"), "ansible_user: hidden\n", 0o644)
	run := func(name string, args ...string) []byte {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "LC_ALL=C.UTF-8")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return out
	}
	run("ansible-vault", "encrypt", "--vault-password-file", password, vars)
	listing := run("ansible-inventory", "-i", "hosts", "--list", "--vault-password-file", password)
	inv, err := Load(context.Background(), []string{stdin}, Options{Stdin: strings.NewReader(string(listing)), PlaybookDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("web")
	if err != nil || len(hosts) != 1 {
		t.Fatalf("%v, %v", hosts, err)
	}
	if conn, err := hosts[0].Connection(); err != nil || conn.User != "hidden" {
		t.Errorf("got %+v, %v", conn, err)
	}
}
