package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fleetctl/inventory/values"
)

// Connection reads the connection variables of the host, the old spellings included. A vault value in one of them that
// nothing decrypts is an ErrSealed, unless it is a password that may be passed over. So is an encrypted file with
// variables of the host, as it may hold any of them.
//
// Of several names for one thing, the last one that is set wins, as in Ansible's plugins.
func (h Host) Connection() (Connection, error) {
	if len(h.sealed) > 0 {
		return Connection{}, h.sealed[0].locked()
	}
	r := &varReader{host: h, vars: map[string]Resolved{}}
	c := Connection{
		Type:           r.kind(),
		Host:           r.text("ansible_host", "ansible_ssh_host"),
		Port:           r.port("ansible_port", "ansible_ssh_port"),
		User:           r.text("ansible_user", "ansible_ssh_user"),
		Password:       r.text("ansible_password", "ansible_ssh_pass", "ansible_ssh_password"),
		PrivateKeyFile: r.text("ansible_private_key_file", "ansible_ssh_private_key_file"),
		SSHArgs:        r.args("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
		Timeout:        r.seconds("ansible_timeout", "ansible_ssh_timeout"),
	}
	r.become(&c)
	if r.err != nil {
		return Connection{}, r.err
	}
	if c.Host == "" {
		c.Host = h.Name
	}
	return c, nil
}

// varReader reads variables and keeps the first error.
type varReader struct {
	host Host
	vars map[string]Resolved // those that were read
	err  error
}

// get is the value of a variable, or nil.
func (r *varReader) get(name string) any {
	if v, ok := r.vars[name]; ok {
		return v.Value
	}
	v, err := r.host.Var(name)
	passed := errors.Is(err, values.ErrSealed) && r.host.ignoresVault() && strings.Contains(name, "pass")
	if err != nil && !passed && r.err == nil {
		r.err = fmt.Errorf("%s %w", name, err)
	}
	if v.Value == nil {
		v.Value = r.byDefault(name)
	}
	r.vars[name] = v
	return v.Value
}

// byDefault is what holds for a variable that nothing sets.
func (r *varReader) byDefault(name string) any {
	if r.host.scopes == nil {
		return nil
	}
	return r.host.scopes.defaults[name]
}

// ofMethod is a variable of become; name is what its settings have in common ("exe").
func (r *varReader) ofMethod(method, name string) string {
	common, own := "ansible_become_"+name, "ansible_"+method+"_"+name
	if r.get(common) == nil && r.get(own) == nil {
		text, _ := r.byDefault(method + " become_" + name).(string)
		return text
	}
	return r.text(common, own)
}

func (r *varReader) fail(name, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(name+" "+format, args...)
	}
}

// last is the last of the variables that is set, and its name.
func (r *varReader) last(names ...string) (name string, value any) {
	for _, n := range names {
		if v := r.get(n); v != nil {
			name, value = n, v
		}
	}
	return name, value
}

// text is a variable as a string; a whole number is its digits, as Ansible would write it.
func (r *varReader) text(names ...string) string {
	name, value := r.last(names...)
	switch v := value.(type) {
	case nil:
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	case *big.Int:
		return v.String()
	default:
		r.fail(name, "must be a string, not %s; put it in quotes", typeName(value))
	}
	return ""
}

// shown is the text of a variable for people.
func (r *varReader) shown(name, text string) string {
	if r.vars[name].Secret {
		return "(secret)"
	}
	return strconv.Quote(text)
}

func typeName(v any) string {
	switch v.(type) {
	case bool:
		return "a boolean"
	case float64:
		return "a decimal number"
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	}
	return "this"
}

// shortName is the name of a plugin of Ansible without its collection: those that come with Ansible have two.
func shortName(name string) string {
	for _, collection := range []string{"ansible.builtin.", "ansible.legacy."} {
		if short, ok := strings.CutPrefix(name, collection); ok {
			return short
		}
	}
	return name
}

func (r *varReader) kind() string {
	switch kind := r.text("ansible_connection"); shortName(kind) {
	case "":
		return ""
	case "ssh", "smart", "paramiko", "paramiko_ssh":
		return "ssh"
	default:
		r.fail("ansible_connection", "is %s: fleetctl reaches hosts over SSH alone; leave the host out",
			r.shown("ansible_connection", kind))
		return ""
	}
}

func (r *varReader) port(names ...string) int {
	name, _ := r.last(names...)
	text := strings.TrimSpace(r.text(names...))
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 65535 {
		r.fail(name, "is %s: a port is a number from 1 to 65535", r.shown(name, text))
		return 0
	}
	return n
}

// seconds is a variable with a number of seconds; 0 where none is set.
func (r *varReader) seconds(names ...string) time.Duration {
	name, value := r.last(names...)
	if n, ok := value.(float64); ok && n >= 1 && n < 1e6 { // Ansible takes it for a whole number
		return time.Duration(n) * time.Second
	}
	text := strings.TrimSpace(r.text(names...))
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n >= 1e6 {
		r.fail(name, "is %s: it is a number of seconds", r.shown(name, text))
		return 0
	}
	return time.Duration(n) * time.Second
}

// prompt is a regular expression for the question of su in the words of its language, which ansible_su_prompt_l10n lists; ""
// where it isn't set.
func (r *varReader) prompt() string {
	const name = "ansible_su_prompt_l10n"
	var words []string
	switch v := r.get(name).(type) {
	case nil:
		return ""
	case []any:
		for _, word := range v {
			text, ok := word.(string)
			if !ok {
				r.fail(name, "must be a list of strings")
				return ""
			}
			words = append(words, text)
		}
	case string:
		words = strings.Split(v, ",")
	default:
		r.fail(name, "must be a list, not %s", typeName(v))
		return ""
	}
	for i, word := range words {
		words[i] = regexp.QuoteMeta(strings.TrimSpace(word))
	}
	if len(words) == 0 {
		return ""
	}
	return `(?i)(\w+'s )?(` + strings.Join(words, "|") + `) ?(:|：) ?$`
}

// args puts the variables together, each split as a shell does.
func (r *varReader) args(names ...string) []string {
	var args []string
	for _, name := range names {
		words, _, err := shellSplit(r.text(name), false)
		if err != nil {
			r.fail(name, "cannot be split as a shell does: %w", err)
		}
		for _, w := range words {
			args = append(args, w.text)
		}
	}
	return args
}

// boolean is a variable as Ansible reads booleans, or nil where it isn't set.
func (r *varReader) boolean(name string) *bool {
	yes, no := true, false
	switch v := r.get(name).(type) {
	case nil:
		return nil
	case bool:
		return &v
	case float64:
		if v == 1 {
			return &yes
		}
		if v == 0 {
			return &no
		}
	}
	switch text := r.text(name); strings.ToLower(strings.TrimSpace(text)) {
	case "y", "yes", "on", "1", "true", "t":
		return &yes
	case "n", "no", "off", "0", "false", "f":
		return &no
	default:
		r.fail(name, "is %s: write true or false", r.shown(name, text))
		return nil
	}
}

// become reads ansible_become and its kin. The old spellings ansible_sudo and ansible_su ask for become, too, and name
// the method; the variables of a method (ansible_sudo_pass) count for that method.
func (r *varReader) become(c *Connection) {
	c.BecomeMethod = shortName(r.text("ansible_become_method"))
	if c.BecomeMethod == "community.general.doas" { // where it lives since 2.10
		c.BecomeMethod = "doas"
	}
	for _, method := range []string{"su", "sudo"} {
		if on := r.boolean("ansible_" + method); on != nil {
			c.Become = on
			if *on && c.BecomeMethod == "" {
				c.BecomeMethod = method
			}
		}
	}
	if on := r.boolean("ansible_become"); on != nil {
		c.Become = on
	}
	method := cmp.Or(c.BecomeMethod, "sudo")
	old := "ansible_" + method
	c.BecomeUser = r.text("ansible_become_user", old+"_user")
	c.BecomePassword = r.text("ansible_become_password", "ansible_become_pass", old+"_pass")
	c.BecomeExe = r.ofMethod(method, "exe")
	c.BecomeFlags = r.ofMethod(method, "flags")
	if method == "su" {
		c.BecomePrompt = r.prompt()
	}
}
