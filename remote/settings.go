package remote

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
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
	knownCommand []string // KnownHostsCommand, its words

	timeout        time.Duration // Target.Timeout
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
	explicit bool   // somebody named it; else it is one of OpenSSH's defaults
	place    string // who named it
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
	values, err := d.resolver.Lookup(ctx, sshconfig.Query{Host: t.Host, Port: t.Port, User: t.User, Args: args})
	if err != nil {
		return nil, err
	}
	s, err := d.fromValues(values, t, func(key string) string { return d.resolver.Where(args.Config, "IdentityFile", key) })
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

// fromValues turns the configuration's words into settings; what the target says wins. where says who named a key.
func (d *Dialer) fromValues(v sshconfig.Values, t Target, where func(key string) string) (*settings, error) {
	defaults := d.resolver.Defaults()
	s := &settings{
		alias: t.Host, host: v.First("hostname"), user: cmp.Or(t.User, v.First("user")), port: t.Port,
		timeout:        t.Timeout,
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
	if err := s.readFiles(v, d.resolver.Asks()); err != nil {
		return nil, err
	}
	if err := s.identityFiles(v["identityfile"], defaults["identityfile"], d.named(t), where); err != nil {
		return nil, err
	}
	if err := s.readProxy(); err != nil {
		return nil, err
	}
	if v.Yes("proxyusefdpass", false) {
		return nil, fmt.Errorf("ProxyUseFdpass is not supported")
	}
	return s, nil
}

// readFiles reads the options that name files and programs. Of some, ssh -G has replaced the tokens already.
func (s *settings) readFiles(v sshconfig.Values, asked bool) error {
	done := s.path
	if asked {
		done = home
	}
	for _, o := range []struct {
		option string
		to     *[]string
		path   func(string) (string, error)
	}{
		{"UserKnownHostsFile", &s.userKnown, done}, {"GlobalKnownHostsFile", &s.globalKnown, home},
		{"RevokedHostKeys", &s.revokedKeys, s.path},
	} {
		files, err := files(v[strings.ToLower(o.option)], o.path)
		if err != nil {
			return fmt.Errorf("%s: %w", o.option, err)
		}
		*o.to = files
	}
	for _, c := range v["certificatefile"] {
		path, err := s.path(c)
		if err != nil {
			return fmt.Errorf("CertificateFile: %w", err)
		}
		s.certs = append(s.certs, path)
	}
	if !strings.HasPrefix(s.identityAgent, "$") || strings.HasPrefix(s.identityAgent, "${") { // else the name of a variable
		var err error
		if s.identityAgent, err = done(s.identityAgent); err != nil {
			return fmt.Errorf("IdentityAgent: %w", err)
		}
	}
	if c := v.First("knownhostscommand"); c != "" && c != "none" {
		s.knownCommand = sshconfig.Words(c)
	}
	return nil
}

// readProxy expands what leads to the host.
func (s *settings) readProxy() (err error) {
	if s.proxyJump, err = s.expandTokens(s.proxyJump, "%hnpr"); err != nil {
		return fmt.Errorf("ProxyJump: %w", err)
	}
	if s.proxyCommand, err = s.expandTokens(s.proxyCommand, "%hknpr"); err != nil {
		return fmt.Errorf("ProxyCommand: %w", err)
	}
	return nil
}

// named is the key that the target or the command line names, and who did. Its ~ is $HOME, as for Ansible.
func (d *Dialer) named(t Target) identity {
	id := identity{path: t.PrivateKeyFile, place: t.KeyPlace, explicit: true}
	if id.path == "" {
		id.path, id.place = d.opts.PrivateKey, d.opts.KeyPlace
	}
	if home := os.Getenv("HOME"); home != "" && strings.HasPrefix(id.path, "~/") {
		id.path = filepath.Join(home, id.path[1:])
	}
	return id
}

func seconds(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// identityFiles puts the inventory's key first. Defaults are OpenSSH's own, tried when nothing was named.
func (s *settings) identityFiles(configured, defaults []string, named identity, where func(key string) string) error {
	add := func(id identity) error {
		if id.path == "" || id.path == "none" {
			return nil
		}
		path, err := s.path(id.path)
		if err != nil {
			return fmt.Errorf("%s: %w", cmp.Or(id.place, "the private key"), err)
		}
		id.path = path
		if !slices.ContainsFunc(s.identities, func(i identity) bool { return i.path == path }) {
			s.identities = append(s.identities, id)
		}
		return nil
	}
	if err := add(named); err != nil {
		return err
	}
	isDefault := slices.Equal(configured, defaults)
	for _, p := range configured {
		id := identity{path: p, explicit: !isDefault}
		if id.explicit {
			id.place = where(p)
		}
		if err := add(id); err != nil {
			return err
		}
	}
	return nil
}

// files splits a list of paths. ssh -G prints them without quotes, so a path with a space in it is found by its file.
func files(lists []string, expand func(string) (string, error)) ([]string, error) {
	var out []string
	for _, list := range lists {
		for words := strings.Fields(list); len(words) > 0; {
			path, n, err := longestPath(words, expand)
			if err != nil {
				return nil, err
			}
			if words = words[n:]; path != "none" {
				out = append(out, path)
			}
		}
	}
	return out, nil
}

// longestPath is the path of as many words as make one that is there, or of the first word.
func longestPath(words []string, expand func(string) (string, error)) (path string, n int, err error) {
	for n = len(words); n > 0; n-- {
		path, err = expand(strings.Join(words[:n], " "))
		if err != nil || n == 1 {
			return path, 1, err
		}
		if _, err := os.Stat(path); err == nil {
			return path, n, nil
		}
	}
	return "", 0, nil
}

// path expands ~, ~user and the tokens of ssh_config(5) in a file name.
func (s *settings) path(p string) (string, error) {
	p, err := home(p)
	if err != nil {
		return "", err
	}
	return s.expand(p)
}

// home expands ~ and ~user in a file name, as OpenSSH does: by the password database.
func home(p string) (string, error) {
	rest, ok := strings.CutPrefix(p, "~")
	if !ok {
		return p, nil
	}
	name, below, _ := strings.Cut(rest, "/")
	dir := sshconfig.HomeDir()
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", Clean(p), err)
		}
		dir = u.HomeDir
	}
	return strings.TrimRight(dir, "/") + "/" + below, nil
}

// fileTokens are the tokens that file names may have (ssh_config(5), TOKENS).
const fileTokens = "%CdhijkLlnpru"

// expand replaces the tokens of ssh_config(5) and ${NAME}, in one pass, so that nothing that is put in is expanded again. What
// is not known, or not set, is an error, as it is for ssh.
func (s *settings) expand(in string) (string, error) {
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
		plain, err := s.expandTokens(in[:i], fileTokens)
		if err != nil {
			return "", err
		}
		name := in[i+2 : i+end]
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("%s: the environment has no %s", Clean(in), Clean(name))
		}
		b.WriteString(plain + value)
		in = in[i+end+1:]
	}
	plain, err := s.expandTokens(in, fileTokens)
	return b.String() + plain, err
}

// expandTokens is expand without ${NAME}, which in a ProxyCommand is the shell's to expand. allowed are the tokens that the
// option takes.
func (s *settings) expandTokens(in, allowed string) (string, error) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(in, "%")
		b.WriteString(plain)
		if !found {
			return b.String(), nil
		}
		if rest == "" || strings.IndexByte(allowed, rest[0]) < 0 {
			return "", fmt.Errorf("%q: the token %%%s is not one of this option", Clean(in), Clean(Head(rest, 1)))
		}
		b.WriteString(s.token(rest[0]))
		in = rest[1:]
	}
}

// token is what stands for a letter behind a percent sign.
func (s *settings) token(letter byte) string {
	switch letter {
	case '%':
		return "%"
	case 'C': // what ssh names its control sockets by
		sum := sha1.Sum([]byte(s.token('l') + s.host + s.token('p') + s.user + s.proxyJump))
		return hex.EncodeToString(sum[:])
	case 'd':
		return sshconfig.HomeDir()
	case 'h':
		return s.host
	case 'i':
		return strconv.Itoa(os.Getuid())
	case 'j':
		return s.proxyJump
	case 'k':
		return cmp.Or(s.keyAlias, s.host)
	case 'L':
		short, _, _ := strings.Cut(s.token('l'), ".")
		return short
	case 'l':
		local, _ := os.Hostname()
		return local
	case 'n':
		return s.alias
	case 'p':
		return strconv.Itoa(s.port)
	case 'r':
		return s.user
	}
	if u, err := user.Current(); err == nil { // u
		return u.Username
	}
	return ""
}
