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

	"fleetctl/remote/sshconfig"
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
	revokedKeys    []string
	hashKnown      bool

	proxyJump    string
	proxyCommand string

	connectTimeout time.Duration
	aliveInterval  time.Duration
	family         string // any, inet, inet6
	bindAddress    string

	pubkeyAuth, passwordAuth, keyboardAuth bool
	preferredAuth                          []string

	algorithms algorithms
}

// identity is a key file.
type identity struct {
	path     string
	explicit bool // somebody named it; else it is one of OpenSSH's defaults
}

// resolve finds out how to reach a target.
func (d *Dialer) resolve(ctx context.Context, t Target) (*settings, error) {
	args, err := sshconfig.ParseArgs(t.SSHArgs)
	if err != nil {
		return nil, &Error{Kind: ErrConfig, Err: err, Hint: "see ansible_ssh_common_args and ansible_ssh_extra_args"}
	}
	if err := checkNames(t.Host, append(args.Users(), t.User, d.opts.User)); err != nil {
		return nil, err
	}
	if err := checkHops(args.Jump); err != nil {
		return nil, err
	}
	if args.Config == "" {
		args.Config = d.opts.SSHConfig
	}
	values, err := d.resolver.Lookup(ctx, sshconfig.Query{Host: t.Host, User: t.User, Args: args})
	if err != nil {
		return nil, err
	}
	s, err := d.fromValues(values, t)
	if err != nil {
		return nil, &Error{Kind: ErrConfig, Err: err}
	}
	s.config = args.Config
	return s, nil
}

// checkNames refuses names that a shell would read as more than names, as OpenSSH does: before anything is run for the
// host, and for every host, whether ssh -G is asked for it or not.
func checkNames(host string, users []string) error {
	if !sshconfig.ValidHost(host) {
		return &Error{
			Kind: ErrConfig, Err: fmt.Errorf("%q is not a host name", Clean(host)),
			Hint: "a name has no spaces, control characters or characters of the shell, and does not begin with -",
		}
	}
	for _, user := range users {
		if !sshconfig.ValidUser(user) {
			return &Error{
				Kind: ErrConfig, Err: fmt.Errorf("%q is not a user's name", Clean(user)),
				Hint: "a name has no control characters or characters of the shell, and does not begin with -",
			}
		}
	}
	return nil
}

// checkHops is checkNames for a ProxyJump chain of the arguments, of which ssh -G passes on no more than the first word.
func checkHops(chain string) error {
	for chain != "" && chain != "none" {
		hop, before, err := parseHop(chain)
		if err != nil {
			return &Error{Kind: ErrConfig, Err: err}
		}
		if err := checkNames(hop.Host, []string{hop.User}); err != nil {
			return err
		}
		chain = before
	}
	return nil
}

// fromValues turns the configuration's words into settings; what the target says wins.
func (d *Dialer) fromValues(v sshconfig.Values, t Target) (*settings, error) {
	defaults := d.resolver.Defaults()
	s := &settings{
		alias: t.Host, host: v.First("hostname"), user: cmp.Or(t.User, v.First("user")), port: t.Port,
		keyAlias:       v.First("hostkeyalias"),
		identitiesOnly: v.Yes("identitiesonly", false), identityAgent: v.First("identityagent"),
		hashKnown: v.Yes("hashknownhosts", false),
		proxyJump: v.First("proxyjump"), proxyCommand: v.First("proxycommand"),
		connectTimeout: seconds(v.First("connecttimeout")), aliveInterval: seconds(v.First("serveraliveinterval")),
		family: v.First("addressfamily"), bindAddress: v.First("bindaddress"),
		pubkeyAuth:   v.First("pubkeyauthentication") != "no" && v.First("pubkeyauthentication") != "false",
		passwordAuth: v.Yes("passwordauthentication", true),
		keyboardAuth: v.Yes("kbdinteractiveauthentication", true),
	}
	var err error
	if s.algorithms, err = readAlgorithms(v, defaults); err != nil {
		return nil, err
	}
	if p := v.First("preferredauthentications"); p != "" {
		s.preferredAuth = strings.Split(p, ",")
	}
	if s.host == "" {
		s.host = t.Host
	}
	if t.User == "" && d.opts.User != "" && s.user == defaults.First("user") {
		s.user = d.opts.User
	}
	if s.port == 0 {
		port, err := strconv.Atoi(cmp.Or(v.First("port"), "22"))
		if err != nil {
			return nil, fmt.Errorf("port %q", v.First("port"))
		}
		s.port = port
	}
	if s.port < 1 || s.port > 65535 {
		return nil, fmt.Errorf("port %d is out of range", s.port)
	}
	s.userKnown = s.files(v["userknownhostsfile"])
	s.globalKnown = s.files(v["globalknownhostsfile"])
	s.revokedKeys = s.files(v["revokedhostkeys"])
	s.identities = s.identityFiles(v["identityfile"], defaults["identityfile"],
		cmp.Or(t.PrivateKeyFile, d.opts.PrivateKey))
	for _, c := range v["certificatefile"] {
		s.certs = append(s.certs, s.path(c))
	}
	if s.identityAgent != "" {
		s.identityAgent = s.path(s.identityAgent)
	}
	if v.Yes("proxyusefdpass", false) {
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
		p = filepath.Join(sshconfig.HomeDir(), p[1:])
	}
	return s.expand(p)
}

// expand replaces the tokens of ssh_config(5), TOKENS, and ${NAME}, in one pass, so that nothing that is put in is expanded
// again. Unknown tokens stay.
func (s *settings) expand(in string) string {
	var b strings.Builder
	for in != "" {
		i := strings.Index(in, "${")
		end := -1
		if i >= 0 {
			end = strings.IndexByte(in[i:], '}')
		}
		if end < 0 {
			break
		}
		b.WriteString(s.expandTokens(in[:i]) + os.Getenv(in[i+2:i+end]))
		in = in[i+end+1:]
	}
	return b.String() + s.expandTokens(in)
}

// expandTokens is expand without ${NAME}, which in a ProxyCommand is the shell's to expand.
func (s *settings) expandTokens(in string) string {
	if !strings.Contains(in, "%") {
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
		"%d", sshconfig.HomeDir(), "%i", strconv.Itoa(os.Getuid()), "%k", cmp.Or(s.keyAlias, s.host), "%l", local, "%L", short,
		"%j", s.proxyJump,
	).Replace(in)
}
