// Package ansiblecfg finds the settings of Ansible that matter to fleetctl where Ansible finds them: in ansible.cfg and
// in ANSIBLE_* of the environment. What is done with them is its callers' business.
package ansiblecfg

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The settings, by the names that ansible-config and ansible-doc have for them.
const (
	Inventory          = "DEFAULT_HOST_LIST"
	RemoteUser         = "DEFAULT_REMOTE_USER"
	RemotePort         = "DEFAULT_REMOTE_PORT"
	PrivateKeyFile     = "DEFAULT_PRIVATE_KEY_FILE"
	HostKeyChecking    = "HOST_KEY_CHECKING"
	Timeout            = "DEFAULT_TIMEOUT"
	Forks              = "DEFAULT_FORKS"
	AskPass            = "DEFAULT_ASK_PASS"
	PasswordFile       = "CONNECTION_PASSWORD_FILE"
	VaultPasswordFile  = "DEFAULT_VAULT_PASSWORD_FILE"
	VaultIdentityList  = "DEFAULT_VAULT_IDENTITY_LIST"
	VaultIdentity      = "DEFAULT_VAULT_IDENTITY"
	VaultIDMatch       = "DEFAULT_VAULT_ID_MATCH"
	AskVaultPass       = "DEFAULT_ASK_VAULT_PASS"
	Become             = "DEFAULT_BECOME"
	BecomeMethod       = "DEFAULT_BECOME_METHOD"
	BecomeUser         = "DEFAULT_BECOME_USER"
	BecomeAskPass      = "DEFAULT_BECOME_ASK_PASS"
	BecomePasswordFile = "BECOME_PASSWORD_FILE"
	SSHArgs            = "ssh_args"
	SSHCommonArgs      = "ssh_common_args"
	SSHExtraArgs       = "ssh_extra_args"
	IgnoredExtensions  = "INVENTORY_IGNORE_EXTS"
	IgnoredPatterns    = "INVENTORY_IGNORE_PATTERNS"
)

// Methods are the become methods that have settings of their own.
var Methods = []string{"sudo", "su", "doas"}

// BecomeExe is the setting with a method's program, and BecomeFlags the one with its flags.
func BecomeExe(method string) string { return method + " become_exe" }

// BecomeFlags is the setting with a method's flags.
func BecomeFlags(method string) string { return method + " become_flags" }

// Sections of ansible.cfg.
const (
	defaults   = "defaults"
	escalation = "privilege_escalation"
	connection = "ssh_connection"
)

// kind is how the text of a setting is read.
type kind int

const (
	text kind = iota
	boolean
	integer
	path
	pathList
	list
)

// place is where a setting stands in ansible.cfg.
type place struct{ section, key string }

// definition is a setting: where it may stand. Of several places of one kind that say something, the last one counts.
type definition struct {
	name   string
	kind   kind
	env    []string
	places []place
}

var definitions = append([]definition{
	{Inventory, pathList, []string{"ANSIBLE_INVENTORY"}, []place{{defaults, "inventory"}}},
	{RemoteUser, text, []string{"ANSIBLE_REMOTE_USER"}, []place{{defaults, "remote_user"}}},
	{RemotePort, integer, []string{"ANSIBLE_REMOTE_PORT"}, []place{{defaults, "remote_port"}}},
	{PrivateKeyFile, path, []string{"ANSIBLE_PRIVATE_KEY_FILE"}, []place{{defaults, "private_key_file"}}},
	{HostKeyChecking, boolean, []string{"ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_SSH_HOST_KEY_CHECKING"},
		[]place{{defaults, "host_key_checking"}, {connection, "host_key_checking"}}},
	{Timeout, integer, []string{"ANSIBLE_TIMEOUT", "ANSIBLE_SSH_TIMEOUT"}, []place{{defaults, "timeout"}, {connection, "timeout"}}},
	{Forks, integer, []string{"ANSIBLE_FORKS"}, []place{{defaults, "forks"}}},
	{AskPass, boolean, []string{"ANSIBLE_ASK_PASS"}, []place{{defaults, "ask_pass"}}},
	{PasswordFile, path, []string{"ANSIBLE_CONNECTION_PASSWORD_FILE"}, []place{{defaults, "connection_password_file"}}},
	{VaultPasswordFile, path, []string{"ANSIBLE_VAULT_PASSWORD_FILE"}, []place{{defaults, "vault_password_file"}}},
	{VaultIdentityList, list, []string{"ANSIBLE_VAULT_IDENTITY_LIST"}, []place{{defaults, "vault_identity_list"}}},
	{VaultIdentity, text, []string{"ANSIBLE_VAULT_IDENTITY"}, []place{{defaults, "vault_identity"}}},
	{VaultIDMatch, text, []string{"ANSIBLE_VAULT_ID_MATCH"}, []place{{defaults, "vault_id_match"}}},
	{AskVaultPass, boolean, []string{"ANSIBLE_ASK_VAULT_PASS"}, []place{{defaults, "ask_vault_pass"}}},
	{Become, boolean, []string{"ANSIBLE_BECOME"}, []place{{escalation, "become"}}},
	{BecomeMethod, text, []string{"ANSIBLE_BECOME_METHOD"}, []place{{escalation, "become_method"}}},
	{BecomeUser, text, []string{"ANSIBLE_BECOME_USER"}, []place{{escalation, "become_user"}}},
	{BecomeAskPass, boolean, []string{"ANSIBLE_BECOME_ASK_PASS"}, []place{{escalation, "become_ask_pass"}}},
	{BecomePasswordFile, path, []string{"ANSIBLE_BECOME_PASSWORD_FILE"}, []place{{defaults, "become_password_file"}}},
	{SSHArgs, text, []string{"ANSIBLE_SSH_ARGS"}, []place{{connection, "ssh_args"}}},
	{SSHCommonArgs, text, []string{"ANSIBLE_SSH_COMMON_ARGS"}, []place{{connection, "ssh_common_args"}}},
	{SSHExtraArgs, text, []string{"ANSIBLE_SSH_EXTRA_ARGS"}, []place{{connection, "ssh_extra_args"}}},
	{IgnoredExtensions, list, []string{"ANSIBLE_INVENTORY_IGNORE"},
		[]place{{defaults, "inventory_ignore_extensions"}, {"inventory", "ignore_extensions"}}},
	{IgnoredPatterns, list, []string{"ANSIBLE_INVENTORY_IGNORE_REGEX"},
		[]place{{defaults, "inventory_ignore_patterns"}, {"inventory", "ignore_patterns"}}},
}, becomeDefinitions()...)

// becomeDefinitions are the settings of become methods: what holds for all of them, and then their own.
func becomeDefinitions() (all []definition) {
	for _, method := range Methods {
		env, own := "ANSIBLE_"+strings.ToUpper(method), method+"_become_plugin"
		all = append(all,
			definition{BecomeExe(method), text, []string{"ANSIBLE_BECOME_EXE", env + "_EXE"},
				[]place{{escalation, "become_exe"}, {own, "executable"}}},
			definition{BecomeFlags(method), text, []string{"ANSIBLE_BECOME_FLAGS", env + "_FLAGS"},
				[]place{{escalation, "become_flags"}, {own, "flags"}}})
	}
	return all
}

// Setting is a setting that somebody made.
type Setting struct {
	Name   string
	Value  any    // string, bool, int or []string; paths are absolute
	Source string // the variable of the environment, or file:line
}

// Text is the value for people.
func (s Setting) Text() string {
	switch v := s.Value.(type) {
	case []string:
		return strings.Join(v, ", ")
	case string:
		return v
	}
	return fmt.Sprint(s.Value)
}

// Config has the settings that were made. Nil has none.
type Config struct {
	File     string    // the ansible.cfg that counts, "" for none
	Settings []Setting // in the order of the list above
	Warnings []string
}

// Read reads the settings, as a program that is started in the directory would find them. lookup is os.LookupEnv.
func Read(dir string, lookup func(string) (string, bool)) (*Config, error) {
	r := &reader{dir: dir, lookup: lookup, config: &Config{}}
	sections, err := r.file()
	if err != nil {
		return nil, err
	}
	for _, d := range definitions {
		raw, source, base := r.raw(d, sections)
		if source == "" {
			continue
		}
		value, err := r.value(d.kind, raw, base)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", source, d.name, err)
		}
		r.config.Settings = append(r.config.Settings, Setting{d.name, value, source})
	}
	return r.config, nil
}

// Get is a setting; ok is false where nobody made it.
func (c *Config) Get(name string) (s Setting, ok bool) {
	if c == nil {
		return s, false
	}
	for _, s := range c.Settings {
		if s.Name == name {
			return s, true
		}
	}
	return s, false
}

// Text is a setting that is a text or a path; "" where nobody made it.
func (c *Config) Text(name string) string {
	s, _ := c.Get(name)
	v, _ := s.Value.(string)
	return v
}

// Bool is a setting that is true.
func (c *Config) Bool(name string) bool {
	s, _ := c.Get(name)
	switch v := s.Value.(type) {
	case bool:
		return v
	case string:
		return isTrue(v)
	}
	return false
}

// Int is a setting that is a number; 0 where nobody made it.
func (c *Config) Int(name string) int {
	s, _ := c.Get(name)
	v, _ := s.Value.(int)
	return v
}

// List is a setting that is a list.
func (c *Config) List(name string) []string {
	s, _ := c.Get(name)
	v, _ := s.Value.([]string)
	return v
}

// reader reads the settings.
type reader struct {
	dir    string
	lookup func(string) (string, bool)
	config *Config
}

// file finds and parses the ansible.cfg that counts: ANSIBLE_CONFIG (a file, or a directory with one), the working
// directory unless everybody may write to it, the home, /etc/ansible; the first that can be read.
func (r *reader) file() (map[string]section, error) {
	var places []string
	if env, ok := r.lookup("ANSIBLE_CONFIG"); ok {
		env = r.resolve(env, r.dir)
		if info, err := os.Stat(env); err == nil && info.IsDir() {
			env = filepath.Join(env, "ansible.cfg")
		}
		places = append(places, env)
	}
	here, public := filepath.Join(r.dir, "ansible.cfg"), false
	if info, err := os.Stat(r.dir); err == nil && info.Mode()&0o002 == 0 {
		places = append(places, here)
	} else if _, statErr := os.Stat(here); err == nil && statErr == nil {
		public = true
	}
	places = append(places, r.resolve("~/.ansible.cfg", r.dir), "/etc/ansible/ansible.cfg")
	var data []byte
	for _, p := range places {
		var err error
		if data, err = os.ReadFile(p); err == nil {
			r.config.File = p
			break
		}
	}
	env, _ := r.lookup("ANSIBLE_CONFIG")
	if public && (env == "" || r.config.File != places[0]) {
		r.config.Warnings = append(r.config.Warnings, here+": skipped, as Ansible does: everybody may write to its directory")
	}
	if r.config.File == "" {
		return nil, nil
	}
	switch ext := filepath.Ext(r.config.File); ext {
	case ".cfg", ".ini":
		return parse(r.config.File, data)
	case ".yml", ".yaml":
		return nil, nil // Ansible reads nothing in them
	}
	return nil, fmt.Errorf("%s: Ansible reads no configuration of this extension: .cfg or .ini", r.config.File)
}

// raw is the text of a setting, where it stands, and from where paths in it begin.
func (r *reader) raw(d definition, sections map[string]section) (value, source, base string) {
	for _, name := range d.env {
		if v, ok := r.lookup(name); ok {
			value, source, base = v, name, r.dir
		}
	}
	if source != "" {
		return value, source, base
	}
	for _, p := range d.places {
		s, ok := sections[p.section]
		if !ok {
			continue
		}
		o, ok := s[p.key]
		if !ok {
			if o, ok = sections["DEFAULT"][p.key]; !ok {
				continue
			}
		}
		value, source, base = o.value, fmt.Sprintf("%s:%d", r.config.File, o.line), filepath.Dir(r.config.File)
	}
	return value, source, base
}

func (r *reader) value(k kind, raw, base string) (any, error) {
	switch k {
	case boolean:
		return isTrue(raw), nil
	case integer:
		n, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(raw), "_", ""))
		if err != nil {
			return nil, fmt.Errorf("%q is no whole number", raw)
		}
		return n, nil
	case path:
		return r.resolve(raw, base), nil
	case pathList:
		paths := strings.Split(raw, ",")
		for i, p := range paths {
			paths[i] = r.resolve(strings.TrimSpace(p), base)
		}
		return paths, nil
	case list:
		items := strings.Split(raw, ",")
		for i, item := range items {
			items[i] = unquote(strings.TrimSpace(item))
		}
		return items, nil
	}
	return unquote(raw), nil
}

// isTrue is what Ansible takes for true; everything else is false to it.
func isTrue(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "y", "yes", "on", "1", "true", "t", "1.0":
		return true
	}
	return false
}

func unquote(s string) string {
	if n := len(s); n > 1 && s[0] == s[n-1] && (s[0] == '"' || s[0] == '\'') && s[n-2] != '\\' {
		return s[1 : n-1]
	}
	return s
}

// resolve makes a path absolute: {{CWD}}, ~ and variables of the environment are replaced, and the base is put before it.
func (r *reader) resolve(p, base string) string {
	p = strings.ReplaceAll(p, "{{CWD}}", r.dir)
	p = os.Expand(p, func(name string) string {
		if v, ok := r.lookup(name); ok {
			return v
		}
		return "$" + name
	})
	if p == "~" || strings.HasPrefix(p, "~/") {
		if home, ok := r.lookup("HOME"); ok {
			p = home + p[1:]
		}
	}
	if !filepath.IsAbs(p) {
		p = filepath.Join(base, p)
	}
	return filepath.Clean(p)
}
