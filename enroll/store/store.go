// Package store keeps the records of a fleet so that they survive: every observation of every host, the accepted
// identity, the token that each host is assigned to and what is installed. It judges no TPM and knows no SSH.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"
)

// Errors of a store.
var (
	ErrNotFound    = errors.New("no such record")
	ErrLocked      = errors.New("records are in use by another run")
	ErrNewerSchema = errors.New("records were written by a newer fleetctl")
	ErrCorrupt     = errors.New("records are damaged")
	ErrNoRecords   = errors.New("there are no records")
	ErrForeign     = errors.New("not a file of fleetctl's records")
	ErrReadOnly    = errors.New("records cannot be written")
	ErrNoSpace     = errors.New("no space left for the records")
	ErrNotPending  = errors.New("no changed identity waits for acceptance")
	ErrTaken       = errors.New("the name is taken")
	ErrClosed      = errors.New("records are closed")
)

// Identity is an EK as tbot presents it, and how we came to know it.
type Identity struct {
	EKHash   string `json:"ek_public_hash"`                  // 64 lower-case hex digits
	EKSerial string `json:"ek_certificate_serial,omitempty"` // "5e:cd:5f:8e"; "" without certificate
	EKPub    []byte `json:"ek_public,omitempty"`             // PKIX DER
	EKCert   []byte `json:"ek_certificate,omitempty"`        // DER
	Proven   bool   `json:"proven"`                          // by credential activation
	Via      string `json:"via"`                             // helper, shell, tbot, import
}

// Observation is what one run saw of one host. Observations are append-only.
type Observation struct {
	Host     string          `json:"host"`
	Run      int64           `json:"run"`
	At       time.Time       `json:"at"`
	Outcome  string          `json:"outcome"` // ok, changed, skipped, unreachable, failed, canceled
	Status   string          `json:"status"`  // why: "host-key-changed", "no-tpm", "unproven"…; "" when ok
	Message  string          `json:"message,omitempty"`
	Identity *Identity       `json:"identity,omitempty"` // nil when the TPM could not be asked
	TPM      json.RawMessage `json:"tpm,omitempty"`      // tpm.Properties and findings, as JSON
}

// Record is what is known of a host now.
type Record struct {
	Host      string       `json:"host"`
	Accepted  *Identity    `json:"accepted,omitempty"` // the identity that gets a rule
	Pending   *Identity    `json:"pending,omitempty"`  // a different one, seen later, that waits for Accept
	Last      *Observation `json:"last,omitempty"`
	Token     string       `json:"token,omitempty"`     // sticky assignment
	TokenEK   string       `json:"token_ek,omitempty"`  // the EK hash that was accepted when the token was assigned
	Installed *Installed   `json:"installed,omitempty"` // what enroll put there
}

// Installed is what enroll last put on a host.
type Installed struct {
	At           time.Time `json:"at"`
	Token        string    `json:"token"`
	TbotVersion  string    `json:"tbot_version"`
	ConfigSHA256 string    `json:"config_sha256"`
	UnitSHA256   string    `json:"unit_sha256"`

	Run   int64    `json:"run,omitempty"`   // the run that came last to the host
	State string   `json:"state,omitempty"` // "": as it should be; "applying", "failed" or "removing": not through
	Step  string   `json:"step,omitempty"`  // the step that it was at, when it is not through
	Made  []string `json:"made,omitempty"`  // "user:teleport", "group:tss"…: what wasn't there before, for a removal

	// The run that last began to change what tbot is or how it runs, and when; 0 and nil in records of older versions.
	ChangedRun int64      `json:"changed_run,omitempty"`
	ChangedAt  *time.Time `json:"changed_at,omitempty"`

	JoinedAt   *time.Time `json:"joined_at,omitempty"`   // the latest join that a run has seen; nil: none has
	JoinedWith string     `json:"joined_with,omitempty"` // the token of that join
	JoinedRun  int64      `json:"joined_run,omitempty"`  // the run that saw it, of the tbot as it is now; 0: none has

	User    string `json:"user,omitempty"`    // who tbot runs as
	Config  string `json:"config,omitempty"`  // the path of tbot.yaml
	Storage string `json:"storage,omitempty"` // the path of tbot's state

	// How the host is reached, and what is set for it alone, while it is being removed: variables of the inventory without
	// secrets, so that the removal comes to its end also when the host has left the inventory.
	Vars map[string]any `json:"vars,omitempty"`
}

// JoinedBy says whether it is verified that the host, as it is configured now, has joined with that token: nothing of its
// tbot was changed since a run saw the join, and nothing is half done. Runs are compared by their numbers, never by the
// clock; but for records of older versions, which have none: there the join has to be later than the change. nil: no.
func (i *Installed) JoinedBy(token string) bool {
	switch {
	case i == nil || token == "" || i.State != "" || i.Token != token || i.JoinedWith != token:
		return false
	case i.ChangedRun == 0 && i.JoinedRun == 0:
		return i.JoinedAt != nil && i.JoinedAt.After(i.At)
	}
	return i.JoinedRun > 0 && i.JoinedRun >= i.ChangedRun
}

// Verdict is what Put made of an observation.
type Verdict struct {
	Changed  bool     // an identity that differs from the accepted one: it waits, the accepted one stays
	Old      string   // the accepted EK hash, when Changed
	Replaced string   // the EK hash that was accepted and only claimed: the proven one took its place at once
	Removed  *Machine // a person took the EK out: the observation is kept, and its identity counts for nothing
	Reused   bool     // a host presents it that didn't when it was taken out
}

// Duplicate is one EK that several hosts present.
type Duplicate struct {
	EKHash string
	Hosts  []string // sorted
}

// Token is a token that fleetctl made.
type Token struct {
	Name string `json:"name"`
	Kind string `json:"kind"`          // bot or node
	Bot  string `json:"bot,omitempty"` // whom its hosts join as

	CAs      []string `json:"-"` // PEM, as published last
	CAsKnown bool     `json:"-"` // false: an older fleetctl published it, and only the cluster knows its CAs

	Epoch  int64    `json:"epoch,omitempty"`  // of its content; grows over all tokens of the fleet; 0: it has none yet
	Digest string   `json:"digest,omitempty"` // of its content
	Write  string   `json:"write,omitempty"`  // the id of our latest write into the cluster
	Recent []string `json:"-"`                // ids of such writes and digests of contents, newest first; none: an older fleetctl kept none
	Seen   int64    `json:"seen,omitempty"`   // the latest epoch that the cluster was seen to have
	Behind bool     `json:"behind,omitempty"` // the cluster had newer content than the records: nothing is taken out of it
}

// States of a machine that gets no rule because a person said so. A machine that was forgotten is taken out of the
// tokens like the others, and is new when it is seen again.
const (
	Disabled  = "disabled"
	Removed   = "removed"
	Replaced  = "replaced"
	Forgotten = "forgotten"
)

// Machine is an EK. Names point to machines: several to one, or none any more.
type Machine struct {
	EKHash   string    `json:"ek_public_hash"`
	State    string    `json:"state,omitempty"`                 // "", Disabled, Removed, Replaced or Forgotten
	Host     string    `json:"host,omitempty"`                  // its name when somebody took it out
	EKSerial string    `json:"ek_certificate_serial,omitempty"` // likewise
	Run      int64     `json:"run,omitempty"`
	At       time.Time `json:"at,omitzero"`
	By       string    `json:"by,omitempty"`
	Why      string    `json:"why,omitempty"`

	Joined    string `json:"joined,omitempty"`     // the token of the latest join that was verified
	JoinedRun int64  `json:"joined_run,omitempty"` // the run that verified it

	LastJoin time.Time `json:"last_join,omitzero"` // the latest join that the cluster had, by its own clock
	LastRun  int64     `json:"last_run,omitempty"` // the run that looked
}

// Out says whether a person took the machine out: no token may have a rule for it.
func (m Machine) Out() bool { return m.State != "" }

// States of Installed that say that a host is not through.
const (
	HostApplying = "applying"
	HostFailed   = "failed"
	HostRemoving = "removing"
)

// Evidence that a machine may be configured with a token.
const (
	ByInstall = "installed" // we wrote it, were about to, or saw it in the configuration
	ByPublish = "published" // somebody else installs, and was given the token
	ByCluster = "cluster"   // the cluster has a rule for it there, and nobody knows why
)

// Way is a token that a machine may be configured with: its rule stays there until the machine is known to have joined
// with another one.
type Way struct {
	EKHash   string `json:"ek_public_hash"`
	Token    string `json:"token"`
	Evidence string `json:"evidence"` // ByInstall, ByPublish or ByCluster
	Run      int64  `json:"run"`      // the run of the latest evidence
}

// Publication is what goes to the cluster next, noted before it does.
type Publication struct {
	Assign map[string]string // host → token; "" takes it away
	Tokens []Token           // those that are new or differ
	Rules  []Rule            // those that are new
	Ways   []Way             // those that are new, or whose evidence is
	Drop   []Way             // those that a verified join has ended
	Epoch  int64             // the fleet's epoch from now on; 0: as it is
}

// Bound is what records belong to.
type Bound struct {
	Fleet   string          `json:"fleet"`   // "": no run has bound them yet
	Cluster string          `json:"cluster"` // its name; "": nobody asked it yet
	Pins    []string        `json:"pins"`    // of its CAs, as they were seen last
	Policy  json.RawMessage `json:"policy"`  // as a person confirmed it last; nil: never
	Epoch   int64           `json:"epoch"`   // the highest that was given to a token
}

// Entry is something that a person did to a machine or a name.
type Entry struct {
	ID     int64     `json:"entry"` // its place in the log
	Run    int64     `json:"run"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`     // user@host
	Action string    `json:"action"` // remove, disable, enable, readmit, accept, replace, forget, rename…
	Host   string    `json:"host"`
	EKHash string    `json:"ek_public_hash,omitempty"`
	Why    string    `json:"why,omitempty"`
}

// Rule is an allow rule that fleetctl wrote into a token.
type Rule struct {
	Token    string `json:"token"`
	EKHash   string `json:"ek_public_hash"`
	EKSerial string `json:"ek_certificate_serial,omitempty"`
	Host     string `json:"host"`
	Seen     bool   `json:"seen,omitempty"` // it was seen in the cluster
}

// Run is one run of fleetctl.
type Run struct {
	ID      int64     `json:"run"`
	Command string    `json:"command"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	State   string    `json:"state"` // running, done, failed, interrupted
	Hosts   int       `json:"hosts"`

	By     string `json:"by,omitempty"`     // user@host
	Args   string `json:"args,omitempty"`   // the command line, without secrets
	Reason string `json:"reason,omitempty"` // what the user said why
}

// Actor is who works with the records, for runs and the journal.
type Actor struct {
	By     string // user@host
	Args   string // the command line, without secrets
	Reason string
}

// Store keeps records. An implementation commits before it returns, and is safe for use by several goroutines.
type Store interface {
	BeginRun(ctx context.Context, command string, hosts int) (int64, error)
	ResumeRun(ctx context.Context, run int64) error
	EndRun(ctx context.Context, run int64, state string) error
	Choose(ctx context.Context, run int64, hosts []string) error
	Chosen(ctx context.Context, run int64) (map[string]bool, error) // nil: not known, or a later run of the command has come
	Runs(ctx context.Context, limit int) ([]Run, error)             // newest first

	// Put appends an observation and returns when it is durable; concurrent Puts share a commit. The first proven
	// identity of a host is accepted. A later one with another EK is pending, and the observation is kept as failed
	// with status "changed-ek". A proven identity takes the place of a claimed one at once as long as no token was assigned
	// for that; else it waits, since a rule goes by a person's word alone. An identity that is not proven is accepted only
	// where none is yet, and only when the outcome is ok or changed: what a failed proof claimed is kept as evidence and
	// nothing more. So is an EK that was removed, with status "removed-ek": skipped for a host that had it, failed for
	// another one.
	Put(ctx context.Context, o Observation) (Verdict, error)
	// PutAll is Put of one after the other, in a single commit: all of them or, on an error, none.
	PutAll(ctx context.Context, all []Observation) ([]Verdict, error)

	Record(ctx context.Context, host string) (Record, error) // ErrNotFound
	Records(ctx context.Context) iter.Seq2[Record, error]    // by host name
	History(ctx context.Context, host string) iter.Seq2[Observation, error]
	Seen(ctx context.Context, run int64) (map[string]string, error) // host → outcome of that run, for resume and retry
	Duplicates(ctx context.Context) ([]Duplicate, error)
	Firsts(ctx context.Context) (map[int64]int, error) // run → hosts that are known and were identified then for the first time

	Accept(ctx context.Context, hosts ...string) error // pending becomes accepted
	Forget(ctx context.Context, hosts ...string) error
	Assign(ctx context.Context, tokens map[string]string) error // host → token name, in one transaction

	// Publish notes what goes to the cluster in one transaction. Rules add up, so that a rule in the cluster can be told
	// from one that somebody else wrote; Retract takes rules back.
	Publish(ctx context.Context, p Publication) error
	Retract(ctx context.Context, rules []Rule) error
	Tokens(ctx context.Context) ([]Token, error) // by name
	Rules(ctx context.Context) iter.Seq2[Rule, error]
	Wrote(ctx context.Context, token, id string) error                      // the id of a write that is about to be made
	Saw(ctx context.Context, token string, epoch int64, rules []Rule) error // what the cluster was seen to have of ours

	Machines(ctx context.Context) iter.Seq2[Machine, error] // by EK hash
	Ways(ctx context.Context) iter.Seq2[Way, error]         // by EK hash and token
	AddWays(ctx context.Context, ways ...Way) error
	DropWays(ctx context.Context, ways ...Way) error
	Joined(ctx context.Context, run int64, tokens map[string]string) error // EK hash → token of a join that was verified

	// LookedAt notes the latest join of machines that the cluster had, by EK hash. A join that is newer the next time was made
	// after that run, whatever the clocks say.
	LookedAt(ctx context.Context, run int64, joins map[string]time.Time) error
	Snapshot(ctx context.Context) error // a copy beside the file, in place of the last one

	// SetStates says that a person took machines out (or, with an empty state, let them in again), with an entry of the
	// journal each.
	SetStates(ctx context.Context, action string, machines ...Machine) error

	// Rename gives a host another name; two records of one EK become one. ErrNotFound; ErrTaken when another machine has the
	// new name.
	Rename(ctx context.Context, from, to string) error
	Note(ctx context.Context, entries ...Entry) error // to the journal
	Journal(ctx context.Context) iter.Seq2[Entry, error]
	Bound(ctx context.Context) (Bound, error)
	Bind(ctx context.Context, b Bound) error       // all but the epoch
	Backup(ctx context.Context, path string) error // a copy of the file; an error when there is a file already

	SetInstalled(ctx context.Context, host string, i *Installed) error
	Close() error
}
