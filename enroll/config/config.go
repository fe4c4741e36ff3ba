package config

import "gopkg.in/yaml.v3"

// Config is fleet.yaml. Unknown keys are errors with file and line. docs/fleet-yaml.md is made of these types: the comment before
// a type introduces its section, and the comment before a field says what its key means.
type Config struct {
	// The form of this file: v1.
	Version string `yaml:"version"`
	// The fleet's name: its records, and its tokens in the cluster, belong to it for good. Without it the name is what the records
	// say, else token.name.
	Fleet string `yaml:"fleet,omitempty"`
	// An Ansible inventory, where the command line names none. See [inventory.md](inventory.md).
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

// Cluster says where tbot connects to, and how the cluster is asked. One of proxy_server and auth_server is set.
type Cluster struct {
	// The proxy, as host:port.
	ProxyServer string `yaml:"proxy_server,omitempty"`
	// Or the auth service, as host:port.
	AuthServer string `yaml:"auth_server,omitempty"`
	// The tctl to run: a program, or a command that runs one elsewhere. See [tokens.md](tokens.md#the-cluster).
	Tctl string `yaml:"tctl,omitempty"`
	// Who has to say that a host joined: full (the cluster), host (the host itself) or none. Without it: full where tctl can be
	// asked and the cluster knows bot instances, else host. See [enroll.md](enroll.md).
	Verify string `yaml:"verify,omitempty"`
}

// Who has to say that a host has joined: values of cluster.verify.
const (
	VerifyFull = "full" // the cluster; the default where tctl can be asked, and the cluster knows bot instances
	VerifyHost = "host" // the host itself; else the default
	VerifyNone = "none" // nobody
)

// Bot is the bot that all hosts join as, but for those that have the variable fleetctl_bot.
type Bot struct {
	// Its name in the cluster.
	Name string `yaml:"name"`
	// The roles whose rights its credentials have.
	Roles []string `yaml:"roles"`
}

// What hosts get whose EKCert is absent or does not verify: values of token.without_ekcert.
const (
	HashOnly = "hash-only" // a token that checks no certificates
	Refuse   = "refuse"    // no rule
)

// Token says how tokens are made from records. See [tokens.md](tokens.md).
type Token struct {
	// The first token's name; others begin with it: fleet-2, fleet-hash-only.
	Name string `yaml:"name"`
	// bot; or node, for Teleport agents in place of tbot.
	Kind string `yaml:"kind,omitempty"`
	// Files or directories with the certificates that issued the TPMs' certificates, PEM or DER. Without it no certificate is
	// checked, and EK hashes alone count.
	EKCertCAs []string `yaml:"ekcert_cas,omitempty"`
	// Hosts whose EK certificate is absent or does not verify: hash-only gives them a token that checks none, refuse gives them
	// no rule.
	WithoutEKCert string `yaml:"without_ekcert,omitempty"`
	// What a rule holds: hash; or hash+serial, which a TPM matches only if it presents its certificate.
	Match string `yaml:"match,omitempty"`
	// Rules in one token; the next token begins then.
	MaxRules int `yaml:"max_rules,omitempty"`
	// Bytes of one token, of the JSON that the cluster stores.
	MaxBytes int `yaml:"max_bytes,omitempty"`
	// Machines that may lose their last rule in one run without having been named. Without it: 1.
	MaxRemovals int `yaml:"max_removals,omitempty"`
	// When a rule that is kept for a host that has not joined anew is named as old. Without it: 30 days (720h).
	StaleAfter Duration `yaml:"stale_after,omitempty"`
}

// DefaultStorage is where tbot itself keeps its state. It lies in the directory of a Teleport agent, which may be closed.
const DefaultStorage = "/var/lib/teleport/bot"

// Tbot says what lands on the hosts. The variable tbot of a host or a group lays the same keys over these. See
// [enroll.md](enroll.md).
type Tbot struct {
	Install Install `yaml:"install,omitempty"`
	// Whom tbot runs as; made as a system user where it is not there.
	User string `yaml:"user,omitempty"`
	// The user's group.
	Group string `yaml:"group,omitempty"`
	// Where tbot's configuration is written.
	Config Path `yaml:"config,omitempty"`
	// Where tbot keeps its identity.
	Storage Path `yaml:"storage,omitempty"`
	// The program. Without it: tbot in PATH, in /usr/local/bin or in /opt/teleport.
	Binary Path `yaml:"binary,omitempty"`
	// Where tbot answers /livez and /readyz, as host:port: by these a join is seen at once.
	DiagAddr string `yaml:"diag_addr,omitempty"`
	// The drop-in that closes to tbot what it does not need. Without it: true.
	Hardening *bool `yaml:"hardening,omitempty"`

	// How long credentials are valid. Without it tbot decides.
	CredentialTTL Duration `yaml:"credential_ttl,omitempty"`
	// How often they are renewed; shorter than credential_ttl. Without it tbot decides.
	RenewalInterval Duration `yaml:"renewal_interval,omitempty"`

	// What tbot does with its identity, in tbot's own words. Without any it joins and renews, nothing more.
	Services []map[string]any `yaml:"services"`
}

// Install says where tbot comes from.
type Install struct {
	// none: it is there already; file: from here; url: the host downloads it; script: by the cluster's install script.
	From string `yaml:"from,omitempty"`
	// With file: the archive or program for each architecture.
	Files map[string]string `yaml:"files,omitempty"`
	// With url: the archive's address, with {version} and {arch} in it.
	URL string `yaml:"url,omitempty"`
	// With file and url: the archive's SHA-256 for each architecture, in hex.
	SHA256 map[string]string `yaml:"sha256,omitempty"`

	// Which Teleport. The names of file and url often say it, and script asks the cluster.
	Version string `yaml:"version,omitempty"`
	// With script: oss, enterprise or cloud. Without it: enterprise.
	Edition string `yaml:"edition,omitempty"`
	// The HTTP proxy that hosts download through.
	Proxy string `yaml:"proxy,omitempty"`
}

// Rollout says how many hosts are worked on at once and when to stop. A share is a number of hosts or a part of them (20%). See
// [enroll.md](enroll.md#rollout).
type Rollout struct {
	// Hosts at once.
	Forks int `yaml:"forks,omitempty"`
	// Hosts that have to do well before any other is changed; 0 for none.
	Canary int `yaml:"canary,omitempty"`
	// The share of hosts that are begun together.
	Batch Share `yaml:"batch,omitempty"`
	// The share of hosts that may fail; after one more no other is begun.
	MaxFailures Share `yaml:"max_failures,omitempty"`

	// Groups of the inventory whose hosts come first, in this order.
	Order []string `yaml:"order,omitempty"`
	// The longest random wait before a tbot starts. Without it there is none.
	Jitter Duration `yaml:"jitter,omitempty"`

	Hooks Hooks `yaml:"hooks,omitempty"`
}

// Hooks are commands that the controller runs, by sh. Each gets JSON on standard input. One that fails before a
// run or a host stops that run or host; one that fails after it is a warning.
type Hooks struct {
	// Before anything is done.
	BeforeRun string `yaml:"before_run,omitempty"`
	// At the end, however it ended.
	AfterRun string `yaml:"after_run,omitempty"`
	// Before something is changed on a host: drain it.
	BeforeHost string `yaml:"before_host,omitempty"`
	// After a host was changed, well or not: tell somebody.
	AfterHost string `yaml:"after_host,omitempty"`
}

// MaxName bounds the name of a host, in bytes; one in DNS has at most 253.
const MaxName = 256
