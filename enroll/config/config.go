package config

import "gopkg.in/yaml.v3"

// Config is fleet.yaml. Unknown keys are errors with file and line.
type Config struct {
	Version   string  `yaml:"version"`
	Fleet     string  `yaml:"fleet,omitempty"` // whose records and tokens these are; default: what the records say, else token.name
	Inventory string  `yaml:"inventory,omitempty"`
	Cluster   Cluster `yaml:"cluster"`
	Bot       Bot     `yaml:"bot"`
	Token     Token   `yaml:"token"`
	Tbot      Tbot    `yaml:"tbot"`
	Rollout   Rollout `yaml:"rollout"`

	file string     // where it was read; "" for the defaults
	doc  *yaml.Node // for the places of errors that are found later

	over  []Override // what somebody said in the place of the file's values
	holes []hole     // placeholders
}

// Cluster says where tbot connects to; exactly one is set. Values are host:port.
type Cluster struct {
	ProxyServer string `yaml:"proxy_server,omitempty"`
	AuthServer  string `yaml:"auth_server,omitempty"`
	Tctl        string `yaml:"tctl,omitempty"`   // the tctl to run; default "tctl" from PATH
	Verify      string `yaml:"verify,omitempty"` // who has to say that a host joined; default: whoever can, see Verify…
}

// Who has to say that a host has joined: values of cluster.verify.
const (
	VerifyFull = "full" // the cluster; the default where tctl can be asked, and the cluster knows bot instances
	VerifyHost = "host" // the host itself; else the default
	VerifyNone = "none" // nobody
)

// Bot is the bot that all hosts join as.
type Bot struct {
	Name  string   `yaml:"name"`
	Roles []string `yaml:"roles"`
}

// What hosts get whose EKCert is absent or does not verify: values of token.without_ekcert.
const (
	HashOnly = "hash-only" // a token that checks no certificates
	Refuse   = "refuse"    // no rule
)

// Token says how tokens are made from records.
type Token struct {
	Name          string   `yaml:"name"`
	Kind          string   `yaml:"kind,omitempty"` // bot (default) or node
	EKCertCAs     []string `yaml:"ekcert_cas,omitempty"`
	WithoutEKCert string   `yaml:"without_ekcert,omitempty"` // hash-only (default) or refuse
	Match         string   `yaml:"match,omitempty"`          // hash (default) or hash+serial
	MaxRules      int      `yaml:"max_rules,omitempty"`      // default 1000
	MaxBytes      int      `yaml:"max_bytes,omitempty"`      // default 262144, of the JSON that the cluster stores
	MaxRemovals   int      `yaml:"max_removals,omitempty"`   // machines that may lose their rules without being named; default 1
	StaleAfter    Duration `yaml:"stale_after,omitempty"`    // when a rule that is kept for a host is named as old; default 30 days
}

// DefaultStorage is where tbot itself keeps its state. It lies in the directory of a Teleport agent, which may be closed.
const DefaultStorage = "/var/lib/teleport/bot"

// Tbot says what lands on the hosts.
type Tbot struct {
	Install   Install `yaml:"install,omitempty"`
	User      string  `yaml:"user,omitempty"`      // default teleport
	Group     string  `yaml:"group,omitempty"`     // default teleport
	Config    Path    `yaml:"config,omitempty"`    // default /etc/tbot.yaml
	Storage   Path    `yaml:"storage,omitempty"`   // default DefaultStorage
	Binary    Path    `yaml:"binary,omitempty"`    // default: tbot in PATH, /usr/local/bin or /opt/teleport/…
	DiagAddr  string  `yaml:"diag_addr,omitempty"` // host:port of /livez and /readyz
	Hardening *bool   `yaml:"hardening,omitempty"` // the hardening drop-in; default true

	CredentialTTL   Duration `yaml:"credential_ttl,omitempty"`   // of tbot.yaml, e.g. "1h"; default tbot's
	RenewalInterval Duration `yaml:"renewal_interval,omitempty"` // of tbot.yaml; lower than credential_ttl

	Services []map[string]any `yaml:"services"`
}

// Install says where tbot comes from.
type Install struct {
	From   string            `yaml:"from,omitempty"` // none (default), file, url, script
	Files  map[string]string `yaml:"files,omitempty"`
	URL    string            `yaml:"url,omitempty"`
	SHA256 map[string]string `yaml:"sha256,omitempty"`

	Version string `yaml:"version,omitempty"` // which Teleport; file and url often say it by name, script asks the cluster
	Edition string `yaml:"edition,omitempty"` // of script: oss, enterprise (default) or cloud
	Proxy   string `yaml:"proxy,omitempty"`   // the HTTP proxy that hosts download through
}

// Rollout says how many hosts are worked on at once and when to stop. Batch and MaxFailures are a number or a
// percentage ("20%").
type Rollout struct {
	Forks       int   `yaml:"forks,omitempty"`        // default 50
	Canary      int   `yaml:"canary,omitempty"`       // default 1
	Batch       Share `yaml:"batch,omitempty"`        // default 20%
	MaxFailures Share `yaml:"max_failures,omitempty"` // default 5%

	Order  []string `yaml:"order,omitempty"`  // groups of the inventory: whose hosts come first
	Jitter Duration `yaml:"jitter,omitempty"` // the longest random wait before a tbot starts, e.g. "5s"; default none

	Hooks Hooks `yaml:"hooks,omitempty"`
}

// Hooks are commands that the controller runs, by sh. Each gets JSON on standard input. One that fails before a
// run or a host stops that run or host; one that fails after it is a warning.
type Hooks struct {
	BeforeRun  string `yaml:"before_run,omitempty"`
	AfterRun   string `yaml:"after_run,omitempty"`
	BeforeHost string `yaml:"before_host,omitempty"` // before something is changed there: drain
	AfterHost  string `yaml:"after_host,omitempty"`  // after it, well or not: notify
}

// MaxName bounds the name of a host, in bytes; one in DNS has at most 253.
const MaxName = 256
