// Package inventory turns what the user wrote (an Ansible inventory in any of its formats) into hosts. It reads files
// and runs executable inventories; it never connects to a host and knows neither SSH nor TPMs.
//
// The reference is ansible-core: the same sources give the same hosts, groups and variables, traps included. Where
// Ansible warns and goes on with half an inventory (a file that it cannot parse, a duplicate key), Load fails instead.
package inventory

import (
	"fmt"
	"io"
	"time"

	"fleetctl/inventory/values"
	"fleetctl/inventory/vault"
)

// Pos is a place in a file that the user wrote, for errors. Line and Column start at 1; 0 means unknown.
type Pos struct {
	File         string
	Line, Column int
}

// String is "file:line:column", without the parts that are unknown.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Host is one host of the inventory, with its variables resolved by Ansible's precedence. It is a value: changing it
// changes nothing else; only lists and maps inside of a variable are shared between hosts, and for reading alone.
//
// Variables are nil, bool, int, *big.Int, float64, string, []any, map[string]any, Vault, Secret or Unsafe. A YAML date is a
// string in ISO 8601, and a key that is no string is written as JSON writes it, as in Ansible's own JSON output. They
// are as they were written; Var is what Ansible would make of one.
type Host struct {
	Name   string         // the inventory name (alias); patterns and descriptions use it
	Groups []string       // every group that holds the host, ancestors included, sorted; without "all"
	Vars   map[string]any // resolved variables: group_vars, host_vars and inline ones
	Pos    Pos            // where the host was first written

	sealed []sealedFile // encrypted files that have variables of the host, and that nothing decrypts
	scopes *scopes      // what its expressions see; nil for a host of no inventory
}

// Connection is what the inventory says about reaching a host. Zero values mean that it says nothing, so that the
// OpenSSH configuration decides.
type Connection struct {
	Type           string // ansible_connection: "" or "ssh"
	Host           string // ansible_host, or the name
	Port           int
	User           string
	Password       string
	PrivateKeyFile string
	SSHArgs        []string      // ansible_ssh_args, _ssh_common_args and then _ssh_extra_args, split as a shell does
	Timeout        time.Duration // ansible_timeout, in whole seconds
	Become         *bool
	BecomeMethod   string
	BecomeUser     string
	BecomePassword string
	BecomeExe      string
	BecomeFlags    string
	BecomePrompt   string // a regular expression for the question of su, of ansible_su_prompt_l10n
}

// Vault is the text of a value that is encrypted with Ansible Vault.
type Vault = values.Vault

// Secret is a value out of a file that is encrypted as a whole.
type Secret = values.Secret

// Unsafe is a text that Ansible would not evaluate.
type Unsafe = values.Unsafe

// ErrSealed says that a variable cannot be read: it is encrypted with Ansible Vault, and nothing that was given decrypts
// it.
var ErrSealed = values.ErrSealed

// Options of Load.
type Options struct {
	Stdin io.Reader // read when a source is "-"

	// PlaybookDir is where group_vars and host_vars are looked for besides the directories of the sources; they win
	// over those. Empty means the working directory, as for ansible-inventory. It is not looked at when standard
	// input is the only source.
	PlaybookDir string

	// Defaults are what variables of the connection are where nothing sets them, as ansible.cfg has it. "METHOD become_exe"
	// and "METHOD become_flags" are those of one become method.
	Defaults map[string]any

	Trace bool // keep where variables were written, for Why

	// IgnoredExtensions replaces the ends of names that are passed over in a directory of inventories, and
	// IgnoredPatterns adds expressions for names, where they are set.
	IgnoredExtensions []string
	IgnoredPatterns   []string

	// NoAnsible keeps ansible-inventory from being run for what only Ansible can read. AnsibleArgs are given to it; Logf
	// hears of it, if it isn't nil.
	NoAnsible   bool
	AnsibleArgs []string
	Logf        func(format string, args ...any)

	Vault       *vault.Keyring // decrypts; nil: nothing does
	IgnoreVault bool           // files that nothing decrypts are passed over, and so are passwords
}
