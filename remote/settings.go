package remote

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings is how one host is reached: the OpenSSH configuration with what the Target says on top.
type settings struct {
	alias      string // what ssh would have been called with (%n)
	host       string // what is dialled
	port       int
	user       string
	keyAlias   string // HostKeyAlias
	config     string // -F, which jump hosts inherit
	identities []identity
	certs      []string

	identitiesOnly bool
	identityAgent  string // "" is SSH_AUTH_SOCK
	userKnown      []string
	globalKnown    []string
	revokedKeys    string
	hashKnown      bool

	proxyJump    string
	proxyCommand string

	connectTimeout time.Duration
	aliveInterval  time.Duration
	family         string // any, inet, inet6
	bindAddress    string

	pubkeyAuth, passwordAuth, keyboardAuth bool
	preferredAuth                          []string

	// What the user set; nil for OpenSSH's defaults, which are not ours.
	ciphers, kex, macs, hostKeyAlgorithms []string
}

// identity is a key file.
type identity struct {
	path     string
	explicit bool // somebody named it; else it is one of OpenSSH's defaults
}

// resolve finds out how to reach a target.
func (d *Dialer) resolve(ctx context.Context, t Target) (*settings, error) {
	if t.Host == "" || strings.HasPrefix(t.Host, "-") || strings.ContainsAny(t.Host, " \t\r\n\x00/") {
		return nil, &Error{Kind: ErrConfig, Err: fmt.Errorf("%q is not a host name", Clean(t.Host))}
	}
	args, err := parseSSHArgs(t.SSHArgs)
	if err != nil {
		return nil, &Error{Kind: ErrConfig, Err: err, Hint: "see ansible_ssh_common_args and ansible_ssh_extra_args"}
	}
	if args.config == "" {
		args.config = d.opts.SSHConfig
	}
	values, err := d.resolver.lookup(ctx, query{host: t.Host, user: t.User, args: args})
	if err != nil {
		return nil, err
	}
	s, err := d.fromValues(values, t)
	if err != nil {
		return nil, &Error{Kind: ErrConfig, Err: err}
	}
	s.config = args.config
	return s, nil
}

// values are the options of one host as ssh -G prints them: lower-case keys, in order.
type values map[string][]string

func (v values) first(key string) string {
	if l := v[key]; len(l) > 0 {
		return l[0]
	}
	return ""
}

func (v values) yes(key string, unset bool) bool {
	switch v.first(key) {
	case "":
		return unset
	case "yes", "true":
		return true
	}
	return false
}

// set returns a list that the user set, nil where it is OpenSSH's default.
func (v values) set(key string, defaults values) []string {
	s := v.first(key)
	if s == "" || s == defaults.first(key) {
		return nil
	}
	return strings.Split(s, ",")
}

// fromValues turns the configuration's words into settings; what the target says wins.
func (d *Dialer) fromValues(v values, t Target) (*settings, error) {
	defaults := d.resolver.defaults()
	s := &settings{
		alias: t.Host, host: v.first("hostname"), user: cmp.Or(t.User, v.first("user")), port: t.Port,
		keyAlias:       v.first("hostkeyalias"),
		identitiesOnly: v.yes("identitiesonly", false), identityAgent: v.first("identityagent"),
		revokedKeys: v.first("revokedhostkeys"), hashKnown: v.yes("hashknownhosts", false),
		proxyJump: v.first("proxyjump"), proxyCommand: v.first("proxycommand"),
		connectTimeout: seconds(v.first("connecttimeout")), aliveInterval: seconds(v.first("serveraliveinterval")),
		family: v.first("addressfamily"), bindAddress: v.first("bindaddress"),
		pubkeyAuth:   v.first("pubkeyauthentication") != "no" && v.first("pubkeyauthentication") != "false",
		passwordAuth: v.yes("passwordauthentication", true),
		keyboardAuth: v.yes("kbdinteractiveauthentication", true),
		ciphers:      v.set("ciphers", defaults), kex: v.set("kexalgorithms", defaults), macs: v.set("macs", defaults),
		hostKeyAlgorithms: v.set("hostkeyalgorithms", defaults),
	}
	if p := v.first("preferredauthentications"); p != "" {
		s.preferredAuth = strings.Split(p, ",")
	}
	if s.host == "" {
		s.host = t.Host
	}
	if t.User == "" && d.opts.User != "" && s.user == defaults.first("user") {
		s.user = d.opts.User
	}
	if s.port == 0 {
		port, err := strconv.Atoi(cmp.Or(v.first("port"), "22"))
		if err != nil {
			return nil, fmt.Errorf("port %q", v.first("port"))
		}
		s.port = port
	}
	if s.port < 1 || s.port > 65535 {
		return nil, fmt.Errorf("port %d is out of range", s.port)
	}
	s.userKnown = s.files(v["userknownhostsfile"])
	s.globalKnown = s.files(v["globalknownhostsfile"])
	s.identities = s.identityFiles(v["identityfile"], defaults["identityfile"],
		cmp.Or(t.PrivateKeyFile, d.opts.PrivateKey))
	for _, c := range v["certificatefile"] {
		s.certs = append(s.certs, s.path(c))
	}
	if s.identityAgent != "" {
		s.identityAgent = s.path(s.identityAgent)
	}
	if v.yes("proxyusefdpass", false) {
		return nil, fmt.Errorf("ProxyUseFdpass is not supported")
	}
	return s, nil
}

func seconds(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// identityFiles puts the inventory's key first. Defaults are OpenSSH's own, tried when nothing was named.
func (s *settings) identityFiles(configured, defaults []string, inventory string) []identity {
	var ids []identity
	add := func(path string, explicit bool) {
		if path == "" || path == "none" {
			return
		}
		path = s.path(path)
		if !slices.ContainsFunc(ids, func(i identity) bool { return i.path == path }) {
			ids = append(ids, identity{path: path, explicit: explicit})
		}
	}
	add(inventory, true)
	isDefault := slices.Equal(configured, defaults)
	for _, p := range configured {
		add(p, !isDefault)
	}
	return ids
}

// files splits a list of paths. ssh -G prints them without quotes, so a path with a space in it is found by its file.
func (s *settings) files(lists []string) []string {
	var out []string
	for _, list := range lists {
		words := strings.Fields(list)
		for i := 0; i < len(words); i++ {
			end := i + 1
			for j := len(words); j > i+1; j-- {
				if _, err := os.Stat(s.path(strings.Join(words[i:j], " "))); err == nil {
					end = j
					break
				}
			}
			if p := s.path(strings.Join(words[i:end], " ")); p != "none" {
				out = append(out, p)
			}
			i = end - 1
		}
	}
	return out
}

// path expands ~ and the tokens of ssh_config(5) in a file name.
func (s *settings) path(p string) string {
	if p == "~" || strings.HasPrefix(p, "~/") {
		p = filepath.Join(homeDir(), p[1:])
	}
	return s.expand(p)
}

// expand replaces the tokens of ssh_config(5), TOKENS. Unknown ones stay.
func (s *settings) expand(in string) string {
	if !strings.Contains(in, "%") && !strings.Contains(in, "${") {
		return in
	}
	local, _ := os.Hostname()
	short, _, _ := strings.Cut(local, ".")
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return strings.NewReplacer(
		"%%", "%", "%h", s.host, "%n", s.alias, "%p", strconv.Itoa(s.port), "%r", s.user, "%u", name,
		"%d", homeDir(), "%i", strconv.Itoa(os.Getuid()), "%k", cmp.Or(s.keyAlias, s.host), "%l", local, "%L", short,
		"%j", s.proxyJump,
	).Replace(os.Expand(escapeDollars(in), getenv))
}

// escapeDollars keeps $NAME, which ssh_config does not expand, from os.Expand; ${NAME} it does.
func escapeDollars(in string) string {
	var b strings.Builder
	for i := 0; i < len(in); i++ {
		if in[i] == '$' && (i+1 == len(in) || in[i+1] != '{') {
			b.WriteString("${$}")
			continue
		}
		b.WriteByte(in[i])
	}
	return b.String()
}

func getenv(name string) string {
	if name == "$" {
		return "$"
	}
	return os.Getenv(name)
}

func homeDir() string {
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		return u.HomeDir
	}
	return os.Getenv("HOME")
}
