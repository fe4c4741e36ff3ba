package inventory

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/inventory/ansiblecfg"
)

// settingNames are all settings that Ansible 2.14 knows without collections.
var settingNames = []string{
	ansiblecfg.Inventory, ansiblecfg.RemoteUser, ansiblecfg.RemotePort, ansiblecfg.PrivateKeyFile, ansiblecfg.HostKeyChecking,
	ansiblecfg.Timeout, ansiblecfg.Forks, ansiblecfg.AskPass, ansiblecfg.PasswordFile, ansiblecfg.VaultPasswordFile,
	ansiblecfg.VaultIdentityList, ansiblecfg.VaultIdentity, ansiblecfg.VaultIDMatch, ansiblecfg.AskVaultPass, ansiblecfg.Become,
	ansiblecfg.BecomeMethod, ansiblecfg.BecomeUser, ansiblecfg.BecomeAskPass, ansiblecfg.BecomePasswordFile, ansiblecfg.SSHArgs,
	ansiblecfg.SSHCommonArgs, ansiblecfg.SSHExtraArgs, ansiblecfg.IgnoredExtensions, ansiblecfg.IgnoredPatterns,
	ansiblecfg.BecomeExe("sudo"), ansiblecfg.BecomeFlags("sudo"), ansiblecfg.BecomeExe("su"), ansiblecfg.BecomeFlags("su"),
}

// configCases are an ansible.cfg each, or several files (with lines "== NAME"), and an environment.
var configCases = []struct {
	name, files string
	env         map[string]string
}{
	{"nothing", "", nil},
	{"the usual", "[defaults]\ninventory = hosts\nremote_user = deploy\nprivate_key_file=~/.ssh/id\nhost_key_checking = False\nforks=50\ntimeout: 30\n" +
		"[privilege_escalation]\nbecome = yes\nbecome_method=su\nbecome_user=toor\nbecome_ask_pass=True\n" +
		"[ssh_connection]\nssh_args = -o ControlMaster=auto -J jump\nssh_common_args=-4\nssh_extra_args = -v\n", nil},
	{"comments", "# a\n; b\n[defaults] # c\nremote_user = a#b ; c\ntimeout = 20 # no comment\n", nil},
	{"comments behind", "[defaults] ; c\nremote_user = a;b ;c ; d\n;remote_port=1\n  # indented\n", nil},
	{"no value", "[defaults]\nremote_user =\nprivate_key_file=\n", nil},
	{"quotes", "[defaults]\nremote_user = 'de ploy'\nvault_identity=\"x\"\n[ssh_connection]\nssh_args = '-o x=y'\nssh_common_args=\"-o 'a b'\"\n", nil},
	{"continued", "[defaults]\ninventory = a,\n  b,\n  # no\n\n  c\nremote_user = u\n", nil},
	{"continued with a section", "[defaults]\nremote_user = a\n  [ssh_connection]\n  ssh_args = b\n", nil},
	{"indented from the start", "  [defaults]\n  remote_user = a\n  forks = 7\n", nil},
	{"upper case", "[defaults]\nREMOTE_USER = a\nForks = 7\n[Defaults]\nremote_port = 3\n", nil},
	{"defaults of the parser", "[DEFAULT]\nremote_user = a\nforks = 9\n[defaults]\nforks = 7\n", nil},
	{"defaults of the parser without a section", "[DEFAULT]\nremote_user = a\n", nil},
	{"percent signs", "[ssh_connection]\nssh_args = -o ControlPath=%%h-%r\n", nil},
	{"colons and equal signs", "[defaults]\nremote_user: a=b\nvault_identity=c:d\n", nil},
	{"a list of inventories", "[defaults]\ninventory = hosts, /etc/other ,../up,~/home,$CASE_VAR/x,${CASE_VAR}/y,$CASE_NONE/z,{{CWD}}/w\n", map[string]string{"CASE_VAR": "/var"}},
	{"inventories as host lists", "[defaults]\ninventory = localhost,\n", nil},
	{"vault", "[defaults]\nvault_password_file = pw\nvault_identity_list = a@b , 'c@d',~/e\nvault_id_match = true\nask_vault_pass=1\n", nil},
	{"host keys elsewhere", "[defaults]\nhost_key_checking = True\ntimeout=1\n[ssh_connection]\nhost_key_checking = no\ntimeout=2\n", nil},
	{"odd booleans", "[defaults]\nhost_key_checking = maybe\nask_pass = On\nask_vault_pass = t\n[privilege_escalation]\nbecome = 2\nbecome_ask_pass = Y\n", nil},
	{"a number that is none", "[defaults]\nforks = many\n", nil},
	{"a number with blanks", "[defaults]\nforks =   1_0  \n", nil},
	{"flags of methods", "[privilege_escalation]\nbecome_flags = -x\nbecome_exe = /x\n[sudo_become_plugin]\nflags = -H -S\nuser = z\n[su_become_plugin]\nexecutable = /bin/su\n", nil},
	{"ignored extensions", "[defaults]\ninventory_ignore_extensions = ~, .orig,.bak\ninventory_ignore_patterns=^x\n", nil},
	{"ignored extensions elsewhere", "[inventory]\nignore_extensions = .a\nignore_patterns = b\n", nil},
	{"carriage returns and a mark", "[defaults]\r\nremote_user = a\r\nforks = 7\r\n", nil},
	{"twice", "[defaults]\nforks = 7\nForks = 8\n", nil},
	{"a section twice", "[defaults]\nforks = 7\n[defaults]\nremote_user = a\n", nil},
	{"no section", "forks = 7\n", nil},
	{"no assignment", "[defaults]\nforks\n", nil},
	{"unicode", "[defaults]\nremote_user = bücher\n", nil},
	{"the environment wins", "[defaults]\nremote_user = a\nforks=7\ninventory=x\n", map[string]string{
		"ANSIBLE_REMOTE_USER": "b", "ANSIBLE_FORKS": "8", "ANSIBLE_INVENTORY": "y,z", "ANSIBLE_HOST_KEY_CHECKING": "0"}},
	{"an empty variable counts", "[defaults]\nremote_user = a\n", map[string]string{"ANSIBLE_REMOTE_USER": "", "ANSIBLE_VAULT_PASSWORD_FILE": ""}},
	{"paths of the environment", "", map[string]string{"ANSIBLE_PRIVATE_KEY_FILE": "k", "ANSIBLE_INVENTORY": "~/h", "ANSIBLE_VAULT_PASSWORD_FILE": "../pw"}},
	{"two variables", "", map[string]string{"ANSIBLE_TIMEOUT": "5", "ANSIBLE_SSH_TIMEOUT": "6", "ANSIBLE_BECOME_FLAGS": "-a", "ANSIBLE_SUDO_FLAGS": "-b"}},
	{"a variable over a method's section", "[sudo_become_plugin]\nflags=-c\n", map[string]string{"ANSIBLE_BECOME_FLAGS": "-a"}},
	{"quotes in the environment", "", map[string]string{"ANSIBLE_REMOTE_USER": "'a'", "ANSIBLE_VAULT_IDENTITY_LIST": "'a@b',\"c\""}},
	{"another file", "== other.cfg\n[defaults]\nforks=3\ninventory=h\n== ansible.cfg\n[defaults]\nforks=4\n", map[string]string{"ANSIBLE_CONFIG": "other.cfg"}},
	{"another directory", "== d/ansible.cfg\n[defaults]\nforks=3\ninventory=h\nprivate_key_file=../k\n== ansible.cfg\n[defaults]\nforks=4\n", map[string]string{"ANSIBLE_CONFIG": "d"}},
	{"a file that isn't there", "[defaults]\nforks=4\n", map[string]string{"ANSIBLE_CONFIG": "nowhere.cfg"}},
	{"a directory without one", "== d/x\n\n== ansible.cfg\n[defaults]\nforks=4\n", map[string]string{"ANSIBLE_CONFIG": "d"}},
	{"an empty ANSIBLE_CONFIG", "[defaults]\nforks=4\n", map[string]string{"ANSIBLE_CONFIG": ""}},
	{"another extension", "== x.conf\n[defaults]\nforks=3\n", map[string]string{"ANSIBLE_CONFIG": "x.conf"}},
	{"the home", "== home/.ansible.cfg\n[defaults]\nforks=3\ninventory=h\n", nil},
	{"the directory before the home", "== home/.ansible.cfg\n[defaults]\nforks=3\n== ansible.cfg\n[defaults]\nforks=4\n", nil},
	{"a public directory", "== public\n\n== home/.ansible.cfg\n[defaults]\nforks=3\n== ansible.cfg\n[defaults]\nforks=4\n", nil},
	{"a public directory, named", "== public\n\n== ansible.cfg\n[defaults]\nforks=4\n", map[string]string{"ANSIBLE_CONFIG": "ansible.cfg"}},
}

// TestSettingsAreWhatAnsibleFinds compares every setting of every case with Ansible's: value, and where it comes from.
func TestSettingsAreWhatAnsibleFinds(t *testing.T) {
	t.Parallel()
	peer := startAnsible(t)
	for _, c := range configCases {
		dir := t.TempDir()
		files := c.files
		if !strings.HasPrefix(files, "==") {
			files = "== ansible.cfg\n" + files
		}
		for _, f := range strings.Split(files, "== ")[1:] {
			name, content, _ := strings.Cut(f, "\n")
			if content != "" {
				writeFile(t, filepath.Join(dir, name), content, 0o600)
			}
		}
		if strings.Contains(files, "== public") {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		env := map[string]string{"HOME": filepath.Join(dir, "home"), "CASE_VAR": ""}
		for name, value := range c.env {
			env[name] = value
		}
		compareSettings(t, peer, c.name, dir, env)
	}
}

func compareSettings(t *testing.T, peer *ansible, name, dir string, env map[string]string) {
	t.Helper()
	environment, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	answer := peer.run(t, "config", dir, append([]string{string(environment)}, settingNames...)...)
	theirs := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(answer.Stdout), &theirs); err != nil {
		t.Fatalf("%s: %v: %s%s", name, err, answer.Stdout, answer.Stderr)
	}
	ours, err := ansiblecfg.Read(dir, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil || theirs["error"] != nil {
		if err == nil || theirs["error"] == nil {
			t.Errorf("%s: got %v, Ansible: %s", name, err, theirs["error"])
		}
		return
	}
	if file := string(theirs["file"]); file != fmt.Sprintf("%q", ours.File) && (file != "null" || ours.File != "") {
		t.Errorf("%s: got file %q, Ansible's is %s", name, ours.File, file)
	}
	if warned := string(theirs["warnings"]) != "[]"; warned != (len(ours.Warnings) > 0) {
		t.Errorf("%s: got warnings %q, Ansible's are %s", name, ours.Warnings, theirs["warnings"])
	}
	for _, setting := range settingNames {
		var want struct {
			Value  any
			Origin string
		}
		if err := json.Unmarshal(theirs[setting], &want); err != nil {
			t.Fatal(err)
		}
		got, made := ours.Get(setting)
		if made == (want.Origin == "default") {
			t.Errorf("%s: %s: got %+v, Ansible has %v of %s", name, setting, got, want.Value, want.Origin)
			continue
		}
		if !made {
			continue
		}
		value, _ := json.Marshal(got.Value)
		if !sameJSON(string(value), mustMarshal(t, want.Value)) {
			t.Errorf("%s: %s: got %s, Ansible has %v", name, setting, value, want.Value)
		}
		if from := strings.TrimPrefix(want.Origin, "env: "); got.Source != from && !strings.HasPrefix(got.Source, from+":") {
			t.Errorf("%s: %s: got it from %s, Ansible from %s", name, setting, got.Source, want.Origin)
		}
	}
}

func mustMarshal(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
