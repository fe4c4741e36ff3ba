package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	kevin "github.com/kevinburke/ssh_config"
)

// maxConfigDepth is OpenSSH's limit of nested Includes (readconf.c, READCONF_MAX_DEPTH).
const maxConfigDepth = 16

// sshConfig is the OpenSSH configuration, read just far enough to tell which hosts get the same answer from ssh -G.
type sshConfig struct {
	files  []*configFile
	values []string // the files' paths, for the fallback
}

type configFile struct {
	path    string
	lines   []configLine
	content []byte
}

// configLine is one directive.
type configLine struct {
	number   int    // from 1
	key      string // lower case
	args     []string
	included []*configFile // of an Include
}

// readSSHConfig reads the file of -F, or the user's and the system's.
func readSSHConfig(path string) (*sshConfig, error) {
	c := &sshConfig{}
	switch path {
	case "none", "/dev/null":
		return c, nil
	case "":
		c.values = []string{filepath.Join(HomeDir(), ".ssh", "config"), "/etc/ssh/ssh_config"}
	default:
		c.values = []string{path}
	}
	for _, p := range c.values {
		f, err := readConfigFile(p, 0, p == "/etc/ssh/ssh_config")
		if errors.Is(err, fs.ErrNotExist) && path == "" {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ssh configuration: %w", err)
		}
		c.files = append(c.files, f)
	}
	return c, nil
}

func readConfigFile(path string, depth int, system bool) (*configFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &configFile{path: path, content: data}
	for i, raw := range strings.Split(string(data), "\n") {
		l := parseConfigLine(raw)
		l.number = i + 1
		if l.key == "" {
			continue
		}
		if l.key == "include" && depth < maxConfigDepth {
			l.included = readIncludes(l.args, depth, system)
		}
		f.lines = append(f.lines, l)
	}
	return f, nil
}

// where is the first line that gives an option a value, as file:line; "" where none does.
func (f *configFile) where(key, value string) string {
	for _, l := range f.lines {
		if l.key == key && strings.Join(l.args, " ") == value {
			return fmt.Sprintf("%s:%d", f.path, l.number)
		}
		for _, more := range l.included {
			if place := more.where(key, value); place != "" {
				return place
			}
		}
	}
	return ""
}

// readIncludes reads what matches, in order; what cannot be read is skipped, as OpenSSH does.
func readIncludes(patterns []string, depth int, system bool) []*configFile {
	var out []*configFile
	for _, p := range patterns {
		switch {
		case strings.HasPrefix(p, "~/"):
			p = filepath.Join(HomeDir(), p[2:])
		case !filepath.IsAbs(p) && system:
			p = filepath.Join("/etc/ssh", p)
		case !filepath.IsAbs(p):
			p = filepath.Join(HomeDir(), ".ssh", p)
		}
		found, _ := filepath.Glob(p)
		for _, path := range found {
			if f, err := readConfigFile(path, depth+1, system); err == nil {
				out = append(out, f)
			}
		}
	}
	return out
}

// parseConfigLine splits "Key value value" or "Key=value", with double quotes around values.
func parseConfigLine(raw string) configLine {
	line := strings.Trim(raw, " \t\r\f")
	if line == "" || line[0] == '#' {
		return configLine{}
	}
	i := strings.IndexAny(line, " \t=")
	if i < 0 {
		return configLine{key: strings.ToLower(line)}
	}
	rest := strings.TrimLeft(line[i:], " \t")
	rest = strings.TrimPrefix(rest, "=")
	return configLine{key: strings.ToLower(line[:i]), args: splitConfigWords(rest)}
}

// Words splits a value where ssh_config(5) does, at blanks that are not quoted.
func Words(s string) []string { return splitConfigWords(s) }

func splitConfigWords(s string) []string {
	var words []string
	var word strings.Builder
	inWord, quoted := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted, inWord = !quoted, true
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`"\' `, s[i+1]) >= 0:
			i++
			word.WriteByte(s[i])
			inWord = true
		case (c == ' ' || c == '\t') && !quoted:
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		case c == '#' && !inWord && !quoted:
			return words
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

// class says which hosts get the same answer.
type class struct {
	key        string
	perHost    bool   // the answer may differ from host to host in ways that we do not compute
	rawHost    string // HostName, before %h is expanded; "" for none
	secondPass bool
}

// hostname is what ssh -G prints as hostname for a host of the class.
func (c class) hostname(host string) string { return strings.ToLower(expandHost(c.rawHost, host)) }

func expandHost(raw, host string) string {
	if raw == "" {
		return host
	}
	return strings.NewReplacer("%%", "%", "%h", host, "%n", host).Replace(raw)
}

// perHostKeys are options that may hold %h and that ssh -G prints expanded.
var perHostKeys = []string{"userknownhostsfile", "globalknownhostsfile", "revokedhostkeys", "hostkeyalias", "identityagent", "tag"}

// classifier walks the configuration for one host, noting what it matched.
type classifier struct {
	q     Query
	class class
	final bool
	bits  strings.Builder
}

// classify evaluates Host and Match lines for a host. Everything else in the configuration is the same for hosts that
// match the same lines. Where that cannot be told (Match exec with %h, CanonicalizeHostname, …) it is perHost.
func (c *sshConfig) classify(q Query) class {
	w := &classifier{q: q}
	w.args()
	for _, f := range c.files {
		w.file(f, true)
	}
	if w.class.secondPass {
		w.final = true
		for _, f := range c.files {
			w.file(f, true)
		}
	}
	w.class.key = strings.Join(append([]string{q.Args.Config, q.User, w.bits.String()}, q.Args.argv...), "\x00")
	return w.class
}

// args looks at -o options, which come before the files.
func (w *classifier) args() {
	for i := 0; i+1 < len(w.q.Args.argv); i++ {
		if w.q.Args.argv[i] == "-o" {
			w.option(parseConfigLine(w.q.Args.argv[i+1]))
		}
	}
}

func (w *classifier) file(f *configFile, reachable bool) {
	active := reachable
	for _, l := range f.lines {
		switch l.key {
		case "host":
			active = reachable && MatchPatterns(l.args, w.q.Host)
			w.bit(active)
		case "match":
			active = reachable && w.match(l.args)
			w.bit(active)
		case "include":
			for _, in := range l.included {
				w.file(in, active)
			}
		default:
			if active {
				w.option(l)
			}
		}
	}
}

func (w *classifier) bit(on bool) {
	if on {
		w.bits.WriteByte('1')
	} else {
		w.bits.WriteByte('0')
	}
}

func (w *classifier) option(l configLine) {
	value := strings.Join(l.args, " ")
	switch {
	case l.key == "hostname":
		if w.class.rawHost == "" {
			w.class.rawHost = value
		}
	case l.key == "canonicalizehostname":
		if value != "no" && value != "none" {
			w.class.perHost = true
		}
	case slices.Contains(perHostKeys, l.key) && strings.Contains(value, "%"):
		w.class.perHost = true
	}
}

// match evaluates the criteria of a Match line that can differ between hosts; the others are the same for the class.
func (w *classifier) match(args []string) bool {
	all := true
	for i := 0; i < len(args); i++ {
		criterion, negated := strings.CutPrefix(strings.ToLower(args[i]), "!")
		criterion, value, inline := strings.Cut(criterion, "=")
		if inline {
			value = args[i][strings.IndexByte(args[i], '=')+1:]
		}
		hit := true
		switch criterion {
		case "all":
		case "final":
			w.class.secondPass = true
			hit = w.final
		case "canonical":
			hit = false
			w.class.perHost = w.class.perHost || all
		default:
			if !inline {
				if i++; i < len(args) {
					value = args[i]
				}
			}
			hit = w.criterion(criterion, value, all)
			if !slices.Contains([]string{"host", "originalhost"}, criterion) {
				continue // the same for every host of the class
			}
		}
		all = all && hit != negated
	}
	return all
}

func (w *classifier) criterion(name, value string, reached bool) bool {
	switch name {
	case "host":
		host := expandHost(w.class.rawHost, w.q.Host)
		return MatchPatterns(strings.Split(strings.ToLower(value), ","), strings.ToLower(host))
	case "originalhost":
		return MatchPatterns(strings.Split(strings.ToLower(value), ","), strings.ToLower(w.q.Host))
	case "user", "localuser", "version", "sessiontype", "command", "tagged":
		return true
	case "exec":
		if reached && strings.Contains(value, "%") {
			w.class.perHost = true
		}
		return true
	}
	w.class.perHost = true
	return true
}

// MatchPatterns matches as ssh_config(5), PATTERNS: any pattern, and no negated one. Case counts.
func MatchPatterns(patterns []string, host string) bool {
	hit := false
	for _, list := range patterns {
		for _, p := range strings.Split(list, ",") {
			p, negated := strings.CutPrefix(p, "!")
			if !wildcard(p, host) {
				continue
			}
			if negated {
				return false
			}
			hit = true
		}
	}
	return hit
}

// wildcard matches * and ?, in time linear in the product of the lengths.
func wildcard(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// builtinDefaults are ssh_config(5)'s, for machines without OpenSSH.
func builtinDefaults() Values {
	name := "root"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return Values{
		"user": {name}, "port": {"22"},
		"identityfile": {
			"~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519", "~/.ssh/id_ed25519_sk",
		},
		"userknownhostsfile":   {"~/.ssh/known_hosts ~/.ssh/known_hosts2"},
		"globalknownhostsfile": {"/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"},
	}
}

// fallbackKeys are the options that the fallback reads.
var fallbackKeys = []string{
	"hostname", "user", "port", "hostkeyalias", "identitiesonly", "identityagent", "revokedhostkeys", "hashknownhosts",
	"proxyjump", "proxycommand", "connecttimeout", "serveraliveinterval", "addressfamily", "bindaddress",
	"pubkeyauthentication", "passwordauthentication", "kbdinteractiveauthentication", "preferredauthentications",
	"userknownhostsfile", "globalknownhostsfile", "identityfile", "certificatefile", "ciphers", "kexalgorithms", "macs",
	"hostkeyalgorithms", "casignaturealgorithms", "pubkeyacceptedalgorithms", "knownhostscommand",
}

// fallback resolves without OpenSSH, by kevinburke/ssh_config, which knows no Match but "all" and "host".
func (c *sshConfig) fallback(q Query) (Values, error) {
	v := Values{}
	take := func(key string, found []string) {
		if len(found) == 0 || (v[key] != nil && !listKey(key)) {
			return
		}
		v[key] = append(v[key], found...)
	}
	for i := 0; i+1 < len(q.Args.argv); i += 2 {
		key, value := argOption(q.Args.argv[i], q.Args.argv[i+1])
		take(key, []string{value})
	}
	for _, f := range c.files {
		cfg, err := kevin.DecodeBytes(withoutCR(f.content))
		if err != nil {
			return nil, fmt.Errorf("ssh configuration: %w", err)
		}
		for _, key := range fallbackKeys {
			found, err := cfg.GetAll(q.Host, key)
			if err != nil {
				return nil, fmt.Errorf("ssh configuration: %s: %w", key, err)
			}
			if !listKey(key) && len(found) > 1 {
				found = found[:1]
			}
			take(key, found)
		}
	}
	for key, def := range builtinDefaults() {
		if v[key] == nil {
			v[key] = def
		}
	}
	v["hostname"] = []string{strings.ToLower(expandHost(v.First("hostname"), q.Host))}
	return v, nil
}

// listKey reports whether each value of an option counts, not only the first.
func listKey(key string) bool { return key == "identityfile" || key == "certificatefile" }

func withoutCR(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }

// argOption turns one command-line option into one of ssh_config(5).
func argOption(flag, value string) (string, string) {
	switch flag {
	case "-o":
		l := parseConfigLine(value)
		return l.key, strings.Join(l.args, " ")
	case "-J":
		return "proxyjump", value
	case "-i":
		return "identityfile", value
	case "-p":
		return "port", value
	case "-l":
		return "user", value
	case "-b":
		return "bindaddress", value
	case "-c":
		return "ciphers", value
	case "-m":
		return "macs", value
	}
	return flag, value
}
