package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/outcome"
)

// Defaults of fleet.yaml.
const (
	defaultForks    = 50
	DefaultRules    = 1000
	DefaultBytes    = 256 << 10 // of the JSON that the cluster stores: safe for every backend
	maxConfigLength = 1 << 20
)

// Default is fleet.yaml with every default and without a cluster.
func Default() Config {
	c := numbers()
	c.setDefaults()
	return c
}

// numbers are the defaults that a written 0 must not be taken for.
func numbers() Config {
	return Config{
		Token:   Token{MaxRules: DefaultRules, MaxBytes: DefaultBytes},
		Rollout: Rollout{Forks: defaultForks, Canary: 1},
	}
}

// Load reads and checks fleet.yaml, with values that take the place of the file's. Paths in it are relative to its directory;
// the Config that is returned has them resolved. An address that is a placeholder is none. Errors are *InputError with file,
// line and column, but for a file that cannot be read.
func Load(path string, over ...Override) (Config, error) {
	raw, err := readConfig(path)
	if err != nil {
		return Config{}, err
	}
	return Parse(path, raw, over...)
}

// Parse is Load for a file that was read already.
func Parse(path string, raw []byte, over ...Override) (Config, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // comments at the most
		return Config{}, &outcome.InputError{File: path, Msg: "is empty",
			Hint: "remove it; then \"fleetctl init\" writes one to start from"}
	case err != nil:
		return Config{}, syntaxError(path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, &outcome.InputError{File: path, Msg: "holds more than one YAML document"}
	}
	if errs := checkShape[Config](path, doc.Content[0]); len(errs) > 0 {
		return Config{}, joined(errs)
	}
	c := numbers()
	if err := doc.Decode(&c); err != nil { // such as aliases without end
		return Config{}, syntaxError(path, err)
	}
	c.file, c.doc = path, &doc
	return c.finish(filepath.Dir(path), over)
}

// finish makes a Config of what was written, and says what is wrong with it.
func (c Config) finish(dir string, over []Override) (Config, error) {
	c.apply(over)
	c.setDefaults()
	c.resolvePaths(dir)
	c.holes = c.holesOf()
	v := checks{config: c}
	c.check(&v)
	slices.SortStableFunc(v.errs, func(a, b *outcome.InputError) int { return cmp.Or(a.Line-b.Line, strings.Compare(a.Msg, b.Msg)) })
	if slices.ContainsFunc(c.holes, func(h hole) bool { return strings.HasPrefix(h.key, "cluster.") }) {
		c.Cluster.ProxyServer, c.Cluster.AuthServer = "", "" // nobody answers there
	}
	return c, joined(v.errs)
}

// joined is errors.Join for errors of one type.
func joined[E error](list []E) error {
	errs := make([]error, len(list))
	for i, e := range list {
		errs[i] = e
	}
	return errors.Join(errs...)
}

func readConfig(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &outcome.InputError{File: path, Msg: "no such file",
			Hint: "run \"fleetctl init\" to write one to start from, or name yours with -f"}
	case err != nil:
		return nil, &outcome.InputError{File: path, Msg: unwrapPath(err).Error()}
	case len(raw) > maxConfigLength:
		return nil, &outcome.InputError{File: path, Msg: "is larger than 1 MiB: is it a fleet.yaml?"}
	}
	return raw, nil
}

// unwrapPath drops the path that os puts into its errors, since ours name the file already.
func unwrapPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// yamlLine is how yaml.v3 names a place: as text, and without a column.
var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// syntaxError is what is no YAML.
func syntaxError(path string, err error) error {
	e := &outcome.InputError{File: path, Msg: strings.TrimPrefix(err.Error(), "yaml: "),
		Hint: "the line is where reading ended: look at it, and at what is open above it (indentation, quotes, brackets)"}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Msg = m[2]
	}
	e.Msg = "is no YAML: " + e.Msg
	return e
}

func (c *Config) setDefaults() {
	c.Cluster.Tctl = cmp.Or(c.Cluster.Tctl, "tctl")
	c.Token.Name = cmp.Or(c.Token.Name, "fleet")
	c.Token.Kind = cmp.Or(c.Token.Kind, "bot")
	c.Token.WithoutEKCert = cmp.Or(c.Token.WithoutEKCert, "hash-only")
	c.Token.Match = cmp.Or(c.Token.Match, "hash")
	c.Tbot.Install.From = cmp.Or(c.Tbot.Install.From, "none")
	c.Tbot.User = cmp.Or(c.Tbot.User, "teleport")
	c.Tbot.Group = cmp.Or(c.Tbot.Group, "teleport")
	c.Tbot.Config = cmp.Or(c.Tbot.Config, "/etc/tbot.yaml")
	c.Tbot.Storage = cmp.Or(c.Tbot.Storage, DefaultStorage)
	c.Rollout.Batch = cmp.Or(c.Rollout.Batch, "20%")
	c.Rollout.MaxFailures = cmp.Or(c.Rollout.MaxFailures, "5%")
}

func (c *Config) resolvePaths(dir string) {
	resolve := func(p string) string {
		if p == "" || p == "-" || filepath.IsAbs(p) || strings.HasSuffix(p, ",") {
			return p
		}
		return filepath.Join(dir, p)
	}
	c.Inventory = resolve(c.Inventory)
	for i, p := range c.Token.EKCertCAs {
		c.Token.EKCertCAs[i] = resolve(p)
	}
	for arch, p := range c.Tbot.Install.Files {
		c.Tbot.Install.Files[arch] = resolve(p)
	}
	c.Cluster.Tctl = resolveCommand(dir, c.Cluster.Tctl)
}

// checks gathers what is wrong with a fleet.yaml.
type checks struct {
	config Config
	errs   []*outcome.InputError
}

// fail reports a problem of the key at the dotted path.
func (v *checks) fail(path, hint, format string, args ...any) {
	v.errs = append(v.errs, v.config.ErrorAt(path, hint, format, args...))
}

func (v *checks) oneOf(path, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	v.fail(path, "", "%q is none of %s", value, strings.Join(allowed, ", "))
}

// nodeAt follows mapping keys and returns the deepest node that exists.
func nodeAt(n *yaml.Node, path []string) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	for i := 0; len(path) > 0 && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == path[0] {
			return nodeAt(n.Content[i+1], path[1:])
		}
	}
	return n
}

// resourceName is what Teleport's backend keys accept and what is safe as a file name of out/.
var resourceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`)

func (c *Config) check(v *checks) {
	v.oneOf("version", c.Version, "v1")
	c.checkCluster(v)
	c.checkToken(v)
	c.checkTbot(v)
	c.checkRollout(v)
}

func (c *Config) checkCluster(v *checks) {
	both := c.Cluster.ProxyServer != "" && c.Cluster.AuthServer != ""
	neither := c.Cluster.ProxyServer == "" && c.Cluster.AuthServer == ""
	if both || neither {
		v.fail("cluster", "proxy_server: teleport.example.com:443", "needs either proxy_server or auth_server")
	}
	checkHostPort(v, "cluster.proxy_server", c.Cluster.ProxyServer)
	checkHostPort(v, "cluster.auth_server", c.Cluster.AuthServer)
	if c.Cluster.Verify != "" {
		v.oneOf("cluster.verify", c.Cluster.Verify, VerifyFull, VerifyHost, VerifyNone)
	}
}

func checkHostPort(v *checks, path, value string) {
	if value == "" {
		return
	}
	host, port, err := net.SplitHostPort(value)
	n, perr := strconv.Atoi(port)
	if err != nil || host == "" || perr != nil || n < 1 || n > 65535 || strings.ContainsAny(host, "/ ") {
		v.fail(path, "teleport.example.com:443, without https://", "%q is not host:port", value)
	}
}

// labelValue is what a label of Kubernetes' syntax may have as its value.
var labelValue = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

func (c *Config) checkToken(v *checks) {
	const names = "letters, digits, '-', '_', '.', '@' and '+', beginning with a letter or digit"
	if !resourceName.MatchString(c.Token.Name) {
		v.fail("token.name", names, "%q is no name that Teleport accepts for a token", c.Token.Name)
	}
	v.oneOf("token.kind", c.Token.Kind, "bot", "node")
	v.oneOf("token.without_ekcert", c.Token.WithoutEKCert, "hash-only", "refuse")
	v.oneOf("token.match", c.Token.Match, "hash", "hash+serial")
	if c.Token.MaxRules < 1 {
		v.fail("token.max_rules", "", "%d is no number of rules; 1 at least", c.Token.MaxRules)
	}
	if c.Token.MaxBytes < 4096 {
		v.fail("token.max_bytes", "", "%d is too small for a rule and a CA; 4096 at least", c.Token.MaxBytes)
	}
	if c.Token.MaxRemovals < 0 {
		v.fail("token.max_removals", "", "%d is no number of machines", c.Token.MaxRemovals)
	}
	if err := c.Token.StaleAfter.Check(); err != nil {
		v.fail("token.stale_after", "for example 720h", "%v", err)
	}
	if c.Fleet != "" && !labelValue.MatchString(c.Fleet) {
		v.fail("fleet", "up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
			"%q is no name that fits a label", c.Fleet)
	}
	if c.Token.Kind == "node" {
		return // agents have no bot
	}
	if !resourceName.MatchString(c.Bot.Name) {
		v.fail("bot.name", names, "%q is no name that Teleport accepts for a bot", c.Bot.Name)
	}
	for _, r := range c.Bot.Roles {
		if strings.TrimSpace(r) == "" {
			v.fail("bot.roles", "", "a role has no name")
		}
	}
	if len(c.Bot.Roles) == 0 {
		v.fail("bot.roles", "roles: [fleet-access]", "a bot without roles can do nothing")
	}
}

func (c *Config) checkTbot(v *checks) {
	c.Tbot.check(func(key, hint, message string) { v.fail("tbot."+key, hint, "%s", message) })
	checkHostPort(v, "tbot.diag_addr", c.Tbot.DiagAddr)
}

// check reports what is wrong with tbot's settings, of fleet.yaml or of the inventory, by key.
func (t Tbot) check(fail func(key, hint, message string)) {
	for _, a := range []struct{ key, name string }{{"user", t.User}, {"group", t.Group}} {
		if !ValidAccount(a.name) {
			fail(a.key, "lower-case letters, digits, '-' and '_', 32 at most", fmt.Sprintf("%q is no Linux account name", a.name))
		}
	}
	for _, p := range []struct {
		key  string
		path Path
	}{{"config", t.Config}, {"storage", t.Storage}, {"binary", t.Binary}} {
		if err := p.path.Check(); err != nil && (p.path != "" || p.key != "binary") {
			fail(p.key, "", err.Error())
		}
	}
	if from := []string{"none", "file", "url", "script"}; !slices.Contains(from, t.Install.From) {
		fail("install.from", "", fmt.Sprintf("%q is none of %s", t.Install.From, strings.Join(from, ", ")))
	}
	for _, d := range []struct {
		key   string
		value Duration
	}{{"credential_ttl", t.CredentialTTL}, {"renewal_interval", t.RenewalInterval}} {
		if err := d.value.Check(); err != nil {
			fail(d.key, "a duration: 90s, 20m, 1h", err.Error())
		}
	}
	if ttl, renewal := t.CredentialTTL.Value(), t.RenewalInterval.Value(); ttl > 0 && renewal >= ttl {
		fail("renewal_interval", "", fmt.Sprintf("%s is not lower than credential_ttl (%s)", renewal, ttl))
	}
}

func (c *Config) checkRollout(v *checks) {
	if c.Rollout.Forks < 1 || c.Rollout.Forks > 10000 {
		v.fail("rollout.forks", "", "%d is not between 1 and 10000", c.Rollout.Forks)
	}
	if c.Rollout.Canary < 0 {
		v.fail("rollout.canary", "", "%d is negative", c.Rollout.Canary)
	}
	if err := c.Rollout.Jitter.Check(); err != nil {
		v.fail("rollout.jitter", "a duration: 90s, 20m, 1h", "%v", err)
	}
	for _, s := range []struct {
		key   string
		share Share
	}{{"rollout.batch", c.Rollout.Batch}, {"rollout.max_failures", c.Rollout.MaxFailures}} {
		if err := s.share.Check(); err != nil {
			v.fail(s.key, "a number (10) or a share (20%)", "%v", err)
		}
	}
}

// CheckOrder says which groups of rollout.order the inventory does not have. groups are all that it has.
func (c Config) CheckOrder(groups []string) error {
	var errs []error
	for _, g := range c.Rollout.Order {
		if !slices.Contains(groups, g) {
			errs = append(errs, c.ErrorAt("rollout.order", "\"fleetctl inventory\" shows the groups",
				"the inventory has no group %q", g))
		}
	}
	return errors.Join(errs...)
}
